"""The rows of items.parquet and choices.parquet, written as the evaluation goes and renamed when it is whole.

In items.parquet `context` is the prompt before any cut, with the first option where a schema task has several;
`n_cut` are the tokens that the length limit took from its beginning, `continuation` what a schema task scores after
each option, `request_sha1` names the prompt's ids where nothing is scored but an answer is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from limit.core import Json, LimitError, atomic_path, explained
from limit.gauntlet.answers import extract, is_right
from limit.gauntlet.prompts import Item
from limit.gauntlet.tasks import Task

ITEMS = "items.parquet"
CHOICES = "choices.parquet"
NEAR_TIE_NATS = {"fp32": 1e-3, "bf16": 2e-2, "fp16": 5e-3}

_COMMON = [("version", pa.string()), ("protocol", pa.string()), ("task", pa.string())]
ITEM_SCHEMA = pa.schema(
    [
        *_COMMON,
        ("num_fewshot", pa.int32()),
        ("category", pa.string()),
        ("subcategory", pa.string()),
        ("idx", pa.int32()),
        ("correct", pa.int8()),
        ("prediction", pa.int32()),
        ("gold", pa.int32()),
        ("margin", pa.float64()),
        ("near_tie", pa.bool_()),
        ("nan", pa.bool_()),
        ("n_cut", pa.int32()),
        ("context", pa.string()),
        ("continuation", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("generated", pa.string()),
        ("request_sha1", pa.string()),
    ]
)
CHOICE_SCHEMA = pa.schema(
    [
        *_COMMON,
        ("category", pa.string()),
        ("subcategory", pa.string()),
        ("idx", pa.int32()),
        ("choice", pa.int32()),
        ("n_tokens", pa.int32()),
        ("n_chars", pa.int32()),
        ("n_bytes", pa.int32()),
        ("sum_logprob", pa.float64()),
        ("greedy", pa.bool_()),
        ("request_sha1", pa.string()),
    ]
)


@dataclass(frozen=True)
class Scored:
    """One request's numbers: summed log-probability in nats, greedy flag, lead of its narrowest token in nats."""

    sum_logprob: float
    greedy: bool
    lead: float


@dataclass(frozen=True)
class Labels:
    """What every row of one task carries."""

    version: str
    protocol: str
    task: Task

    def common(self, item: Item) -> Json:
        return {
            "version": self.version,
            "protocol": self.protocol,
            "task": self.task.name,
            "category": self.task.category,
            "subcategory": item.subcategory,
            "idx": item.idx,
        }


def choice_rows(labels: Labels, item: Item, scores: list[Scored]) -> list[Json]:
    """One row per request of an item."""
    return [
        {
            **labels.common(item),
            "choice": number,
            "n_tokens": len(request.continuation),
            "n_chars": len(text),
            "n_bytes": len(text.encode("utf-8", "surrogatepass")),
            "sum_logprob": score.sum_logprob,
            "greedy": score.greedy,
            "request_sha1": request.sha1,
        }
        for number, (request, text, score) in enumerate(zip(item.requests, item.texts, scores, strict=True))
    ]


def scored_item(labels: Labels, item: Item, scores: list[Scored], near: float) -> Json:
    """The row of a multiple-choice, schema or language-modelling item by the Gauntlet's rule.

    The prediction is Python's `min` over mean cross-entropies: ties and NaN go to the lowest index, as upstream.
    """
    nan = any(math.isnan(score.sum_logprob) for score in scores)
    row = {**labels.common(item), "num_fewshot": labels.task.num_fewshot, "gold": item.gold, "nan": nan}
    if labels.task.type == "language_modeling":
        margin = scores[0].lead
        outcome = {"correct": int(scores[0].greedy), "prediction": None}
    else:
        losses = [-s.sum_logprob / len(r.continuation) for s, r in zip(scores, item.requests, strict=True)]
        prediction = min(range(len(losses)), key=losses.__getitem__)
        others = [loss for index, loss in enumerate(losses) if index != prediction]
        margin = min(others) - losses[prediction] if others else math.inf
        outcome = {"correct": int(prediction == item.gold), "prediction": prediction}
    near_tie = not nan and abs(margin) < near
    return {
        **row,
        **outcome,
        "margin": margin if math.isfinite(margin) else None,
        "near_tie": near_tie,
        "n_cut": item.cut,
        "context": _clean(item.prompt),
        "continuation": _clean(item.texts[0]) if labels.task.type == "schema" else None,
        "choices": [_clean(option) for option in item.options],
        "generated": None,
    }


