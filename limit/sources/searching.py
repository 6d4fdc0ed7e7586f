"""Find samples by words, exact text or regular expression.

Words use a full-text index (SQLite FTS5, built once by a job) where there is one: contentless, without positions, and
in shards of 64 thousand to half a million rows, because looking up the beginning of a word costs as much as all rows
of a shard that hold such words, and the first shards already fill a page. Everything else is a
scan that is bounded in time, says how far it came, and goes on from there. Regular expressions run in RE2, whose time
grows with the text alone, so no pattern can hang the page.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limit.access import require
from limit.core import Json, LimitError, atomic_path
from limit.jobs.context import JobContext
from limit.settings import Workspace
from limit.sources.filters import COLUMNS, Filter, Resolved, resolve_filter
from limit.sources.listing import INDEX_NAME, sample_files, source_info
from limit.sources.rows import read_rows
from limit.sources.samples import later_turns

Mode = Literal["words", "exact", "regex"]
MODES: tuple[Mode, ...] = ("words", "exact", "regex")
FILTERED_AT_ONCE = 100  # hits of the index that are looked up for a filter
INDEX_FROM_ROWS = 200_000  # a smaller source is scanned as fast
FIRST_SHARD_ROWS = 1 << 16  # rows of the index in its first table; each further one has twice as many,
SHARD_ROWS = 1 << 19  # up to these
_WORD = re.compile(r"[^\W_]+")  # as FTS5's unicode61 cuts words: letters and digits
_CREATE = (
    "create virtual table shard_{} using fts5(text, content='', columnsize=0, detail=none,"
    " tokenize='unicode61 remove_diacritics 2')"
)


@dataclass(frozen=True)
class Halt:
    """When a search returns what it has: at a moment of the monotonic clock, or when it is asked to."""

    deadline: float
    asked: Callable[[], bool]

    def now(self) -> bool:
        return self.asked() or time.monotonic() > self.deadline


def search(
    ws: Workspace,
    source: str,
    query: str,
    mode: Mode = "words",
    limit: int = 50,
    start_row: int = 0,
    seconds: float = 2.0,
    where: Filter | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Json:
    """Samples at or after `start_row` that match and fit the filter, in row order.

    Returns {rows, next_row, complete, scanned, used_index}: with `complete` False, ask again from `next_row` for more.
    Raises LimitError for an empty query, an unknown mode or a broken pattern.
    """
    info = source_info(ws, source)
    if not query.strip():
        raise LimitError("the search is empty; type a word, a text or a pattern")
    if mode not in MODES:
        raise LimitError(f"search mode {mode!r} is not known; choose one of {', '.join(MODES)}")
    words = _WORD.findall(query)
    chosen = None if where is None or where.is_empty else resolve_filter(ws, source, where)
    halt = Halt(time.monotonic() + seconds, stop)
    if mode == "words" and info["indexed"] and words:
        return _indexed(info, words, limit, start_row, chosen, halt)
    return _scan(info, _matcher(query, words, mode), limit, start_row, chosen, halt)


def count_words(ws: Workspace, source: str, query: str) -> int | None:
    """How many samples hold all words, by the index; None without one."""
    info, words = source_info(ws, source), _WORD.findall(query)
    if not info["indexed"] or not words:
        return None
    with _open_index(Path(info["path"]) / INDEX_NAME) as index:
        return sum(
            int(index.execute(f"select count(*) from shard_{n} where shard_{n} match ?", [_match(words)]).fetchone()[0])
            for n in range(len(shard_starts(int(info["rows"]))))
        )


def build_index(ws: Workspace, source: str, context: JobContext) -> Json:
    """Build the full-text index of a source; replaces one that is there. Returns {source, rows, bytes, path}."""
    require("operator", "index sources")
    info = source_info(ws, source)
    target = Path(info["path"]) / INDEX_NAME
    done = 0
    with atomic_path(target) as temporary, _writing_errors_in_words(target):
        temporary.unlink()
        with contextlib.closing(sqlite3.connect(temporary)) as index:
            index.executescript("pragma journal_mode=off; pragma synchronous=off; pragma cache_size=-65536;")
            made, starts = -1, shard_starts(int(info["rows"]))
            for first, table in _text_groups(info, 0):
                for number, rows in _by_shard(first, table, starts):
                    if number > made:
                        _finish(index, made)
                        index.execute(_CREATE.format(number))
                        made = number
                    index.executemany(f"insert into shard_{number}(rowid, text) values (?, ?)", rows)
                done += len(table)
                context.progress(done, info["rows"])
                if context.stop_requested():
                    raise LimitError(f"the index of {source!r} was stopped at row {done:,}; start it again when needed")
            _finish(index, made)
            index.commit()
    return {"source": source, "rows": done, "bytes": target.stat().st_size, "path": str(target)}


@contextlib.contextmanager
def _writing_errors_in_words(target: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        words = "disk full; free some space" if full else f"{error}"
        raise LimitError(f"the search index {target} cannot be written: {words} and start it again") from error


def shard_starts(rows: int) -> list[int]:
    """The row with which each table of an index begins."""
    starts, size = [0], FIRST_SHARD_ROWS
    while starts[-1] + size < rows:
        starts.append(starts[-1] + size)
        size = min(2 * size, SHARD_ROWS)
    return starts


def _shard_of(row: int, starts: list[int]) -> tuple[int, int]:
    """The shard that holds a row, and the row with which the next one begins."""
    shard = bisect.bisect_right(starts, row) - 1
    return shard, starts[shard + 1] if shard + 1 < len(starts) else sys.maxsize


def _by_shard(first: int, table: pa.Table, starts: list[int]) -> Iterator[tuple[int, Iterator[tuple[int, str]]]]:
    """(row, text) pairs of a row group, cut where a shard ends."""
    start = 0
    while start < len(table):
        shard, next_start = _shard_of(first + start, starts)
        end = min(len(table), next_start - first)
        piece = table.slice(start, end - start)
        texts = zip(*(column.to_pylist() for column in _texts(piece)), strict=True)
        yield shard, zip(range(first + start, first + end), map("\n".join, texts), strict=True)
        start = end


def _finish(index: sqlite3.Connection, shard: int) -> None:
    """Merge what was written of a shard, so that a word is found in one place."""
    if shard >= 0:
        index.execute(f"insert into shard_{shard}(shard_{shard}) values ('optimize')")


def _indexed(info: Json, words: list[str], limit: int, start_row: int, chosen: Resolved | None, halt: Halt) -> Json:
    numbers: list[int] = []
    next_row, total = start_row, int(info["rows"])
    starts = shard_starts(total)
    with _open_index(Path(info["path"]) / INDEX_NAME) as index:
        while next_row < total and len(numbers) <= limit and not (next_row > start_row and halt.now()):
            shard, next_start = _shard_of(next_row, starts)
            sql = f"select rowid from shard_{shard} where shard_{shard} match ? and rowid >= ? order by rowid"
            found = index.execute(sql, [_match(words), next_row])  # read on below: each new look-up costs the shard
            next_row = min(next_start, total)
            while hits := [row for (row,) in found.fetchmany(limit + 1 if chosen is None else FILTERED_AT_ONCE)]:
                numbers += hits if chosen is None else _that_fit(info, hits, chosen)
                if len(numbers) > limit or halt.now():
                    next_row = hits[-1] + 1
                    break
    if len(numbers) > limit:
        next_row = numbers[limit]
    ended = next_row >= total
    return {
        "rows": read_rows(info, np.array(numbers[:limit], np.int64)).to_pylist(),
        "next_row": None if ended else next_row,
        "complete": ended,
        "scanned": min(next_row, total),
        "used_index": True,
    }


def _that_fit(info: Json, numbers: list[int], chosen: Resolved) -> list[int]:
    table = read_rows(info, np.array(numbers, np.int64), COLUMNS)
    found: list[int] = table.filter(chosen.mask(table))["row"].to_pylist()
    return found


def _match(words: list[str]) -> str:
    """All words, each as the beginning of a word; quoted, so that nothing in them is FTS5 syntax."""
    return " ".join(f'"{word}"*' for word in words[:32])


@contextlib.contextmanager
def _open_index(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as index:
            yield index
    except sqlite3.DatabaseError as error:
        raise LimitError(
            f"the search index {path} is damaged ({error}); build it again with `sources index`"
        ) from error


def _texts(table: pa.Table) -> list[pa.ChunkedArray]:
    """What is looked into: prompts, responses and, where there are dialogues, all that they say after these."""
    columns = [table["prompt"], table["response"]]
    if (pc.max(table["turns"]).as_py() or 1) > 1:
        said = zip(table["turns"].to_pylist(), table["meta"].to_pylist(), strict=True)
        columns.append(
            pa.chunked_array([[later_turns(meta) if turns > 1 else "" for turns, meta in said]], pa.string())
        )
    return columns


def _matcher(query: str, words: list[str], mode: Mode) -> Callable[[pa.Table], Any]:
    """A function from a table of texts to a mask of its matching rows."""
    if mode == "words" and words:
        patterns = [rf"(?i)(?:^|[^\pL\pN]){re.escape(word)}" for word in words[:32]]
    elif mode == "regex":
        patterns = [query]
    else:
        return lambda table: functools.reduce(pc.or_, (pc.match_substring(text, query) for text in _texts(table)))
    try:
        for pattern in patterns:
            pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise LimitError(
            f"pattern {query!r} cannot be used ({str(error).splitlines()[0]}); mend it, or search for the exact text"
        ) from error

    def mask(table: pa.Table) -> Any:
        texts = _texts(table)
        hits = [functools.reduce(pc.or_, (pc.match_substring_regex(t, p) for t in texts)) for p in patterns]
        return functools.reduce(pc.and_, hits)

    return mask


def _scan(
    info: Json,
    matches: Callable[[pa.Table], Any],
    limit: int,
    start_row: int,
    chosen: Resolved | None,
    halt: Halt,
) -> Json:
    rows: list[Json] = []
    for first, group in _text_groups(info, start_row):
        mask = matches(group)
        if chosen is not None:
            mask = pc.and_(mask, chosen.mask(group))
        hits = np.flatnonzero(mask.to_numpy(zero_copy_only=False) if isinstance(mask, pa.Array) else mask.to_numpy())
        hits = hits[hits + first >= start_row]
        room = limit - len(rows)
        rows += group.take(pa.array(hits[:room])).to_pylist() if len(hits) else []
        next_row = first + (int(hits[room]) if len(hits) > room else len(group))
        if len(hits) > room or (next_row < info["rows"] and halt.now()):
            return {"rows": rows, "next_row": next_row, "complete": False, "scanned": next_row, "used_index": False}
    return {"rows": rows, "next_row": None, "complete": True, "scanned": info["rows"], "used_index": False}


def _text_groups(info: Json, start_row: int) -> Iterator[tuple[int, pa.Table]]:
    """Row groups from the one that holds `start_row` on, each with the number of its first row."""
    first = 0
    for file, facts in zip(sample_files(info), info["files"], strict=True):
        if first + facts["rows"] <= start_row:
            first += facts["rows"]
            continue
        with pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                size = parquet.metadata.row_group(group).num_rows
                if first + size > start_row:
                    yield first, parquet.read_row_group(group, use_threads=False)
                first += size
