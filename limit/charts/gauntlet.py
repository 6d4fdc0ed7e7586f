"""Gauntlet scores as the paper draws them: six small panels of bars, and a category's tasks as dots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from limit.charts.palette import Palette
from limit.charts.style import category_label, empty, error_bars, literal, series_label, styled

Row = dict[str, Any]
PANELS = (
    "average",
    "world_knowledge",
    "commonsense_reasoning",
    "symbolic_problem_solving",
    "language_understanding",
    "reading_comprehension",
)


def gauntlet_panels(
    rows: Sequence[Row], palette: Palette, *, categories: Sequence[str] = PANELS, columns: int = 3, height: int = 520
) -> go.Figure:
    """One panel for each category, bars grouped by model size or base model.

    Each row: `category`, `group` (7B, 30B, tiny ...), `series` (colour key), `label`, `score` (0-1 above chance, or
    None for not published), `low`, `high` (interval or reading error, may be None), and optionally `n`, `partial`,
    `missing` (task names), `note` (what the interval is), `key` (returned by a click as customdata[0]).
    A missing score is an annotated gap, a partial category is hatched, zero is what guessing gives.
    """
    if not rows:
        return empty(palette, "No Gauntlet results yet")
    shown = [category for category in categories if any(row["category"] == category for row in rows)]
    shown = shown or list(dict.fromkeys(row["category"] for row in rows))
    columns = min(columns, len(shown))
    figure = make_subplots(
        rows=-(-len(shown) // columns),
        cols=columns,
        subplot_titles=["<br>".join(category_label(category).rsplit(" ", 1)) for category in shown],
        horizontal_spacing=0.08,
        vertical_spacing=0.2,
    )
    series = list(dict.fromkeys((row["series"], row["label"]) for row in rows))
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["category"], row["series"], row["label"]), []).append(row)
    bars = [
        (index, _bar_trace(groups[category, *one], *one, palette, legend=index == 0))
        for index, category in enumerate(shown)
        for one in series
        if (category, *one) in groups
    ]
    places = [divmod(index, columns) for index, _ in bars]
    figure.add_traces([bar for _, bar in bars], [row + 1 for row, _ in places], [column + 1 for _, column in places])
    figure.update_annotations(font_size=12)
    _mark_gaps(figure, rows, shown, series, columns, palette)
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(zeroline=True, zerolinewidth=1.5, rangemode="tozero", tickformat=".2f")
    figure.update_yaxes(title_text="score above chance", col=1)
    below = {"orientation": "h", "y": -0.1, "yanchor": "top", "x": 0}
    margin = {"l": 52, "r": 8, "t": 40, "b": 40}
    return styled(figure, palette, height, barmode="group", bargap=0.22, bargroupgap=0.08, legend=below, margin=margin)


def _bar_trace(bars: Sequence[Row], key: str, label: str, palette: Palette, legend: bool) -> go.Bar:
    colour = palette.colour(key)
    return go.Bar(
        name=literal(label),
        legendgroup=f"{key}/{label}",
        showlegend=legend,
        offsetgroup=f"{key}/{label}",
        x=[literal(r["group"]) for r in bars],
        y=[r["score"] for r in bars],
        error_y=error_bars(map(_span, bars), palette.ink),
        marker={
            "color": colour,
            "line": {"color": palette.ink, "width": 0.8},
            "pattern": {
                "shape": ["/" if r.get("partial") else "" for r in bars],
                "fgcolor": palette.text_on(colour),
                "bgcolor": colour,  # without it plotly leaves the ground between the lines empty
                "solidity": 0.25,
                "size": 6,
            },
        },
        customdata=[[str(r.get("key") or ""), r["category"], r["series"]] for r in bars],
        hovertext=[_hover(r) for r in bars],
        hovertemplate="%{hovertext}<extra></extra>",
    )


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


def _mark_gaps(
    figure: go.Figure,
    rows: Sequence[Row],
    shown: Sequence[str],
    series: Sequence[tuple[str, str]],
    columns: int,
    palette: Palette,
) -> None:
    """Write `not published` where a bar would stand."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    width = (1 - 0.22) / max(1, len(series))
    for row in rows:
        if row["score"] is not None or row["category"] not in shown:
            continue
        index = shown.index(row["category"])
        slot = series.index((row["series"], row["label"])) - (len(series) - 1) / 2
        figure.add_annotation(
            x=groups.index(row["group"]) + slot * width,
            y=0,
            text="not published",
            textangle=-90,
            yanchor="bottom",
            showarrow=False,
            font={"size": 9, "color": palette.muted},
            row=index // columns + 1,
            col=index % columns + 1,
        )


def task_dots(rows: Sequence[Row], palette: Palette, *, height: int | None = None) -> go.Figure:
    """A category's tasks, one line each, a dot with its interval for each run.

    Each row: `task`, `series`, `label`, `score` or None, `low`, `high`, and optionally `n`, `accuracy`, `baseline` and
    `key`.
    """
    if not rows:
        return empty(palette, "No task results yet")
    figure = go.Figure()
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    for key, label in dict.fromkeys((row["series"], row["label"]) for row in rows):
        dots = [r for r in rows if (r["series"], r["label"]) == (key, label) and r["score"] is not None]
        figure.add_trace(
            go.Scatter(
                name=literal(label),
                mode="markers",
                x=[r["score"] for r in dots],
                y=[literal(r["task"]) for r in dots],
                error_x=error_bars(map(_span, dots), palette.colour(key) if palette.mode == "light" else palette.edge),
                marker={
                    "color": palette.colour(key),
                    "symbol": palette.symbol(key),
                    "size": 10,
                    "line": {"color": palette.edge, "width": 1},
                },
                customdata=[[str(r.get("key") or ""), r["task"], r["series"]] for r in dots],
                hovertext=[_task_hover(r) for r in dots],
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"color": palette.muted, "width": 1.5})
    figure.update_yaxes(
        automargin=True, autorange="reversed", categoryorder="array", categoryarray=[literal(t) for t in tasks]
    )
    figure.update_xaxes(title_text="score above chance (0 = guessing)", tickformat=".2f")
    return styled(figure, palette, height or 120 + 34 * len(tasks), scattermode="group", margin={"l": 200})


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
