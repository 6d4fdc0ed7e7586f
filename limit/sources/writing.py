"""Write a source's samples to Parquet as they come, number them, and hash what they are.

The content hash covers every sample's text, subset and other fields but not their order, so the same records in another
order are the same source. Samples of equal text are told apart by a counter in their id; where they differ in subset or
other fields it counts them in the order of these, so that an id names the same sample whatever order they came in.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from limit.core import Json, atomic_path, explained, file_sha256
from limit.sources.samples import (
    DICTIONARY_COLUMNS,
    ROW_GROUP,
    SCHEMA,
    STATISTICS_COLUMNS,
    DuplicateCounter,
    Exchange,
    Words,
    as_batch,
    content_hash,
    ids_as_words,
)

FILE_ROWS = 1 << 20  # samples a file
BATCH_ROWS = 16_384  # samples held before they are written,
BATCH_CHARS = 32_000_000  # or fewer when they are long


class _Waiting:
    """Samples that are not written yet, by column: so many small objects would keep the garbage collector busy."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.responses: list[str] = []
        self.subsets: list[str] = []
        self.turns: list[int] = []
        self.prompt_chars, self.response_chars = array("i"), array("i")
        self.metas: list[str] = []
        self.contents: list[bytes] = []  # what each id is made of,
        self.others: list[str] = []  # and the text as stored, where the content looks past parts of it
        self.chars = 0

    def add(self, exchange: Exchange) -> None:
        """Take one sample."""
        prompt, response, subset, messages, _ = exchange
        content = exchange.content()
        self.prompts.append(prompt)
        self.responses.append(response)
        self.subsets.append(subset)
        self.turns.append(exchange.turns if messages else 1)
        prompt_chars, response_chars = exchange.chars()
        self.prompt_chars.append(prompt_chars)
        self.response_chars.append(response_chars)
        self.metas.append(exchange.meta())
        self.contents.append(content)
        self.chars += prompt_chars + response_chars
        stored = f"{prompt}\x1f{response}"
        self.others.append("" if messages or stored.encode() == content else f"\x1f{stored}")


