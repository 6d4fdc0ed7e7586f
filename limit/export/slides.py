"""PowerPoint with native charts that can be edited: a slide for each claim or figure, its numbers in the chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limit import charts
from limit.charts.palette import Palette
from limit.charts.style import below_above
from limit.core import atomic_path
from limit.export.page import STATE_WORDS
from limit.export.report import Report, Section
from limit.export.tables import defuse
from limit.store.schema import Row

TABLE_ROWS = 8  # models on one table slide, where a line may take two or three
NAME_CHARS = 60  # of a model's name in a chart or a table
FEW_IDS = 12  # named at the foot of a slide; all stand in the tables


def write_pptx(report: Report, path: Path, palette: Palette | None = None) -> None:
    """Write the deck. Raises LimitError when `path` cannot be written."""
    from pptx import Presentation
    from pptx.util import Inches

    palette = palette or Palette.light()
    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(13.333), Inches(7.5)
    _title_slide(deck, report)
    for section in report.sections:
        _section_slide(deck, section, report, palette)
    for start in range(0, len(report.models), TABLE_ROWS):
        _table_slide(deck, report, report.models[start : start + TABLE_ROWS])
    with atomic_path(path) as temporary:
        deck.save(str(temporary))


def _legal(text: object) -> str:
    """Text that XML can hold and that cannot turn the direction of what stands around it."""
    return "".join(sign if sign.isprintable() or sign in "\t\n" else " " for sign in str(text))


def _cell(text: object) -> str:
    """A name in a chart: its workbook would run one that looks like a formula, and link one that looks like a link."""
    name = charts.clipped(" ".join(_legal(text).split()), NAME_CHARS)
    return f"'{name}" if "://" in name or name.startswith(("mailto:", "internal:", "external:")) else str(defuse(name))


def _write(
    slide: Any, text: str, left: float, top: float, width: float, height: float, size: int, bold: bool = False
) -> None:
    from pptx.util import Inches, Pt

    box = slide.shapes.add_textbox(Inches(left), Inches(top), Inches(width), Inches(height))
    box.text_frame.word_wrap = True
    run = box.text_frame.paragraphs[0].add_run()
    run.text = _legal(text)
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
    _write(slide, section.heading, 0.6, 0.35, 12.1, 1.0, 28 if section.kind == "claim" else 26, bold=True)
    draw = {"plane": _plane, "gauntlet": _gauntlet, "preference": _preference, "curve": _curve}
    kind = section.kind
    if kind == "claim":
        kind = "preference" if section.rows and "preference_pct" in section.rows[0] else "gauntlet"
    if section.rows and kind in draw:
        draw[kind](slide, section.rows, palette)
    mark = f"{STATE_WORDS[section.mark]} · " if section.mark else ""
    _write(slide, mark + section.caption, 0.6, 6.55, 12.1, 0.8, 11)
    slide.notes_slide.notes_text_frame.text = _legal(f"{section.alt}\n\n{report.provenance(FEW_IDS)}")


def _place(slide: Any, kind: Any, data: Any) -> Any:
    from pptx.enum.chart import XL_LEGEND_POSITION
    from pptx.util import Inches, Pt

    chart = slide.shapes.add_chart(kind, Inches(0.6), Inches(1.35), Inches(12.1), Inches(5.1), data).chart
    chart.has_legend = True
    chart.legend.position, chart.legend.include_in_layout = XL_LEGEND_POSITION.BOTTOM, False
    chart.font.size = Pt(12)
    return chart


def _fill(format: Any, colour: str) -> None:
    from pptx.dml.color import RGBColor

    format.fill.solid()
    format.fill.fore_color.rgb = RGBColor.from_string(colour.lstrip("#"))


def _error_bars(series: Any, spans: Sequence[tuple[Any, Any, Any]], direction: str | None = None) -> None:
    """Native error bars of (value, low, high); python-pptx has no call for them. `direction` is x or y on a scatter."""
    if all(low is None or value is None for value, low, _ in spans):
        return
    from pptx.oxml import parse_xml
    from pptx.oxml.ns import nsdecls

    lengths = [(0.0, 0.0) if value is None else below_above(value, low, high) for value, low, high in spans]
    sides = "".join(
        f"<c:{side}><c:numLit><c:formatCode>General</c:formatCode><c:ptCount val='{len(lengths)}'/>"
        + "".join(f"<c:pt idx='{i}'><c:v>{pair[end]:.6g}</c:v></c:pt>" for i, pair in enumerate(lengths))
        + f"</c:numLit></c:{side}>"
        for side, end in (("plus", 1), ("minus", 0))
    )
    way = f"<c:errDir val='{direction}'/>" if direction else ""
    bars = f"<c:errBars {nsdecls('c')}>{way}<c:errBarType val='both'/><c:errValType val='cust'/>"
    element = series._element
    place = next(child for child in element if child.tag.rpartition("}")[2] in ("cat", "xVal", "val", "yVal"))
    place.addprevious(parse_xml(f"{bars}<c:noEndCap val='0'/>{sides}</c:errBars>"))


def _axis_titles(chart: Any, across: str, up: str) -> None:
    for axis, text in ((chart.category_axis, across), (chart.value_axis, up)):
        axis.has_title = bool(text)
        if text:
            axis.axis_title.text_frame.text = text


def _plane(slide: Any, rows: Sequence[Row], palette: Palette) -> None:
    from pptx.chart.data import XyChartData
    from pptx.enum.chart import XL_CHART_TYPE

    shown = [row for row in rows if row["x"] is not None and row["y"] is not None]
    if not shown:
        return
    data = XyChartData()
    for row in shown:
        data.add_series(_cell(row["label"])).add_data_point(round(row["x"], 4), round(row["y"], 2))
    chart = _place(slide, XL_CHART_TYPE.XY_SCATTER, data)
    for series, row in zip(chart.plots[0].series, shown, strict=True):
        series.marker.size = 12
        _fill(series.marker.format, palette.colour(row["series"]))
        series.format.line.fill.background()
        _error_bars(series, [(row["x"], row["x_low"], row["x_high"])], "x")
        _error_bars(series, [(row["y"], row["y_low"], row["y_high"])], "y")
    _axis_titles(chart, "Gauntlet average (score above chance)", "preferred over the baseline (%)")


def _gauntlet(slide: Any, rows: Sequence[Row], palette: Palette) -> None:
    """Clustered columns: categories across, one series a model; an unknown score is an empty cell."""
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    categories = list(dict.fromkeys(row["category"] for row in rows))
    models = list(dict.fromkeys((row["group"], row["label"], row["series"]) for row in rows))
    spans = {(row["group"], row["label"], row["category"]): (row["score"], row["low"], row["high"]) for row in rows}
    unknown = (None, None, None)
    data = CategoryChartData(number_format="0.000")
    data.categories = [_cell(charts.category_label(category)) for category in categories]
    several = len({group for group, _, _ in models}) > 1
    for group, label, _ in models:
        name = f"{label} ({group})" if several and group not in label else label
        data.add_series(_cell(name), [spans.get((group, label, category), unknown)[0] for category in categories])
    chart = _place(slide, XL_CHART_TYPE.COLUMN_CLUSTERED, data)
    for series, (group, label, key) in zip(chart.plots[0].series, models, strict=True):
        _fill(series.format, palette.colour(key))
        _error_bars(series, [spans.get((group, label, category), unknown) for category in categories])
    chart.value_axis.minimum_scale = min(0.0, *(row["score"] or 0.0 for row in rows))
    _axis_titles(chart, "", "score above chance")


def _preference(slide: Any, rows: Sequence[Row], palette: Palette) -> None:
    """Stacked bars of candidate and baseline in per cent."""
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    shown = [row for row in reversed(rows) if row["preference_pct"] is not None]
    if not shown:
        return
    data = CategoryChartData(number_format="0.0")
    data.categories = [_cell(row["label"]) for row in shown]
    data.add_series("candidate preferred (%)", [round(row["preference_pct"], 2) for row in shown])
    data.add_series("baseline preferred (%)", [round(100 - row["preference_pct"], 2) for row in shown])
    chart = _place(slide, XL_CHART_TYPE.BAR_STACKED, data)
    candidate, baseline = chart.plots[0].series
    for index, row in enumerate(shown):
        _fill(candidate.points[index].format, palette.colour(row["candidate_series"]))
        _fill(baseline.points[index].format, palette.colour(row["baseline_series"]))
    _error_bars(candidate, [(row["preference_pct"], row["low"], row["high"]) for row in shown])
    chart.plots[0].gap_width, chart.plots[0].overlap = 60, 100
    chart.plots[0].has_data_labels = True
    chart.value_axis.minimum_scale, chart.value_axis.maximum_scale = 0, 100
    _axis_titles(chart, "", "preferred by the judge (%)")


def _curve(slide: Any, rows: Sequence[Row], palette: Palette) -> None:
    """Score by size as a scatter with lines; sizes on a plain axis, which the audience may turn into a log one."""
    from pptx.chart.data import XyChartData
    from pptx.enum.chart import XL_CHART_TYPE

    data = XyChartData()
    lines = list(dict.fromkeys((row["label"], row["series"]) for row in rows))
    points = {line: sorted((r for r in rows if (r["label"], r["series"]) == line), key=_size) for line in lines}
    for line, members in points.items():
        series = data.add_series(_cell(line[0]))
        for row in members:
            series.add_data_point(row["size"], round(row["score"], 4))
    chart = _place(slide, XL_CHART_TYPE.XY_SCATTER_LINES, data)
    for series, (line, members) in zip(chart.plots[0].series, points.items(), strict=True):
        _fill(series.marker.format, palette.colour(line[1]))
        _error_bars(series, [(row["score"], row["low"], row["high"]) for row in members], "y")
    _axis_titles(chart, "samples in the mix", "")


def _size(row: Row) -> float:
    return float(row["size"])


def _table_slide(deck: Any, report: Report, models: Sequence[Row]) -> None:
    from pptx.util import Inches, Pt

    slide = _blank(deck)
    _write(slide, "The numbers and where they come from", 0.6, 0.35, 12.1, 0.8, 24, bold=True)
    heads = ("model", "samples", "Gauntlet", "protocol", "preferred %", "judge, prompts, n", "runs", "mix")
    size = Inches(0.6), Inches(1.2), Inches(12.1), Inches(0.34 * (len(models) + 1))
    table = slide.shapes.add_table(len(models) + 1, len(heads), *size).table
    for column, head in enumerate(heads):
        table.cell(0, column).text = head
    for line, row in enumerate(models, 1):
        for column, value in enumerate(_cells(row)):
            table.cell(line, column).text = _legal(value)
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
    return name, samples, shown, row["protocol"] or "", liked, asked, " ".join(row["run_ids"]), row["mix_id"] or ""


def _interval(low: float | None, high: float | None, digits: int) -> str:
    return "" if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"
