"""The numbers as CSV and Parquet, one row each. A CSV cell that a spreadsheet would run is made text."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from limit.core import atomic_path, write_atomic
from limit.export.report import Report

RUNNABLE = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("study", "model", "base_model", "mix_id", "composition")]
    + [("samples", pa.int64()), ("measure", pa.string()), ("unit", pa.string())]
    + [(name, pa.float64()) for name in ("value", "low", "high")]
    + [(name, pa.int64()) for name in ("n", "wins", "losses", "ties", "invalid")]
    + [("partial", pa.bool_()), ("seeds", pa.int64())]
    + [
        (name, pa.string())
        for name in ("protocol", "judge", "prompt_set", "mix_ids", "run_ids", "eval_ids", "comparison_ids")
    ]
    + [(name, pa.string()) for name in ("origin", "exported", "limit_version")]
)


def defuse(value: object) -> object:
    """Text that starts like a formula with an apostrophe in front; other values as they are.

    Signs that steer a terminal or turn the direction of text become spaces.
    """
    if isinstance(value, str):
        text = "".join(sign if sign.isprintable() or sign in "\t\n\r" else " " for sign in value)
        return f"'{text}" if text.lstrip(" ").startswith(RUNNABLE) else text
    return "" if value is None else value


def render_csv(report: Report) -> str:
    """The numbers as CSV with a header; unknown values are empty cells."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(SCHEMA.names)
    for row in report.numbers:
        writer.writerow([defuse(row[name]) for name in SCHEMA.names])
    return out.getvalue()


def write_csv(report: Report, path: Path) -> None:
    """Write UTF-8 with a mark at the start, so that spreadsheets read names right. Raises LimitError."""
    write_atomic(path, "\ufeff" + render_csv(report))


def write_parquet(report: Report, path: Path) -> None:
    """Write the numbers with their types. Raises LimitError."""
    table = pa.Table.from_pylist(list(report.numbers), schema=SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
