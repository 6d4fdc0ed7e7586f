"""Page through a source with filters, fetch one sample, measure lengths: on 15 million rows in well under a second.

Unfiltered pages go by row number to their row group; filters run in DuckDB over the narrow columns first and fetch
text for the rows of one page alone. User text only ever reaches SQL as a bound parameter.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limit.core import Json, LimitError
from limit.settings import Workspace
from limit.sources.filters import Filter, Resolved, resolve_filter
from limit.sources.listing import sample_files, source_info
from limit.sources.rows import read_rows

PAGE = 25
COUNTS_KEPT = 64  # filters whose number of samples is remembered
_COUNTED: dict[tuple[str, str, str, str], int] = {}
Rows = npt.NDArray[np.int64]
_NONE: Rows = np.empty(0, np.int64)


def browse(
    ws: Workspace, source: str, page: int = 1, size: int = PAGE, where: Filter | None = None, counted: bool = True
) -> Json:
    """One page of samples: {rows, total, page, pages}; a page beyond the end is the last one. Raises LimitError.

    With `counted` False, `total` and `pages` are None where only reading the whole source would tell: the page comes
    first, and `count_samples` has the number.
    """
    info = source_info(ws, source)
    chosen = where or Filter()
    if chosen.is_empty:
        total = int(info["rows"])
        page, pages = _clamp(page, size, total)
        numbers = np.arange((page - 1) * size, min(page * size, total))
    elif chosen.is_subset_alone:
        total = int(info["subsets"].get(chosen.subset, 0))
        page, pages = _clamp(page, size, total)
        numbers = _rows_of_subset(info, str(chosen.subset), (page - 1) * size, size)
    else:
        return _filtered(info, resolve_filter(ws, source, chosen), page, size, counted)
    return {"rows": read_rows(info, numbers).to_pylist(), "total": total, "page": page, "pages": pages}


def count_samples(ws: Workspace, source: str, where: Filter) -> int:
    """How many samples fit a filter; reads a column of the whole source the first time."""
    return _count(source_info(ws, source), *resolve_filter(ws, source, where).sql())


def _filtered(info: Json, resolved: Resolved, page: int, size: int, counted: bool) -> Json:
    """A page of the samples that fit, counted before or not; an empty page beyond the first makes it count."""
    condition, values = resolved.sql()
    total = pages = None
    if counted or _key(info, condition, values) in _COUNTED:
        total = _count(info, condition, values)
        page, pages = _clamp(page, size, total)
    of_page = f"{resolved.order} limit {size} offset {(max(page, 1) - 1) * size}"
    numbers = _numbers(_query(info, f"select row from samples where {condition} {of_page}", values))
    if total is None and not len(numbers) and page > 1:
        return _filtered(info, resolved, page, size, True)
    return {"rows": read_rows(info, numbers).to_pylist(), "total": total, "page": max(page, 1), "pages": pages}


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


def random_samples(
    ws: Workspace, source: str, n: int, seed: int, subset: str | None = None, columns: list[str] | None = None
) -> list[Json]:
    """`n` samples drawn at random, with all columns or the given ones; the same seed gives the same ones."""
    info = source_info(ws, source)
    if subset is None:
        numbers = np.random.default_rng(seed).choice(info["rows"], min(n, info["rows"]), replace=False)
    else:
        rows = np.array([r for (r,) in _query(info, "select row from samples where subset = ?", [subset])], np.int64)
        numbers = np.random.default_rng(seed).choice(rows, min(n, len(rows)), replace=False) if len(rows) else rows
    found: list[Json] = read_rows(info, np.asarray(numbers, np.int64), columns).to_pylist()
    return found


def lengths(ws: Workspace, source: str, subset: str | None = None) -> Json:
    """Response lengths in characters: {n, mean, p10, p50, p90, max, edges, counts}.

    Edges are successive powers of root two, from the shortest response to the longest.
    """
    info = source_info(ws, source)
    condition, values = ("subset = ?", [subset]) if subset is not None else ("true", [])
    found = _query(
        info, f"select n_response_chars, count(*) from samples where {condition} group by 1 order by 1", values
    )
    sizes, counts = (np.array(column, np.int64) for column in zip(*found, strict=True)) if found else (_NONE, _NONE)
    n = int(counts.sum())
    bars = np.floor(np.log2(np.maximum(sizes, 1)) * 2).astype(np.int64)
    first, last = (int(bars[0]), int(bars[-1])) if n else (0, -1)
    low, mid, high = (_quantile(sizes, counts, share) for share in (0.1, 0.5, 0.9))
    return {
        "n": n,
        "mean": float(sizes @ counts) / n if n else 0.0,
        "p10": low,
        "p50": mid,
        "p90": high,
        "max": int(sizes[-1]) if n else 0,
        "edges": [2 ** (bar / 2) for bar in range(first, last + 1)],
        "counts": np.bincount(bars - first, weights=counts).astype(np.int64).tolist(),
    }


def _quantile(sizes: Rows, counts: Rows, share: float) -> float:
    """The quantile of sorted values that occur `counts` times, between two of them by a line; 0 of none."""
    if not len(sizes):
        return 0.0
    ends = np.cumsum(counts)
    at = share * (int(ends[-1]) - 1)
    below, above = (sizes[np.searchsorted(ends, int(rank), side="right")] for rank in (np.floor(at), np.ceil(at)))
    return float(below + (above - below) * (at - np.floor(at)))


def _numbers(found: list[tuple[Any, ...]]) -> Rows:
    return np.array([row for (row,) in found], np.int64)


def _rows_of_subset(info: Json, subset: str, offset: int, size: int) -> Rows:
    """The rows of one page of a subset; files that lie before or behind the page are not opened."""
    found: list[Rows] = []
    first = 0
    for file, facts in zip(sample_files(info), info["files"], strict=True):
        held = facts.get("subsets", {}).get(subset, 0) if "subsets" in facts else facts["rows"]
        if "subsets" not in facts or held > offset:
            for rows in _rows_in_file(file, subset):
                mine = rows[offset : offset + size]
                found.append(mine + first)
                size, offset = size - len(mine), max(0, offset - len(rows))
                if size <= 0:
                    return np.concatenate(found)
        else:
            offset -= held
        first += facts["rows"]
    return np.concatenate(found) if found else _NONE


def _rows_in_file(file: Path, subset: str) -> Iterator[Rows]:
    """The rows of a subset, counted within a file, a batch at a time; three times as fast as by SQL."""
    first = 0
    with pq.ParquetFile(file, read_dictionary=["subset"]) as parquet:
        for batch in parquet.iter_batches(batch_size=65_536, columns=["subset"], use_threads=False):
            column = batch["subset"]
            code = pc.index(column.dictionary, subset).as_py()
            if code >= 0:
                yield np.flatnonzero(column.indices.to_numpy() == code) + first
            first += len(batch)


def _count(info: Json, condition: str, values: list[Any]) -> int:
    """How many samples fit; remembered while pages of the same filter are turned."""
    key = _key(info, condition, values)
    if key not in _COUNTED:
        while len(_COUNTED) >= COUNTS_KEPT:
            _COUNTED.pop(next(iter(_COUNTED)), None)
        _COUNTED[key] = int(_query(info, f"select count(*) from samples where {condition}", values)[0][0])
    return _COUNTED[key]


def _key(info: Json, condition: str, values: list[Any]) -> tuple[str, str, str, str]:
    return info["path"], info["content_sha256"], condition, repr(values)


def _clamp(page: int, size: int, total: int) -> tuple[int, int]:
    pages = max(1, -(-total // size))
    return min(max(1, page), pages), pages


def _query(info: Json, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    """Run SQL in which `from samples` reads the source."""
    files = [str(file) for file in sample_files(info)]
    with _database().cursor() as connection:
        found: list[tuple[Any, ...]] = connection.execute(
            sql.replace("from samples", "from read_parquet(?)", 1), [files, *values]
        ).fetchall()
        return found


@functools.cache
def _database() -> Any:
    """One empty database in memory for all queries of a process: opening one takes longer than a page."""
    import duckdb

    database = duckdb.connect(":memory:", config={"memory_limit": "1GB", "threads": 2})
    database.execute("set parquet_metadata_cache = true")
    return database
