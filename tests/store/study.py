"""A workspace with a small finished study, written file by file as the jobs write them."""

from __future__ import annotations

import functools
import hashlib
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from limit.core import append_jsonl, read_json, write_json
from limit.settings import Workspace
from limit.store import Store
from tests.prepared import folder_for_all, put_index

CATEGORIES = {
    "world_knowledge": "people_facts",
    "commonsense_reasoning": "tool_use",
    "symbolic_problem_solving": "addition",
    "language_understanding": "agreement",
    "reading_comprehension": "passage_qa",
}
MIXES: dict[str, list[tuple[str, str | None, int]]] = {
    "aaaaaaaaaaa1": [("tiny-lima", None, 300)],
    "aaaaaaaaaaa2": [("tiny-instruct", "people", 1000)],
    "aaaaaaaaaaa3": [("tiny-lima", None, 300), ("tiny-instruct", None, 1000)],
}
SKILL = {"base": 0.55, "aaaaaaaaaaa1": 0.5, "aaaaaaaaaaa2": 0.62, "aaaaaaaaaaa3": 0.66}
LIKED = {"aaaaaaaaaaa2": 0.2, "aaaaaaaaaaa3": 0.55}


def run_id(mix: str | None, seed: int) -> str:
    """A stable 12-hex name."""
    return hashlib.sha256(f"{mix}/{seed}".encode()).hexdigest()[:12]


def write_study(ws: Workspace, seeds: int = 2, items: int = 40, prompts: int = 30) -> None:
    """A base model and three mixes, each with `seeds` runs, evaluations and comparisons with the LIMA run."""
    for order, (mix_id, parts) in enumerate(MIXES.items()):
        write_mix(ws, mix_id, parts, created=f"2026-01-0{order + 1}T00:00:00.000Z")
    write_run(ws, None, 17)
    write_eval(ws, run_id(None, 17), "base", items)
    for mix_id in MIXES:
        for seed in range(1, seeds + 1):
            run = write_run(ws, mix_id, seed)
            write_metrics(ws, run)
            write_eval(ws, run, mix_id, items, seed)
            if mix_id in LIKED:
                write_comparison(ws, mix_id, seed, prompts)


def put_study(ws: Workspace, *, shipped: bool = False, **how: int) -> None:
    """The same files as of `write_study`, and an index that holds them, with what ships if `shipped`."""
    shutil.copytree(_made(shipped, tuple(how.items())), ws.root, dirs_exist_ok=True)


@functools.cache
def _made(shipped: bool, how: tuple[tuple[str, int], ...]) -> Path:
    folder = folder_for_all()
    made = Workspace(folder / "workspace").make()
    if shipped:
        put_index(made)
    write_study(made, **dict(how))
    Store.open(made, shipped=None if shipped else nothing(folder)).close()
    return made.root


def write_mix(ws: Workspace, mix_id: str, parts: list[tuple[str, str | None, int]], created: str) -> None:
    counts = [{"source": s, "subset": sub, "rows": n} for s, sub, n in parts]
    spec = {"parts": [{"source": s, "subset": sub, "take": n} for s, sub, n in parts], "seed": 17}
    rows = sum(n for _, _, n in parts)
    manifest = {"mix_id": mix_id, "spec": spec, "sources": {s: "0" * 64 for s, _, _ in parts}, "rows": rows}
    write_json(ws.mix(mix_id) / "mix.json", {**manifest, "counts": counts, "chars": rows * 90, "licence": "CC0"})
    name = " + ".join(f"{s.removeprefix('tiny-')} {n}" for s, _, n in parts)
    write_json(ws.mix(mix_id) / "label.json", {"name": name, "note": "", "created": created})


def write_run(ws: Workspace, mix_id: str | None, seed: int) -> str:
    run = run_id(mix_id, seed)
    record: dict[str, Any] = {
        "run_id": run,
        "kind": "base" if mix_id is None else "finetune",
        "name": "tiny (base)" if mix_id is None else f"tiny · {mix_id[-1]} · seed {seed}",
        "model": "tiny",
        "mix_id": mix_id,
        "recipe_name": "tiny",
        "recipe": None if mix_id is None else {"learning_rate": 5e-4},
        "recipe_changes": {},
        "seed": seed,
        "trust_remote_code": False,
        "created": f"2026-01-05T00:00:{seed:02d}.000Z",
        "versions": {"torch": "2.13.0"},
    }
    write_json(ws.run(run) / "run.json", record)
    return run


def write_metrics(ws: Workspace, run: str) -> None:
    rows: list[dict[str, Any]] = [
        {"kind": "train", "step": step, "epoch": step / 10, "loss": 3 / step, "tokens": 100 * step}
        for step in range(1, 21)
    ]
    rows.append({"kind": "eval", "step": 20, "source": "tiny-lima", "loss": 0.4, "n": 32})
    append_jsonl(ws.run(run) / "train" / "metrics.jsonl", rows)
    write_json(ws.run(run) / "train" / "summary.json", {"steps": 20, "epochs": 2, "loss": 0.15, "tokens": 2000})


