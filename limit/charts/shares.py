"""Shares with their intervals as horizontal bars, one colour for each group of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limit.charts.figure import Drawing
from limit.charts.palette import Palette
from limit.charts.style import axis_look, error_bars, literal, look

Row = dict[str, Any]


def share_bars(
    groups: Mapping[str, Sequence[Row]],
    palette: Palette,
    *,
    colours: Mapping[str, str],
    x_title: str,
    height: int,
) -> Drawing:
    """One trace a group, by its name; `colours` by the same names.

    Each row: `name`, `share` (0-1; None is drawn as zero), `low`, `high` (0-1 or None).
    """
    traces = []
    for name, rows in groups.items():
        spans = [_per_cent(row) for row in rows]
        traces.append(
            {
                "type": "bar",
                "y": [literal(row["name"]) for row in rows],
                "x": [share for share, _, _ in spans],
                "orientation": "h",
                "name": literal(name, 40),
                "marker": {"color": colours[name], "line": {"color": palette.edge, "width": 1}},
                "error_x": error_bars(spans, palette.muted),
                "hovertemplate": "%{y}: %{x:.1f} %<extra></extra>",
            }
        )
    down = {**axis_look(palette), "autorange": "reversed", "automargin": True}
    across = {**axis_look(palette, literal(x_title)), "rangemode": "tozero"}
    return Drawing(traces, look(groups, palette, height, xaxis=across, yaxis=down))


def _per_cent(row: Row) -> tuple[float, float | None, float | None]:
    low, high = (None if row[end] is None else 100 * row[end] for end in ("low", "high"))
    return 100 * (row["share"] or 0), low, high
