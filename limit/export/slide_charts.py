"""Native PowerPoint charts from plain rows: editable, with error bars and the colours that the pages use.

Notable: python-pptx has no call for error bars and for a log axis, so those few elements are written as XML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from limit import charts
from limit.charts.palette import Palette
from limit.charts.style import NAME_CHARS as POINT_CHARS
from limit.charts.style import below_above
from limit.export.tables import defuse
from limit.store.schema import Row

NAME_CHARS = 60  # of a model's name in a chart or a table
TEXT_PT = 12
Box = tuple[float, float, float, float]  # left, lower, right, upper
# The pages' symbols by those of PowerPoint that can be filled; each mark has its name beside it or in the legend.
SYMBOLS = {"cross": "CIRCLE", "triangle-up": "TRIANGLE", "star": "DIAMOND", "hexagon": "CIRCLE", "pentagon": "SQUARE"}
LETTER, LINE = 0.0085, 0.055  # of the plane's width and height: a letter of a name, and its line


def draw(slide: Any, kind: str, rows: Sequence[Row], palette: Palette) -> None:
    """Draw the rows of a section of this kind; nothing where there is nothing to draw."""
    kinds = {"plane": _plane, "gauntlet": _gauntlet, "preference": _preference, "curve": _curve}
    if rows and kind in kinds:
        kinds[kind](slide, rows, palette)


def legal(text: object) -> str:
    """Text that XML can hold and that cannot turn the direction of what stands around it."""
    return "".join(sign if sign.isprintable() or sign in "\t\n" else " " for sign in str(text))


def cell_text(text: object) -> str:
    """A name in a chart: its workbook would run one that looks like a formula, and link one that looks like a link."""
    name = charts.clipped(" ".join(legal(text).split()), NAME_CHARS)
    return f"'{name}" if "://" in name or name.startswith(("mailto:", "internal:", "external:")) else str(defuse(name))


def _place(slide: Any, kind: Any, data: Any, legend: bool = True) -> Any:
    from pptx.enum.chart import XL_LEGEND_POSITION
    from pptx.util import Inches, Pt

    chart = slide.shapes.add_chart(kind, Inches(0.6), Inches(1.35), Inches(12.1), Inches(5.1), data).chart
    chart.has_title = False  # a single series would be the title by itself
    chart.has_legend = legend
    if legend:
        chart.legend.position, chart.legend.include_in_layout = XL_LEGEND_POSITION.BOTTOM, False
    chart.font.size = Pt(TEXT_PT)
    return chart


def _rgb(colour: str) -> Any:
    from pptx.dml.color import RGBColor

    return RGBColor.from_string(colour.lstrip("#"))


def _fill(format: Any, colour: str) -> None:
    format.fill.solid()
    format.fill.fore_color.rgb = _rgb(colour)


def _marker(series: Any, palette: Palette, key: str | None, size: int) -> None:
    """The symbol and colour that this series has on the pages."""
    from pptx.enum.chart import XL_MARKER_STYLE

    symbol = palette.symbol(key)
    series.marker.style, series.marker.size = XL_MARKER_STYLE[SYMBOLS.get(symbol, symbol.upper())], size
    _fill(series.marker.format, palette.colour(key))
    series.marker.format.line.color.rgb = _rgb(palette.ink)


def _error_bars(series: Any, spans: Sequence[tuple[Any, Any, Any]], direction: str | None = None) -> None:
    """Native error bars of (value, low, high). `direction` is x or y on a scatter."""
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


def _axes(chart: Any, across: str, up: str) -> None:
    """Titles in plain type and pale grid lines."""
    for axis, text in ((chart.category_axis, across), (chart.value_axis, up)):
        axis.has_title = bool(text)
        if text:
            axis.axis_title.text_frame.text = text
            axis.axis_title.text_frame.paragraphs[0].font.bold = False
        if axis.has_major_gridlines:
            axis.major_gridlines.format.line.color.rgb = _rgb("#E3E5EA")


def _plane(slide: Any, rows: Sequence[Row], palette: Palette) -> None:
    """A mark for each model with its crosses and its name."""
    from pptx.chart.data import XyChartData
    from pptx.enum.chart import XL_CHART_TYPE, XL_LABEL_POSITION

    shown = [row for row in rows if row["x"] is not None and row["y"] is not None]
    if not shown:
        return
    data = XyChartData()
    for row in shown:
        data.add_series(cell_text(row["label"])).add_data_point(round(row["x"], 4), round(row["y"], 2))
    chart = _place(slide, XL_CHART_TYPE.XY_SCATTER, data)
    for series, row, side in zip(chart.plots[0].series, shown, _sides(shown), strict=True):
        _marker(series, palette, row["series"], 12)
        series.format.line.fill.background()
        label = series.points[0].data_label
        label.has_text_frame, label.position = True, getattr(XL_LABEL_POSITION, side)
        label.text_frame.text = charts.clipped(legal(row["label"]), POINT_CHARS)
        _error_bars(series, [(row["x"], row["x_low"], row["x_high"])], "x")
        _error_bars(series, [(row["y"], row["y_low"], row["y_high"])], "y")
    _axes(chart, "Gauntlet average (score above chance)", "preferred over the baseline (%)")


def _sides(rows: Sequence[Row]) -> list[str]:
    """On which side of its mark each name stands: the first one where it covers no other name and no mark."""
    spans = {axis: max(row[axis] for row in rows) - min(row[axis] for row in rows) or 1.0 for axis in ("x", "y")}
    marks = [(row["x"] / spans["x"], row["y"] / spans["y"]) for row in rows]
    taken = [(x - LETTER, y - LINE / 2, x + LETTER, y + LINE / 2) for x, y in marks]
    found = []
    for row, (x, y) in zip(rows, marks, strict=True):
        half = LETTER * min(len(row["label"]), POINT_CHARS) / 2
        places = {
            "ABOVE": (x, y + 1.1 * LINE), "BELOW": (x, y - 1.1 * LINE),
            "RIGHT": (x + half + 2 * LETTER, y), "LEFT": (x - half - 2 * LETTER, y),
        }  # fmt: skip
        boxes = {side: (a - half, b - LINE / 2, a + half, b + LINE / 2) for side, (a, b) in places.items()}
        side = next((side for side, box in boxes.items() if not any(_meet(box, other) for other in taken)), "ABOVE")
        taken.append(boxes[side])
        found.append(side)
    return found


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _gauntlet(slide: Any, rows: Sequence[Row], palette: Palette) -> None:
    """Clustered columns: categories across, one series a model; an unknown score is an empty cell."""
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    found = list(dict.fromkeys(row["category"] for row in rows))
    categories = [c for c in charts.PANELS if c in found] + [c for c in found if c not in charts.PANELS]
    models = list(dict.fromkeys((row["group"], row["label"], row["series"]) for row in rows))
    spans = {(row["group"], row["label"], row["category"]): (row["score"], row["low"], row["high"]) for row in rows}
    unknown = (None, None, None)
    data = CategoryChartData(number_format="0.000")
    data.categories = [cell_text(charts.category_label(category)) for category in categories]
    several = len({group for group, _, _ in models}) > 1
    for group, label, _ in models:
        name = f"{label} ({group})" if several and group not in label else label
        data.add_series(cell_text(name), [spans.get((group, label, category), unknown)[0] for category in categories])
    chart = _place(slide, XL_CHART_TYPE.COLUMN_CLUSTERED, data)
    for series, (group, label, key) in zip(chart.plots[0].series, models, strict=True):
        _fill(series.format, palette.colour(key))
        _error_bars(series, [spans.get((group, label, category), unknown) for category in categories])
    chart.plots[0].gap_width = 60
    ends = [row[name] or 0.0 for row in rows for name in ("score", "low", "high")]
    chart.value_axis.minimum_scale = math.floor(10 * min(0.0, *ends)) / 10  # PowerPoint looks at bars, not at whiskers
    chart.value_axis.maximum_scale = math.ceil(10 * max(0.1, *ends)) / 10
    _axes(chart, "", "score above chance")


def _preference(slide: Any, rows: Sequence[Row], palette: Palette) -> None:
    """Stacked bars of candidate and baseline in per cent, ties left out."""
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    shown = [row for row in reversed(rows) if row["preference_pct"] is not None]
    if not shown:
        return
    data = CategoryChartData(number_format="0.0")
    data.categories = [cell_text(row["label"]) for row in shown]
    rates = [round(row["preference_pct"], 1) for row in shown]  # both sides then add up as they are printed
    data.add_series("candidate preferred (%)", rates)
    data.add_series("baseline preferred (%)", [round(100 - rate, 1) for rate in rates])
    chart = _place(slide, XL_CHART_TYPE.BAR_STACKED, data, legend=False)  # the colours are the models', not the sides'
    chart.plots[0].has_data_labels = True
    for series, side in zip(chart.plots[0].series, ("candidate_series", "baseline_series"), strict=True):
        for index, row in enumerate(shown):
            _share(series.points[index], palette, row[side])
    _error_bars(chart.plots[0].series[0], [(row["preference_pct"], row["low"], row["high"]) for row in shown])
    chart.plots[0].gap_width, chart.plots[0].overlap = 60, 100
    chart.value_axis.minimum_scale, chart.value_axis.maximum_scale = 0, 100
    _axes(chart, "", "preferred by the judge (%): candidate from the left, baseline from the right, ties left out")


def _share(point: Any, palette: Palette, series: str | None) -> None:
    """One side of a bar in its model's colour, its number in ink that can be read on it."""
    from pptx.util import Pt

    colour = palette.colour(series)
    _fill(point.format, colour)
    point.data_label.font.size = Pt(TEXT_PT)
    point.data_label.font.color.rgb = _rgb(palette.text_on(colour))


