"""Write a source's samples to Parquet as they come, number them, and hash what they are.

The content hash covers every sample's text, subset and other fields but not their order, so the same records in another
order are the same source.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.parquet as pq

from limit.core import Json, explained, file_sha256
from limit.sources.samples import (
    DICTIONARY_COLUMNS,
    ROW_GROUP,
    SCHEMA,
    STATISTICS_COLUMNS,
    DuplicateCounter,
    Exchange,
    as_batch,
    content_hash,
)

FILE_ROWS = 1 << 20  # samples a file
BATCH_ROWS = 16_384  # samples held before they are written,
BATCH_CHARS = 32_000_000  # or fewer when they are long


class SampleWriter:
    """Collects exchanges into `samples-*.parquet` files of a folder; a context manager."""

    def __init__(self, folder: Path, source: str) -> None:
        self.folder, self.source, self.rows, self.duplicates = folder, source, 0, 0
        self.subsets: Counter[str] = Counter()
        self._waiting: list[Exchange] = []
        self._waiting_chars = 0
        self._seen = DuplicateCounter()
        self._digests = array("Q")
        self._files: list[tuple[Path, int]] = []
        self._file_subsets: list[Counter[str]] = []
        self._open: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._close()

    def add(self, exchange: Exchange) -> None:
        """Take one sample. Raises LimitError when the disk is full."""
        self._waiting.append(exchange)
        self._waiting_chars += len(exchange.prompt) + len(exchange.response)
        if len(self._waiting) >= BATCH_ROWS or self._waiting_chars >= BATCH_CHARS:
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
        batch, self._waiting, self._waiting_chars = self._waiting, [], 0
        if not batch:
            return
        contents = [item.content() for item in batch]
        bases = [content_hash(content) for content in contents]
        counters = self._seen.add(np.array([int(base, 16) for base in bases], np.uint64))
        ids = [b if c == 0 else content_hash(t, int(c)) for b, c, t in zip(bases, counters, contents, strict=True)]
        self.duplicates += int(np.count_nonzero(counters))
        self.subsets.update(item.subset for item in batch)
        metas = [item.meta() for item in batch]
        for base, item, meta in zip(bases, batch, metas, strict=True):
            digest = hashlib.blake2b(f"{base}\x1f{item.subset}\x1f{meta}".encode(), digest_size=8).digest()
            self._digests.append(int.from_bytes(digest, "little"))
        with explained(self.folder):
            self._write(as_batch(self.source, self.rows, batch, ids, metas))
        self._file_subsets[-1].update(item.subset for item in batch)

    def _write(self, batch: object) -> None:
        if self._open is None or self._files[-1][1] >= FILE_ROWS:
            self._close()
            path = self.folder / f"samples-{len(self._files):05d}.parquet"
            self._open = pq.ParquetWriter(
                path, SCHEMA, compression="zstd", use_dictionary=DICTIONARY_COLUMNS, write_statistics=STATISTICS_COLUMNS
            )
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
