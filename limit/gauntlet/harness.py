"""Results of lm-evaluation-harness read in as evaluations, with their sample lines as items.

Notable: what comes from the harness keeps a version name of its own (`lm-eval`), because its prompts, shots and rules
are others; its categories are left empty, so it never stands in a Gauntlet average. Of several metrics and filters of a
task one is taken, and named in its `metric`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limit.access import require
from limit.core import Json, LimitError, content_id, file_sha256, read_json, utc_now, write_json
from limit.gauntlet.harness_samples import VERSION, number_of, sample_paths, sample_rows, whole_of
from limit.gauntlet.rows import forget_eval, open_tables
from limit.runs import ensure_run, load_run
from limit.settings import Workspace
from limit.specs.run import RunSpec

METRICS = ("acc", "exact_match", "acc_norm")  # the first that a task has is its accuracy
DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
RULES = {"acc_sum": "acc", "acc_norm": "acc_norm", "acc_bytes": "acc_bytes"}


def import_results(ws: Workspace, file: Path, *, run_id: str | None = None, model: str | None = None) -> Json:
    """Write an evaluation from a harness results file; samples_<task>_*.jsonl beside it become items.

    Returns {eval_id, run_id, path, tasks, skipped: {task: reason}}. Raises LimitError when the file holds no results or
    the model is unknown.
    """
    require("operator", "import evaluations")
    value = read_json(file)
    results = value.get("results")
    if not isinstance(results, dict) or not results:
        raise LimitError(f"{file} holds no results of lm-evaluation-harness: `results` is missing or empty")
    for key in ("n-shot", "n-samples", "config", "configs", "group_subtasks"):
        if not isinstance(value.get(key) or {}, dict):
            raise LimitError(f"{file} is not laid out by lm-evaluation-harness: `{key}` is no object")
    tasks, skipped = _task_rows(results, value)
    if not tasks:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in list(skipped.items())[:3])
        raise LimitError(f"{file} holds no accuracy that this project knows ({', '.join(METRICS)}): {reasons}")
    name = model or _model_name(value, file, known=run_id is not None)
    run_id = run_id or _run_of(ws, name, file)
    load_run(ws, run_id)
    eval_id = content_id({"file": file_sha256(file), "run_id": run_id})
    folder = ws.run(run_id) / "gauntlet" / eval_id
    with open_tables(folder) as tables:
        for row in tasks:
            items, choices = sample_rows(sample_paths(file, row["task"], list(results)), row)
            row["n"] = row["n"] or len(items) or None
            tables.add(items, choices)
        forget_eval(folder)
    write_json(folder / "eval.json", _evaluation(eval_id, run_id, name, value, tasks, file))
    return {
        "eval_id": eval_id,
        "run_id": run_id,
        "path": str(folder),
        "tasks": [row["task"] for row in tasks],
        "skipped": skipped,
    }


def _model_name(value: Json, file: Path, known: bool) -> str:
    """The model as the file names it; `known` says that somebody has told which run it is."""
    arguments = (value.get("config") or {}).get("model_args")
    words = _words(arguments)
    for key in ("peft", "delta"):
        if words.get(key) and not known:
            raise LimitError(
                f"{file} is of a model with an adapter ({key}={words[key]}); say which run it is with --run"
            )
    plain = arguments if isinstance(arguments, str) and "=" not in arguments else None
    name = value.get("model_name")
    for found in (_words(name).get("pretrained") or name, words.get("pretrained"), plain):
        if isinstance(found, str) and found:
            return found
    if known:
        return "unknown"
    raise LimitError(f"{file} does not name its model; give --model or --run")


def _words(text: Any) -> dict[str, str]:
    """The harness's `key=value,key=value`, which newer files keep as an object."""
    if isinstance(text, dict):
        return {str(key): str(value) for key, value in text.items()}
    parts = (part.partition("=") for part in text.split(",")) if isinstance(text, str) else ()
    return {key.strip(): value.strip() for key, _, value in parts}


def _run_of(ws: Workspace, model: str, file: Path) -> str:
    try:
        return ensure_run(ws, RunSpec(model=model))
    except LimitError as error:
        raise LimitError(f"{file} is of {model!r}, but {error}; or say which run it is with --run") from error