def generated_item(labels: Labels, item: Item, text: str, nan: bool) -> Json:
    """The row of a generation item; `choices` are the accepted answers."""
    return {
        **labels.common(item),
        "num_fewshot": labels.task.num_fewshot,
        "correct": int(is_right(labels.task, text, item.accepted)),
        "prediction": None,
        "gold": None,
        "margin": None,
        "near_tie": False,
        "nan": nan,
        "n_cut": item.cut,
        "context": _clean(item.prompt),
        "continuation": None,
        "choices": [_clean(answer) for answer in item.accepted],
        "generated": _clean(text),
        "request_sha1": item.requests[0].sha1,
    }


def compared_text(task: Task, text: str) -> str:
    """What of a generated text was compared with the accepted answers."""
    return extract(task, text)


def _clean(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate, which JSON allows, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Tables:
    """Both tables while they are written."""

    def __init__(self, items: pq.ParquetWriter, choices: pq.ParquetWriter) -> None:
        self._items, self._choices = items, choices

    def add(self, items: list[Json], choices: list[Json]) -> None:
        """Append the rows of one chunk of items."""
        self._items.write_table(pa.Table.from_pylist(items, ITEM_SCHEMA))
        if choices:
            self._choices.write_table(pa.Table.from_pylist(choices, CHOICE_SCHEMA))


@contextmanager
def open_tables(folder: Path) -> Iterator[Tables]:
    """Both tables under temporary names; they appear together at the end of the block, or not at all."""
    for leftover in [*folder.glob(f".{ITEMS}.*.tmp"), *folder.glob(f".{CHOICES}.*.tmp")]:
        leftover.unlink(missing_ok=True)
    with (
        atomic_path(folder / ITEMS) as items_path,
        atomic_path(folder / CHOICES) as choices_path,
        pq.ParquetWriter(items_path, ITEM_SCHEMA, compression="zstd") as items,
        pq.ParquetWriter(choices_path, CHOICE_SCHEMA, compression="zstd") as choices,
    ):
        yield Tables(items, choices)


def is_whole(folder: Path) -> bool:
    """Whether all three files of a finished evaluation are in a folder."""
    return all((folder / name).is_file() for name in ("eval.json", ITEMS, CHOICES))


def forget_eval(folder: Path) -> None:
    """Remove eval.json, so that nobody reads it beside tables that are not its own. Raises LimitError."""
    with explained(folder / "eval.json"):
        (folder / "eval.json").unlink(missing_ok=True)


def read_items(folder: Path, columns: list[str] | None = None, filters: Mapping[str, Any] | None = None) -> pa.Table:
    """items.parquet, or the part of it whose columns equal `filters`. Raises LimitError when it cannot be read."""
    return _read(folder / ITEMS, columns, filters)


def read_choices(folder: Path, columns: list[str] | None = None, filters: Mapping[str, Any] | None = None) -> pa.Table:
    """choices.parquet, or the part of it whose columns equal `filters`. Raises LimitError when it cannot be read."""
    return _read(folder / CHOICES, columns, filters)


def _read(path: Path, columns: list[str] | None, filters: Mapping[str, Any] | None) -> pa.Table:
    conditions = [(name, "=", value) for name, value in filters.items()] if filters else None
    try:
        return pq.read_table(path, columns=columns, filters=conditions)
    except FileNotFoundError:
        raise LimitError(f"{path} does not exist; the evaluation is not complete") from None
    except (OSError, pa.ArrowException) as error:
        raise LimitError(f"{path} cannot be read: {error}") from error
