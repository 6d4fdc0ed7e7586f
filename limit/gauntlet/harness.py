"""Results exchanged with lm-evaluation-harness: its JSON (and sample lines) read in, an evaluation written out.

Notable: what comes from the harness keeps a version name of its own (`lm-eval`), because its prompts, shots and rules
are others; its categories are left empty, so it never stands in a Gauntlet average.
"""

from __future__ import annotations

import glob
import json
import math
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError, content_id, file_sha256, read_json, utc_now, write_atomic, write_json
from limit.gauntlet.results import read_eval, task_label
from limit.gauntlet.rows import open_tables, read_choices, read_items
from limit.runs import ensure_run, load_run
from limit.settings import Workspace
from limit.specs.run import RunSpec

VERSION = "lm-eval"


def import_results(ws: Workspace, file: Path, *, run_id: str | None = None, model: str | None = None) -> Json:
    """Write an evaluation from a harness results file; samples_<task>_*.jsonl beside it become items.

    Returns {eval_id, run_id, path, tasks}. Raises LimitError when the file holds no results or the model is unknown.
    """
    value = read_json(file)
    results = value.get("results")
    if not isinstance(results, dict) or not results:
        raise LimitError(f"{file} holds no results of lm-evaluation-harness: `results` is missing or empty")
    for key in ("n-shot", "n-samples", "config"):
        if not isinstance(value.get(key) or {}, dict):
            raise LimitError(f"{file} is not laid out by lm-evaluation-harness: `{key}` is no object")
    name = model or value.get("model_name") or (value.get("config") or {}).get("model_args")
    if run_id is None:
        run_id = ensure_run(ws, RunSpec(model=_model_name(name, file)))
    load_run(ws, run_id)
    tasks = [row for label, metrics in results.items() if (row := _task_row(label, metrics, value)) is not None]
    if not tasks:
        raise LimitError(f"{file} holds no accuracy that this project knows (acc, acc_norm or exact_match)")
    eval_id = content_id({"file": file_sha256(file), "run_id": run_id})
    folder = ws.run(run_id) / "gauntlet" / eval_id
    with open_tables(folder) as tables:
        for row in tasks:
            tables.add(*_sample_rows(_samples(file, row["task"], list(results)), row))
        write_json(folder / "eval.json", _evaluation(eval_id, run_id, str(name), value, tasks, file))
    return {"eval_id": eval_id, "run_id": run_id, "path": str(folder), "tasks": [row["task"] for row in tasks]}


def _model_name(name: Any, file: Path) -> str:
    if isinstance(name, dict):
        name = name.get("pretrained")
    if not isinstance(name, str) or not name:
        raise LimitError(f"{file} does not name its model; give --model or --run")
    words = dict(part.partition("=")[::2] for part in name.split(","))
    return words.get("pretrained") or name


def _evaluation(eval_id: str, run_id: str, model: str, value: Json, tasks: list[Json], file: Path) -> Json:
    config = value.get("config") or {}
    return {
        "eval_id": eval_id,
        "run_id": run_id,
        "model": model,
        "version": VERSION,
        "protocol": {
            "shots": "lm-eval",
            "draws": None,
            "max_seq_len": value.get("max_length"),
            "tokenizer": str(value.get("tokenizer_pad_token", ["unknown"])[-1] or "unknown"),
            "dtype": str(config.get("model_dtype") or "unknown"),
            "data": {file.name: file_sha256(file)},
            "limit": config.get("limit"),
            "complete": config.get("limit") is None,
        },
        "tasks": tasks,
        "categories": [],
        "averages": [],
        "absent": [],
        "tokens_computed": None,
        "seconds": _number(value.get("total_evaluation_time_seconds")),
        "created": utc_now(),
        "versions": {"lm_eval": str(value.get("lm_eval_version") or value.get("git_hash") or "unknown")},
    }


def _task_row(label: str, metrics: Any, value: Json) -> Json | None:
    if not isinstance(metrics, dict):
        return None
    found = {key.partition(",")[0]: _number(number) for key, number in metrics.items()}
    accuracy = next((found[key] for key in ("acc", "exact_match") if found.get(key) is not None), None)
    if accuracy is None:
        return None
    stderr = next((found[key] for key in ("acc_stderr", "exact_match_stderr") if found.get(key) is not None), None)
    samples = (value.get("n-samples") or {}).get(label) or {}
    half = None if stderr is None else 1.959964 * stderr
    return {
        "task": label,
        "category": VERSION,
        "subcategory_scores": {},
        "num_fewshot": (value.get("n-shot") or {}).get(label) or 0,
        "type": "imported",
        "metric": "acc of lm-evaluation-harness",
        "counted": True,
        "n": samples.get("effective"),
        "accuracy": accuracy,
        "baseline": 0.0,
        "score": accuracy,
        "stderr": stderr,
        "ci_low": None if half is None else accuracy - half,
        "ci_high": None if half is None else accuracy + half,
        "near_ties": 0,
        "nan": 0,
        "acc_sum": found.get("acc"),
        "acc_norm": found.get("acc_norm"),
        "acc_bytes": found.get("acc_bytes"),
    }


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _samples(file: Path, task: str, tasks: list[str]) -> list[Path]:
    """The newest sample lines of a task beside its results, if any; `mmlu` is not `mmlu_anatomy`."""
    longer = tuple(f"samples_{name}_" for name in tasks if name.startswith(f"{task}_"))
    found = sorted(file.parent.glob(f"samples_{glob.escape(task)}_*.jsonl"))
    return [path for path in found if not (longer and path.name.startswith(longer))][-1:]


