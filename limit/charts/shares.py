"""Shares with their intervals as horizontal bars, one colour for each group of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from limit.charts.palette import Palette
from limit.charts.style import error_bars, literal, styled

Row = dict[str, Any]


def share_bars(
    groups: Mapping[str, Sequence[Row]],
    palette: Palette,
    *,
    colours: Mapping[str, str],
    x_title: str,
    height: int,
) -> go.Figure:
    """One trace a group, by its name; `colours` by the same names.

    Each row: `name`, `share` (0-1; None is drawn as zero), `low`, `high` (0-1 or None).
    """
    figure = go.Figure()
    for name, rows in groups.items():
        spans = [_per_cent(row) for row in rows]
        figure.add_bar(
            y=[literal(row["name"]) for row in rows],
            x=[share for share, _, _ in spans],
            orientation="h",
            name=literal(name, 40),
            marker={"color": colours[name], "line": {"color": palette.edge, "width": 1}},
            error_x=error_bars(spans, palette.muted),
            hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title=literal(x_title), rangemode="tozero")
    return styled(figure, palette, height)


def _per_cent(row: Row) -> tuple[float, float | None, float | None]:
    low, high = (None if row[end] is None else 100 * row[end] for end in ("low", "high"))
    return 100 * (row["share"] or 0), low, high
