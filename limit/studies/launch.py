"""Start a study as a chain of jobs, and keep the list of what belongs to it in `studies/<name>/study.json`.

Notable: every step below is idempotent (the same request is the same mix, run, evaluation and job), so starting a study
again resumes what failed or was stopped, adds the seeds that are new, and leaves alone what is done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limit import __version__, jobs
from limit.access import require
from limit.core import Json, LimitError, read_json, utc_now, write_json
from limit.finetune.launch import launch_finetune
from limit.gauntlet.evaluate import make_plan, read_groups
from limit.gauntlet.launch import launch_gauntlet
from limit.gauntlet.tasks import data_folder
from limit.judge.prices import check_budget
from limit.judge.requests import launch_judge, parse_judge
from limit.mixes.build import build_mix, plan_mix
from limit.responses.launch import launch_respond
from limit.responses.prompt_sets import ensure_prompt_set
from limit.runs import ensure_run
from limit.settings import Workspace
from limit.specs.gauntlet import GauntletSpec
from limit.specs.judge import RespondSpec
from limit.specs.mix import MixPart, MixSpec
from limit.specs.run import RunSpec
from limit.studies.spec import StudyMix, StudySpec, load_study

BASE = "base"


def run_study(
    ws: Workspace,
    name: str,
    *,
    seeds: Sequence[int] = (),
    model: str | None = None,
    budget_usd: float | None = None,
) -> Json:
    """Start or go on with a study; `seeds` are added to those it has, `model` takes the place of a preset's models.

    Returns {study, title, path, runs, jobs, state}. Raises LimitError when a source, a model, a recipe or the prompts
    are missing, before any job is started.
    """
    require("operator", "run a study")
    study, spec = load_study(ws, name)
    if seeds:
        started = (ws.studies / study / "study.json").is_file()
        spec = spec.replace(seeds=sorted({*spec.seeds, *seeds}) if started else list(dict.fromkeys(seeds)))
    if model is not None:
        spec = spec.replace(models=[model])
    prepare(ws, spec)
    check(ws, spec, budget_usd)
    planned = plan_runs(ws, spec)
    record = _record(ws, study, spec)
    for run in planned:
        _measure(ws, spec, run)
        record["runs"] = _merged(record["runs"], run)
        _save(ws, study, record)
    _judge(ws, spec, record, budget_usd)
    _save(ws, study, record)
    ids = job_ids(record)
    return {
        "study": study,
        "title": spec.title,
        "path": str(ws.studies / study / "study.json"),
        "runs": len(record["runs"]),
        "jobs": ids,
        "state": "running" if any(jobs.status(ws, j)["state"] not in jobs.ENDED for j in ids) else "finished",
    }


def prepare(ws: Workspace, spec: StudySpec) -> None:
    """Put the shipped sources and prompts into the workspace when the study draws on them."""
    from limit.tiny import PROMPT_SET, ensure_sources

    if PROMPT_SET in spec.prompts or any(part.startswith("tiny-") for mix in spec.mixes for part in mix.parts):
        ensure_sources(ws)


def check(ws: Workspace, spec: StudySpec, budget_usd: float | None) -> None:
    """Raise LimitError for a mix, a prompt set, task files or a judge that cannot be had, while nothing is written."""
    for mix in spec.mixes:
        seed = next(iter(mix.seeds or spec.seeds))
        plan_mix(ws, MixSpec(parts=tuple(MixPart.parse(part) for part in mix.parts), seed=seed))
    for prompts in spec.prompts:
        ensure_prompt_set(ws, prompts)
    for judge in spec.judges() if spec.prompts else ():
        check_budget(ws, parse_judge(judge), budget_usd, None)
    if spec.gauntlet is not None:
        wanted = GauntletSpec(version=spec.gauntlet, limit=spec.gauntlet_limit)
        folder = data_folder(ws, wanted.version, wanted.data)
        read_groups(make_plan(wanted, folder), folder)


def plan_runs(ws: Workspace, spec: StudySpec) -> list[Json]:
    """All runs in the order in which they start: the base, then seed by seed; mixes are built on the way.

    Each is {label, model, seed, mix_id, run_id, spec (RunSpec as JSON, None for a base)}.
    """
    recipe = spec.full_recipe()
    planned: list[Json] = []
    for model in spec.models:
        if spec.include_base:
            run_id = ensure_run(ws, RunSpec(model=model))
            planned.append(
                {"label": BASE, "model": model, "seed": None, "mix_id": None, "run_id": run_id, "spec": None}
            )
        for seed, mix in grid(spec):
            parts = tuple(MixPart.parse(part) for part in mix.parts)
            mix_id = build_mix(ws, MixSpec(parts=parts, seed=seed), name=mix.label)["mix_id"]
            request = RunSpec(model=model, mix_id=mix_id, recipe_name=spec.recipe, recipe=recipe, seed=seed)
            run_id = ensure_run(ws, request, f"{mix.label} · seed {seed}")
            planned.append(
                {
                    "label": mix.label,
                    "model": model,
                    "seed": seed,
                    "mix_id": mix_id,
                    "run_id": run_id,
                    "spec": request.to_dict(),
                }
            )
    return planned


def grid(spec: StudySpec) -> list[tuple[int, StudyMix]]:
    """(seed, mix) of every finetune: the mixes that all seeds share first, then those of single seeds."""
    shared = [(seed, mix) for seed in spec.seeds for mix in spec.mixes if not mix.seeds]
    return shared + [(seed, mix) for mix in spec.mixes for seed in mix.seeds]


def job_ids(record: Json) -> list[str]:
    """Every job of a study, once, in the order in which they were started."""
    return list(dict.fromkeys(job for run in record["runs"] for job in run["jobs"].values()))


def load_record(ws: Workspace, study: str) -> Json:
    """The contents of study.json. Raises LimitError when the study was never started."""
    path = ws.studies / study / "study.json"
    if not path.is_file():
        raise LimitError(f"study {study!r} has not been started; `limit study run {study}` starts it")
    return read_record(path)


def read_record(path: Path) -> Json:
    """The contents of a study.json. Raises LimitError when it is damaged or not of our making."""
    record = read_json(path)
    runs = record.get("runs")
    texts = all(isinstance(record.get(name), str) for name in ("study", "title", "created", "command"))
    whole = texts and isinstance(record.get("spec"), dict) and isinstance(runs, list) and all(map(_is_run, runs))
    if not whole:
        raise LimitError(f"{path} is not a whole study record; restore it, or remove its folder and start anew")
    return record


def _is_run(run: Any) -> bool:
    fields = {"label": str, "model": str, "run_id": str, "jobs": dict, "comparisons": dict, "sets": dict}
    return isinstance(run, dict) and all(isinstance(run.get(name), kind) for name, kind in fields.items())


def stop_study(ws: Workspace, name: str) -> Json:
    """Stop every job of a study that waits or runs; what is done stays. Returns {study, stopped}."""
    require("operator", "stop a study")
    record = load_record(ws, name)
    stopped = []
    for job_id in reversed(job_ids(record)):
        if jobs.status(ws, job_id)["state"] not in jobs.ENDED:
            with contextlib.suppress(LimitError):  # it has just ended
                jobs.stop(ws, job_id)
                stopped.append(job_id)
    return {"study": record["study"], "stopped": stopped}


def _record(ws: Workspace, study: str, spec: StudySpec) -> Json:
    path = ws.studies / study / "study.json"
    before = read_record(path) if path.is_file() else {}
    return {
        "study": study,
        "title": spec.title,
        "created": before.get("created", utc_now()),
        "changed": utc_now(),
        "command": f"python -m limit study run {study} --seeds {','.join(map(str, spec.seeds))}",
        "version": __version__,
        "spec": spec.to_dict(),
        "runs": before.get("runs", []),
    }


def _save(ws: Workspace, study: str, record: Json) -> None:
    write_json(ws.studies / study / "study.json", record)


def _merged(runs: list[Json], run: Json) -> list[Json]:
    """The list with this run in its place, or at the end."""
    kept = {known["run_id"]: known for known in runs}
    kept[run["run_id"]] = {**kept.get(run["run_id"], {}), **run}
    return list(kept.values())


def _measure(ws: Workspace, spec: StudySpec, run: Json) -> None:
    """Enqueue a run's finetune, evaluation and answers; adds `jobs`, `eval_id` and `sets` to it."""
    request = run.pop("spec")
    run.update(jobs={}, eval_id=None, sets={}, comparisons={})
    after: tuple[str, ...] = ()
    if request is not None:
        started = launch_finetune(ws, RunSpec.from_dict(request))
        run["jobs"]["finetune"] = started["job_id"]
        after = (started["job_id"],)
    if spec.gauntlet is not None:
        wanted = GauntletSpec(version=spec.gauntlet, limit=spec.gauntlet_limit)
        started = launch_gauntlet(ws, wanted, run_id=run["run_id"], after=after)
        run["jobs"]["gauntlet"], run["eval_id"] = started["job_id"], started["eval_id"]
    for prompts in spec.prompts:
        answers = RespondSpec(prompts=prompts, max_new_tokens=spec.max_new_tokens)
        started = launch_respond(ws, run["run_id"], answers, after=after)
        run["jobs"][f"respond {started['prompt_set']}"] = started["job_id"]
        run["sets"][started["prompt_set"]] = started["set_id"]


def _judge(ws: Workspace, spec: StudySpec, record: Json, budget_usd: float | None) -> None:
    """Enqueue the comparisons with the baseline of the same model and seed; the base model meets each seed's."""
    runs = record["runs"]
    for base in [run for run in runs if run["label"] == spec.baseline]:
        for run in runs:
            same = run["model"] == base["model"] and run["seed"] in (None, base["seed"])
            if run["run_id"] != base["run_id"] and same:
                _compare(ws, spec, base, run, budget_usd)


def _compare(ws: Workspace, spec: StudySpec, base: Json, run: Json, budget_usd: float | None) -> None:
    for prompts, set_id in run["sets"].items():
        after = (base["jobs"][f"respond {prompts}"], run["jobs"][f"respond {prompts}"])
        for judge in spec.judges():
            started = launch_judge(
                ws,
                base["run_id"],
                run["run_id"],
                prompts,
                parse_judge(judge),
                budget_usd=budget_usd,
                baseline_set=base["sets"][prompts],
                candidate_set=set_id,
                after=after,
            )
            key = f"{judge} {prompts} {base['seed']}"
            run["jobs"][f"judge {key}"] = started["job_id"]
            run["comparisons"][key] = started["comparison"]
