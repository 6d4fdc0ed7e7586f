"""The store at size: 1,000 runs, 200,000 judgments, 2,000,000 item rows; queries beside a plain scan of the files.

Run: python -m tests.bench.bench_store [FOLDER]. Prints seconds to build, to look at the disk, and for what a page asks
after a filter change. The peer of the last lines is the same question asked of the files without an index.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from limit.claims.difference import compare_models
from limit.claims.sizes import smallest_sufficient
from limit.core import append_jsonl, write_json
from limit.gauntlet.rows import CHOICE_SCHEMA, ITEM_SCHEMA
from limit.settings import Workspace
from limit.store import Store
from limit.store import queries_gauntlet as gauntlet
from limit.store import queries_models as models
from limit.store import queries_preferences as preferences
from limit.store import queries_runs as runs
from limit.store.queries_gauntlet import CORE
from tests.store.study import CATEGORIES, write_mix

RUNS, SEEDS, ITEMS, COMPARISONS, PROMPTS = 1000, 5, 400, 667, 300


def fill(ws: Workspace) -> None:
    """Write the files: 200 mixes of five seeds, each run with 5 x 400 items, two of three with a comparison."""
    draw = random.Random(17)
    items = _items(draw)
    shared = ws.root / "choices.parquet"
    pq.write_table(_choices(items), shared)
    for number in range(RUNS):
        mix, seed = f"{number // SEEDS:012x}", number % SEEDS
        if seed == 0:
            write_mix(ws, mix, [("tiny-lima", None, 300), ("tiny-instruct", None, 100 + number)], "2026-01-01")
        run = f"{number:012x}"
        _write_run(ws, run, mix, seed)
        _write_eval(ws, run, items, draw)
        os.link(shared, next((ws.run(run) / "gauntlet").iterdir()) / "choices.parquet")
        if number < COMPARISONS:
            _write_comparison(ws, run, seed, draw)


def _items(draw: random.Random) -> pa.Table:
    rows = [
        {"version": "mini", "protocol": "paper", "task": task, "num_fewshot": 3, "category": category,
         "subcategory": "", "idx": i, "correct": int(draw.random() < 0.6), "prediction": 0, "gold": 0,
         "margin": draw.random(), "near_tie": False, "nan": False, "n_cut": 0, "context": f"Question {i} of {task}?",
         "choices": ["yes", "no"]}
        for category, task in CATEGORIES.items() for i in range(ITEMS)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)


def _choices(items: pa.Table) -> pa.Table:
    """Two options of every item; one table serves all evaluations."""
    rows = [
        {**{name: row[name] for name in ("version", "protocol", "task", "category", "subcategory", "idx")},
         "choice": choice, "n_tokens": 1, "n_chars": 3, "n_bytes": 3, "sum_logprob": -1.0 - choice, "greedy": True}
        for row in items.to_pylist() for choice in (0, 1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=CHOICE_SCHEMA)


def _write_run(ws: Workspace, run: str, mix: str, seed: int) -> None:
    record = {"run_id": run, "kind": "finetune", "name": run, "model": "tiny", "mix_id": mix, "recipe_name": "tiny",
              "recipe": {"learning_rate": 5e-4}, "recipe_changes": {}, "seed": seed,
              "created": f"2026-01-02T{run}"}  # fmt: skip
    write_json(ws.run(run) / "run.json", record)
    steps = [{"kind": "train", "step": i, "loss": 3 / i} for i in range(1, 51)]
    append_jsonl(ws.run(run) / "train" / "metrics.jsonl", steps, sync=False)


def _write_eval(ws: Workspace, run: str, items: pa.Table, draw: random.Random) -> None:
    folder = ws.run(run) / "gauntlet" / f"e{run[1:]}"
    folder.mkdir(parents=True)
    correct = pa.array([int(draw.random() < 0.6) for _ in range(len(items))])
    pq.write_table(items.set_column(items.column_names.index("correct"), "correct", correct), folder / "items.parquet")
    scores = {category: draw.random() for category in CATEGORIES}
    head = {"ci_low": 0.1, "ci_high": 0.9}
    record = {
        "eval_id": folder.name, "run_id": run, "model": "tiny", "version": "mini", "created": "2026-01-03",
        "protocol": {"shots": "paper", "draws": 1, "max_seq_len": 512, "dtype": "fp32", "limit": None,
                     "complete": True},
        "tasks": [{"task": t, "category": c, "num_fewshot": 3, "n": ITEMS, "accuracy": scores[c], "baseline": 0.0,
                   "score": scores[c], **head} for c, t in CATEGORIES.items()],
        "categories": [{"category": c, "score": s, "tasks": [], "missing": [], "partial": False, **head}
                       for c, s in scores.items()],
        "averages": [{"name": "core_average", "score": sum(scores.values()) / 5,
                      "categories": list(CATEGORIES), **head}],
    }  # fmt: skip
    (folder / "eval.json").write_text(json.dumps(record))


def _write_comparison(ws: Workspace, run: str, seed: int, draw: random.Random) -> None:
    folder = ws.comparison(f"c{run[1:]}")
    folder.mkdir(parents=True)
    record = {"comparison_id": folder.name, "kind": "judged", "baseline": "a", "candidate": run,
              "baseline_run": f"{seed:012x}", "candidate_run": run, "prompt_set": "open", "judge": "rubric",
              "seeds": [seed], "created": "2026-01-04"}  # fmt: skip
    (folder / "comparison.json").write_text(json.dumps(record))
    rows = [
        {"judgement_key": f"{run}{i}", "seed": seed, "prompt_id": f"p{i}", "prompt": "Tell me", "text_1": "x" * 200,
         "text_2": "y" * 150, "order": "ab", "first_response": 1, "verdict": "2" if draw.random() < 0.5 else "1"}
        for i in range(PROMPTS)
    ]  # fmt: skip
    (folder / "judgments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _curve(store: Store, rows: list[Any], what: str) -> Any:
    return smallest_sufficient(store, rows, what)


def measure(question: Callable[[], Any], repeats: int = 5) -> float:
    """Median milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        question()
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times)[len(times) // 2]


def _forgetting(store: Store) -> None:
    store.version += 1
    models.own_rows(store)


def _anew(store: Store, question: Callable[[], Any]) -> Callable[[], Any]:
    """The question as after news of the disk: nothing of it is at hand."""

    def ask() -> Any:
        store.version += 1
        return question()

    return ask


def scan_preferences(ws: Workspace) -> int:
    """The peer: count every verdict by reading all journals."""
    return sum(
        json.loads(line)["verdict"] == "2" for path in ws.comparisons.glob("*/judgments.jsonl") for line in path.open()
    )


def scan_flips(ws: Workspace, run_a: str, run_b: str) -> int:
    """The peer: join two evaluations' items straight from their Parquet files."""
    a, b = (
        ds.dataset(next((ws.run(run) / "gauntlet").glob("*/items.parquet"))).to_table(["task", "idx", "correct"])
        for run in (run_a, run_b)
    )
    return len(a.join(b, ["task", "idx"], right_suffix="_b"))


def main(folder: Path) -> None:
    ws = Workspace(folder)
    if not ws.runs.exists():
        start = time.perf_counter()
        fill(ws.make())
        print(f"files written in {time.perf_counter() - start:.1f} s")
    ws.index.unlink(missing_ok=True)
    start = time.perf_counter()
    store = Store.open(ws)
    print(f"index built in {time.perf_counter() - start:.1f} s, {ws.index.stat().st_size / 1e6:.0f} MB")
    for table in ("runs", "judgments", "gauntlet_items"):
        print(f"{table}: {store.rows(f'select count(*) as n from {table}')[0]['n']:,}")
    evals = [row for row in gauntlet.evals(store) if row["origin"] == "workspace"]
    rows = [row for row in models.own_rows(store) if row["origin"] == "workspace"]
    a, b = rows[0], rows[-1]
    sized = [row for row in rows if row["samples"]]
    comparison = preferences.comparisons(store)[0]["comparison_id"]
    flips, scan = (lambda: gauntlet.paired_items(store, evals[0]["eval_id"], evals[1]["eval_id"])), evals[0]["run_id"]
    lines: list[tuple[str, float]] = [
        ("look at the disk, nothing changed", measure(store.refresh)),
        ("runs", measure(lambda: runs.runs(store))),
        ("models of both paradigms, first time", measure(lambda: _forgetting(store), 3)),
        ("models of both paradigms, after a filter", measure(lambda: models.own_rows(store))),
        ("comparisons with intervals", measure(lambda: preferences.comparisons(store))),
        ("a page of verdicts", measure(lambda: preferences.judgments(store, comparison, ["2"]))),
        ("items of two runs, paired", measure(flips)),
        ("is it real, two models of five seeds", measure(_anew(store, lambda: compare_models(store, a, b)), 3)),
        *[
            (f"limit curve's answer, {what}", measure(_anew(store, lambda what=what: _curve(store, sized, what)), 3))
            for what in ("average", CORE[0], "preference")
        ],
        ("peer: verdicts counted from the files", measure(lambda: scan_preferences(ws), 1)),
        ("peer: items of two runs from Parquet", measure(lambda: scan_flips(ws, scan, evals[1]["run_id"]))),
    ]
    for name, milliseconds in lines:
        print(f"{name:42} {milliseconds:9.1f} ms")
    store.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch) / "workspace")
