"""From one file to rows of the index: a small function per kind of file.

Ids are taken from inside a file where the contract puts them there, else from its path. A value of the wrong type
becomes null; a file that is no JSON, or no object, raises and is listed among the problems.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from limit.core import Json, read_json
from limit.specs.gauntlet import questions_of
from limit.store.files import Found
from limit.store.packed import pack
from limit.store.preference import preference_row
from limit.store.published import read_published
from limit.store.schema import Rows

Reader = Callable[[Found], Rows]


def read_rows(found: Found) -> Rows:
    """The rows that one file adds, by table. Raises LimitError, OSError, ValueError or what pyarrow raises."""
    return READERS[found.kind](found)


def _object(found: Found) -> Json:
    return read_json(Path(found.path))


def _items(value: Any) -> list[Json]:
    """The objects of a list; anything else is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _lines(found: Found) -> Iterator[tuple[int, Json]]:
    """Numbered objects of a journal; a line that cannot be read is skipped (a crash may cut the last one short)."""
    with open(found.path, "rb") as file:  # noqa: PTH123 - the path is a str for speed
        for number, line in enumerate(file):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                yield number, value


def _source(found: Found) -> Rows:
    data = _object(found)
    name = found.parts[1]
    subsets = [{"source": name, "subset": k, "rows": v} for k, v in _dict(data.get("subsets")).items()]
    return {"sources": [{**data, "source": name}], "source_subsets": subsets}


def _mix(found: Found) -> Rows:
    data = _object(found)
    mix_id = found.parts[1]
    counts = [{**row, "mix_id": mix_id, "part": i} for i, row in enumerate(_items(data.get("counts")))]
    return {"mixes": [{**data, "mix_id": mix_id, "seed": _dict(data.get("spec")).get("seed")}], "mix_counts": counts}


def _mix_label(found: Found) -> Rows:
    return {"mix_labels": [{**_object(found), "mix_id": found.parts[1]}]}


def _run(found: Found) -> Rows:
    return {"runs": [{**_object(found), "run_id": found.parts[1]}]}


def _metrics(found: Found) -> Rows:
    return {"training_metrics": [{**row, "run_id": found.parts[1], "line": n} for n, row in _lines(found)]}


def _train_summary(found: Found) -> Rows:
    data = _object(found)
    return {"train_summaries": [{**data, "run_id": found.parts[1], "summary": data}]}


def _eval(found: Found) -> Rows:
    data = _object(found)
    protocol = _dict(data.get("protocol"))
    checked = {name: _dict(protocol.get(name)) for name in ("data", "settings")}
    eval_id = found.parts[3]
    head = {
        **data,
        "eval_id": eval_id,
        "run_id": found.parts[1],
        "item_limit": protocol.get("limit"),
        **{key: protocol.get(key) for key in ("shots", "draws", "max_seq_len", "dtype", "tokenizer", "complete")},
    }
    return {
        "gauntlet_evals": [head],
        "gauntlet_tasks": [
            {**row, "eval_id": eval_id, "questions": questions_of(checked, row)} for row in _items(data.get("tasks"))
        ],
        "gauntlet_categories": [{**row, "eval_id": eval_id} for row in _items(data.get("categories"))],
        "gauntlet_averages": [{**row, "eval_id": eval_id} for row in _items(data.get("averages"))],
    }


def _items_parquet(found: Found) -> Rows:
    wanted = ["task", "category", "subcategory", "num_fewshot", "idx", "correct", "margin", "near_tie", "nan"]
    eval_id = found.parts[3]
    table = _parquet(found, wanted, eval_id=eval_id)
    return {"gauntlet_items": table, "gauntlet_scores": pack(table, eval_id)}


def _parquet(found: Found, wanted: list[str], **fixed: str) -> pa.Table:
    """Those of the wanted columns that the file has, and constant ones."""
    file = pq.ParquetFile(found.path)
    table = file.read(columns=[name for name in wanted if name in file.schema_arrow.names])
    for name, value in fixed.items():
        table = table.append_column(name, pa.repeat(pa.scalar(value), len(table)))
    return table


