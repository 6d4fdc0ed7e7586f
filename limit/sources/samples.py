"""What a sample is: its columns on disk, its content-derived id, and how duplicates are told apart.

Notable: `sample_id` depends on content alone, never on file order, file name or machine; two equal samples of one
source differ in a counter that is part of the hash. `DuplicateCounter` needs 12 bytes a sample, so 15 million fit in
memory.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from limit.core import Json, canonical_json

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("sample_id", pa.string()),
        ("source", pa.string()),
        ("subset", pa.string()),
        ("prompt", pa.string()),
        ("response", pa.string()),
        ("turns", pa.int32()),
        ("n_prompt_chars", pa.int32()),
        ("n_response_chars", pa.int32()),
        ("meta", pa.string()),
    ]
)
ROW_GROUP = 2_048  # rows; so small that the text of one sample decodes in milliseconds
DICTIONARY_COLUMNS = ["source", "subset", "meta"]
STATISTICS_COLUMNS = ["row", "subset", "turns", "n_prompt_chars", "n_response_chars"]
Words = npt.NDArray[np.uint64]


class Exchange(NamedTuple):
    """One usable training example, cleaned: a prompt, its response, and the whole dialogue if there is more."""

    prompt: str
    response: str
    subset: str = ""
    messages: tuple[tuple[str, str], ...] = ()  # (role, text), empty for a single turn
    extra: Mapping[str, Any] = MappingProxyType({})

    @property
    def turns(self) -> int:
        """User turns that the model learns to answer."""
        return max(1, sum(role == "user" for role, _ in self.messages))

    def chars(self) -> tuple[int, int]:
        """Characters of everything the user says, and of all responses."""
        if not self.messages:
            return len(self.prompt), len(self.response)
        return tuple(sum(len(text) for _, text in self.messages[side::2]) for side in (0, 1))  # type: ignore[return-value]

    def meta(self) -> str:
        """The `meta` column: other fields of the record, and all messages of a dialogue."""
        if not self.extra and not self.messages:
            return "{}"
        value: Json = dict(self.extra)
        if self.messages:
            value["messages"] = [{"role": role, "content": text} for role, text in self.messages]
        return canonical_json(value)

    def content(self) -> bytes:
        """The bytes that identify the sample: Unicode-normalised texts without outer white space."""
        texts = [text for _, text in self.messages] or [self.prompt, self.response]
        return "\x1f".join([_normal(text).strip() for text in texts]).encode()


def _normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def content_hash(content: bytes, counter: int = 0) -> str:
    """16 hex digits of sha256 over a sample's content and its duplicate counter."""
    suffix = b"" if counter == 0 else b"\x1e%d" % counter
    return hashlib.sha256(content + suffix).hexdigest()[:16]


def messages_of(meta: str | None, prompt: str, response: str) -> list[dict[str, str]]:
    """The whole dialogue of a stored sample as role/content messages."""
    kept = json.loads(meta or "{}").get("messages")
    return kept or [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


def spoken(sample: Json) -> str:
    """All turns of a stored sample, one after the other."""
    turns = messages_of(sample.get("meta"), sample["prompt"], sample["response"])
    return "\n".join(turn["content"] for turn in turns)


def answers_of(meta: str | None, prompt: str, response: str) -> list[tuple[str, str]]:
    """Each response of a stored sample with the turn that it answers."""
    texts = [turn["content"] for turn in messages_of(meta, prompt, response)]
    return list(zip(texts[0::2], texts[1::2], strict=True))


def later_turns(meta: str | None) -> str:
    """What a dialogue says after its first response; empty for a single turn."""
    return "\n".join(turn["content"] for turn in json.loads(meta or "{}").get("messages", [])[2:])


def ids_as_words(ids: pa.Array | pa.ChunkedArray) -> Words:
    """Hex ids (n strings of 16 digits) as n uint64, without a Python loop."""
    if isinstance(ids, pa.ChunkedArray):
        parts = [ids_as_words(chunk) for chunk in ids.chunks]
        return np.concatenate(parts) if parts else np.empty(0, np.uint64)
    if len(ids) == 0:
        return np.empty(0, np.uint64)
    start = np.frombuffer(ids.buffers()[1], np.int32, offset=ids.offset * 4, count=1)[0]
    digits = np.frombuffer(ids.buffers()[2], np.uint8, count=16 * len(ids), offset=int(start)).reshape(-1, 16)
    nibbles = np.where(digits >= ord("a"), digits - (ord("a") - 10), digits - ord("0")).astype(np.uint8)
    packed = (nibbles[:, 0::2] << 4) | nibbles[:, 1::2]
    return np.ascontiguousarray(packed).view(">u8").reshape(-1).astype(np.uint64)


class DuplicateCounter:
    """Counts how often each 64-bit content hash was seen, in sorted runs that merge as they grow."""

    def __init__(self) -> None:
        self._runs: list[tuple[Words, npt.NDArray[np.uint32]]] = []

    def add(self, hashes: Words) -> npt.NDArray[np.int64]:
        """Record a batch; returns for each hash how many equal ones came before it."""
        unique, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        before = np.zeros(len(unique), np.int64)
        for words, seen in self._runs:
            place = np.minimum(np.searchsorted(words, unique), len(words) - 1)
            before += np.where(words[place] == unique, seen[place], 0)
        order = np.argsort(inverse, kind="stable")
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        within = np.empty(len(hashes), np.int64)
        within[order] = np.arange(len(hashes)) - starts
        self._push(unique, counts.astype(np.uint32))
        return before[inverse] + within

    def _push(self, words: Words, counts: npt.NDArray[np.uint32]) -> None:
        while self._runs and len(self._runs[-1][0]) <= 2 * len(words):
            other_words, other_counts = self._runs.pop()
            both = np.concatenate([words, other_words])
            order = np.argsort(both, kind="stable")
            both, both_counts = both[order], np.concatenate([counts, other_counts])[order]
            first = np.flatnonzero(np.r_[True, both[1:] != both[:-1]]) if len(both) else np.empty(0, np.int64)
            words, counts = both[first], np.add.reduceat(both_counts, first).astype(np.uint32)
        self._runs.append((words, counts))


def as_batch(
    source: str,
    first_row: int,
    ids: Sequence[str],
    subsets: Sequence[str],
    prompts: Sequence[str],
    responses: Sequence[str],
    turns: Sequence[int],
    chars: tuple[Sequence[int], Sequence[int]],
    metas: Sequence[str],
) -> pa.RecordBatch:
    """Rows of SCHEMA, numbered from `first_row`, out of their columns, each of one length."""
    columns: list[Any] = [
        range(first_row, first_row + len(ids)),
        ids,
        [source] * len(ids),
        subsets,
        prompts,
        responses,
        turns,
        *chars,
        metas,
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