def _curve(slide: Any, rows: Sequence[Row], palette: Palette) -> None:
    """Score by size on a log axis, a line for each family; the model that was not finetuned as a level line."""
    from pptx.chart.data import XyChartData
    from pptx.enum.chart import XL_CHART_TYPE

    sizes = [row["size"] for row in rows if row["size"] > 0]
    if not sizes:
        return
    lines: dict[tuple[str, str | None], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["size"] == 0):
        ends = [row["size"]] if row["size"] > 0 else [min(sizes), max(sizes)]  # a log axis has no 0
        key = row.get("point_series") or row["series"]
        lines.setdefault((row["label"], key), []).extend({**row, "size": size} for size in ends)
    data = XyChartData()
    for (label, _), members in lines.items():
        members.sort(key=_size)
        series = data.add_series(cell_text(label))
        for row in members:
            series.add_data_point(row["size"], round(row["score"], 4))
    chart = _place(slide, XL_CHART_TYPE.XY_SCATTER_LINES, data)
    for series, ((_, key), members) in zip(chart.plots[0].series, lines.items(), strict=True):
        series.smooth = False
        series.format.line.color.rgb = _rgb(palette.colour(key))
        _marker(series, palette, key, 8)
        _error_bars(series, [(row["score"], row["low"], row["high"]) for row in members], "y")
    _log_axis(chart.category_axis)
    _axes(chart, "samples in the mix (log axis)", "")


def _log_axis(axis: Any) -> None:
    from pptx.oxml import parse_xml
    from pptx.oxml.ns import nsdecls

    axis._element.find("{*}scaling").insert(0, parse_xml(f"<c:logBase {nsdecls('c')} val='10'/>"))


def _size(row: Row) -> float:
    return float(row["size"])
