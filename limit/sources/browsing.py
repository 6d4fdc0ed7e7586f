"""Page through a source with filters, fetch one sample, measure lengths: on 15 million rows in well under a second.

Unfiltered pages go by row number to their row group; filters run in DuckDB over the narrow columns first and fetch
text for the rows of one page alone. User text only ever reaches SQL as a bound parameter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from limit.core import Json, LimitError
from limit.settings import Workspace
from limit.sources.filters import Filter, resolve_filter
from limit.sources.listing import sample_files, source_info
from limit.sources.rows import read_rows

PAGE = 25
EDGES = 40  # bars of a length histogram


def browse(ws: Workspace, source: str, page: int = 1, size: int = PAGE, where: Filter | None = None) -> Json:
    """One page of samples: {rows, total, page, pages}; a page beyond the end is the last one. Raises LimitError."""
    info = source_info(ws, source)
    chosen = where or Filter()
    if chosen.is_empty:
        total = int(info["rows"])
        page, pages = _clamp(page, size, total)
        numbers = np.arange((page - 1) * size, min(page * size, total))
    else:
        resolved = resolve_filter(ws, source, chosen)
        condition, values = resolved.sql()
        total = _total(info, chosen, condition, values)
        page, pages = _clamp(page, size, total)
        of_page = f"{resolved.order} limit {size} offset {(page - 1) * size}"
        wanted = f"select row from samples where {condition} {of_page}"
        numbers = np.array([row for (row,) in _query(info, wanted, values)], np.int64)
    return {"rows": read_rows(info, numbers).to_pylist(), "total": total, "page": page, "pages": pages}


def sample(ws: Workspace, source: str, row: int) -> Json:
    """One sample by row number. Raises LimitError when the row is not there."""
    info = source_info(ws, source)
    if not 0 <= row < info["rows"]:
        raise LimitError(f"source {source!r} has no row {row:,}; its rows go from 0 to {info['rows'] - 1:,}")
    found: Json = read_rows(info, np.array([row])).to_pylist()[0]
    return found


def find_sample(ws: Workspace, source: str, sample_id: str) -> Json:
    """One sample by its id. Raises LimitError when the source has none such."""
    info = source_info(ws, source)
    rows = _query(info, "select row from samples where sample_id = ? limit 1", [sample_id])
    if not rows:
        raise LimitError(f"source {source!r} has no sample {sample_id[:40]!r}")
    return sample(ws, source, int(rows[0][0]))


def random_samples(ws: Workspace, source: str, n: int, seed: int, subset: str | None = None) -> list[Json]:
    """`n` samples drawn at random; the same seed gives the same ones."""
    info = source_info(ws, source)
    if subset is None:
        numbers = np.random.default_rng(seed).choice(info["rows"], min(n, info["rows"]), replace=False)
    else:
        rows = np.array([r for (r,) in _query(info, "select row from samples where subset = ?", [subset])], np.int64)
        numbers = np.random.default_rng(seed).choice(rows, min(n, len(rows)), replace=False) if len(rows) else rows
    found: list[Json] = read_rows(info, np.asarray(numbers, np.int64)).to_pylist()
    return found


def lengths(ws: Workspace, source: str, subset: str | None = None) -> Json:
    """Response lengths in characters: {n, mean, p10, p50, p90, max, edges, counts}; edges are powers of root two."""
    info = source_info(ws, source)
    condition, values = ("subset = ?", [subset]) if subset is not None else ("true", [])
    facts = _query(
        info,
        "select count(*), avg(n_response_chars), quantile_cont(n_response_chars, [0.1, 0.5, 0.9]), "
        f"max(n_response_chars) from samples where {condition}",
        values,
    )[0]
    bars = _query(
        info,
        "select cast(floor(log2(greatest(n_response_chars, 1)) * 2) as int) bar, count(*) from samples "
        f"where {condition} group by bar order by bar",
        values,
    )
    n, mean, quantiles, longest = facts
    low, mid, high = quantiles or (0, 0, 0)
    return {
        "n": n,
        "mean": mean or 0.0,
        "p10": low,
        "p50": mid,
        "p90": high,
        "max": longest or 0,
        "edges": [2 ** (bar / 2) for bar, _ in bars],
        "counts": [count for _, count in bars],
    }


def _total(info: Json, where: Filter, condition: str, values: list[Any]) -> int:
    """How many samples fit; for a subset alone the source's own facts tell."""
    if where.is_subset_alone:
        return int(info["subsets"].get(where.subset, 0))
    return int(_query(info, f"select count(*) from samples where {condition}", values)[0][0])


def _clamp(page: int, size: int, total: int) -> tuple[int, int]:
    pages = max(1, -(-total // size))
    return min(max(1, page), pages), pages


def _query(info: Json, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    """Run SQL in which `samples` is the source; one short-lived in-memory connection."""
    import duckdb

    files = [str(file) for file in sample_files(info)]
    with duckdb.connect(":memory:", config={"memory_limit": "1GB", "threads": 2}) as connection:
        relation = connection.read_parquet(files)
        relation.create_view("samples")
        found: list[tuple[Any, ...]] = connection.execute(sql, values).fetchall()
        return found