def _evaluation(eval_id: str, run_id: str, model: str, value: Json, tasks: list[Json], file: Path) -> Json:
    config = value.get("config") or {}
    pad = value.get("tokenizer_pad_token")
    limit = number_of(config.get("limit"))
    dtype = str(config.get("model_dtype") or "unknown").removeprefix("torch.")
    return {
        "eval_id": eval_id,
        "run_id": run_id,
        "model": model,
        "version": VERSION,
        "protocol": {
            "shots": "lm-eval",
            "draws": None,
            "max_seq_len": whole_of(value.get("max_length")),
            "tokenizer": str((pad[-1] if isinstance(pad, list) and pad else pad) or "unknown"),
            "dtype": DTYPES.get(dtype, dtype),
            "data": {file.name: file_sha256(file)},
            "limit": int(limit) if limit is not None and limit >= 1 else limit,
            "complete": limit is None,
        },
        "tasks": tasks,
        "categories": [],
        "averages": [],
        "absent": [],
        "tokens_computed": None,
        "seconds": number_of(value.get("total_evaluation_time_seconds")),
        "created": utc_now(),
        "versions": {"lm_eval": str(value.get("lm_eval_version") or value.get("git_hash") or "unknown")},
    }


def _task_rows(results: Json, value: Json) -> tuple[list[Json], dict[str, str]]:
    """(a row for each task or group with an accuracy, why the others have none)."""
    rows: list[Json] = []
    skipped: dict[str, str] = {}
    for label, metrics in results.items():
        found = _accuracy(metrics)
        if isinstance(found, str):
            skipped[label] = found
        else:
            rows.append(_task_row(label, metrics, *found, value))
    return rows, skipped


def _accuracy(metrics: Any) -> tuple[str, str, float] | str:
    """(metric, filter, accuracy) of a task, or why there is none; older files have no filter."""
    if not isinstance(metrics, dict):
        return f"{metrics!r} is no set of metrics"
    for wanted in METRICS:
        for key, number in metrics.items():
            metric, _, chosen = key.partition(",")
            value = number_of(number)
            if metric == wanted and value is not None:
                return (metric, chosen, value) if 0 <= value <= 1 else f"{key} is {number!r}, not from 0 to 1"
    return f"it has {', '.join(key for key in metrics if key != 'alias') or 'no metrics'}"


def _task_row(label: str, metrics: Json, metric: str, chosen: str, accuracy: float, value: Json) -> Json:
    ending = f",{chosen}" if chosen else ""
    stderr = number_of(metrics.get(f"{metric}_stderr{ending}"))
    half = None if stderr is None else 1.959964 * stderr
    filtered = f" ({chosen})" if chosen not in ("", "none") else ""
    return {
        "task": label,
        "category": VERSION,
        "subcategory_scores": {},
        "num_fewshot": _shots(label, value),
        "type": "imported group" if label in (value.get("group_subtasks") or {}) else "imported",
        "metric": f"{metric}{filtered} of lm-evaluation-harness",
        "counted": True,
        "n": _records(label, value),
        "accuracy": accuracy,
        "baseline": 0.0,
        "score": accuracy,
        "stderr": stderr,
        "ci_low": None if half is None else accuracy - half,
        "ci_high": None if half is None else accuracy + half,
        "near_ties": 0,
        "nan": 0,
        "filter": chosen,
        "harness_metric": metric,
        **{rule: number_of(metrics.get(f"{name}{ending}")) for rule, name in RULES.items()},
    }


def _shots(label: str, value: Json) -> int:
    """The examples of a task, from where its file's age keeps them; 0 where nothing is said."""
    config = (value.get("configs") or {}).get(label)
    places = [
        (value.get("n-shot") or {}).get(label),
        config.get("num_fewshot") if isinstance(config, dict) else None,
        (value.get("config") or {}).get("num_fewshot"),
    ]
    return next((number for place in places if (number := whole_of(place)) is not None), 0)


def _records(label: str, value: Json) -> int | None:
    """How many records a task scored; of a group, those of its members."""
    counts = value.get("n-samples") or {}
    own = counts.get(label)
    found = whole_of(own.get("effective") if isinstance(own, dict) else own)
    members = (value.get("group_subtasks") or {}).get(label)
    if found is not None or not isinstance(members, list):
        return found
    parts = [_records(str(member), value) for member in members if member != label]
    return sum(part or 0 for part in parts) or None
