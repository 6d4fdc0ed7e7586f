"""Start an evaluation in the background: the one function behind the command line, the pages and studies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from limit import jobs
from limit.access import require
from limit.core import Json, LimitError, content_id
from limit.gauntlet.evaluate import evaluation_id, make_plan, read_groups
from limit.gauntlet.results import read_eval, scores_of
from limit.gauntlet.rows import is_whole
from limit.gauntlet.tasks import data_folder
from limit.models import require_at_hand, resolve_model
from limit.runs import ensure_run, load_run
from limit.settings import Workspace
from limit.specs.gauntlet import GauntletSpec
from limit.specs.run import RunSpec


def launch_gauntlet(
    ws: Workspace,
    spec: GauntletSpec,
    *,
    run_id: str | None = None,
    model: str | None = None,
    after: Sequence[str] = (),
    out: str | Path | None = None,
    gpus: int | None = None,
) -> Json:
    """Enqueue the evaluation of a run, or of a bare model, for which a base run is made.

    `run_id` may name a kept checkpoint (`RUN@epoch-4`). The same request on the same data is the same evaluation and
    no second job. Returns {job_id, eval_id, run_id, path, state}. Raises LimitError when the run, the model, a task or
    the data cannot be found.
    """
    require("operator", "score a model")
    if (run_id is None) == (model is None):
        raise LimitError("an evaluation needs either a run or a model; give --run or --model")
    if run_id is None:
        require_at_hand(resolve_model(ws, model or ""))
    name = run_id or ensure_run(ws, RunSpec(model=model or ""))
    run = load_run(ws, name.partition("@")[0])
    folder = data_folder(ws, spec.version, spec.data)
    plan = make_plan(spec, folder)
    read_groups(plan, folder)  # a broken record is told now, not by a job that has first loaded a model
    eval_id = evaluation_id(spec, plan, name)
    path = evaluation_folder(ws, name, eval_id) if out is None else Path(out).expanduser().resolve()
    words = spec_arguments(spec, folder)
    request = jobs.JobRequest(
        kind="gauntlet",
        title=f"Gauntlet {spec.version} of {run['name']}",
        # Its place in the workspace is not spelled out, so that the job of a copied workspace writes into the copy.
        arguments=["gauntlet", "run", "--run", name, *([] if out is None else ["--out", str(path)]), *words],
        subject={"run_id": run["run_id"], "eval_id": eval_id},
        gpus=gpus,
        after=tuple(after),
        request_id=_request_id(ws, eval_id, path),
    )
    job_id = jobs.start(ws, request)
    state = jobs.status(ws, job_id)["state"]
    return {"job_id": job_id, "eval_id": eval_id, "run_id": run["run_id"], "path": str(path), "state": state}


def evaluation_folder(ws: Workspace, run_name: str, eval_id: str) -> Path:
    """`runs/<run_id>/gauntlet/<eval_id>`."""
    return ws.run(run_name.partition("@")[0]) / "gauntlet" / eval_id


def _request_id(ws: Workspace, eval_id: str, path: Path) -> str:
    """A new name for a finished job whose files somebody removed, so that it runs again."""
    base = f"gauntlet-{eval_id}-{content_id(str(path), 6)}"
    known = {job["request_id"]: job["status"]["state"] for job in jobs.list_jobs(ws) if job.get("request_id")}
    name, number = base, 1
    while known.get(name) == "finished" and not is_whole(path):
        number += 1
        name = f"{base}-{number}"
    return name


def spec_arguments(spec: GauntletSpec, folder: Path) -> list[str]:
    """The command line's words for a request, with the data folder spelled out."""
    words = ["--data", str(folder)]
    for info in GauntletSpec.options():
        value = getattr(spec, info.name)
        if info.name != "data" and value != info.default:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words += [f"--{info.name.replace('_', '-')}", text]
    return words


def wait_for_scores(ws: Workspace, started: Json) -> Json:
    """Block until the job has ended; returns {eval_id, path, scores, ...}. Raises LimitError with the job's reason."""
    shown = sys.stderr.isatty()

    def show(status: Json) -> None:
        if shown and status.get("total"):
            print(f"\r{status.get('step') or 0}/{status['total']} records ", end="", file=sys.stderr, flush=True)

    status = jobs.wait(ws, started["job_id"], show)
    if shown:
        print(file=sys.stderr)
    if status["state"] != "finished":
        raise LimitError(
            f"gauntlet job {started['job_id']} {status['state']}: "
            f"{status.get('reason') or 'no reason is recorded; see `limit jobs tail`'}"
        )
    return {**started, "state": status["state"], "scores": scores_of(read_eval(Path(started["path"])))}
