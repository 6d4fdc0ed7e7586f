"""What a mix is made of, as one thin bar: a figure for charts, HTML for table rows."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from limit.charts.palette import Palette

Row = dict[str, Any]


def composition_html(parts: Sequence[Row], palette: Palette) -> str:
    """A bar as HTML; each part {source, subset?, rows, series?}. Names are escaped; an empty mix is an empty bar."""
    total = sum(part["rows"] or 0 for part in parts)
    words, spans = [], []
    for part in parts:
        name = f"{part['source']}/{part['subset']}" if part.get("subset") else str(part["source"])
        title = f"{name}: {part['rows'] or 0:,}"
        words.append(title)
        if total:
            width = 100 * (part["rows"] or 0) / total
            colour = palette.colour(part.get("series") or str(part["source"]))
            spans.append(
                f'<span title="{html.escape(title)}" style="width:{width:.2f}%;background:{colour};'
                f'border-right:1px solid {palette.edge}"></span>'
            )
    label = html.escape("; ".join(words) or "no samples")
    edge = f"box-shadow:0 0 0 1px {palette.grid}"
    return f'<div class="limit-bar" role="img" style="{edge}" aria-label="{label}">{"".join(spans)}</div>'


def composition_text(parts: Sequence[Row]) -> str:
    """`lima 1,000 + instruct 5,000`, or `no samples`."""
    words = [
        f"{part['source']}{'/' + part['subset'] if part.get('subset') else ''} {part['rows'] or 0:,}" for part in parts
    ]
    return " + ".join(words) or "no samples"
