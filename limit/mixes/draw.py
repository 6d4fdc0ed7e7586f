"""Draw samples by seeded hash rank: random, nested, independent of file order, and equal on any machine.

Each sample's rank is splitmix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators") of its id and
the seed; a draw of n takes the n lowest. Only the narrow columns are read here, about 24 bytes a sample; the
texts of the drawn rows alone are read later, so memory does not grow with the text of a source.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limit.core import Json, LimitError
from limit.sources.listing import sample_files
from limit.sources.samples import Words, ids_as_words
from limit.specs import MixPart, MixSpec

CHARS_PER_TOKEN = 4.0  # for estimates before a tokenizer is chosen; English BPE text runs at about 4 to 4.5
CACHED_SOURCES = 4
RANKED = 1 << 18  # rows of a large source whose order is kept for the next draws with the same seed
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_COLUMNS = ["sample_id", "n_prompt_chars", "n_response_chars", "turns", "subset"]


@dataclass(frozen=True)
class Keys:
    """What a draw needs of one source, one entry a row: ids, lengths in characters, turns, and subset as a code."""

    ids: Words
    prompt_chars: npt.NDArray[np.int32]
    response_chars: npt.NDArray[np.int32]
    turns: npt.NDArray[np.int32]
    subset: npt.NDArray[np.int32]
    subsets: list[str]

    def chars(self, rows: Rows) -> Rows:
        """Characters of prompt and response together."""
        return self.prompt_chars[rows].astype(np.int64) + self.response_chars[rows]


def load_keys(info: Json) -> Keys:
    """The narrow columns of a source; the last few sources stay in memory."""
    return _cached_keys(tuple(str(file) for file in sample_files(info)), info["content_sha256"], info["rows"])


@functools.lru_cache(maxsize=CACHED_SOURCES)
def _cached_keys(files: tuple[str, ...], content: str, rows: int) -> Keys:
    ids = np.empty(rows, np.uint64)
    prompt, response, turns, subset = (np.empty(rows, np.int32) for _ in range(4))
    codes: dict[str, int] = {}
    start = 0
    for file in files:
        with pq.ParquetFile(file, read_dictionary=["subset"]) as parquet:
            for batch in parquet.iter_batches(batch_size=131_072, columns=_COLUMNS, use_threads=False):
                end = start + len(batch)
                ids[start:end] = ids_as_words(batch["sample_id"])
                prompt[start:end] = batch["n_prompt_chars"].to_numpy()
                response[start:end] = batch["n_response_chars"].to_numpy()
                turns[start:end] = batch["turns"].to_numpy()
                subset[start:end] = _coded(batch["subset"], codes)
                start = end
    return Keys(ids, prompt, response, turns, subset, list(codes))


def _coded(column: pa.DictionaryArray, codes: dict[str, int]) -> npt.NDArray[np.int32]:
    """A column's values as codes that hold across batches."""
    values = [codes.setdefault(name, len(codes)) for name in column.dictionary.to_pylist()]
    coded: npt.NDArray[np.int32] = np.array(values, np.int32)[column.indices.to_numpy()]
    return coded


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


def draw_parts(infos: dict[str, Json], spec: MixSpec) -> list[Rows]:
    """The rows of each part in rank order. A sample is drawn once: a later part goes on where an earlier one took it.

    Raises LimitError when a part asks for a subset that is not there, or for more than there is.
    """
    free: dict[str, Mask] = {}
    drawn = []
    for part in spec.parts:
        info = infos[part.source]
        if part.subset is not None and part.subset not in info["subsets"]:
            raise LimitError(_unknown_subset(part.source, part.subset, list(info["subsets"])))
        keys = load_keys(info)
        if part.source not in free:
            excluded = _excluded(spec, part.source)
            free[part.source] = ~np.isin(keys.ids, excluded) if len(excluded) else np.ones(len(keys.ids), bool)
        rows = _draw(info, keys, part, spec, free[part.source])
        free[part.source][rows] = False
        drawn.append(rows)
    return drawn


def _excluded(spec: MixSpec, source: str) -> Words:
    """The ids that are never drawn from a source: equal texts have one id in all sources."""
    named = (entry.rpartition("/") for entry in spec.exclude)
    return np.array([int(sample_id, 16) for of, _, sample_id in named if of in ("", source)], np.uint64)


def _draw(info: Json, keys: Keys, part: MixPart, spec: MixSpec, free: Mask) -> Rows:
    first = _first_ranked(info, spec.seed)
    fitting = first[free[first] & part_mask(info, keys, part, first)]
    wanted = _wanted(part, spec, keys, fitting)
    if len(first) == len(keys.ids):
        if wanted is None and part.tokens is not None:
            raise LimitError(_too_few_tokens(part, int(keys.chars(fitting).sum())))
        wanted = len(fitting) if wanted is None else wanted
    elif wanted is None or len(fitting) < wanted:
        return _draw_of_all(info, keys, part, spec, free)
    _refuse_too_few(info, part, wanted, len(fitting))
    return fitting[:wanted]


