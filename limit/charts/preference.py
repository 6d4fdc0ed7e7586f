"""Win, tie and loss as one horizontal bar for each pair, with the interval as a whisker on the boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from limit.charts.palette import Palette
from limit.charts.style import empty, error_bars, literal, series_label, styled

Row = dict[str, Any]
ROW_PX, BAR = 66, 0.5  # height of a row, and the share of it that its bar takes
TEXT_WIDTH = 10.0  # per cent of the bar: a narrower segment has no room for its number
GAP = "\u2002"  # between a text and the edge that it starts or ends at


def preference_bars(rows: Sequence[Row], palette: Palette, *, scale: float = 1.0) -> go.Figure:
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
    figure = go.Figure()
    for segment in ("candidate", "tie", "baseline"):
        figure.add_trace(_segment(segment, rows, palette))
    for place, row in enumerate(rows):
        _annotate(figure, row, place, palette)
    figure.add_trace(_texts(rows, [literal(row["label"], 60) for row in rows], 0, palette.ink, 13 * scale))
    figure.add_trace(_texts(rows, [_facts(row) for row in rows], 100, palette.muted, 11 * scale))
    for place, row in enumerate(rows):
        figure.add_shape(_half(row, place, palette))
    figure.update_xaxes(range=[0, 100], title_text="verdicts of the judge (%), ties in grey", automargin=True)
    figure.update_yaxes(range=[len(rows) - 0.35, -0.8], showgrid=False, zeroline=False, visible=False)
    figure.update_xaxes(zeroline=False)
    row_px = ROW_PX * scale * (2 if scale > 1 and len(rows) < 3 else 1)  # a lone bar fills a screen better
    styled(figure, palette, round(72 + row_px * len(rows)), barmode="stack", showlegend=False)
    figure.update_xaxes(title_font_size=round(13 * scale))
    return figure.update_layout(margin={"l": 8, "r": 20, "t": 8, "b": 48}, font={"size": round(13 * scale)})


def _half(row: Row, place: int, palette: Palette) -> dict[str, Any]:
    """A dotted stroke where half of the decided verdicts end: with ties that is left of the middle of the bar."""
    x = 50 * (1 - shares(row)[1] / 100)
    line = {"color": palette.muted, "width": 1, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "y0": place - BAR / 2 - 0.1, "y1": place + BAR / 2 + 0.1, "line": line}


def _texts(rows: Sequence[Row], words: list[str], x: float, colour: str, size: float) -> go.Scatter:
    """Words above the bars from the left edge (x = 0), or below them up to the right one (x = 100)."""
    side = -1 if x == 0 else 1
    return go.Scatter(
        x=[x] * len(rows),
        y=[place + side * (BAR / 2 + (0.06 if x == 0 else 0.02)) for place in range(len(rows))],
        mode="text",
        text=words,
        textposition="top right" if x == 0 else "bottom left",
        textfont={"size": round(size), "color": colour},
        hoverinfo="skip",
        cliponaxis=False,
    )


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


def _segment(segment: str, rows: Sequence[Row], palette: Palette) -> go.Bar:
    index = ("candidate", "tie", "baseline").index(segment)
    widths = [shares(row)[index] for row in rows]
    colours = [palette.tie if segment == "tie" else palette.colour(row[f"{segment}_series"]) for row in rows]
    rates = [row.get("preference_pct") for row in rows]
    texts = [
        None if rate is None or width < TEXT_WIDTH else f"{GAP}{rate if index == 0 else 100 - rate:.1f} %{GAP}"
        for rate, width in zip(rates, widths, strict=True)
    ]
    return go.Bar(
        name=segment,
        orientation="h",
        y=list(range(len(rows))),
        width=BAR,
        x=widths,
        text=[""] * len(rows) if segment == "tie" else texts,
        textposition="inside",
        insidetextanchor="start" if segment == "candidate" else "end",
        textfont={"color": [palette.text_on(colour) for colour in colours]},
        textangle=0,
        marker={"color": colours, "line": {"color": palette.edge, "width": 1}},
        customdata=[[str(row.get("key") or "")] for row in rows],
        hovertext=[_hover(row) for row in rows],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _annotate(figure: go.Figure, row: Row, place: int, palette: Palette) -> None:
    """The whisker on the boundary and a tick for each seed."""
    if row.get("preference_pct") is None:
        return
    candidate, tie, _ = shares(row)
    share = 1 - tie / 100
    if row.get("low") is not None:
        span = [(candidate, row["low"] * share, row["high"] * share)]
        for bar in (error_bars(span, palette.halo, 5, 7), error_bars(span, palette.ink, 2, 6)):
            figure.add_trace(_mark([candidate], place, palette, symbol="line-ns", size=1, error_x=bar))
    seeds = [seed * share for seed in row.get("seeds") or []]
    if seeds:
        figure.add_trace(_mark(seeds, place, palette, symbol="line-ns", size=9, error_x=None))


def _mark(
    x: list[float], place: int, palette: Palette, symbol: str, size: int, error_x: dict[str, Any] | None
) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=[place] * len(x),
        mode="markers",
        marker={"symbol": symbol, "size": size, "color": palette.ink, "line": {"color": palette.ink, "width": 1.5}},
        error_x=error_x,
        hoverinfo="skip",
        cliponaxis=False,
    )


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
