"""What a mix is made of, as one thin bar: a figure for charts, HTML for table rows."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from limit.charts.palette import Palette

Row = dict[str, Any]
MANY_SUBSETS = 8  # of one source; a bar of more would be stripes, and its legend a list


def by_source(parts: Sequence[Row]) -> list[Row]:
    """The parts with each source of many subsets as one part, in the place of its first; `subsets` counts them."""
    members: dict[str, list[Row]] = {}
    for part in parts:
        members.setdefault(str(part["source"]), []).append(part)
    shown: list[Row] = []
    for group in members.values():
        if len(group) <= MANY_SUBSETS:
            shown += group
        else:
            rows = sum(part["rows"] or 0 for part in group)
            shown.append({**group[0], "subset": None, "subsets": len(group), "rows": rows})
    return shown


def _name(part: Row) -> str:
    return f"{part['source']}/{part['subset']}" if part.get("subset") else str(part["source"])


def _subsets(part: Row) -> str:
    return f" ({part['subsets']} subsets)" if part.get("subsets") else ""


def composition_html(parts: Sequence[Row], palette: Palette) -> str:
    """A bar as HTML; each part {source, subset?, rows, series?}. Names are escaped; an empty mix is an empty bar."""
    total = sum(part["rows"] or 0 for part in parts)
    words, spans = [], []
    for part in by_source(parts):
        title = f"{_name(part)}: {part['rows'] or 0:,}{_subsets(part)}"
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
    """`lima 1,000 + instruct 5,000 (12 subsets)`, or `no samples`."""
    words = [f"{_name(part)} {part['rows'] or 0:,}{_subsets(part)}" for part in by_source(parts)]
    return " + ".join(words) or "no samples"
