"""Read chosen rows of a source without reading the rest of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from limit.core import Json
from limit.sources.listing import sample_files
from limit.sources.samples import SCHEMA


def read_rows(info: Json, rows: npt.NDArray[np.int64], columns: list[str] | None = None) -> pa.Table:
    """The samples at `rows` (any order, kept), reading only the row groups that hold some of them."""
    order = np.argsort(rows, kind="stable")
    wanted = rows[order]
    pieces: list[pa.Table] = []
    first = 0
    for file, facts in zip(sample_files(info), info["files"], strict=True):
        low, high = np.searchsorted(wanted, [first, first + facts["rows"]])
        if high > low:
            with pq.ParquetFile(file) as parquet:
                pieces += _from_file(parquet, wanted[low:high] - first, columns)
        first += facts["rows"]
    if not pieces:
        return SCHEMA.empty_table().select(columns or SCHEMA.names)
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.arange(len(order))
    return pa.concat_tables(pieces).combine_chunks().take(pa.array(inverse))


def _from_file(parquet: pq.ParquetFile, wanted: npt.NDArray[np.int64], columns: list[str] | None) -> list[pa.Table]:
    """The rows `wanted` (sorted, counted within the file), one table per row group that holds some."""
    pieces, first = [], 0
    for group in range(parquet.num_row_groups):
        size = parquet.metadata.row_group(group).num_rows
        low, high = np.searchsorted(wanted, [first, first + size])
        if high > low:
            table = parquet.read_row_group(group, columns=columns, use_threads=False)
            pieces.append(table.take(pa.array(wanted[low:high] - first)))
        first += size
    return pieces
