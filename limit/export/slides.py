"""PowerPoint with native charts that can be edited: a slide for each claim or figure, its numbers in the chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limit import charts
from limit.charts.palette import Palette
from limit.core import atomic_path
from limit.export.report import Report, Section, items_of_all
from limit.export.slide_charts import NAME_CHARS, draw, legal
from limit.store.schema import Row

TABLE_LINES = 26  # lines of text on one table slide
WIDTHS_IN = (2.0, 0.8, 1.6, 1.7, 1.5, 1.7, 1.4, 1.4)  # of the table's columns
HEADING_POINTS = ((110, 28), (230, 20), (10_000, 16))  # up to how many characters, and how large
FEW_IDS = 12  # named at the foot of a slide; all stand in the tables


def write_pptx(report: Report, path: Path, palette: Palette | None = None) -> None:
    """Write the deck. Raises LimitError when `path` cannot be written."""
    from pptx import Presentation
    from pptx.util import Inches

    palette = palette or report.palette or Palette.light()
    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(13.333), Inches(7.5)
    _title_slide(deck, report)
    for section in report.sections:
        _section_slide(deck, section, report, palette)
    for models in _pages(report.models):
        _table_slide(deck, report, models)
    with atomic_path(path) as temporary:
        deck.save(str(temporary))


def _write(
    slide: Any, text: str, left: float, top: float, width: float, height: float, size: int, bold: bool = False
) -> None:
    from pptx.util import Inches, Pt

    box = slide.shapes.add_textbox(Inches(left), Inches(top), Inches(width), Inches(height))
    box.text_frame.word_wrap = True
    run = box.text_frame.paragraphs[0].add_run()
    run.text = legal(text)
    run.font.size, run.font.bold = Pt(size), bold


def _blank(deck: Any) -> Any:
    return deck.slides.add_slide(deck.slide_layouts[6])


def _title_slide(deck: Any, report: Report) -> None:
    slide = _blank(deck)
    _write(slide, report.title, 0.8, 2.4, 11.7, 1.6, 40, bold=True)
    _write(slide, f"Study {report.study} · {report.created} · LIMIT {report.version}", 0.8, 4.3, 11.7, 0.6, 18)
    _write(slide, report.provenance(FEW_IDS), 0.8, 5.6, 11.7, 1.4, 11)


def _section_slide(deck: Any, section: Section, report: Report, palette: Palette) -> None:
    slide = _blank(deck)
    _write(slide, section.heading, 0.6, 0.35, 12.1, 1.0, _heading_size(section.heading), bold=True)
    kind = section.kind
    if kind == "claim":
        kind = "preference" if section.rows and "preference_pct" in section.rows[0] else "gauntlet"
    draw(slide, kind, section.rows, palette)
    mark = f"{section.state} · " if section.state else ""
    _write(slide, mark + section.caption, 0.6, 6.55, 12.1, 0.8, 11)
    slide.notes_slide.notes_text_frame.text = legal(f"{section.alt}\n\n{report.provenance(FEW_IDS)}")


def _heading_size(text: str) -> int:
    """Points at which a heading stays on the two or three lines above the chart; a claim has at most 300 characters."""
    return next(points for most, points in HEADING_POINTS if len(text) <= most)


def _pages(models: Sequence[Row]) -> list[list[Row]]:
    """The models of each table slide: as many as fit, where a line of the table is as high as its longest cell."""
    pages: list[list[Row]] = []
    room = 0
    for row in models:
        lines = max(3, len(row["run_ids"]), len(row["mix_ids"]))
        if lines > room or not pages:
            pages.append([])
            room = TABLE_LINES
        pages[-1].append(row)
        room -= lines
    return pages


def _table_slide(deck: Any, report: Report, models: Sequence[Row]) -> None:
    from pptx.util import Inches, Pt

    slide = _blank(deck)
    _write(slide, "The numbers and where they come from", 0.6, 0.35, 12.1, 0.8, 24, bold=True)
    heads = ("model", "samples", "Gauntlet", "protocol, n", "preferred %", "judge, prompts, n", "runs", "mix")
    size = Inches(0.6), Inches(1.2), Inches(12.1), Inches(0.34 * (len(models) + 1))
    table = slide.shapes.add_table(len(models) + 1, len(heads), *size).table
    for column, (head, width) in enumerate(zip(heads, WIDTHS_IN, strict=True)):
        table.cell(0, column).text = head
        table.columns[column].width = Inches(width)
    for line, row in enumerate(models, 1):
        for column, value in enumerate(_cells(row)):
            table.cell(line, column).text = legal(value)
    for cell in (table.cell(r, c) for r in range(len(models) + 1) for c in range(len(heads))):
        for paragraph in cell.text_frame.paragraphs:
            paragraph.font.size = Pt(10)
    _write(slide, report.provenance(FEW_IDS), 0.6, 6.7, 12.1, 0.7, 9)


def _cells(row: Row) -> tuple[str, ...]:
    unknown = "not published" if row["origin"] == "published" else "n/a"
    score, rate = row["x"], row["y"]
    shown = unknown if score is None else f"{score:.3f} {_interval(row['x_low'], row['x_high'], 3)}"
    liked = "baseline" if row["is_baseline"] else unknown
    if rate is not None and not row["is_baseline"]:
        liked = f"{rate:.1f} {_interval(row['y_low'], row['y_high'], 1)}"
    samples = "" if row["samples"] is None else f"{row['samples']:,}"
    n = f"n = {row['n_prompts']:,}" if row["n_prompts"] else ""
    asked = ", ".join(str(fact) for fact in (row["judge"], row["prompt_set"], n) if fact)
    name, asked = charts.clipped(row["label"], NAME_CHARS), charts.clipped(asked, 2 * NAME_CHARS)
    items = items_of_all(row)
    measured = ", ".join(fact for fact in (row["protocol"], f"n = {items:,} items" if items else None) if fact)
    return name, samples, shown, measured, liked, asked, " ".join(row["run_ids"]), " ".join(row["mix_ids"])


def _interval(low: float | None, high: float | None, digits: int) -> str:
    return "" if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"
