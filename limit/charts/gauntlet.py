"""Gauntlet scores as the paper draws them: six small panels of bars, and a category's tasks as dots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limit.charts.figure import Drawing
from limit.charts.palette import Palette
from limit.charts.style import (
    NAME_CHARS,
    axis_look,
    category_label,
    empty,
    error_bars,
    literal,
    look,
    series_label,
)

Row = dict[str, Any]
PANELS = (
    "average",
    "world_knowledge",
    "commonsense_reasoning",
    "symbolic_problem_solving",
    "language_understanding",
    "reading_comprehension",
)
BETWEEN_COLUMNS, BETWEEN_LINES = 0.08, 0.2  # of the figure's width and height
UNSELECTED = {"marker": {"opacity": 0.6}}  # what a click leaves of the others; plotly's own 0.2 is hard to see
FORMS = ("", "-open", "-open-dot")  # of markers of one colour, by shade
NARROW = 24  # bars of a panel from which on no words fit above one of them
GAP = 0.22  # of the room of a group that stays empty


def gauntlet_panels(
    rows: Sequence[Row], palette: Palette, *, categories: Sequence[str] = PANELS, columns: int = 3, height: int = 520
) -> Drawing:
    """One panel for each category, bars grouped by model size or base model.

    Each row: `category`, `group` (7B, 30B, tiny ...), `series` (colour key), `label`, `score` (0-1 above chance, or
    None for not published), `low`, `high` (interval or reading error, may be None), and optionally `n`, `partial`,
    `missing` (task names), `note` (what the interval is), `key` (returned by a click as customdata[0]), `shade` (0, 1,
    2: paler, where several bars of one colour stand in one group).
    A missing score is an annotated gap, a partial category is hatched, zero is what guessing gives.
    """
    if not rows:
        return empty(palette, "No Gauntlet results yet")
    shown = [category for category in categories if any(row["category"] == category for row in rows)]
    shown = shown or list(dict.fromkeys(row["category"] for row in rows))
    columns = min(columns, len(shown))
    series = list(dict.fromkeys((row["series"], row["label"]) for row in rows))
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["category"], row["series"], row["label"]), []).append(row)
    bars = [
        _bar_trace(groups[category, *one], *one, palette, panel=panel)
        for panel, category in enumerate(shown)
        for one in series
        if (category, *one) in groups
    ]
    named: set[str] = set()
    for bar in bars:  # a series may have no bar in the first panel
        bar["showlegend"] = bar["legendgroup"] not in named
        named.add(bar["legendgroup"])
    axes: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    for panel, category in enumerate(shown):
        across, up = _domains(panel, columns, len(shown))
        axes |= _axes(panel, across, up, palette, first=panel % columns == 0)
        notes.append(_title(category, across, up))
    notes += _gaps(rows, shown, series, palette)
    below = {"orientation": "h", "y": -0.1 * 520 / height, "yanchor": "top", "x": 0}
    layout = {"barmode": "group", "bargap": GAP, "bargroupgap": 0.08, "legend": below, "annotations": notes, **axes}
    names = [literal(label, NAME_CHARS) for _, label in series]
    margin = {"l": 52, "r": 8, "t": 40, "b": 40}
    return Drawing(bars, look(names, palette, height, margin=margin, **layout))


def _domains(panel: int, columns: int, panels: int) -> tuple[list[float], list[float]]:
    """The part of the figure that a panel takes, across and up, from 0 to 1."""
    row, column = divmod(panel, columns)
    lines = -(-panels // columns)
    width = (1 - BETWEEN_COLUMNS * (columns - 1)) / columns
    between = BETWEEN_LINES * min(1, 2 / lines)  # a share of the figure, which grows with its lines
    height = (1 - between * (lines - 1)) / lines
    left, top = column * (width + BETWEEN_COLUMNS), 1 - row * (height + between)
    return [left, min(1.0, left + width)], [max(0.0, top - height), top]


def _axes(panel: int, across: list[float], up: list[float], palette: Palette, first: bool) -> dict[str, Any]:
    """Both axes of a panel under plotly's names; the first of a line says what is measured."""
    number = _number(panel)
    x = {**axis_look(palette), "domain": across, "anchor": f"y{number}", "type": "category", "showgrid": False}
    y = {
        **axis_look(palette, "score above chance" if first else None),
        "domain": up, "anchor": f"x{number}", "zeroline": True, "zerolinewidth": 1.5,
        "rangemode": "tozero", "tickformat": ".2f",
    }  # fmt: skip
    return {f"xaxis{number}": x, f"yaxis{number}": y}


