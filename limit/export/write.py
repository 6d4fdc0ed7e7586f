"""One function for every format, for the page and the command line alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from limit.core import LimitError
from limit.export.page import write_html
from limit.export.printing import write_pdf, write_png
from limit.export.report import Report, build_report
from limit.export.slides import write_pptx
from limit.export.tables import write_csv, write_parquet
from limit.settings import Workspace
from limit.store import Store

WRITERS: dict[str, Callable[[Report, Path], None]] = {
    "html": write_html,
    "pptx": write_pptx,
    "csv": write_csv,
    "parquet": write_parquet,
    "pdf": write_pdf,
    "png": write_png,
}


def write_report(store: Store, ws: Workspace, format: str, path: Path, study: str | None = None) -> Report:
    """Build a study's report and write it. Raises LimitError for an unknown format or study, or an unwritable path."""
    if format not in WRITERS:
        raise LimitError(f"export format is {format!r}; choose one of {', '.join(WRITERS)}")
    if path.is_dir():
        raise LimitError(f"{path} is a folder; name a file, for example {path / f'limit.{format}'}")
    report = build_report(store, ws, study)
    WRITERS[format](report, path)
    return report
