"""PDF and PNG through an installed Chromium: a process of its own with a time limit, on the finished HTML file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from limit.core import LimitError, atomic_path
from limit.export.page import render_html
from limit.export.report import Report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIME_LIMIT_S = 120.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--virtual-time-budget=8000",
)
WIDTH_PX, SECTION_PX, ROW_PX = 1160, 260, 160  # beside the figures: a section's words, a line of the table
MOST_PX = 30_000  # of a picture's height; a longer one is too much for many programs


def browser() -> str | None:
    """The Chromium of this machine, or None."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def missing_browser() -> str:
    """What to do where there is none."""
    return "PDF and PNG need Chromium, which is not installed here; run `apt-get install chromium`, or export HTML"


def write_pdf(report: Report, path: Path) -> None:
    """Print the page. Raises LimitError without Chromium, past the time limit, or when `path` cannot be written."""
    _shoot(report, path, ".pdf", lambda target: ["--no-pdf-header-footer", f"--print-to-pdf={target}"])


def write_png(report: Report, path: Path) -> None:
    """Picture of the whole page, 1160 px wide. Raises LimitError as `write_pdf` does."""
    figures = sum(section.figure.layout.height or 0 for section in report.sections if section.figure is not None)
    height = min(MOST_PX, 900 + figures + SECTION_PX * len(report.sections) + ROW_PX * len(report.models))
    _shoot(report, path, ".png", lambda target: [f"--screenshot={target}", f"--window-size={WIDTH_PX},{height}"], _trim)


def _trim(path: Path) -> None:
    """Cut the empty ground below the page's end; how long a page is, is only known once it is drawn."""
    from PIL import Image, ImageChops

    with Image.open(path) as picture:
        shown = picture.convert("RGB")
    box = ImageChops.difference(shown, Image.new("RGB", shown.size, shown.getpixel((0, 0)))).getbbox()
    if box is not None:
        shown.crop((0, 0, shown.width, min(shown.height, box[3] + 40))).save(path, "PNG")


def _shoot(
    report: Report,
    path: Path,
    ending: str,
    options: Callable[[Path], list[str]],
    finish: Callable[[Path], None] | None = None,
) -> None:
    program = browser()
    if program is None:
        raise LimitError(missing_browser())
    with tempfile.TemporaryDirectory(prefix="limit-print-") as folder, atomic_path(path) as temporary:
        page, made = Path(folder) / "report.html", Path(folder) / f"made{ending}"
        page.write_text(render_html(report), encoding="utf-8")
        words = [program, *FLAGS, f"--user-data-dir={folder}/profile", *options(made), page.as_uri()]
        _run(words)
        if not made.is_file() or made.stat().st_size == 0:
            raise LimitError(f"{Path(program).name} made no file; export HTML and print it from a browser")
        if finish is not None:
            finish(made)
        shutil.copyfile(made, temporary)


def _run(words: list[str]) -> None:
    """Run Chromium in a process group of its own; past the limit the whole group is killed."""
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            process.wait(timeout=TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise LimitError(
                f"Chromium took longer than {TIME_LIMIT_S:.0f} s; export HTML and print it there"
            ) from None
