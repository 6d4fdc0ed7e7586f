"""What all figures share: ground, ink, fonts, legends, and text that plotly shows as text."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from limit.charts.figure import Drawing
from limit.charts.palette import PAPER_LABELS, Palette

FONT = "Source Sans, Source Sans Pro, Segoe UI, Helvetica, Arial, sans-serif"
NAME_CHARS = 40  # of a name in a legend or beside a point
EMPTY_CHARS = 34  # of a line that fits a phone and the narrow column of a page
CATEGORY_LABELS: dict[str, str] = {
    "average": "Average",
    "world_knowledge": "World knowledge",
    "commonsense_reasoning": "Commonsense reasoning",
    "symbolic_problem_solving": "Symbolic problem solving",
    "language_understanding": "Language understanding",
    "reading_comprehension": "Reading comprehension",
    "programming": "Programming",
    "safety": "Safety",
}


def category_label(category: str) -> str:
    """`world_knowledge` as `World knowledge`."""
    return CATEGORY_LABELS.get(category) or category.replace("_", " ").capitalize()


def series_label(series: str) -> str:
    """The paper's name of a series, or the id of an own mix."""
    return PAPER_LABELS.get(series, series)


def literal(text: Any, limit: int = 120) -> str:
    """Untrusted text as plotly shows it: no tags, no MathJax, no template fields, at most `limit` characters."""
    return _literal(str(text), limit)


@lru_cache(maxsize=4096)
def _literal(text: str, limit: int) -> str:
    return html.escape(clipped(text, limit), quote=False).replace("$", "&#36;").replace("%{", "%&#123;")


def clipped(text: str, limit: int) -> str:
    """At most `limit` characters on one line, without signs that print nothing."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return shown if shown.isprintable() else "".join(sign if sign.isprintable() else " " for sign in shown)


def look(
    names: Iterable[str], palette: Palette, height: int, title: str | None = None, **layout: Any
) -> dict[str, Any]:
    """The shared layout with `layout` over it; `names` are those that the legend shows.

    A figure of many traces is drawn from plain dictionaries in one step, which takes plotly a third of the time.
    """
    # Plotly measures legend text before the page's font is there and cuts what is then too long.
    entry_px = 24 + 7 * max((len(name) for name in names), default=0)
    shared: dict[str, Any] = {
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "color": palette.ink, "size": 13},
        "legend": {
            "orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 12}, "entrywidth": entry_px,
        },
        "margin": {"l": 56, "r": 16, "t": 48 if title else 24, "b": 40},
        "hoverlabel": {"align": "left", "font": {"family": FONT}},
        "separators": ".\u2009",
        "modebar": {"orientation": "v"},
    }  # fmt: skip
    if title:
        shared["title"] = {"text": literal(title), "font": {"size": 16}}
    for key, value in layout.items():
        held = shared.get(key)
        shared[key] = {**held, **value} if isinstance(held, dict) and isinstance(value, dict) else value
    return shared


def axis_look(palette: Palette, title: str | None = None) -> dict[str, Any]:
    """What all axes share, and the title of one."""
    return {
        "gridcolor": palette.grid,
        "zerolinecolor": palette.muted,
        "linecolor": palette.grid,
        "title": {"font": {"size": 13}, "text": title},
    }


def empty(palette: Palette, message: str, height: int = 220) -> Drawing:
    """A figure that says why there is nothing to draw."""
    lines = "<br>".join(literal(line) for line in textwrap.wrap(message, EMPTY_CHARS))  # plotly wraps nothing
    note = {
        "text": lines, "font": {"color": palette.muted, "size": 14}, "xref": "paper", "yref": "paper", "x": 0.5,
        "y": 0.5, "showarrow": False,
    }  # fmt: skip
    hidden = {"visible": False}
    return Drawing([], look((), palette, height, annotations=[note], xaxis=hidden, yaxis=hidden))


def error_bars(
    spans: Iterable[tuple[float | None, float | None, float | None]],
    colour: str,
    thickness: float = 1.2,
    width: float | None = 3,
) -> dict[str, Any]:
    """Plotly's error bars of values given as (value, low, high); what is not known has no length.

    `thickness` and `width` (of the ends; None leaves it to plotly) in pixels.
    """
    lengths = [(0.0, 0.0) if value is None else below_above(value, low, high) for value, low, high in spans]
    return {
        "type": "data",
        "symmetric": False,
        "array": [above for _, above in lengths],
        "arrayminus": [below for below, _ in lengths],
        "color": colour,
        "thickness": thickness,
        "width": width,
    }


def below_above(value: float, low: float | None, high: float | None) -> tuple[float, float]:
    """Lengths of an error bar below and above `value`; zero where the interval is not known."""
    return (0.0 if low is None else max(0.0, value - low), 0.0 if high is None else max(0.0, high - value))
