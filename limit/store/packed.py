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
_INDEX, _SCORE = "<i8", "<f4"


def pack(items: pa.Table, eval_id: str) -> pa.Table:
    """Rows of `gauntlet_scores` from columns of `gauntlet_items`; items without a number or a score are left out."""
    items = arrow_rows("gauntlet_items", items, "", "")
    items = items.filter(pc.and_(items["idx"].is_valid(), items["correct"].is_valid())).sort_by("idx")
    parts = items.group_by(list(PART), use_threads=False).aggregate([("idx", "list"), ("correct", "list")])
    columns = {name: parts[name] for name in PART}
    columns["idx"] = pa.array(_bytes(parts["idx_list"], _INDEX), pa.binary())
    columns["correct"] = pa.array(_bytes(parts["correct_list"], _SCORE), pa.binary())
    return pa.table({"eval_id": pa.repeat(pa.scalar(eval_id), len(parts)), **columns})


def _bytes(lists: pa.ChunkedArray, kind: str) -> list[bytes]:
    return [values.values.to_numpy().astype(kind).tobytes() for values in lists]


def unpack(idx: bytes, correct: bytes) -> tuple[Any, Any]:
    """Item numbers [n] (int64, ascending) and scores [n] (float64) of one row of `gauntlet_scores`."""
    return np.frombuffer(idx, _INDEX), np.frombuffer(correct, _SCORE).astype(float)