def write_eval(ws: Workspace, run: str, mix: str, items: int = 40, seed: int = 0, version: str = "mini") -> str:
    """An evaluation of five one-task categories; the items are drawn at the mix's skill."""
    eval_id = hashlib.sha256(f"{run}/{version}".encode()).hexdigest()[:12]
    folder = ws.run(run) / "gauntlet" / eval_id
    draw = random.Random(f"{mix}/{seed}")
    rows, tasks, categories = [], [], []
    for category, task in CATEGORIES.items():
        correct = [int(draw.random() < SKILL[mix]) for _ in range(items)]
        score = sum(correct) / items
        head = {"task": task, "category": category, "num_fewshot": 3, "metric": "accuracy", "n": items}
        tasks.append(
            {**head, "accuracy": score, "baseline": 0.0, "score": score, "ci_low": score - 0.1, "ci_high": score + 0.1}
        )
        categories.append({"category": category, "score": score, "ci_low": score - 0.1, "ci_high": score + 0.1,
                           "tasks": [task], "missing": [], "partial": False})  # fmt: skip
        rows += [
            {"version": version, "protocol": "paper", "task": task, "num_fewshot": 3, "category": category,
             "subcategory": "", "idx": i, "correct": c, "prediction": "x", "gold": "y", "margin": 0.5,
             "near_tie": False, "nan": False, "context": f"Question {i}?", "choices": ["x", "y"], "generated": ""}
            for i, c in enumerate(correct)
        ]  # fmt: skip
    average = sum(c["score"] for c in categories) / len(categories)
    averages = [{"name": "core_average", "score": average, "ci_low": average - 0.05, "ci_high": average + 0.05,
                 "categories": list(CATEGORIES)}]  # fmt: skip
    protocol = {"shots": "paper", "draws": 1, "max_seq_len": 512, "tokenizer": "tiny", "dtype": "fp32",
                "data": {}, "limit": None, "complete": True}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    record = {"eval_id": eval_id, "run_id": run, "model": "tiny", "version": version, "protocol": protocol,
              "tasks": tasks, "categories": categories, "averages": averages, "tokens_computed": 1000,
              "seconds": 1.5, "created": "2026-01-06T00:00:00.000Z", "versions": {}}  # fmt: skip
    write_json(folder / "eval.json", record)
    return eval_id


def note_protocol(ws: Workspace, run: str, hashes: dict[str, str] | None = None, **protocol: Any) -> None:
    """Let a run's evaluation say what its tasks' files were (by task) and how it was made."""
    for path in (ws.run(run) / "gauntlet").glob("*/eval.json"):
        record = read_json(path)
        for task in record["tasks"]:
            task["file"] = f"{task['task']}.jsonl"
        data = {f"{task}.jsonl": sha256 for task, sha256 in (hashes or {}).items()}
        record["protocol"] |= {"data": data, **protocol}
        write_json(path, record)


def write_comparison(
    ws: Workspace, mix_id: str, seed: int, prompts: int = 30, baseline: str = "aaaaaaaaaaa1", liked: float | None = None
) -> str:
    """The mix's run against the LIMA run (or another mix's) of the same seed, judged by the rubric."""
    pair = f"{mix_id}/{seed}" if baseline == "aaaaaaaaaaa1" else f"{mix_id}/{seed}/{baseline}"
    comparison = hashlib.sha256(pair.encode()).hexdigest()[:12]
    draw = random.Random(f"{mix_id}/{seed}")
    liked = LIKED[mix_id] if liked is None else liked
    record = {"comparison_id": comparison, "kind": "judged", "baseline": baseline, "candidate": mix_id,
              "baseline_run": run_id(baseline, seed), "candidate_run": run_id(mix_id, seed),
              "prompt_set": "tiny-open", "judge": "rubric", "order": "both", "seeds": [seed],
              "created": "2026-01-07T00:00:00.000Z", "origin": {}}  # fmt: skip
    write_json(ws.comparison(comparison) / "comparison.json", record)
    rows = [
        {"judgement_key": f"{comparison}{i}", "comparison_id": comparison, "seed": seed, "prompt_id": f"p{i}",
         "prompt": f"Tell me about {i}", "text_1": "a long answer", "text_2": "short", "order": "ab",
         "status": "ok", "verdict": "2" if draw.random() < liked else "1"}
        for i in range(prompts)
    ]  # fmt: skip
    rows[0].update(verdict=None, status="invalid")
    rows[1].update(verdict="tie")
    append_jsonl(ws.comparison(comparison) / "judgments.jsonl", rows)
    return comparison


def write_job(ws: Workspace, job_id: str, state: str, run: str | None = None, reason: str | None = None) -> None:
    """A finetune job in some state."""
    write_json(ws.job(job_id) / "job.json", {"job_id": job_id, "kind": "finetune", "title": "Finetune tiny",
               "arguments": ["finetune"], "subject": {"run_id": run}, "gpus": None, "after": [],
               "request_id": job_id, "created": f"2026-01-08T00:00:00.{job_id[-3:]}Z", "created_by": "me"})  # fmt: skip
    write_json(ws.job(job_id) / "status.json", {"state": state, "step": 3, "total": 10, "eta_s": 12.0, "reason": reason,
               "heartbeat": "2026-01-08T00:00:01.000Z", "exit_code": None, "gpus": [], "host": "here"})  # fmt: skip


def nothing(tmp_path: Path) -> Path:
    """An empty folder, to open a store without what ships."""
    folder = tmp_path / "nothing"
    folder.mkdir(exist_ok=True)
    return folder


def write_study_record(ws: Workspace, study: str, baseline: str, seed: int = 1) -> None:
    """A study of three mixes of one seed against `baseline`, with the evaluations and comparisons that it made."""
    runs = []
    for mix in MIXES:
        run = run_id(mix, seed)
        judged = {} if mix == baseline else {f"rubric tiny-open {seed}": write_comparison(
            ws, mix, seed, baseline=baseline, liked=0.9)}  # fmt: skip
        evals = [path.name for path in (ws.run(run) / "gauntlet").iterdir()]
        runs.append({"label": mix, "run_id": run, "eval_id": evals[0], "comparisons": judged})
    record = {"study": study, "title": study, "created": "2026-02-01T00:00:00.000Z", "runs": runs}
    write_json(ws.studies / study / "study.json", record)
