"""Bundle a finished study's files for shipping: `python -m limit.studies.bundle mini` fills `data/tiny/results`.

The bundle is the workspace's own files in the workspace's own layout, so the store reads it as it reads a workspace.
Models, logs, jobs and the sampled rows stay behind: a run can be made again from its request and seed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from limit import jobs
from limit.core import Json, LimitError, read_json, utc_now, write_json
from limit.settings import Workspace, workspace
from limit.studies.launch import job_status, load_record
from limit.studies.spec import SHIPPED_RESULTS

RUN_FILES = (
    "run.json",
    "train/metrics.jsonl",
    "train/summary.json",
    "gauntlet/{eval_id}/eval.json",
    "gauntlet/{eval_id}/items.parquet",
    "gauntlet/{eval_id}/choices.parquet",
)


def collect(ws: Workspace, study: str, folder: Path) -> Json:
    """Copy what is finished of a study to `folder`, in place of what was there; returns what is said about it.

    Runs that still wait for a model, a score or an answer are left out, and so are comparisons that are not judged.
    Raises LimitError when nothing is finished.
    """
    whole = load_record(ws, study)
    record = finished_part(ws, whole)
    if not record["runs"]:
        raise LimitError(f"no run of study {study!r} is finished; wait for it and bundle it then")
    shutil.rmtree(folder, ignore_errors=True)
    for name in sorted(_files(ws, record)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ws.root / name, folder / name)
    write_json(folder / "studies" / study / "study.json", record)
    about = {
        "command": record["command"],
        "started": record["created"],
        "bundled": utc_now(),
        "runs": len(record["runs"]),
        "runs_planned": len(whole["runs"]),
        "job_seconds": round(job_seconds(ws, record)),
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
    }
    write_json(folder / "results.json", about)
    return about


def job_seconds(ws: Workspace, record: Json) -> float:
    """Seconds that the finetunes, evaluations and answers of a study took, added up; they share one place to run."""
    seconds = 0.0
    for job_id in {job for run in record["runs"] for what, job in run["jobs"].items() if not what.startswith("judge ")}:
        try:
            status = jobs.status(ws, job_id)
        except LimitError:  # cleared from the history
            continue
        if status["started"] and status["ended"]:
            times = (datetime.fromisoformat(status[key]) for key in ("ended", "started"))
            seconds += (next(times) - next(times)).total_seconds()
    return seconds


def finished_part(ws: Workspace, record: Json) -> Json:
    """The record with the finished runs and comparisons only."""
    kept = []
    for run in record["runs"]:
        done = {what: job for what, job in run["jobs"].items() if job_status(ws, run, what)["state"] == "finished"}
        judged = {key: name for key, name in run["comparisons"].items() if f"judge {key}" in done}
        if all(what in done for what in run["jobs"] if not what.startswith("judge ")):
            kept.append({**run, "jobs": done, "comparisons": judged})
    return {**record, "runs": kept, "earlier": [], "earlier_jobs": []}


def _files(ws: Workspace, record: Json) -> set[str]:
    """Paths below the workspace of everything that belongs to a study."""
    names: set[str] = set()
    for prompts in record["spec"]["prompts"]:
        names |= {f"prompts/{prompts}/prompt_set.json", f"prompts/{prompts}/prompts.parquet"}
    for run in record["runs"]:
        below = [name.format(eval_id=run["eval_id"]) for name in RUN_FILES]
        for prompts, set_id in run["sets"].items():
            below += [f"responses/{prompts}/{set_id}.json", f"responses/{prompts}/{set_id}.parquet"]
        names |= {f"runs/{run['run_id']}/{name}" for name in below}
        if run["mix_id"]:
            names |= {f"mixes/{run['mix_id']}/{name}" for name in ("mix.json", "label.json")}
        for comparison in run["comparisons"].values():
            names |= {f"comparisons/{comparison}/{name}" for name in ("comparison.json", "judgments.jsonl")}
    return {name for name in names if (ws.root / name).is_file()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="bundle a finished study for shipping")
    parser.add_argument("study", help="name of a finished study of the workspace")
    parser.add_argument("--out", type=Path, default=SHIPPED_RESULTS, help="folder that gets the bundle")
    options = parser.parse_args()
    collect(workspace(), options.study, options.out)
    print(read_json(options.out / "results.json"))


if __name__ == "__main__":
    main()
