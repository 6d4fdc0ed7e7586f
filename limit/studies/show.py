"""What came of a study: its progress as one bar, and a row per run with mix, seed, Gauntlet and preference.

Reads files only, so it works beside a running app and while jobs are going on.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limit import jobs
from limit.core import Json, LimitError, read_json
from limit.finetune.estimate import Estimate
from limit.gauntlet.results import read_eval
from limit.judge.judgments import list_comparisons, read_judgments
from limit.judge.summary import summarise
from limit.runs import load_run
from limit.settings import SHIPPED, Workspace
from limit.studies.cost import StudyCost, cost_lines, study_cost
from limit.studies.launch import grid, job_status, load_record, read_record, request_of
from limit.studies.spec import BASE, PAPER, SHIPPED_RESULTS, StudySpec, load_study

PUBLISHED = SHIPPED / "published"


def list_studies(ws: Workspace) -> list[Json]:
    """Every study that was started: {study, title, created, progress}, newest first."""
    found = []
    for path in ws.studies.glob("*/study.json"):
        try:
            record = read_record(path)
            head = {key: record[key] for key in ("study", "title", "created")}
            found.append({**head, "progress": progress(ws, record)})
        except LimitError:
            continue
    return sorted(found, key=lambda study: study["created"], reverse=True)


def show_study(ws: Workspace, name: str) -> Json:
    """A study's state and runs: {study, title, origin, state, progress, runs}, and `cost` before it was started.

    Each run is {label, model, seed, mix_id, run_id, state, gauntlet, preference}; what is not known yet is None.
    `paper` gives the published numbers; `mini`, before it was run here, the shipped results. Raises LimitError.
    """
    if name == PAPER:
        return published_study()
    if (ws.studies / name / "study.json").is_file():
        return _shown(ws, name)
    study, spec = load_study(ws, name)
    if (ws.studies / study / "study.json").is_file():
        return _shown(ws, study)
    cost = {"cost": study_cost(ws, spec).to_json()}
    if (SHIPPED_RESULTS / "studies" / study).is_dir():
        return {**_shown(Workspace(SHIPPED_RESULTS), study), "origin": "shipped", **cost}
    return {**_planned(study, spec, name), **cost}


def _planned(study: str, spec: StudySpec, name: str) -> Json:
    """A study before its start in the shape of one that runs."""
    unknown: Json = {"mix_id": None, "run_id": None, "state": "not started", "gauntlet": None, "preference": []}
    cells: list[tuple[str, int | None]] = [(BASE, None)] if spec.include_base else []
    cells += [(mix.label, seed) for seed, mix in grid(spec)]
    runs = [
        {"label": label, "model": model, "seed": seed, "name": label, "is_baseline": label == spec.baseline, **unknown}
        for model in spec.models
        for label, seed in cells
    ]
    return {
        "study": study,
        "title": spec.title,
        "origin": "plan",
        "state": "not started",
        "progress": None,
        "created": None,
        "command": f"python -m limit study run {name}",
        "runs": runs,
    }


def _shown(ws: Workspace, name: str) -> Json:
    record = load_record(ws, name)
    done = progress(ws, record)
    known = {comparison.comparison_id: comparison for comparison in list_comparisons(ws)}
    return {
        "study": record["study"],
        "title": record["title"],
        "origin": "workspace",
        "state": _state(done),
        "progress": done,
        "created": record["created"],
        "command": record["command"],
        "runs": [_run_row(ws, run, record["spec"], known) for run in _told_apart(ws, record["runs"])],
    }


def _told_apart(ws: Workspace, runs: Sequence[Json]) -> list[Json]:
    """The runs with labels of their own where a label was given to another mix or recipe since; the last keeps it."""
    requests: dict[tuple[str, str], list[str | None]] = {}
    made = [request_of(ws, run) for run in runs]
    for run, request in zip(runs, made, strict=True):
        same = requests.setdefault((run["model"], run["label"]), [])
        if request is not None and request not in same:
            same.append(request)
    told = []
    for run, request in zip(runs, made, strict=True):
        same = requests[run["model"], run["label"]]
        earlier = request is not None and request != same[-1]
        told.append({**run, "label": f"{run['label']} (earlier {same.index(request) + 1})"} if earlier else run)
    return told


def progress(ws: Workspace, record: Json) -> Json:
    """{done, total, running, failed, reasons}: jobs of a study, and why some did not finish."""
    states: Counter[str] = Counter()
    reasons = []
    for job_id, status in _statuses(ws, record).items():
        states[status["state"]] += 1
        if status["state"] in ("failed", "lost"):
            reasons.append({"job_id": job_id, "reason": status.get("reason")})
    return {
        "done": states["finished"],
        "total": sum(states.values()),
        "running": sum(states[state] for state in jobs.ACTIVE),
        "stopped": states["stopped"],
        "failed": states["failed"] + states["lost"],
        "reasons": reasons,
    }


def _statuses(ws: Workspace, record: Json) -> dict[str, Json]:
    """The status of each job of a study; of those that its runs no longer name, of the ones that have not ended."""
    found = {job: job_status(ws, run, what) for run in record["runs"] for what, job in run["jobs"].items()}
    for job_id in record.get("earlier_jobs", ()):
        with contextlib.suppress(LimitError):
            status = jobs.status(ws, job_id)
            if status["state"] not in jobs.ENDED:
                found.setdefault(job_id, status)
    return found


def _state(done: Json) -> str:
    """What goes on comes before what has failed: a study is failed or stopped once nothing of it runs or waits."""
    if done["running"]:
        return "running"
    if waiting(done):
        return "queued"
    return "failed" if done["failed"] else "stopped" if done["stopped"] else "finished"


def waiting(done: Json) -> int:
    """How many jobs have not begun, of what `progress` returns."""
    return int(done["total"] - done["done"] - done["running"] - done["stopped"] - done["failed"])


def _run_row(ws: Workspace, run: Json, spec: Json, known: dict[str, Any]) -> Json:
    states = {what: job_status(ws, run, what)["state"] for what in run["jobs"]}
    unfinished = [state for state in states.values() if state != "finished"]
    head = {key: run[key] for key in ("label", "model", "seed", "mix_id", "run_id")}
    return {
        **head,
        "name": load_run(ws, run["run_id"])["name"],
        "state": unfinished[0] if unfinished else "finished",
        "is_baseline": run["label"] == spec["baseline"],
        "gauntlet": gauntlet_of(ws, run),
        "preference": [
            {"judge_and_prompts": key, **summarise(known[comparison], read_judgments(ws, comparison))}
            for key, comparison in run["comparisons"].items()
            if comparison in known and states.get(f"judge {key}") == "finished"
        ],
    }


def gauntlet_of(ws: Workspace, run: Json) -> Json | None:
    """{version, average, ci_low, ci_high, categories} of a run's evaluation, or None while there is none."""
    folder = ws.run(run["run_id"]) / "gauntlet" / str(run["eval_id"])
    if run["eval_id"] is None or not (folder / "eval.json").is_file():
        return None
    value = read_eval(folder)
    average = next((row for row in value["averages"] if row["name"] == "core_average"), None)
    return {
        "version": value["version"],
        "average": average["score"] if average and average["categories"] else None,
        "ci_low": average["ci_low"] if average else None,
        "ci_high": average["ci_high"] if average else None,
        "categories": {row["category"]: row["score"] for row in value["categories"]},
    }


