"""Start a study as a chain of jobs, and keep the list of what belongs to it in `studies/<name>/study.json`.

Notable: every step below is idempotent (the same request is the same mix, run, evaluation and job), so starting a study
again resumes what failed or was stopped, adds the seeds that are new, and leaves alone what is done.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limit import __version__, jobs
from limit.access import require
from limit.core import Json, LimitError, canonical_json, read_json, read_kept, utc_now, write_json
from limit.finetune.launch import launch_finetune
from limit.gauntlet.evaluate import make_plan, read_groups
from limit.gauntlet.launch import launch_gauntlet
from limit.gauntlet.tasks import data_folder
from limit.judge.judgments import read_judgments
from limit.judge.prices import check_budget
from limit.judge.requests import judge_job, parse_judge
from limit.mixes.build import build_mix, plan_mix
from limit.models import require_at_hand, resolve_model
from limit.responses.launch import launch_respond
from limit.responses.prompt_sets import ensure_prompt_set, prompt_set_facts
from limit.runs import ensure_run
from limit.settings import Workspace
from limit.specs.gauntlet import GauntletSpec
from limit.specs.judge import RespondSpec
from limit.specs.mix import MixPart, MixSpec
from limit.specs.run import RunSpec
from limit.studies.spec import BASE, StudyMix, StudySpec, load_study


def run_study(
    ws: Workspace,
    name: str,
    *,
    seeds: Sequence[int] = (),
    model: str | None = None,
    budget_usd: float | None = None,
) -> Json:
    """Start or go on with a study; `seeds` are added to those it has, `model` takes the place of a preset's models.

    A study that was started keeps its seeds, also where its file names fewer. Runs of a mix or a recipe that the plan
    has changed since leave the study for `earlier` in its record; their results stay.

    Returns {study, title, path, runs, jobs, state}. Raises LimitError when a source, a model, a recipe or the prompts
    are missing, before any job is started.
    """
    require("operator", "run a study")
    study, spec = load_study(ws, name)
    before = _started(ws, study)
    if before:
        known = [int(seed) for seed in before["spec"].get("seeds", ())]
        if not {*spec.seeds, *seeds} <= {*known} or not {*known} <= {*spec.seeds}:
            spec = spec.replace(seeds=sorted({*known, *spec.seeds, *seeds}))
    elif seeds:
        spec = spec.replace(seeds=list(dict.fromkeys(seeds)))
    if model is not None:
        spec = spec.replace(models=[model])
    prepare(ws, spec)
    check(ws, spec, budget_usd)
    planned = plan_runs(ws, spec)
    record = _record(study, spec, before, model, budget_usd)
    _set_aside(ws, record, planned)
    start = _Start(ws, spec, record, budget_usd)
    for run in planned:
        start.measure(run)
    start.judge([run["run_id"] for run in planned])
    start.finish([run["run_id"] for run in planned])
    ids = job_ids(record)
    return {
        "study": study,
        "title": spec.title,
        "path": str(ws.studies / study / "study.json"),
        "runs": len(record["runs"]),
        "jobs": ids,
        "state": "running" if any(_state(ws, j) not in (*jobs.ENDED, None) for j in ids) else "finished",
    }


def prepare(ws: Workspace, spec: StudySpec) -> None:
    """Put the shipped sources and prompts into the workspace when the study draws on them."""
    from limit.tiny import PROMPT_SET, ensure_sources

    if PROMPT_SET in spec.prompts or any(part.startswith("tiny-") for mix in spec.mixes for part in mix.parts):
        ensure_sources(ws)


def check(ws: Workspace, spec: StudySpec, budget_usd: float | None) -> None:
    """Raise LimitError for a model, mix, prompt set, task file or judge that cannot be had, before a job is made."""
    for model in spec.models:
        require_at_hand(resolve_model(ws, model))
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
    """Every job of a study, once, in the order in which they were started; then those that it started before."""
    named = [job for run in record["runs"] for job in run["jobs"].values()]
    return list(dict.fromkeys([*named, *record.get("earlier_jobs", ())]))


def job_status(ws: Workspace, run: Json, what: str) -> Json:
    """Status of one job of a run, `what` as its record names it.

    One that was cleared from the history is finished if its result is there, else it counts as stopped. Shipped
    results bring no jobs.
    """
    try:
        return jobs.status(ws, run["jobs"][what])
    except LimitError:
        if _is_made(ws, run, what):
            return {"state": "finished", "reason": None}
        return {"state": "stopped", "reason": "it was cleared from the history and its result is not there"}


def _is_made(ws: Workspace, run: Json, what: str) -> bool:
    """Whether the result of a job is on disk."""
    kind, _, key = what.partition(" ")
    folder = ws.run(run["run_id"])
    if kind == "finetune":
        return (folder / "model").is_dir() or (folder / "train" / "summary.json").is_file()
    if kind == "gauntlet":
        return (folder / "gauntlet" / str(run.get("eval_id")) / "eval.json").is_file()
    if kind == "respond":
        return (folder / "responses" / key / f"{run['sets'].get(key)}.json").is_file()
    return key in run["comparisons"] and _is_judged(ws, run["comparisons"][key])


def _is_judged(ws: Workspace, comparison: str) -> bool:
    """Whether every prompt of a comparison has a verdict or was refused one."""
    try:
        prompts = read_json(ws.comparison(comparison) / "comparison.json").get("prompt_set")
        wanted = prompt_set_facts(ws, str(prompts))["distinct"]
        rows = read_judgments(ws, comparison)
    except (LimitError, KeyError):
        return False
    asked = {row["prompt_id"] for row in rows if row.get("status") not in ("error", "skipped_budget", "skipped")}
    return len(asked) >= int(wanted)


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
    """Stop every job of a study that waits or runs; what is done stays.

    Jobs that another study needs too go on, unless that study was itself stopped. Returns {study, stopped, kept,
    shared_with}: jobs, and the studies that need those that were kept.
    """
    require("operator", "stop a study")
    record = load_record(ws, name)
    shared = _needed_elsewhere(ws, name)
    stopped, kept = [], []
    ids = job_ids(record)[::-1]
    for job_id in sorted(
        ids, key=lambda job_id: not job_id.startswith("judge-")
    ):  # last first, so that none is skipped
        with contextlib.suppress(LimitError):  # it has just ended, or was cleared from the history
            if jobs.status(ws, job_id)["state"] in jobs.ENDED:
                continue
            if job_id in shared:
                kept.append(job_id)
            else:
                jobs.stop(ws, job_id)
                stopped.append(job_id)
    names = list(dict.fromkeys(study for job_id in kept for study in shared[job_id]))
    _save(ws, name, {**load_record(ws, name), "stopped": True, "kept_for": names})
    return {"study": record["study"], "stopped": stopped, "kept": kept, "shared_with": names}


def stop_words(stopped: Json) -> str:
    """What `stop_study` did, in a sentence."""
    words = f"{len(stopped['stopped'])} jobs of {stopped['study']} stopped"
    if not stopped["kept"]:
        return f"{words}."
    return f"{words}; {len(stopped['kept'])} go on, because {', '.join(stopped['shared_with'])} needs them too."


def _needed_elsewhere(ws: Workspace, name: str) -> dict[str, list[str]]:
    """The jobs of all other studies that were not stopped, each with the names of those studies."""
    found: dict[str, list[str]] = {}
    for path in sorted(ws.studies.glob("*/study.json")):
        if path.parent.name != name:
            with contextlib.suppress(LimitError):  # a damaged record needs nothing
                other = read_record(path)
                for job_id in () if other.get("stopped") else job_ids(other):
                    found.setdefault(job_id, []).append(path.parent.name)
    return found


def _started(ws: Workspace, study: str) -> Json:
    """The record of a study, empty before its first start."""
    path = ws.studies / study / "study.json"
    return read_record(path) if path.is_file() else {}


def _record(study: str, spec: StudySpec, before: Json, model: str | None, budget_usd: float | None) -> Json:
    model = model or before.get("model")
    words = ["python", "-m", "limit", "study", "run", study, "--seeds", ",".join(map(str, spec.seeds))]
    words += ["--model", model] if model and spec.models == (model,) else []
    words += ["--budget", f"{budget_usd:g}"] if budget_usd is not None else []
    return {
        "study": study,
        "title": spec.title,
        "created": before.get("created", utc_now()),
        "changed": utc_now(),
        "command": shlex.join(words),
        "model": model,
        "budget_usd": budget_usd,
        "version": __version__,
        "spec": spec.to_dict(),
        "runs": before.get("runs", []),
        "earlier": before.get("earlier", []),
        "earlier_jobs": before.get("earlier_jobs", []),
    }


def _save(ws: Workspace, study: str, record: Json) -> None:
    write_json(ws.studies / study / "study.json", record)


def _merged(runs: list[Json], run: Json) -> list[Json]:
    """The list with this run in its place, or at the end."""
    kept = {known["run_id"]: known for known in runs}
    kept[run["run_id"]] = run
    return list(kept.values())


def _set_aside(ws: Workspace, record: Json, planned: Sequence[Json]) -> None:
    """Move runs that would be taken for seeds of a planned mix to `earlier`, and back those that are planned again."""
    ids = {run["run_id"] for run in planned}
    wanted: dict[tuple[str, str], set[str | None]] = {}
    for run in planned:
        wanted.setdefault((run["model"], run["label"]), set()).add(request_of(ws, run))
    known = {run["run_id"]: run for run in (*record["earlier"], *record["runs"])}
    past = {run["run_id"] for run in record["earlier"]}
    taken = {(run["model"], run["label"], run["seed"]) for run in planned}
    runs: list[Json] = []
    earlier: list[Json] = []
    for run_id, run in known.items():
        alike = wanted.get((run["model"], run["label"]))
        other = alike is not None and request_of(ws, run) not in alike
        doubled = (run["model"], run["label"], run.get("seed")) in taken
        is_past = run_id not in ids and (other or doubled or (run_id in past and alike is None))
        (earlier if is_past else runs).append(run)
    jobs_aside = [job for run in earlier for job in run["jobs"].values()]
    record.update(runs=runs, earlier=earlier)
    record["earlier_jobs"] = list(dict.fromkeys([*record["earlier_jobs"], *jobs_aside]))


def request_of(ws: Workspace, run: Json) -> str | None:
    """What a run and its seeds have in common: parts, contents of the sources, and recipe; None where not known."""
    try:
        recipe = (read_kept(str(ws.run(run["run_id"]) / "run.json")) or {})["recipe"]
        mix = (read_kept(str(ws.mix(run["mix_id"]) / "mix.json")) or {}) if run.get("mix_id") else {}
        return canonical_json([recipe, {**mix.get("spec", {}), "seed": None}, mix.get("sources")])
    except (LimitError, KeyError):
        return None


class _Start:
    """One start of a study: what it enqueues goes into the record, which at no moment knows less than it did before."""

    def __init__(self, ws: Workspace, spec: StudySpec, record: Json, budget_usd: float | None) -> None:
        self.ws, self.spec, self.record, self.budget_usd = ws, spec, record, budget_usd
        self.prompts = [ensure_prompt_set(ws, prompts) for prompts in spec.prompts]
        self.renewed: dict[str, set[str]] = {}  # by run, the jobs that this start named
        self.shared = _needed_elsewhere(ws, record["study"])

    def measure(self, planned: Json) -> None:
        """Enqueue a run's finetune, evaluation and answers; its `jobs`, `eval_id` and `sets` are then known."""
        ws, spec = self.ws, self.spec
        request = planned.pop("spec")
        known: Json = next((run for run in self.record["runs"] if run["run_id"] == planned["run_id"]), {})
        run: Json = {"jobs": {}, "eval_id": None, "sets": {}, "comparisons": {}, **known, **planned}
        self.record["runs"] = _merged(self.record["runs"], run)
        after: tuple[str, ...] = ()
        if request is not None:
            started = launch_finetune(ws, RunSpec.from_dict(request))
            self._name(run, "finetune", started["job_id"])
            after = (started["job_id"],)
        if spec.gauntlet is not None:
            wanted = GauntletSpec(version=spec.gauntlet, limit=spec.gauntlet_limit)
            started = launch_gauntlet(ws, wanted, run_id=run["run_id"], after=after)
            run["eval_id"] = started["eval_id"]
            self._name(run, "gauntlet", started["job_id"])
        for prompts in self.prompts:
            answers = RespondSpec(prompts=prompts, max_new_tokens=spec.max_new_tokens)
            started = launch_respond(ws, run["run_id"], answers, after=after)
            run["sets"][prompts] = started["set_id"]
            self._name(run, f"respond {prompts}", started["job_id"])
        _save(ws, self.record["study"], self.record)

    def judge(self, run_ids: Sequence[str]) -> None:
        """Enqueue the comparisons with the baseline of the same model and seed; the base model meets each seed's."""
        runs = [run for run in self.record["runs"] if run["run_id"] in run_ids]
        for base in [run for run in runs if run["label"] == self.spec.baseline]:
            for run in runs:
                same = run["model"] == base["model"] and run["seed"] in (None, base["seed"])
                if run["run_id"] != base["run_id"] and same:
                    self._compare(base, run)
            _save(self.ws, self.record["study"], self.record)

    def _compare(self, base: Json, run: Json) -> None:
        for prompts in self.prompts:
            if not all(prompts in side["sets"] and f"respond {prompts}" in side["jobs"] for side in (base, run)):
                continue
            after = (base["jobs"][f"respond {prompts}"], run["jobs"][f"respond {prompts}"])
            for judge in self.spec.judges():
                job = judge_job(
                    self.ws,
                    base["run_id"],
                    run["run_id"],
                    prompts,
                    parse_judge(judge),
                    budget_usd=self.budget_usd,
                    baseline_set=base["sets"][prompts],
                    candidate_set=run["sets"][prompts],
                    after=after,
                )
                key = f"{judge} {prompts} {base['seed']}"
                before = run["jobs"].get(f"judge {key}")
                comparison = str(job.subject["comparison_id"])
                same = run["comparisons"].get(key) == comparison
                run["comparisons"][key] = comparison
                if before and before != job.job_id():
                    if same and self._is_in_hand(before, comparison):
                        self.renewed.setdefault(run["run_id"], set()).add(f"judge {key}")
                        continue
                    self._withdraw(before)
                self._name(run, f"judge {key}", jobs.start(self.ws, job))

    def _is_in_hand(self, job_id: str, comparison: str) -> bool:
        """Whether a job of another budget has judged a comparison, or does so now: two at once are refused."""
        state = _state(self.ws, job_id)
        if state == "finished":
            return _is_judged(self.ws, comparison)
        return state in jobs.ACTIVE or (state == jobs.QUEUED and job_id in self.shared)

    def _name(self, run: Json, what: str, job_id: str) -> None:
        """Put a job into the record; one that it takes the place of stays in sight until it has ended."""
        before = run["jobs"].get(what)
        if before and before != job_id:
            self._withdraw(before)
            self.record["earlier_jobs"].append(before)
        run["jobs"][what] = job_id
        self.renewed.setdefault(run["run_id"], set()).add(what)

    def _withdraw(self, job_id: str) -> None:
        """Take a replaced job out of the queue, unless another study needs it."""
        if job_id not in self.shared and _state(self.ws, job_id) == jobs.QUEUED:
            with contextlib.suppress(LimitError):  # it has just begun, and stays in sight
                jobs.stop(self.ws, job_id)

    def finish(self, run_ids: Sequence[str]) -> None:
        """Forget jobs that the plan no longer asks for and that came to nothing, and earlier ones that have ended."""
        for run in self.record["runs"]:
            if run["run_id"] in run_ids:
                for what in set(run["jobs"]) - self.renewed.get(run["run_id"], set()):
                    if job_status(self.ws, run, what)["state"] in ("stopped", "failed", "lost"):
                        del run["jobs"][what]
                        run["comparisons"].pop(what.removeprefix("judge "), None)
        named = {job for run in self.record["runs"] for job in run["jobs"].values()}
        self.record["earlier_jobs"] = [
            job for job in dict.fromkeys(self.record["earlier_jobs"])
            if job not in named and _state(self.ws, job) not in (*jobs.ENDED, None)
        ]  # fmt: skip
        _save(self.ws, self.record["study"], self.record)


def _state(ws: Workspace, job_id: str) -> str | None:
    """A job's state, None for one that was cleared from the history."""
    try:
        return str(jobs.status(ws, job_id)["state"])
    except LimitError:
        return None
