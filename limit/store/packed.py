"""The item scores of an evaluation as bytes, one row for each part of a task.

A comparison needs every item of each of its models. As rows of their own they lie among the millions of a large
workspace and are found by reading all of them; packed, an evaluation is at most some eighty short rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from limit.store.schema import arrow_rows

PART = ("category", "task", "num_fewshot", "subcategory")


def pack(items: pa.Table, eval_id: str) -> pa.Table:
    """Rows of `gauntlet_scores` from columns of `gauntlet_items`; items without a number or a score are left out.

    `correct` has a byte for each item, 0 or 1, by ascending number; `idx` the numbers, null where they are 0, 1, 2 ...
    """
    items = arrow_rows("gauntlet_items", items, "", "")
    items = items.filter(pc.and_(items["idx"].is_valid(), items["correct"].is_valid())).sort_by("idx")
    parts = items.group_by(list(PART), use_threads=False).aggregate([("idx", "list"), ("correct", "list")])
    columns = {name: parts[name] for name in PART}
    columns["idx"] = pa.array([_numbers(row.values.to_numpy()) for row in parts["idx_list"]], pa.binary())
    columns["correct"] = pa.array([_scores(row.values.to_numpy()) for row in parts["correct_list"]], pa.binary())
    return pa.table({"eval_id": pa.repeat(pa.scalar(eval_id), len(parts)), **columns})


def _numbers(idx: Any) -> bytes | None:
    return None if np.array_equal(idx, np.arange(len(idx))) else idx.astype("<i8").tobytes()


def _scores(correct: Any) -> bytes:
    scored: bytes = correct.clip(0, 1).astype(np.int8).tobytes()
    return scored


def unpack(idx: bytes | None, correct: bytes) -> tuple[Any, Any]:
    """Item numbers [n] (int64, ascending) and scores [n] (float64) of one row of `gauntlet_scores`."""
    scores = np.frombuffer(correct, np.int8).astype(float)
    return np.arange(len(scores)) if idx is None else np.frombuffer(idx, "<i8"), scores