def published_study(folder: Path = PUBLISHED) -> Json:
    """The paper's own models in the same rows; what it did not publish is None, never zero."""
    gauntlet = {(r["model_size"], r["series"]): r for r in read_json(folder / "gauntlet.json")["models"]}
    rates = _published_rates(read_json(folder / "judgments.json"))
    rows = []
    for model in read_json(folder / "recipes.json")["models"]:
        key = (model["model_size"], model["series"])
        rows.append(
            {
                "label": model["name"],
                "model": model["base_model"],
                "seed": None,
                "mix_id": None,
                "run_id": None,
                "name": model["name"],
                "samples": model["samples"],
                "state": "published",
                "is_baseline": model["series"] == "lima",
                "gauntlet": _published_gauntlet(gauntlet.get(key)),
                "preference": rates.get(key, []),
            }
        )
    paper = read_json(folder / "paper.json")
    return {
        "study": PAPER,
        "title": f"{paper['title']} (arXiv {paper['arxiv']})",
        "origin": "published",
        "state": "published",
        "progress": None,
        "runs": rows,
    }


def _published_gauntlet(row: Json | None) -> Json | None:
    if row is None or row["average"] is None:
        return None
    names = ("world_knowledge", "commonsense_reasoning", "language_understanding", "symbolic_problem_solving",
             "reading_comprehension")  # fmt: skip
    categories = {name: row[name] for name in names}
    return {
        "version": "v0 by fit",
        "average": row["average"],
        "ci_low": None,
        "ci_high": None,
        "categories": categories,
    }