def _draw_of_all(info: Json, keys: Keys, part: MixPart, spec: MixSpec, free: Mask) -> Rows:
    """The draw from a large source, where the rows that come first in rank do not suffice."""
    rows = np.arange(len(keys.ids))
    fitting = rows[free & part_mask(info, keys, part, rows)]
    order = ranks(keys.ids[fitting], spec.seed)
    wanted = _wanted(part, spec, keys, fitting[np.argsort(order)] if part.tokens is not None else fitting)
    if part.tokens is not None and wanted is None:
        raise LimitError(_too_few_tokens(part, int(keys.chars(fitting).sum())))
    wanted = len(fitting) if wanted is None else wanted
    _refuse_too_few(info, part, wanted, len(fitting))
    if wanted < len(fitting):
        lowest = np.argpartition(order, wanted - 1)[:wanted]
        fitting, order = fitting[lowest], order[lowest]
    drawn: Rows = fitting[np.argsort(order)]
    return drawn


def _first_ranked(info: Json, seed: int) -> Rows:
    """The rows of a source in rank order: all of a small one, the first RANKED of a large one."""
    return _ranked(tuple(str(file) for file in sample_files(info)), info["content_sha256"], info["rows"], seed)


@functools.lru_cache(maxsize=2 * CACHED_SOURCES)
def _ranked(files: tuple[str, ...], content: str, rows: int, seed: int) -> Rows:
    order = ranks(_cached_keys(files, content, rows).ids, seed)
    lowest = np.argpartition(order, RANKED)[:RANKED] if rows > RANKED else np.arange(rows)
    first: Rows = lowest[np.argsort(order[lowest])]
    return first


def _wanted(part: MixPart, spec: MixSpec, keys: Keys, fitting: Rows) -> int | None:
    """How many rows a part asks for, given rows in rank order; None where it asks for all or for more than those."""
    if part.share is not None:
        return max(1, round(part.share * (spec.total or 0)))
    if part.tokens is None:
        return part.take
    reached = np.cumsum(keys.chars(fitting)) / CHARS_PER_TOKEN
    return int(np.searchsorted(reached, part.tokens)) + 1 if len(reached) and reached[-1] >= part.tokens else None


def _refuse_too_few(info: Json, part: MixPart, wanted: int, have: int) -> None:
    if have < max(wanted, 1):
        raise LimitError(_too_few(part, wanted, have, info["rows"]))


def part_mask(info: Json, keys: Keys, part: MixPart, rows: Rows) -> Mask:
    """Which of some rows of the source fit the part's filters."""
    mask = np.ones(len(rows), bool)
    if part.subset is not None:
        mask &= keys.subset[rows] == (keys.subsets.index(part.subset) if part.subset in keys.subsets else -1)
    if part.min_chars is not None:
        mask &= keys.response_chars[rows] >= part.min_chars
    if part.max_chars is not None:
        mask &= keys.response_chars[rows] <= part.max_chars
    if part.turns != "any":
        mask &= (keys.turns[rows] == 1) if part.turns == "single" else (keys.turns[rows] > 1)
    if part.contains is not None:
        files = tuple(str(file) for file in sample_files(info))
        mask &= _containing(files, info["content_sha256"], part.contains)[rows]
    return mask


@functools.lru_cache(maxsize=CACHED_SOURCES)
def _containing(files: tuple[str, ...], content: str, text: str) -> Mask:
    """Which samples hold a text in prompt or response, in any case; a scan of the whole source."""
    found = []
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=16_384, columns=["prompt", "response"], use_threads=False):
                hits = [pc.match_substring(batch[name], text, ignore_case=True) for name in ("prompt", "response")]
                found.append(pc.or_(*hits).to_numpy(zero_copy_only=False))
    return np.concatenate(found) if found else np.empty(0, bool)


def _name(part: MixPart) -> str:
    return part.source if part.subset is None else f"{part.source}/{part.subset}"


def _too_few_tokens(part: MixPart, chars: int) -> str:
    have = int(chars / CHARS_PER_TOKEN)
    return (
        f"mix part {_name(part)!r} asks for {part.tokens:,} tokens but about {have:,} are there; ask for fewer or use "
        "'all'"
    )


def _too_few(part: MixPart, wanted: int, have: int, source_rows: int) -> str:
    left = "the source has" if have == source_rows else "after subset, filters, exclusions and earlier parts there are"
    if have == 0:
        return f"mix part {_name(part)!r} has no samples to draw: {left} none; change its filters or leave the part out"
    return f"mix part {_name(part)!r} asks for {wanted:,} samples but {left} {have:,}; ask for {have:,} or use 'all'"


def _unknown_subset(source: str, subset: str, known: list[str]) -> str:
    named = [name for name in known if name]
    shown = ", ".join(named[:15]) + (f" and {len(named) - 15} more" if len(named) > 15 else "")
    return f"source {source!r} has no subset {subset!r}; known are {shown or 'none'}"
