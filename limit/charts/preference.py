"""Win, tie and loss as one horizontal bar for each pair, with the interval as a whisker on the boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limit.charts.figure import Drawing
from limit.charts.palette import Palette
from limit.charts.style import axis_look, empty, error_bars, literal, look, series_label

Row = dict[str, Any]
ROW_PX, BAR = 66, 0.5  # height of a row, and the share of it that its bar takes
TEXT_WIDTH = 10.0  # per cent of the bar: a narrower segment has no room for its number
GAP = "\u2002"  # between a text and the edge that it starts or ends at


def preference_bars(rows: Sequence[Row], palette: Palette, *, scale: float = 1.0) -> Drawing:
    """Candidate's share, grey ties, baseline's share, in per cent.

    Each row: `label` (above the bar), `candidate_series`, `baseline_series`, `preference_pct` (wins over wins and
    losses, mean over seeds; None is drawn as a gap), `low`, `high` (per cent or None), `wins`, `losses`, `ties`,
    `invalid`, and optionally `seeds` (list of per cent, drawn as ticks), `n_prompts`, `published_pct`, `note`, `key`.
    The tie segment lies between the two shares, in proportion to all valid verdicts; a dotted stroke marks half of the
    decided ones. Labels stand above the bars, so that the figure is readable on a phone; `scale` enlarges bars and
    text for a room.
    """
    if not rows:
        return empty(palette, "No judged comparisons yet")
    traces = [_segment(segment, rows, palette) for segment in ("candidate", "tie", "baseline")]
    traces += [*_whiskers(rows, palette), *_seeds(rows, palette), _halves(rows, palette)]
    turn, end = ("<br>vs ", "<br>") if scale > 1 else (" vs ", " ")  # large type has to fit a phone too
    names = [literal(row["label"], 60).replace(" vs ", turn) for row in rows]
    traces.append(_texts(rows, names, 0, palette.ink, 13 * scale))
    traces.append(_texts(rows, [_facts(row) for row in rows], 100, palette.muted, 11 * scale))
    axis, size = axis_look(palette), round(13 * scale)
    title = {"text": f"verdicts of the judge (%),{end}ties in grey", "font": {"size": size}}
    x = {**axis, "range": [0, 100], "title": title, "automargin": True, "zeroline": False}
    y = {
        **axis,
        "range": [len(rows) - 0.35, -0.8 if scale == 1 else -1.0],
        "showgrid": False,
        "zeroline": False,
        "visible": False,
    }
    row_px = ROW_PX * scale * (2 if scale > 1 and len(rows) < 3 else 1)  # a lone bar fills a screen better
    layout = look(
        (), palette, round(72 + row_px * len(rows)), barmode="stack", showlegend=False, xaxis=x, yaxis=y,
        margin={"l": 8, "r": 20, "t": 8, "b": 48}, font={"size": size},
    )  # fmt: skip
    return Drawing(traces, layout)


def _halves(rows: Sequence[Row], palette: Palette) -> dict[str, Any]:
    """A dotted stroke where half of the decided verdicts end: with ties that is left of the middle of the bar."""
    x: list[float | None] = []
    y: list[float | None] = []
    for place, row in enumerate(rows):
        half = 50 * (1 - shares(row)[1] / 100)
        x += [half, half, None]
        y += [place - BAR / 2 - 0.1, place + BAR / 2 + 0.1, None]
    line = {"color": palette.muted, "width": 1, "dash": "dot"}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": line, "hoverinfo": "skip", "cliponaxis": False}


def _texts(rows: Sequence[Row], words: list[str], x: float, colour: str, size: float) -> dict[str, Any]:
    """Words above the bars from the left edge (x = 0), or below them up to the right one (x = 100)."""
    side = -1 if x == 0 else 1
    return {
        "type": "scatter",
        "x": [x] * len(rows),
        "y": [place + side * (BAR / 2 + (0.06 if x == 0 else 0.02)) for place in range(len(rows))],
        "mode": "text",
        "text": words,
        "textposition": "top right" if x == 0 else "bottom left",
        "textfont": {"size": round(size), "color": colour},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def _facts(row: Row) -> str:
    if row.get("preference_pct") is None:
        return "not published"
    n, invalid = row.get("n_prompts"), row.get("invalid")
    facts = [f"n = {n:,}" if n else "", "" if invalid is None else f"{invalid:,} invalid"]
    return " · ".join(fact for fact in facts if fact)


def shares(row: Row) -> tuple[float, float, float]:
    """Per cent of the bar for candidate, ties and baseline; ties shrink both sides alike."""
    rate = row.get("preference_pct")
    if rate is None:
        return 0.0, 0.0, 0.0
    decided = (row.get("wins") or 0) + (row.get("losses") or 0)
    ties = row.get("ties") or 0
    tie = 100 * ties / (decided + ties) if decided + ties else 0.0
    return rate * (1 - tie / 100), tie, (100 - rate) * (1 - tie / 100)


def _segment(segment: str, rows: Sequence[Row], palette: Palette) -> dict[str, Any]:
    index = ("candidate", "tie", "baseline").index(segment)
    widths = [shares(row)[index] for row in rows]
    colours = [palette.tie if segment == "tie" else palette.colour(row[f"{segment}_series"]) for row in rows]
    rates = [row.get("preference_pct") for row in rows]
    texts = [
        None if rate is None or width < TEXT_WIDTH else f"{GAP}{rate if index == 0 else 100 - rate:.1f} %{GAP}"
        for rate, width in zip(rates, widths, strict=True)
    ]
    return {
        "type": "bar",
        "name": segment,
        "orientation": "h",
        "y": list(range(len(rows))),
        "width": BAR,
        "x": widths,
        "text": [""] * len(rows) if segment == "tie" else texts,
        "textposition": "inside",
        "insidetextanchor": "start" if segment == "candidate" else "end",
        "textfont": {"color": [palette.text_on(colour) for colour in colours]},
        "textangle": 0,
        "marker": {"color": colours, "line": {"color": palette.edge, "width": 1}},
        "customdata": [[str(row.get("key") or "")] for row in rows],
        "hovertext": [_hover(row) for row in rows],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _whiskers(rows: Sequence[Row], palette: Palette) -> list[dict[str, Any]]:
    """The intervals on the boundaries: a halo, and the whisker on it."""
    places, spans = [], []
    for place, row in enumerate(rows):
        if row.get("preference_pct") is not None and row.get("low") is not None:
            candidate, tie, _ = shares(row)
            places.append(place)
            spans.append((candidate, row["low"] * (1 - tie / 100), row["high"] * (1 - tie / 100)))
    if not places:
        return []
    bars = (error_bars(spans, palette.halo, 5, 7), error_bars(spans, palette.ink, 2, 6))
    return [_marks([span[0] for span in spans], places, palette, 1) | {"error_x": bar} for bar in bars]


def _seeds(rows: Sequence[Row], palette: Palette) -> list[dict[str, Any]]:
    """A tick for each seed."""
    points = [
        (seed * (1 - shares(row)[1] / 100), place)
        for place, row in enumerate(rows)
        if row.get("preference_pct") is not None
        for seed in row.get("seeds") or []
    ]
    return [_marks([x for x, _ in points], [y for _, y in points], palette, 9)] if points else []


def _marks(x: list[float], y: list[int], palette: Palette, size: int) -> dict[str, Any]:
    line = {"color": palette.ink, "width": 1.5}
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "mode": "markers",
        "marker": {"symbol": "line-ns", "size": size, "color": palette.ink, "line": line},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def _hover(row: Row) -> str:
    rate = row.get("preference_pct")
    lines = [f"<b>{literal(row['label'])}</b>"]
    if rate is None:
        return "<br>".join([*lines, "not published"])
    interval = f" [{row['low']:.1f}, {row['high']:.1f}]" if row.get("low") is not None else ""
    lines.append(f"candidate preferred {rate:.1f} %{interval}")
    lines.append(f"{row.get('wins') or 0:,} wins, {row.get('ties') or 0:,} ties, {row.get('losses') or 0:,} losses")
    if row.get("seeds"):
        lines.append("seeds: " + ", ".join(f"{seed:.1f}" for seed in row["seeds"]))
    if row.get("published_pct") is not None:
        lines.append(f"the paper prints {row['published_pct']:.1f} %")
    if row.get("note"):
        lines.append(literal(row["note"]))
    return "<br>".join(lines)


def preference_alt(rows: Sequence[Row]) -> str:
    """The bars in words."""
    words = []
    for row in rows:
        rate = row.get("preference_pct")
        words.append(
            f"{row['label']}: {'not published' if rate is None else f'candidate preferred {rate:.1f} per cent'}"
        )
    sides = {series_label(row["baseline_series"]) for row in rows}
    return f"Preference against {', '.join(sorted(sides))}. {'; '.join(words)}."
