"""Both paradigms in one picture: Gauntlet average across, preference up, and the front that nobody beats on both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from limit.charts.palette import Palette
from limit.charts.style import axis_look, empty, error_bars, literal, look

Row = dict[str, Any]
NEAR_X, NEAR_Y = 0.45, 0.07  # of the plane: closer than this labels run into each other


def pareto_front(rows: Sequence[Row]) -> list[int]:
    """Positions of the rows that no other row beats on `x` and `y` at once, by rising x; rows with a gap are out.

    A row is beaten by one that is at least as good on both and better on one, so equal rows are both on the front.
    """
    points = [(i, row["x"], row["y"]) for i, row in enumerate(rows) if row["x"] is not None and row["y"] is not None]
    front = [
        i
        for i, x, y in points
        if not any(ox >= x and oy >= y and (ox > x or oy > y) for other, ox, oy in points if other != i)
    ]
    return sorted(front, key=lambda i: (rows[i]["x"], -rows[i]["y"]))


def plane(rows: Sequence[Row], palette: Palette, *, height: int = 460, front: bool = True) -> go.Figure:
    """One mark for each model with its crosses; dominated ones are pale.

    Each row: `label`, `series`, `x` (Gauntlet average, 0-1) and `y` (preference in per cent), either may be None, then
    the row is left out of the plane; `x_low`, `x_high`, `y_low`, `y_high` (may be None), and optionally `seeds` (list
    of {x, y}), `layer` (name of a group such as `the paper, 7B`; each layer has its own front), `hover` (lines), `key`.
    """
    shown = [row for row in rows if row["x"] is not None and row["y"] is not None]
    if not shown:
        return empty(palette, "No model has both a Gauntlet average and a preference rate yet", height)
    traces: list[dict[str, Any]] = []
    for layer in dict.fromkeys(row.get("layer") or "" for row in shown):
        members = [row for row in shown if (row.get("layer") or "") == layer]
        best = pareto_front(members) if front else []
        if len(best) > 1:
            traces.append(_front_line([members[i] for i in best], layer, palette))
        for index, row in enumerate(members):
            traces += _seeds(row, palette)
            traces.append(_point(row, palette, _label_side(row, shown), dominated=front and index not in best))
    even = {"type": "line", "x0": 0, "x1": 1, "xref": "x domain", "y0": 50, "y1": 50, "yref": "y",
            "line": {"color": palette.muted, "width": 1, "dash": "dot"}}  # fmt: skip
    title = axis_look(palette)["title"]
    x = {"title": {**title, "text": "Gauntlet average (score above chance)"}, "tickformat": ".3~f", "nticks": 6}
    y = {"title": {**title, "text": "preferred over the baseline (%)"}}
    margin = {"l": 60, "r": 24, "t": 20, "b": 52}
    layout = look(
        (), palette, height, showlegend=False, margin=margin, shapes=[even],
        xaxis={**axis_look(palette), **x, "automargin": True}, yaxis={**axis_look(palette), **y, "automargin": True},
    )  # fmt: skip
    return go.Figure(data=traces, layout=layout)


def _front_line(rows: Sequence[Row], layer: str, palette: Palette) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [row["x"] for row in rows],
        "y": [row["y"] for row in rows],
        "mode": "lines",
        "line": {"color": palette.muted, "width": 1.5, "dash": "dash"},
        "name": literal(f"Pareto front {layer}".strip()),
        "hoverinfo": "skip",
    }


def _label_side(row: Row, rows: Sequence[Row]) -> str:
    """Beside the cross, towards the middle; of two points whose labels would meet the lower has its own below."""
    wide, high = (max(r[axis] for r in rows) - min(r[axis] for r in rows) for axis in ("x", "y"))
    middle = min(r["x"] for r in rows) + wide / 2
    near = [r for r in rows if abs(r["x"] - row["x"]) <= NEAR_X * wide and abs(r["y"] - row["y"]) <= NEAR_Y * high]
    side = "right" if row["x"] <= middle else "left"
    return f"{'bottom' if any(r['y'] > row['y'] for r in near) else 'top'} {side}"


def _point(row: Row, palette: Palette, side: str, dominated: bool) -> dict[str, Any]:
    across, up = ((row[axis], row.get(f"{axis}_low"), row.get(f"{axis}_high")) for axis in ("x", "y"))
    return {
        "type": "scatter",
        "x": [row["x"]],
        "y": [row["y"]],
        "mode": "markers+text",
        "name": literal(row["label"]),
        "text": [literal(row["label"], 40)],
        "textposition": side,
        "textfont": {"size": 12, "color": palette.muted if dominated else palette.ink},
        "error_x": error_bars([across], palette.muted, 1.4, 0),
        "error_y": error_bars([up], palette.muted, 1.4, 0),
        "marker": {
            "size": 15,
            "symbol": palette.symbol(row["series"]),
            "color": palette.colour(row["series"]),
            "opacity": 0.6 if dominated else 1.0,
            "line": {"color": palette.edge if palette.mode == "dark" else palette.ink, "width": 1},
        },
        "customdata": [[str(row.get("key") or "")]],
        "hovertext": [_hover(row, dominated)],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "cliponaxis": False,
    }


def _seeds(row: Row, palette: Palette) -> list[dict[str, Any]]:
    """Single seeds as small marks around their mean."""
    points = [s for s in row.get("seeds") or [] if s.get("x") is not None and s.get("y") is not None]
    if len(points) < 2:
        return []
    return [
        {
            "type": "scatter",
            "x": [point["x"] for point in points],
            "y": [point["y"] for point in points],
            "mode": "markers",
            "marker": {"size": 5, "color": palette.colour(row["series"]), "opacity": 0.6},
            "hoverinfo": "skip",
        }
    ]


def _hover(row: Row, dominated: bool) -> str:
    x = f"Gauntlet {row['x']:.3f}"
    if row.get("x_low") is not None:
        x += f" [{row['x_low']:.3f}, {row['x_high']:.3f}]"
    y = f"preference {row['y']:.1f} %"
    if row.get("y_low") is not None:
        y += f" [{row['y_low']:.1f}, {row['y_high']:.1f}]"
    lines = [f"<b>{literal(row['label'])}</b>", x, y, *[literal(line) for line in row.get("hover") or []]]
    if dominated:
        lines.append("another model here is at least as good on both")
    return "<br>".join(lines)


def plane_alt(rows: Sequence[Row]) -> str:
    """The plane in words."""
    words = [
        f"{row['label']}: Gauntlet {row['x']:.3f}, preferred {row['y']:.1f} per cent"
        for row in rows
        if row["x"] is not None and row["y"] is not None
    ]
    return f"Gauntlet average against preference rate. {'; '.join(words) or 'No model has both yet'}."
