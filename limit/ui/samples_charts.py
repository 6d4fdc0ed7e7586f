"""Figures of sources: how long responses are, what style they have, where topics lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from limit.charts import Palette, share_bars
from limit.charts.figure import Drawing
from limit.charts.style import axis_look, literal, look
from limit.core import Json

BAR = math.log10(math.sqrt(2))  # width of a bar of lengths, which are powers of root two
ACCENT = "#3B7DD8"
LABEL_WIDTH, LABEL_HEIGHT = 0.45, 0.06  # of a topic's name, as shares of a map that is as wide as a phone
TOPIC_COLOURS = (
    "#3B7DD8",
    "#E4572E",
    "#009E73",
    "#AA4499",
    "#C9B458",
    "#6CC5D9",
    "#882255",
    "#117733",
    "#7F3C8D",
    "#997700",
    "#44AA99",
    "#5D4E37",
)


def length_figure(lengths: Mapping[str, Json], palette: Palette, height: int = 220) -> Drawing:
    """Share of samples by response length, one line a source; lengths as `browsing.lengths` gives them."""
    traces = []
    for name, facts in lengths.items():
        total = sum(facts["counts"]) or 1
        edges, counts = facts["edges"], facts["counts"]
        if edges:  # down to nothing on both sides: a single bar would else be no line at all
            edges = [edges[0] / math.sqrt(2), *edges, edges[-1] * math.sqrt(2)]
            counts = [0, *counts, 0]
        traces.append(
            {
                "type": "scatter",
                "x": [edge * 2**0.25 for edge in edges],  # the middle of a bar: a step lies half-way
                "y": [100 * count / total for count in counts],
                "customdata": edges,
                "name": literal(name, 40),
                "mode": "lines",
                "line": {"shape": "hvh", "width": 2, "color": _line_colour(name, palette)},
                "hovertemplate": "from %{customdata:,.0f} characters: %{y:.1f} %<extra></extra>",
            }
        )
    across = {**axis_look(palette, "response length, characters (log)"), "type": "log", "dtick": 1}
    up = {**axis_look(palette, "share of samples, %"), "rangemode": "tozero"}
    return Drawing(traces, look(lengths, palette, height, xaxis=across, yaxis=up))


def _line_colour(name: str, palette: Palette) -> str:
    """A series' colour, except that LIMA's midnight blue is drawn as its light edge on a dark ground."""
    return palette.edge if palette.mode == "dark" and name == "lima" else palette.colour(name)


def length_histogram(facts: Json, palette: Palette, chosen: tuple[int, int] | None = None) -> Drawing:
    """Samples by response length, to be brushed: the axis is the logarithm to base ten of the characters.

    `facts` as `browsing.lengths` gives them; bars outside `chosen` (at least, at most; 0 for no limit) are pale.
    """
    low, high = chosen or (0, 0)
    inside = [edge * math.sqrt(2) > low and (not high or edge <= high) for edge in facts["edges"]]
    bars = {
        "type": "bar",
        "x": [math.log10(edge) + BAR / 2 for edge in facts["edges"]],
        "y": facts["counts"],
        "width": BAR * 0.94,
        "marker": {"color": ACCENT, "opacity": [0.9 if shown else 0.25 for shown in inside]},
        "customdata": [[edge, edge * math.sqrt(2)] for edge in facts["edges"]],
        "hovertemplate": "%{customdata[0]:,.0f} to %{customdata[1]:,.0f} characters: %{y:,}<extra></extra>",
    }
    top = math.ceil(math.log10(max(facts["edges"], default=1)) + BAR)
    ticks = list(range(top + 1))
    axis = axis_look(palette, "response length, characters")
    texts = [f"{10 ** (n % 3)}{('', 'k', 'M', 'G')[n // 3]}" for n in ticks]
    across = {**axis, "tickvals": ticks, "ticktext": texts, "tickangle": 0, "fixedrange": True}
    up = {"visible": False, "fixedrange": True, "rangemode": "tozero"}
    brush: Json = {"dragmode": "select", "selectdirection": "h", "bargap": 0, "margin": {"l": 8, "r": 8}}
    return Drawing([bars], look((), palette, 170, xaxis=across, yaxis=up, **brush))


def style_figure(styles: Mapping[str, Json], palette: Palette) -> Drawing:
    """Style shares with their 95 % intervals, one colour a source; styles as `style.style_of` gives them."""
    groups = {name: facts["habits"] for name, facts in styles.items()}
    bars = len(next(iter(groups.values()))) * max(1, len(groups))
    colours = {name: palette.colour(name) for name in groups}
    return share_bars(groups, palette, colours=colours, x_title="share of responses, %", height=130 + 22 * bars)


def topic_figure(topics: Sequence[Json], points: Sequence[Json], palette: Palette) -> Drawing:
    """The map of topics, each named where most of its points lie; each point carries its topic and row."""
    traces = []
    for place, topic in enumerate(topics):
        mine = [point for point in points if point["topic"] == topic["topic"]]
        traces.append(
            {
                "type": "scattergl",
                "x": [point["x"] for point in mine],
                "y": [point["y"] for point in mine],
                "customdata": [[topic["topic"], point["row"]] for point in mine],
                "name": literal(topic["name"], 40),
                "mode": "markers",
                "marker": {"size": 5, "opacity": 0.75, "color": TOPIC_COLOURS[place % len(TOPIC_COLOURS)]},
                "hovertemplate": literal(topic["name"], 60) + "<extra></extra>",
            }
        )
    names = [
        {
            "x": x,
            "y": y,
            "text": literal(text, 28),
            "showarrow": False,
            "font": {"size": 12, "color": palette.ink},
            "bgcolor": palette.tint(palette.halo, 0.75),
        }
        for text, x, y in _labels(topics, points)
    ]
    hidden = {"visible": False}
    layout = look((), palette, 440, showlegend=False, annotations=names, xaxis=hidden, yaxis=hidden)
    return Drawing(traces, layout)


def _labels(topics: Sequence[Json], points: Sequence[Json]) -> list[tuple[str, float, float]]:
    """Names of topics with their places: where most of their points lie, moved down where two would meet."""
    width, height = (_extent([point[axis] for point in points]) for axis in ("x", "y"))
    placed: list[tuple[str, float, float]] = []
    wanted = []
    for topic in topics:
        mine = [point for point in points if point["topic"] == topic["topic"]]
        if mine:
            wanted.append((topic["name"], median(p["x"] for p in mine), median(p["y"] for p in mine)))
    for name, x, y in sorted(wanted, key=lambda label: -label[2]):
        for _, other_x, other_y in sorted(placed, key=lambda label: -label[2]):
            if abs(x - other_x) < LABEL_WIDTH * width and abs(y - other_y) < LABEL_HEIGHT * height:
                y = other_y - LABEL_HEIGHT * height
        placed.append((name, x, y))
    return placed


def _extent(values: Sequence[float]) -> float:
    return max(values) - min(values) if values else 0.0