def _number(panel: int) -> str:
    """How plotly counts axes: none for the first, then from 2 on."""
    return "" if panel == 0 else str(panel + 1)


def _title(category: str, across: list[float], up: list[float]) -> dict[str, Any]:
    return {
        "text": "<br>".join(category_label(category).rsplit(" ", 1)),
        "x": sum(across) / 2,
        "y": up[1],
        "xref": "paper",
        "yref": "paper",
        "xanchor": "center",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12},
    }


def _bar_trace(bars: Sequence[Row], key: str, label: str, palette: Palette, panel: int) -> dict[str, Any]:
    colour = palette.colour(key)
    return {
        "type": "bar",
        "name": literal(label, NAME_CHARS),
        "legendgroup": f"{key}/{label}",
        "offsetgroup": f"{key}/{label}",
        "xaxis": f"x{_number(panel)}",
        "yaxis": f"y{_number(panel)}",
        "x": [literal(r["group"]) for r in bars],
        "y": [r["score"] for r in bars],
        "error_y": error_bars(map(_span, bars), palette.ink),
        "marker": {
            "color": colour,
            "opacity": [max(0.3, 1 - 0.35 * r.get("shade", 0)) for r in bars],
            "line": {"color": palette.ink, "width": 0.8},
            "pattern": {
                "shape": ["/" if r.get("partial") else "" for r in bars],
                "fgcolor": palette.text_on(colour),
                "bgcolor": colour,  # without it plotly leaves the ground between the lines empty
                "solidity": 0.25,
                "size": 6,
            },
        },
        "unselected": UNSELECTED,
        "customdata": [[str(r.get("key") or ""), r["category"], r["series"]] for r in bars],
        "hovertext": [_hover(r) for r in bars],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _span(row: Row) -> tuple[float | None, float | None, float | None]:
    return row["score"], row.get("low"), row.get("high")


def _hover(row: Row) -> str:
    lines = [f"<b>{literal(row['label'])}</b> · {literal(row['group'])}", category_label(row["category"])]
    if row["score"] is None:
        lines.append("not published")
    else:
        interval = f" [{row['low']:.3f}, {row['high']:.3f}]" if row.get("low") is not None else ""
        lines.append(f"{row['score']:.3f}{interval}")
    if row.get("n"):
        lines.append(f"n = {row['n']:,}")
    if row.get("partial"):
        lines.append(f"partial: without {literal(', '.join(row.get('missing') or []))}")
    if row.get("note"):
        lines.append(literal(row["note"]))
    return "<br>".join(lines)


def _gaps(
    rows: Sequence[Row], shown: Sequence[str], series: Sequence[tuple[str, str]], palette: Palette
) -> list[dict[str, Any]]:
    """`not published` where a bar would stand."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    width = (1 - GAP) / max(1, len(series))
    narrow = len(groups) * len(series) > NARROW
    notes = []
    for row in rows:
        if row["score"] is not None or row["category"] not in shown:
            continue
        number = _number(shown.index(row["category"]))
        slot = series.index((row["series"], row["label"])) - (len(series) - 1) / 2
        notes.append(
            {
                "x": groups.index(row["group"]) + slot * width,
                "y": 0,
                "xref": f"x{number}",
                "yref": f"y{number}",
                "text": "–" if narrow else "not published",
                "hovertext": f"{literal(row['label'])} · {literal(row['group'])}: not published",
                "textangle": 0 if narrow else -90,
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": 9, "color": palette.muted},
            }
        )
    return notes


def task_dots(rows: Sequence[Row], palette: Palette, *, height: int | None = None) -> Drawing:
    """A category's tasks, one line each, a dot with its interval for each run.

    Each row: `task`, `series`, `label`, `score` or None, `low`, `high`, and optionally `n`, `accuracy`, `baseline`,
    `key` and `shade` (0, 1, 2: filled, open, open with a dot, where several of one colour stand beside each other).
    """
    if not rows:
        return empty(palette, "No task results yet")
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    traces = []
    for key, label in dict.fromkeys((row["series"], row["label"]) for row in rows):
        dots = [r for r in rows if (r["series"], r["label"]) == (key, label) and r["score"] is not None]
        traces.append(
            {
                "type": "scatter",
                "name": literal(label, NAME_CHARS),
                "mode": "markers",
                "cliponaxis": False,
                "orientation": "h",  # with it scattermode sets models one below the other
                "x": [r["score"] for r in dots],
                "y": [literal(r["task"]) for r in dots],
                "error_x": error_bars(
                    map(_span, dots), palette.colour(key) if palette.mode == "light" else palette.edge
                ),
                "marker": {
                    "color": palette.colour(key),
                    "symbol": [palette.symbol(key) + FORMS[min(r.get("shade", 0), 2)] for r in dots],
                    "size": 10,
                    "line": {"color": palette.edge, "width": 1},
                },
                "customdata": [[str(r.get("key") or ""), r["task"], r["series"]] for r in dots],
                "unselected": UNSELECTED,
                "hovertext": [_task_hover(r) for r in dots],
                "hovertemplate": "%{hovertext}<extra></extra>",
            }
        )
    names = [literal(task) for task in tasks]
    lines = [literal(task).replace(" (", "<br>(") for task in tasks]  # a narrow screen has no room for both in one
    down = {
        **axis_look(palette),
        "range": [len(tasks) - 0.4, -0.6],
        "categoryorder": "array",
        "categoryarray": names,
        "tickvals": names,
        "ticktext": lines,
        "tickfont": {"size": 12},
    }
    across = {**axis_look(palette, "score above chance"), "tickformat": ".2f", "automargin": True}
    zero = {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "y domain",
            "line": {"color": palette.muted, "width": 1.5}}  # fmt: skip
    # A narrow screen has room for one name in a line of the legend, and plotly takes that room from the plot.
    room = 130 + max(34, 12 * len(traces)) * len(tasks) + 18 * len(traces)
    left = 14 + 7 * max(len(part) for line in lines for part in line.split("<br>"))
    shown = [str(trace["name"]) for trace in traces]
    more: dict[str, Any] = {
        "xaxis": across,
        "yaxis": down,
        "shapes": [zero],
        "scattermode": "group",
        "margin": {"l": min(left, 240)},
    }
    return Drawing(traces, look(shown, palette, height or room, **more))


def _task_hover(row: Row) -> str:
    interval = f" [{row['low']:.3f}, {row['high']:.3f}]" if row.get("low") is not None else ""
    lines = [f"<b>{literal(row['label'])}</b>", literal(row["task"]), f"score {row['score']:.3f}{interval}"]
    if row.get("accuracy") is not None:
        lines.append(f"accuracy {row['accuracy']:.3f}, guessing gives {row.get('baseline') or 0:.3f}")
    if row.get("n"):
        lines.append(f"n = {row['n']:,}")
    return "<br>".join(lines)


def panels_alt(rows: Sequence[Row]) -> str:
    """The panels in words, for readers who cannot see them: each model's average, or that it is not published."""
    words = [
        f"{row['label']} {row['group']} {'not published' if row['score'] is None else format(row['score'], '.3f')}"
        for row in rows
        if row["category"] == "average"
    ]
    names = {row["series"]: series_label(row["series"]) for row in rows}
    return f"Gauntlet scores by category for {len(names)} series. Averages: {'; '.join(words) or 'none'}."
