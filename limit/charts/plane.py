"""Both paradigms in one picture: Gauntlet average across, preference up, and the front that nobody beats on both."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from limit.charts.figure import Drawing
from limit.charts.labels import Spot, place_labels
from limit.charts.palette import Palette
from limit.charts.style import NAME_CHARS, axis_look, clipped, empty, error_bars, literal, look

Row = dict[str, Any]


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


def plane(rows: Sequence[Row], palette: Palette, *, height: int = 460, front: bool = True) -> Drawing:
    """One mark for each model with its crosses; dominated ones are pale.

    Each row: `label`, `series`, `x` (Gauntlet average, 0-1) and `y` (preference in per cent), either may be None, then
    the row is left out of the plane; `x_low`, `x_high`, `y_low`, `y_high` (may be None), and optionally `seeds` (list
    of {x, y}), `layer` (name of a group such as `the paper, 7B`; each layer has its own front), `hover` (lines), `key`.
    """
    shown = [row for row in rows if row["x"] is not None and row["y"] is not None]
    if not shown:
        return empty(palette, "No model has both a Gauntlet average and a preference rate yet", height)
    traces: list[dict[str, Any]] = []
    dominated: set[int] = set()
    fronts: list[list[Row]] = []
    for layer in dict.fromkeys(row.get("layer") or "" for row in shown):
        members = [row for row in shown if (row.get("layer") or "") == layer]
        best = pareto_front(members) if front else []
        if len(best) > 1:
            fronts.append([members[i] for i in best])
            traces.append(_front_line(fronts[-1], layer, palette))
        for index, row in enumerate(members):
            traces += _seeds(row, palette)
            pale = front and index not in best
            dominated |= {id(row)} if pale else set()
            traces.append(_point(row, palette, dominated=pale))
    even = {"type": "line", "x0": 0, "x1": 1, "xref": "x domain", "y0": 50, "y1": 50, "yref": "y",
            "line": {"color": palette.muted, "width": 1, "dash": "dot"}}  # fmt: skip
    ranges = _range(shown, "x", 0.05), _range(shown, "y", 0.07)
    x = {**axis_look(palette, "Gauntlet average (score above chance)"), "tickformat": ".3~f", "nticks": 6}
    y = axis_look(palette, "preferred over the baseline (%)")
    margin = {"l": 60, "r": 24, "t": 20, "b": 52}
    layout = look(
        (), palette, height, showlegend=False, margin=margin, shapes=[even],
        annotations=_names(shown, dominated, fronts, ranges, height - margin["t"] - margin["b"], palette),
        xaxis={**x, "automargin": True, "range": ranges[0]},
        yaxis={**y, "automargin": True, "range": ranges[1]},
    )  # fmt: skip
    return Drawing(traces, layout)


def _range(rows: Sequence[Row], axis: str, room: float) -> tuple[float, float]:
    """From the lowest to the highest end of a cross, with some room."""
    values = [row[name] for row in rows for name in (axis, f"{axis}_low", f"{axis}_high") if row.get(name) is not None]
    values += [seed[axis] for row in rows for seed in row.get("seeds") or [] if seed.get(axis) is not None]
    low, high = min(values), max(values)
    spare = room * (high - low) or (0.01 if axis == "x" else 5.0)
    return low - spare, high + spare


def _names(
    rows: Sequence[Row],
    dominated: set[int],
    fronts: Sequence[Sequence[Row]],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    height: float,
    palette: Palette,
) -> list[dict[str, Any]]:
    """Each model's name where it covers no other name, mark, cross or front."""
    names = [clipped(row["label"], NAME_CHARS) for row in rows]
    lines = [(ranges[0][0], y, ranges[0][1], y) for y in (0.0, 50.0)]  # plotly's own line and that of the baseline
    for row in rows:
        lines += [(row["x_low"], row["y"], row["x_high"], row["y"])] if row.get("x_low") is not None else []
        lines += [(row["x"], row["y_low"], row["x"], row["y_high"])] if row.get("y_low") is not None else []
    for front in fronts:
        lines += [(a["x"], a["y"], b["x"], b["y"]) for a, b in itertools.pairwise(front)]
    seeds = [
        (seed["x"], seed["y"])
        for row in rows
        for seed in row.get("seeds") or []
        if seed.get("x") is not None and seed.get("y") is not None
    ]
    spots = place_labels(names, [(row["x"], row["y"]) for row in rows], ranges, height, lines, seeds)
    return [
        _name(row, name, spot, palette.muted if id(row) in dominated else palette.ink, palette)
        for row, name, spot in zip(rows, names, spots, strict=True)
    ]


def _name(row: Row, name: str, spot: Spot, colour: str, palette: Palette) -> dict[str, Any]:
    shared = {"x": row["x"], "y": row["y"], "text": literal(name), "font": {"size": 12, "color": colour}}
    if not spot.led:
        return {**shared, "showarrow": False, "xshift": round(spot.dx), "yshift": -round(spot.dy)}
    thin = {"arrowhead": 0, "arrowwidth": 1, "arrowcolor": palette.muted, "standoff": 9, "borderpad": 0}
    return {**shared, **thin, "showarrow": True, "ax": round(spot.dx), "ay": round(spot.dy)}


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


def _point(row: Row, palette: Palette, dominated: bool) -> dict[str, Any]:
    across, up = ((row[axis], row.get(f"{axis}_low"), row.get(f"{axis}_high")) for axis in ("x", "y"))
    return {
        "type": "scatter",
        "x": [row["x"]],
        "y": [row["y"]],
        "mode": "markers",
        "name": literal(row["label"]),
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