def _prompt_set(found: Found) -> Rows:
    data = _object(found)
    return {"prompt_sets": [{**data, "prompt_set": found.parts[1], "title": data.get("title") or data.get("name")}]}


def _prompts(found: Found) -> Rows:
    columns = ["prompt_id", "position", "text", "multiplicity"]
    return {"prompts": _parquet(found, columns, prompt_set=found.parts[1])}


def _response_set(found: Found) -> Rows:
    data = _object(found)
    head = {**data, "set_id": _stem(found), "prompt_set": found.parts[3], "run_id": found.parts[1]}
    return {"response_sets": [{**head, "config": data.get("config", data)}]}


def _responses(found: Found) -> Rows:
    columns = ["prompt_id", "position", "n_chars", "n_tokens", "finish_reason"]
    fixed = {"set_id": _stem(found), "prompt_set": found.parts[3], "run_id": found.parts[1]}
    return {"responses": _parquet(found, columns, **fixed)}


def _stem(found: Found) -> str:
    return found.parts[-1].rpartition(".")[0]


def _comparison(found: Found) -> Rows:
    data = _object(found)
    judge = data.get("judge")
    head = {
        **data,
        "comparison_id": found.parts[1],
        "made_from": data.get("origin"),
        "answer_order": data.get("order"),
        "judge": judge if isinstance(judge, str) else _judge_name(_dict(judge)),
        "config": judge,
    }
    return {"comparisons": [head]}


def _judge_name(judge: Json) -> str | None:
    names = [str(judge[key]) for key in ("backend", "model") if judge.get(key)]
    return " ".join(names) or None


def _judgments(found: Found) -> Rows:
    comparison_id = found.parts[1]
    rows = []
    for number, row in _unique(_lines(found)):
        lengths = {"n_chars_1": _length(row, 1), "n_chars_2": _length(row, 2)}
        head = {"comparison_id": comparison_id, "line": number, "answer_order": row.get("order")}
        rows.append({**row, **head, **lengths})
    return {"judgments": rows, "preferences": [preference_row(comparison_id, rows)]}


def _unique(lines: Iterator[tuple[int, Json]]) -> Iterator[tuple[int, Json]]:
    """The first line of each judgement key, as `limit.judge.judgments.unique_rows` counts them."""
    seen: set[str] = set()
    for number, row in lines:
        key = row.get("judgement_key")
        if isinstance(key, str) and key not in seen:
            seen.add(key)
            yield number, row


def _length(row: Json, which: int) -> int | None:
    text = row.get(f"text_{which}")
    return len(text) if isinstance(text, str) else row.get(f"n_chars_{which}")


def _votes(found: Found) -> Rows:
    prompt_set = _stem(found)
    return {"votes": [{**row, "prompt_set": prompt_set, "line": n, "vote": row} for n, row in _lines(found)]}


def _job(found: Found) -> Rows:
    data = _object(found)
    return {"jobs": [{**_dict(data.get("subject")), **data, "job_id": found.parts[1]}]}


def _job_status(found: Found) -> Rows:
    return {"job_status": [{**_object(found), "job_id": found.parts[1]}]}


def _study(found: Found) -> Rows:
    data = _object(found)
    return {"studies": [{**data, "study": found.parts[1], "plan": data}]}


def _published(found: Found) -> Rows:
    return read_published(found.parts[-1], _object(found))


READERS: dict[str, Reader] = {
    "source": _source,
    "mix": _mix,
    "mix_label": _mix_label,
    "run": _run,
    "metrics": _metrics,
    "train_summary": _train_summary,
    "eval": _eval,
    "items": _items_parquet,
    "prompt_set": _prompt_set,
    "prompts": _prompts,
    "response_set": _response_set,
    "responses": _responses,
    "comparison": _comparison,
    "judgments": _judgments,
    "votes": _votes,
    "job": _job,
    "job_status": _job_status,
    "study": _study,
    "published": _published,
}
