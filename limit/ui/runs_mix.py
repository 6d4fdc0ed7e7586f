"""What a job's mix is made of: a thin bar for its card, the same as an image for a table cell."""

from __future__ import annotations

import base64
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

from limit.charts.composition import composition_html, composition_text
from limit.charts.palette import Palette
from limit.core import Json, LimitError, read_json
from limit.settings import Workspace
from limit.store.series import source_series
from limit.ui.shell import is_dark, plain, printable

CELL_WIDTH = 150  # pixels of the column
BAR_WIDTH, BAR_HEIGHT, BAR_TOP = 132, 13, 7
PICTURE_HEIGHT = 27  # a cell shows a picture this high and cuts off what is then too wide
DRAWN = 8  # sources with a piece of their own; the rest of a long mix is too thin to be seen


def mix_of(ws: Workspace, job: Json) -> str | None:
    """The mix that a job trains on, or on which the run was trained that it scores, answers with or judges."""
    mix_id, run_id = job["subject"].get("mix_id"), job["subject"].get("run_id")
    if mix_id or not run_id:
        return str(mix_id) if mix_id else None
    try:
        path = ws.run(str(run_id)) / "run.json"
        return _mix_of_run(str(path), path.stat().st_mtime_ns)
    except (LimitError, OSError):
        return None


@lru_cache(maxsize=5000)
def _mix_of_run(path: str, mtime_ns: int) -> str | None:
    mix_id = read_json(Path(path)).get("mix_id")
    return mix_id if isinstance(mix_id, str) else None


def mix_parts(ws: Workspace, mix_id: str | None) -> list[Json]:
    """{source, rows, series} of a mix in its order; empty without one."""
    try:
        path = ws.mix(mix_id) / "mix.json" if mix_id else None
        return _parts(str(path), path.stat().st_mtime_ns) if path is not None else []
    except (LimitError, OSError):
        return []


@st.cache_data(max_entries=1000, show_spinner=False)
def _parts(path: str, mtime_ns: int) -> list[Json]:
    """The sources of a mix file; rows that are no counts are left out, as such a file was not written by us."""
    rows: dict[str, int] = {}
    counts = read_json(Path(path)).get("counts")
    for row in counts if isinstance(counts, list) else []:
        if isinstance(row, dict) and isinstance(row.get("rows"), int) and row["rows"] > 0:
            source = printable(str(row.get("source")))[:80]
            rows[source] = rows.get(source, 0) + row["rows"]
    return [{"source": name, "rows": count, "series": source_series(name)} for name, count in rows.items()]


def mix_palette(parts: list[Json]) -> Palette:
    """Sources that are not the paper's draw their colours in the order of their names, as on the Mix page."""
    palette = Palette.dark() if is_dark() else Palette.light()
    return palette.with_mixes(sorted({part["series"] for part in parts}))


def show_mix_bar(ws: Workspace, job: Json) -> None:
    """The bar with its sources in words; nothing for a job without a mix."""
    parts = mix_parts(ws, mix_of(ws, job))
    if parts:
        st.html(composition_html(parts, mix_palette(parts)))
        st.caption(plain(composition_text(parts)))


def mix_bars(ws: Workspace, jobs: list[Json]) -> list[str | None]:
    """One image for each job, as a data URL that a table cell can show; None without a mix."""
    named = [mix_of(ws, job) for job in jobs]
    drawn: dict[str | None, str | None] = {}
    for mix_id in dict.fromkeys(named):
        parts = mix_parts(ws, mix_id)
        drawn[mix_id] = svg_url(parts, mix_palette(parts)) if parts else None
    return [drawn[mix_id] for mix_id in named]


def svg_url(parts: list[Json], palette: Palette) -> str:
    """The bar as an SVG picture of the largest sources; it holds numbers and colours only, never a name."""
    total, x, pieces = sum(part["rows"] for part in parts), 0.0, []
    place = f'y="{BAR_TOP}" height="{BAR_HEIGHT}"'
    for part in sorted(parts, key=_rows, reverse=True)[:DRAWN]:
        width = BAR_WIDTH * part["rows"] / total
        colour = palette.colour(part["series"])
        pieces.append(f'<rect x="{x:.1f}" {place} width="{width:.1f}" fill="{colour}"/>')
        x += width
    frame = f'<rect {place} width="{BAR_WIDTH}" fill="none" stroke="{palette.edge}"/>'
    size = f'width="{BAR_WIDTH}" height="{PICTURE_HEIGHT}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(pieces)}{frame}</svg>'
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _rows(part: dict[str, Any]) -> int:
    return int(part["rows"])
