"""The job that scores one run: load the model, evaluate, say what came out."""

from __future__ import annotations

from pathlib import Path

from limit.core import Json, LimitError, read_json
from limit.gauntlet.evaluate import Subject, evaluate, evaluation_id, make_plan
from limit.gauntlet.results import scores_of
from limit.gauntlet.tasks import data_folder
from limit.jobs.context import JobContext
from limit.models import load_model, load_tokenizer, resolve_model
from limit.runs import load_run
from limit.settings import Workspace
from limit.specs.gauntlet import GauntletSpec


def score_run(ws: Workspace, run_id: str, spec: GauntletSpec, out: Path, context: JobContext) -> Json:
    """Evaluate a run and write its three files to `out`; returns {eval_id, path, scores}.

    Raises LimitError when the model or the data cannot be used.
    """
    folder = data_folder(ws, spec.version, spec.data)
    ref = resolve_model(ws, run_id)
    eval_id = evaluation_id(spec, make_plan(spec, folder), run_id)
    _check_unchanged(context, eval_id, folder)
    run, at, checkpoint = run_id.partition("@")
    # The model by the name that was asked for: a path of this machine would say nothing elsewhere.
    subject = Subject(eval_id, run, f"{load_run(ws, run)['model']}{at}{checkpoint}")
    model = load_model(ref, spec.dtype)
    result = evaluate(model, load_tokenizer(ref), spec, folder, out, context, subject=subject)
    if result.get("stopped"):
        return result
    return {"eval_id": eval_id, "path": str(out), "scores": scores_of(result)}


def _check_unchanged(context: JobContext, eval_id: str, folder: Path) -> None:
    """Raise LimitError when the task files are no longer those that the job was made for."""
    job = context.folder / "job.json" if context.folder is not None else None
    asked = read_json(job)["subject"].get("eval_id") if job is not None and job.exists() else eval_id
    if asked != eval_id:
        raise LimitError(
            f"the task files in {folder} or their settings have changed since evaluation {asked} was asked for; ask "
            f"for the evaluation again"
        )