class SampleWriter:
    """Collects exchanges into `samples-*.parquet` files of a folder; a context manager."""

    def __init__(self, folder: Path, source: str) -> None:
        self.folder, self.source, self.rows, self.duplicates = folder, source, 0, 0
        self.subsets: Counter[str] = Counter()
        self._waiting = _Waiting()
        self._seen = DuplicateCounter()
        self._digests = array("Q")
        self._again = (array("q"), array("Q"))  # rows whose text was there before, and the id of the first of it
        self._files: list[tuple[Path, int]] = []
        self._file_subsets: list[Counter[str]] = []
        self._open: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._close()
        if error[0] is None and self.duplicates:
            with explained(self.folder):
                self._order_equal_texts()

    def add(self, exchange: Exchange) -> None:
        """Take one sample. Raises LimitError when the disk is full."""
        waiting = self._waiting
        waiting.add(exchange)
        if len(waiting.prompts) >= BATCH_ROWS or waiting.chars >= BATCH_CHARS:
            self._flush()

    def files(self) -> list[Json]:
        """Name, rows, rows by subset and sha256 of each file, after the block has ended."""
        return [
            {"name": path.name, "rows": rows, "subsets": dict(sorted(subsets.items())), "sha256": file_sha256(path)}
            for (path, rows), subsets in zip(self._files, self._file_subsets, strict=True)
        ]

    def content_sha256(self) -> str:
        """Order-independent hash of everything added."""
        digests = np.sort(np.frombuffer(self._digests, np.uint64)) if self._digests else np.empty(0, np.uint64)
        return hashlib.sha256(digests.astype("<u8").tobytes()).hexdigest()

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, _Waiting()
        if not batch.prompts:
            return
        bases = [content_hash(content) for content in batch.contents]
        words = np.array([int(base, 16) for base in bases], np.uint64)
        counters = self._seen.add(words)
        again = np.flatnonzero(counters)
        ids = list(bases)
        for row in again:
            ids[row] = content_hash(batch.contents[row], int(counters[row]))
        self._again[0].extend((again + self.rows).tolist())
        self._again[1].extend(words[again].tolist())
        self.duplicates += len(again)
        self.subsets.update(batch.subsets)
        digests = [
            hashlib.blake2b(f"{base}\x1f{subset}\x1f{meta}{other}".encode(), digest_size=8).digest()
            for base, subset, meta, other in zip(bases, batch.subsets, batch.metas, batch.others, strict=True)
        ]
        self._digests.extend(np.frombuffer(b"".join(digests), "<u8").tolist())
        chars = (batch.prompt_chars, batch.response_chars)
        rows = (ids, batch.subsets, batch.prompts, batch.responses, batch.turns, chars, batch.metas)
        with explained(self.folder):
            self._write(as_batch(self.source, self.rows, *rows))
        self._file_subsets[-1].update(batch.subsets)

    def _write(self, batch: object) -> None:
        if self._open is None or self._files[-1][1] >= FILE_ROWS:
            self._close()
            path = self.folder / f"samples-{len(self._files):05d}.parquet"
            self._open = _writer(path)
            self._files.append((path, 0))
            self._file_subsets.append(Counter())
        self._open.write_batch(batch, row_group_size=ROW_GROUP)
        path, rows = self._files[-1]
        self._files[-1] = (path, rows + batch.num_rows)  # type: ignore[attr-defined]
        self.rows += batch.num_rows  # type: ignore[attr-defined]

    def _close(self) -> None:
        if self._open is not None:
            writer, self._open = self._open, None
            with explained(self.folder):
                writer.close()

    def _order_equal_texts(self) -> None:
        """Give samples of equal text the ids that they would have, had they come in the order of their other fields."""
        again, texts = np.frombuffer(self._again[0], np.int64), np.frombuffer(self._again[1], np.uint64)
        ids, digests = self._ids(), np.frombuffer(self._digests, np.uint64)
        known = np.unique(texts)
        firsts = known[np.minimum(np.searchsorted(known, ids), len(known) - 1)] == ids
        firsts[again] = False
        rows = np.concatenate([np.flatnonzero(firsts), again])  # those of one text in the order in which they came
        texts = np.concatenate([ids[firsts], texts])
        came = np.lexsort((rows, texts))
        sorted_by_fields = np.lexsort((rows, digests[rows], texts))
        taken, given = rows[sorted_by_fields], ids[rows[came]]
        moved = ids[taken] != given
        if moved.any():
            self._rename(taken[moved], given[moved])

    def _ids(self) -> Words:
        """All sample ids in row order."""
        found = [np.empty(0, np.uint64)]
        for path, _ in self._files:
            with pq.ParquetFile(path) as file:
                batches = file.iter_batches(batch_size=131_072, columns=["sample_id"], use_threads=False)
                found += [ids_as_words(batch["sample_id"]) for batch in batches]
        return np.concatenate(found)

    def _rename(self, rows: npt.NDArray[np.int64], ids: Words) -> None:
        """Write the files that hold some of these rows again, with these ids for them."""
        order = np.argsort(rows)
        rows, ids = rows[order], ids[order]
        first = 0
        for path, size in self._files:
            low, high = np.searchsorted(rows, [first, first + size])
            if high > low:
                with atomic_path(path) as temporary, pq.ParquetFile(path) as file, _writer(temporary) as writer:
                    _copy_with_ids(file, writer, rows[low:high] - first, ids[low:high])
            first += size


def _writer(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path, SCHEMA, compression="zstd", use_dictionary=DICTIONARY_COLUMNS, write_statistics=STATISTICS_COLUMNS
    )


def _copy_with_ids(file: pq.ParquetFile, writer: pq.ParquetWriter, rows: npt.NDArray[np.int64], ids: Words) -> None:
    place = SCHEMA.get_field_index("sample_id")
    first = 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, use_threads=False)
        low, high = np.searchsorted(rows, [first, first + len(table)])
        if high > low:
            held = table["sample_id"].to_pylist()
            for row, sample_id in zip(rows[low:high] - first, ids[low:high], strict=True):
                held[row] = f"{sample_id:016x}"
            table = table.set_column(place, SCHEMA.field(place), pa.array(held, pa.string()))
        writer.write_table(table, row_group_size=ROW_GROUP)
        first += len(table)