def _sample_rows(paths: list[Path], row: Json) -> tuple[list[Json], list[Json]]:
    """Items and choices of a task's sample lines."""
    items: list[Json] = []
    choices: list[Json] = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise LimitError(f"{path} cannot be read as UTF-8 text: {error}") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                sample = json.loads(line)
                items.append(_item_row(row, sample))
                choices += _choice_rows(items[-1], sample)
            except (TypeError, LookupError, ValueError, AttributeError) as error:
                raise LimitError(f"{path}, line {number}: not a sample of lm-evaluation-harness ({error!r})") from error
    return items, choices


def _choice_rows(item: Json, sample: Any) -> list[Json]:
    """The scored choices of a sample; how many tokens they have is not in it."""
    scored = [response[0] for response in sample.get("resps", []) if isinstance(response[0], list)]
    common = {key: item[key] for key in ("version", "protocol", "task", "category", "subcategory", "idx")}
    return [
        {
            **common,
            "choice": number,
            "n_tokens": None,
            "n_chars": len(text),
            "n_bytes": len(text.encode("utf-8", "surrogatepass")),
            "sum_logprob": float(total),
            "greedy": str(greedy) == "True",
            "request_sha1": None,
        }
        for number, ((total, greedy), text) in enumerate(zip(scored, item["choices"], strict=False))
    ]


def _item_row(row: Json, sample: Any) -> Json:
    arguments = sample.get("arguments") or {}
    pairs = list(arguments.values()) if isinstance(arguments, dict) else arguments
    texts = [list(pair.values()) if isinstance(pair, dict) else list(pair) for pair in pairs]
    target = sample.get("target")
    gold = int(target) if str(target).isdecimal() else None
    scores = [float(response[0][0]) for response in sample.get("resps", []) if isinstance(response[0], list)]
    prediction = max(range(len(scores)), key=scores.__getitem__) if len(scores) > 1 else None
    return {
        "version": VERSION,
        "protocol": VERSION,
        "task": row["task"],
        "num_fewshot": row["num_fewshot"],
        "category": VERSION,
        "subcategory": "",
        "idx": int(sample["doc_id"]),
        "correct": int(float(sample.get("acc", sample.get("exact_match", 0))) > 0),
        "prediction": prediction,
        "gold": gold,
        "margin": None,
        "near_tie": False,
        "nan": False,
        "context": str(texts[0][0]) if texts and texts[0] else "",
        "choices": [str(text[1]).strip() for text in texts if len(text) > 1 and isinstance(text[1], str)],
        "generated": next((r[0] for r in sample.get("resps", []) if isinstance(r[0], str)), None),
    }


def export_results(folder: Path, out: Path) -> Json:
    """Write `results_<eval_id>.json` and `samples_<task>_<eval_id>.jsonl` as the harness lays them out.

    `acc` is the rule of the harness (summed log-probability) where choices were scored; the Gauntlet's own accuracy
    stands beside it as `gauntlet_acc`. Returns {path, samples}.
    """
    value = read_eval(folder)
    results, shots, counts = {}, {}, {}
    for row in value["tasks"]:
        label = task_label(row)
        acc = row["acc_sum"] if row["acc_sum"] is not None else row["accuracy"]
        metrics = {"acc,none": acc, "acc_norm,none": row["acc_norm"], "gauntlet_acc,none": row["accuracy"]}
        results[label] = {"alias": label, **{key: number for key, number in metrics.items() if number is not None}}
        shots[label] = row["num_fewshot"]
        counts[label] = {"original": row["n"], "effective": row["n"]}
    path = out / f"results_{value['eval_id']}.json"
    write_json(
        path,
        {
            "results": results,
            "n-shot": shots,
            "n-samples": counts,
            "config": {"model": "hf", "model_args": f"pretrained={value['model']}", "limit": value["protocol"]["limit"],
                       "model_dtype": value["protocol"]["dtype"], "gauntlet_version": value["version"]},
            "model_name": value["model"],
            "max_length": value["protocol"]["max_seq_len"],
            "total_evaluation_time_seconds": str(value["seconds"]),
        },
    )  # fmt: skip
    samples = [str(_write_samples(folder, out, row, value["eval_id"])) for row in value["tasks"]]
    return {"path": str(path), "samples": samples}


def _write_samples(folder: Path, out: Path, row: Json, eval_id: str) -> Path:
    keys = ("num_fewshot", "subcategory", "idx")
    items = [i for i in read_items(folder, filters={"task": row["task"]}).to_pylist() if i[keys[0]] == row[keys[0]]]
    protocols = {item["protocol"] for item in items}
    scores: dict[tuple[str, int], list[Json]] = {}
    for choice in read_choices(folder, filters={"task": row["task"]}).to_pylist():
        if choice["protocol"] in protocols:
            scores.setdefault((choice["subcategory"], choice["idx"]), []).append(choice)
    lines = []
    for number, item in enumerate(items):
        found = scores.get((item["subcategory"], item["idx"]), [])
        lines.append(
            {
                "doc_id": number,
                "doc": {"idx": item["idx"], "subcategory": item["subcategory"]},
                "target": item["gold"] if item["gold"] is not None else item["choices"],
                "arguments": [[item["context"], f" {text}"] for text in item["choices"]],
                "resps": [[[choice["sum_logprob"], choice["greedy"]]] for choice in found] or [[item["generated"]]],
                "filtered_resps": [[c["sum_logprob"], c["greedy"]] for c in found] or [item["generated"]],
                "acc": float(item["correct"]),
            }
        )
    path = out / f"samples_{task_label(row).replace(' ', '_')}_{eval_id}.jsonl"
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path
