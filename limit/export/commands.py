"""`limit export`: a study's report as a file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from limit.cli import Verbs, command
from limit.core import Json
from limit.formats import size
from limit.settings import workspace

FORMATS = {
    "html": "one page that works offline, numbers frozen",
    "pptx": "slides with native charts that can be edited",
    "csv": "one row for each number, cells that a spreadsheet would run made text",
    "parquet": "one row for each number, with types",
    "pdf": "the page printed (needs Chromium)",
    "png": "a picture of the page (needs Chromium)",
}


def add_parser(verbs: Verbs) -> None:
    """Add `export FORMAT --out PATH [--study NAME]`."""
    help = "write a study's results as a file"
    parser = verbs.add_parser("export", help=help, description=help)
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True, parser_class=type(parser))
    for name, words in FORMATS.items():
        one = command(formats, name, run_export, words, text=_words)
        one.add_argument("--out", required=True, metavar="PATH", help="file to write")
        one.add_argument("--study", metavar="NAME", help="paper, paper-7B, paper-30B, a base model or a study's name")


def run_export(options: argparse.Namespace) -> Json:
    """Write one file; returns {format, path, bytes, study, models, seconds}."""
    from limit.export.write import write_report
    from limit.store import Store

    started = time.monotonic()
    path = Path(options.out).expanduser()
    with Store.open(workspace().make()) as store:
        report = write_report(store, store.ws, options.format, path, options.study)
    return {
        "format": options.format,
        "path": str(path.resolve()),
        "bytes": path.stat().st_size,
        "study": report.study,
        "models": len(report.models),
        "seconds": round(time.monotonic() - started, 2),
    }


def _words(value: Any) -> str:
    return f"wrote {value['path']} ({size(value['bytes'])}, study {value['study']}, {value['models']} models)"
