"""Curves over steps and over sizes: training loss, and the score that each number of samples buys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from limit.charts.figure import Drawing
from limit.charts.palette import Palette
from limit.charts.style import NAME_CHARS, axis_look, empty, error_bars, literal, look

Row = dict[str, Any]


def loss_curves(rows: Sequence[Row], palette: Palette, *, height: int = 300, title: str = "loss (nats)") -> Drawing:
    """Loss by step; held-out losses are dashed with their source's name.

    Each row: `step`, `loss`, `label` (run; may be empty where there is but one), `series` (None: grey), and optionally
    `source` (None: training loss). Order is kept.
    """
    drawn = [row for row in rows if row.get("loss") is not None and row.get("step") is not None]
    if not drawn:
        return empty(palette, "No training steps yet", height)
    groups: dict[tuple[str, str, str | None], list[Row]] = {}
    for row in drawn:
        groups.setdefault((row["label"], row["series"], row.get("source")), []).append(row)
    dashes = ("dash", "dot", "dashdot", "longdash")
    sources = list(dict.fromkeys(key[2] for key in groups if key[2]))
    traces: list[dict[str, Any]] = []
    for (label, series, source), points in groups.items():
        colour = palette.edge if palette.mode == "dark" and series == "lima" else palette.colour(series)
        dash = dashes[sources.index(source) % 4] if source else "solid"
        traces.append(
            {
                "type": "scatter",
                "x": [row["step"] for row in points],
                "y": [row["loss"] for row in points],
                "mode": "lines+markers" if len(points) < 3 or source else "lines",
                "name": literal(" · ".join(words for words in (label, source and f"held out {source}") if words)),
                "line": {"color": colour, "width": 2, "dash": dash},
                "hovertemplate": "step %{x}<br>%{y:.4f}<extra>%{fullData.name}</extra>",
            }
        )
    across, up = {**axis_look(palette, "step"), "rangemode": "tozero"}, axis_look(palette, title)
    names = [trace["name"] for trace in traces]
    return Drawing(traces, look(names, palette, height, showlegend=len(groups) > 1, xaxis=across, yaxis=up))


def limit_curve(
    rows: Sequence[Row],
    palette: Palette,
    *,
    y_title: str,
    sufficient: Mapping[str, int] | None = None,
    height: int = 380,
) -> Drawing:
    """Score by number of samples on a log axis, with a band over seeds.

    Each row: `series` (None: marks with error bars and no line), `label`, `size` (samples; 0 is drawn left of the axis
    as the base model), `score` or None, `low`, `high` (band, may be None), and optionally `n_seeds`, `point_series`
    (colour of the mark where it differs from its line's) , `name` (of the point), and
    `key` and `measure` (returned by a click as customdata).
    `sufficient` marks the smallest size that cannot be told from the full set, by the label of its line.
    """
    drawn = [row for row in rows if row.get("score") is not None]
    if not drawn:
        return empty(palette, "No sizes to compare yet", height)
    smallest = min((row["size"] for row in drawn if row["size"] > 0), default=1)
    place = {0: smallest / 3}
    traces: list[dict[str, Any]] = []
    for key, label in dict.fromkeys((row["series"], row["label"]) for row in drawn):
        line = sorted(
            (r for r in drawn if (r["series"], r["label"]) == (key, label)), key=lambda row: float(row["size"])
        )
        if key is not None:
            traces += _band(line, palette, key, place)
        traces.append(_line(line, palette, key, label, place))
    colours = {row["label"]: palette.colour(row["series"]) for row in drawn}
    shapes, notes = [], []
    for number, (label, size) in enumerate(sorted((sufficient or {}).items(), key=lambda pair: pair[1])):
        alone = len(sufficient or {}) == 1
        words = f"{size:,} samples suffice" if alone else f"{size:,} suffice: {literal(label, 24)}"
        colour = palette.ink if alone else colours.get(label, palette.ink)
        shapes.append({"type": "line", "x0": size, "x1": size, "y0": 0, "y1": 1, "yref": "y domain",
                       "line": {"color": colour, "width": 1.5, "dash": "dash"}})  # fmt: skip
        notes.append({"text": words, "x": math.log10(size), "xanchor": "left", "y": 0.06 * number,
                      "yref": "y domain", "yanchor": "bottom", "showarrow": False})  # fmt: skip
    sizes = _apart(sorted({row["size"] for row in drawn}))
    across = {
        **axis_look(palette, "samples in the mix"),
        "type": "log",
        "tickvals": [place.get(size, size) for size in sizes],
        "ticktext": [_size_label(size) for size in sizes],
        "tickangle": 0,
        "automargin": True,
    }
    up = {**axis_look(palette, literal(y_title)), "automargin": True}
    up["title"]["standoff"] = 12
    names = [trace["name"] for trace in traces if "name" in trace]
    margin = {"l": 60, "r": 20, "t": 36, "b": 56}
    layout = look(names, palette, height, margin=margin, xaxis=across, yaxis=up, shapes=shapes, annotations=notes)
    return Drawing(traces, layout)


def _apart(sizes: Sequence[int]) -> list[int]:
    """Sizes that have room for a label on a log axis: each at least a fifth larger than the one before."""
    kept: list[int] = []
    for size in sizes:
        if not kept or size > 1.2 * kept[-1]:
            kept.append(size)
    return kept


def _size_label(size: int) -> str:
    if size == 0:
        return "base"
    return f"{size / 1000:.3g}k" if size >= 1000 else str(size)


def _band(line: Sequence[Row], palette: Palette, key: str, place: dict[int, float]) -> list[dict[str, Any]]:
    """The interval as a filled band; a line of one size gets none."""
    known = [row for row in line if row.get("low") is not None and row.get("high") is not None]
    if len(known) < 2:
        return []
    x = [place.get(row["size"], row["size"]) for row in known]
    return [
        {
            "type": "scatter",
            "x": [*x, *reversed(x)],
            "y": [*[row["high"] for row in known], *[row["low"] for row in reversed(known)]],
            "mode": "lines",
            "fill": "toself",
            "fillcolor": palette.tint(palette.colour(key), 0.18 if palette.mode == "light" else 0.3),
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]


def _line(
    line: Sequence[Row], palette: Palette, key: str | None, label: str, place: dict[int, float]
) -> dict[str, Any]:
    spans = [(row["score"], row.get("low"), row.get("high")) for row in line]
    points = [row.get("point_series") or key for row in line]
    return {
        "type": "scatter",
        "x": [place.get(row["size"], row["size"]) for row in line],
        "y": [row["score"] for row in line],
        "mode": "markers" if key is None else "lines+markers",
        "name": literal(label, NAME_CHARS),
        "line": {"color": palette.colour(key), "width": 2.5},
        "marker": {
            "size": 11,
            "color": _shortest([palette.colour(point) for point in points]),
            "symbol": _shortest([palette.symbol(point) for point in points]),
            "line": {"color": palette.edge, "width": 1},
        },
        "customdata": [[str(row.get("key") or ""), row.get("measure")] for row in line],
        "error_y": error_bars(spans, palette.muted, 2, None) if key is None else None,
        "hovertext": [_hover(row) for row in line],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _shortest(values: list[Any]) -> Any:
    """One value where all are alike: plotly looks at each of them."""
    return values[0] if len(set(values)) == 1 else values


def _hover(row: Row) -> str:
    interval = f" [{row['low']:.3g}, {row['high']:.3g}]" if row.get("low") is not None else ""
    seeds = f"<br>{row['n_seeds']} seed{'s' if row['n_seeds'] != 1 else ''}" if row.get("n_seeds") else ""
    name = literal(row.get("name") or row["label"])
    return f"<b>{name}</b><br>{row['size']:,} samples<br>{row['score']:.3g}{interval}{seeds}"


def curve_alt(rows: Sequence[Row], y_title: str) -> str:
    """A curve in words."""
    words = [f"{row['label']} {row['size']:,}: {row['score']:.3g}" for row in rows if row.get("score") is not None]
    return f"{y_title} by number of samples. {'; '.join(words) or 'Nothing yet'}."