def _published_rates(data: Json) -> dict[tuple[str, str], list[Json]]:
    """The candidate's share of decided verdicts against LIMA, pooled as the paper does: per seed, then the mean."""
    groups: dict[tuple[str, str, str], list[Json]] = {}
    for row in data["files"]:
        groups.setdefault((row["model_size"], row["series"], row["prompt_set"]), []).append(row)
    rates: dict[tuple[str, str], list[Json]] = {}
    for (size, series, prompts), files in sorted(groups.items()):
        shares = [f["wins_candidate"] / (f["wins_candidate"] + f["wins_baseline"]) for f in files]
        rate = {
            "prompt_set": prompts,
            "judge": data["judge"],
            "preference_pct": round(100 * sum(shares) / len(shares), 2),
            "ci_low": None,
            "ci_high": None,
            "wins": sum(f["wins_candidate"] for f in files),
            "losses": sum(f["wins_baseline"] for f in files),
            "ties": sum(f["ties"] for f in files),
            "invalid": sum(f["invalid"] for f in files),
            "n_prompts": max(f["prompts"] for f in files),
        }
        rates.setdefault((size, series), []).append(rate)
    return rates


def study_text(value: Json) -> str:
    """A table for a terminal."""
    from limit.formats import accuracy, percent

    head = f"{value['title']}: {value['state']}"
    if value["progress"]:
        head += f", {value['progress']['done']} of {value['progress']['total']} jobs done"
        head += "".join(
            f", {value['progress'][kind]} {kind}" for kind in ("failed", "stopped") if value["progress"][kind]
        )
    lines = [head, f"{'run':34} {'seed':>4}  {'Gauntlet':>8}  preference"]
    for run in value["runs"]:
        average = accuracy(run["gauntlet"]["average"]) if run["gauntlet"] else "n/a"
        seed = "" if run["seed"] is None else str(run["seed"])
        lines.append(f"{run['label'][:34]:34} {seed:>4}  {average:>8}  {_rates_text(run, percent)}")
    lines += cost_text(value["cost"]) if value.get("cost") else []
    return "\n".join(lines)


def cost_text(cost: Json) -> list[str]:
    """The lines of a study's card, from its JSON."""
    estimate = None if cost["estimate"] is None else Estimate(**cost["estimate"])
    return [
        "what starting it takes:",
        *(f"  {line}" for line in cost_lines(StudyCost(**{**cost, "estimate": estimate}))),
    ]


def _rates_text(run: Json, percent: Any) -> str:
    if run["is_baseline"]:
        return "baseline"
    rates: Sequence[Json] = run["preference"]
    return ", ".join(f"{percent(rate['preference_pct'])} ({rate['prompt_set']})" for rate in rates) or "n/a"
