"""An evaluation written out as lm-evaluation-harness lays its results and samples out."""

from __future__ import annotations

import json
import math
from pathlib import Path

from limit.core import Json, write_atomic, write_json
from limit.gauntlet.harness_samples import file_name, likeliest
from limit.gauntlet.results import read_eval, task_label
from limit.gauntlet.rows import read_choices, read_items


def export_results(folder: Path, out: Path) -> Json:
    """Write `results_<eval_id>.json` and `samples_<task>_<eval_id>.jsonl` as the harness lays them out.

    `acc` is the rule of the harness (summed log-probability) where choices were scored; the Gauntlet's own accuracy
    stands beside it as `gauntlet_acc`. Returns {path, samples}. Raises LimitError.
    """
    value = read_eval(folder)
    rows = {task_label(row): row for row in value["tasks"]}
    path = out / f"results_{value['eval_id']}.json"
    write_json(
        path,
        {
            "results": {label: _metrics(label, row) for label, row in rows.items()},
            "n-shot": {label: row["num_fewshot"] for label, row in rows.items()},
            "n-samples": {label: {"original": row["n"], "effective": row["n"]} for label, row in rows.items()},
            "config": {"model": "hf", "model_args": f"pretrained={value['model']}", "limit": value["protocol"]["limit"],
                       "model_dtype": value["protocol"]["dtype"], "gauntlet_version": value["version"]},
            "model_name": value["model"],
            "max_length": value["protocol"]["max_seq_len"],
            "total_evaluation_time_seconds": str(value.get("seconds")),
        },
    )  # fmt: skip
    samples = [str(_write_samples(folder, out, row, value["eval_id"])) for row in rows.values()]
    return {"path": str(path), "samples": samples}


def _metrics(label: str, row: Json) -> Json:
    """A task's numbers; the standard error is of the accuracy, where eval.json has that of the score."""
    acc = row["acc_sum"] if row["acc_sum"] is not None else row["accuracy"]
    above, room = row["accuracy"] - row["baseline"], 1 - row["baseline"]
    scale = room if math.isclose(row["score"] * room, above, abs_tol=1e-9) else 1.0
    stderr = None if row["stderr"] is None else row["stderr"] * scale
    found = {
        "acc,none": acc,
        "acc_norm,none": row["acc_norm"],
        "acc_bytes,none": row.get("acc_bytes"),
        "gauntlet_acc,none": row["accuracy"],
        "gauntlet_acc_stderr,none": stderr,
    }
    return {"alias": label, **{key: number for key, number in found.items() if number is not None}}


def _write_samples(folder: Path, out: Path, row: Json, eval_id: str) -> Path:
    rows = read_items(folder, filters={"task": row["task"]}).to_pylist()
    items = [item for item in rows if item["num_fewshot"] == row["num_fewshot"]]
    protocols = {item["protocol"] for item in items}
    scores: dict[tuple[str, int], list[Json]] = {}
    for choice in read_choices(folder, filters={"task": row["task"]}).to_pylist():
        if choice["protocol"] in protocols:
            scores.setdefault((choice["subcategory"], choice["idx"]), []).append(choice)
    found = (scores.get((item["subcategory"], item["idx"]), []) for item in items)
    lines = [_sample(number, *both) for number, both in enumerate(zip(items, found, strict=True))]
    path = out / f"samples_{file_name(task_label(row))}_{eval_id}.jsonl"
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path


def _sample(number: int, item: Json, scores: list[Json]) -> Json:
    """One line; `acc` is the harness's rule, as in the results."""
    scored = [[choice["sum_logprob"], choice["greedy"]] for choice in scores]
    sums = [choice["sum_logprob"] for choice in scores]
    acc = item["correct"] if len(sums) < 2 else int(likeliest(sums) == item["gold"])
    return {
        "doc_id": number,
        "doc": {"idx": item["idx"], "subcategory": item["subcategory"]},
        "target": item["gold"] if len(sums) > 1 else item["choices"],
        "arguments": _arguments(item) if scored else [[item["context"], {"do_sample": False}]],
        "resps": [[pair] for pair in scored] or [[item["generated"]]],
        "filtered_resps": scored or [item["generated"]],
        "filter": "none",
        "acc": float(acc),
        "gauntlet_acc": float(item["correct"]),
    }


def _arguments(item: Json) -> list[list[str]]:
    """[context, continuation] of each request; a schema item's contexts differ in their options."""
    continuation = item.get("continuation")
    if continuation is None:
        return [[item["context"], f" {text}"] for text in item["choices"]]
    before, _, after = item["context"].rpartition(item["choices"][0])
    return [[f"{before}{option}{after}", f" {continuation}"] for option in item["choices"]]
