"""The Gauntlet's panels as pages show them: six side by side, and one below the other where the screen is narrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from limit import charts
from limit.store import Store
from limit.store.schema import Row
from limit.ui.shell import chart

PHONE_PANEL_PX = 235  # six panels need room: a phone gets them one below the other


def show_panels(
    store: Store, rows: Sequence[Row], palette: charts.Palette, key: str, options: Callable[[str], dict[str, Any]]
) -> None:
    """Both forms, of which the reader's screen shows one; `options` gives those of the chart of a key."""
    wide, phone = key, f"{key}_phone"
    st.html(
        f"<style>@media (max-width: 640px) {{ .st-key-{wide} {{ display: none; }} }}"
        f"@media (min-width: 641px) {{ .st-key-{phone} {{ display: none; }} }}</style>"
    )
    for name in (wide, phone):
        figure = _drawn(store.version, repr(rows), palette.mode, name == phone, rows, palette)
        chart(figure, charts.panels_alt(rows), key=name, **options(name))


@st.cache_resource(show_spinner=False, max_entries=64)
def _drawn(version: int, drawn: str, mode: str, narrow: bool, _rows: Sequence[Row], _palette: charts.Palette) -> Any:
    """The panels of some rows, built once: plotly takes longer over them than the page over everything else."""
    if not narrow:
        return charts.gauntlet_panels(_rows, _palette, columns=3)
    panels = len({row["category"] for row in _rows} & set(charts.PANELS)) or 1
    return charts.gauntlet_panels(_rows, _palette, columns=1, height=PHONE_PANEL_PX * panels + 60)
