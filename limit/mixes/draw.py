"""Draw samples by seeded hash rank: random, nested, independent of file order, and equal on any machine.

Each sample's rank is splitmix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators") of its id and
the seed; a draw of n takes the n lowest. The key columns are scanned first, the texts of the drawn rows alone after
that, so memory does not grow with the text of a source.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limit.core import Json, LimitError
from limit.sources.listing import sample_files
from limit.sources.samples import Words, ids_as_words
from limit.specs import MixPart

CHARS_PER_TOKEN = 4.0  # for estimates before a tokenizer is chosen; English BPE text runs at about 4 to 4.5
Rows = npt.NDArray[np.int64]


def splitmix64(values: Words) -> Words:
    """The finaliser of splitmix64, a bijection on 64-bit words."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def ranks(ids: Words, seed: int) -> Words:
    """The rank of each sample id under a seed; a bijection of ids, so that ranks never tie unless ids do."""
    return splitmix64(ids ^ splitmix64(np.array([seed], np.uint64)))


class Candidates:
    """The samples of one source that a part may draw: row numbers, ids and sizes, in rank order."""

    def __init__(self, rows: Rows, ids: Words, chars: Rows) -> None:
        self.rows, self.ids, self.chars = rows, ids, chars

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, taken: Words) -> Candidates:
        keep = ~np.isin(self.ids, taken) if len(taken) else np.ones(len(self), bool)
        return Candidates(self.rows[keep], self.ids[keep], self.chars[keep])

    def first(self, n: int) -> Candidates:
        return Candidates(self.rows[:n], self.ids[:n], self.chars[:n])


def candidates(info: Json, part: MixPart, seed: int, excluded: Words) -> Candidates:
    """Every sample of a source that fits the part's filters, lowest rank first."""
    rows, ids, chars = [np.empty(0, np.int64)], [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for table in _key_tables(info, part):
        keep = _mask(table, part)
        kept = table if keep is None else table.filter(keep)
        rows.append(kept["row"].to_numpy())
        ids.append(ids_as_words(kept["sample_id"]))
        both = pc.add(kept["n_prompt_chars"], kept["n_response_chars"])
        chars.append(both.to_numpy().astype(np.int64))
    all_rows, all_ids, all_chars = np.concatenate(rows), np.concatenate(ids), np.concatenate(chars)
    found = Candidates(all_rows, all_ids, all_chars).without(excluded)
    order = np.lexsort((found.rows, ranks(found.ids, seed)))
    return Candidates(found.rows[order], found.ids[order], found.chars[order])


def take(part: MixPart, found: Candidates, total: int | None, source_rows: int) -> Candidates:
    """The part's draw from its candidates. Raises LimitError when there are too few."""
    wanted = part.take
    if part.share is not None:
        wanted = max(1, round(part.share * (total or 0)))
    name = part.source if part.subset is None else f"{part.source}/{part.subset}"
    if part.tokens is not None:
        reached = np.cumsum(found.chars)
        budget = part.tokens * CHARS_PER_TOKEN
        if len(found) == 0 or reached[-1] < budget:
            have = int(reached[-1] / CHARS_PER_TOKEN) if len(found) else 0
            raise LimitError(f"mix part {name!r} asks for {part.tokens:,} tokens but about {have:,} are there; ask for "
                             "fewer or use 'all'")  # fmt: skip
        wanted = int(np.searchsorted(reached, budget)) + 1
    if wanted is None:
        wanted = len(found)
    if len(found) < max(wanted, 1):
        raise LimitError(_too_few(name, wanted, len(found), source_rows))
    return found.first(wanted)


def _too_few(name: str, wanted: int, have: int, source_rows: int) -> str:
    left = "the source has" if have == source_rows else "after filters, exclusions and earlier parts there are"
    if have == 0:
        return f"mix part {name!r} has no samples to draw: {left} none; change its filters or leave the part out"
    return f"mix part {name!r} asks for {wanted:,} samples but {left} {have:,}; ask for {have:,} or use 'all'"


def read_rows(info: Json, rows: Rows) -> pa.Table:
    """The samples at `rows` (in that order), reading only the row groups that hold some of them."""
    order = np.argsort(rows, kind="stable")
    sorted_rows = rows[order]
    pieces, first = [], 0
    for file in sample_files(info):
        with pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                size = parquet.metadata.row_group(group).num_rows
                low, high = np.searchsorted(sorted_rows, [first, first + size])
                if high > low:
                    table = parquet.read_row_group(group, use_threads=False)
                    pieces.append(table.take(pa.array(sorted_rows[low:high] - first)))
                first += size
    table = pa.concat_tables(pieces).combine_chunks()
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.arange(len(order))
    return table.take(pa.array(inverse))


def _key_tables(info: Json, part: MixPart) -> Iterator[pa.Table]:
    columns = ["row", "sample_id", "n_prompt_chars", "n_response_chars"]
    if part.subset is not None:
        columns.append("subset")
    if part.turns != "any":
        columns.append("turns")
    if part.contains is not None:
        columns += ["prompt", "response"]
    for file in sample_files(info):
        yield from _tables(file, columns)


def _tables(file: Path, columns: list[str]) -> Iterator[pa.Table]:
    with pq.ParquetFile(file) as parquet:
        groups = list(range(parquet.num_row_groups))
        for start in range(0, len(groups), 16):
            yield parquet.read_row_groups(groups[start : start + 16], columns=columns, use_threads=False)


def _mask(table: pa.Table, part: MixPart) -> Any:
    tests = []
    if part.subset is not None:
        tests.append(pc.equal(table["subset"], part.subset))
    if part.min_chars is not None:
        tests.append(pc.greater_equal(table["n_response_chars"], part.min_chars))
    if part.max_chars is not None:
        tests.append(pc.less_equal(table["n_response_chars"], part.max_chars))
    if part.turns != "any":
        tests.append((pc.equal if part.turns == "single" else pc.greater)(table["turns"], 1))
    if part.contains is not None:
        found = [pc.match_substring(table[name], part.contains, ignore_case=True) for name in ("prompt", "response")]
        tests.append(pc.or_(*found))
    mask = None
    for test in tests:
        mask = test if mask is None else pc.and_(mask, test)
    return mask
