"""From a mark of a chart to what lies behind it: a click on Compare opens the drill-down of the clicked model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from limit import charts
from limit.store.queries_gauntlet import CORE
from limit.store.schema import Row
from limit.ui.overview import named

VIEWS = ("both paradigms", "limit curve", "is it real?", "drill down")
PREFERENCE = "Preference"
_OPENED = "_opened_point"  # a click has just set the selectors, so they are drawn without a default of their own


def opening(chart_key: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Options of a chart whose points open the drill-down."""
    return {"on_select": partial(open_point, chart_key, rows), "selection_mode": "points"}


def open_point(chart_key: str, rows: Sequence[Row]) -> None:
    """Go from the clicked mark to its items: its model against the baseline (or the baseline against another)."""
    points = (st.session_state.get(chart_key) or {}).get("selection", {}).get("points") or []
    data = points[0].get("customdata") if points else None
    names = {row["key"]: name for name, row in named(rows).items()}
    key = data[0] if data else None
    clicked = next((row for row in rows if row["key"] == key), None)
    if clicked is None:
        return
    others = [
        row for row in rows if row["key"] != clicked["key"] and bool(row["eval_ids"]) == bool(clicked["eval_ids"])
    ]
    others.sort(key=lambda row: (row["layer"] != clicked["layer"], not row["is_baseline"]))
    st.session_state[_OPENED] = True
    st.session_state["view"] = VIEWS[3] if clicked["eval_ids"] or clicked["comparison_ids"] else VIEWS[2]
    _choose("a", names[clicked["key"]])
    if others:
        _choose("b", names[others[0]["key"]])
    measure = data[1] if data and len(data) > 1 else None
    if measure in CORE or measure == "preference":
        _choose("category", PREFERENCE if measure == "preference" else charts.category_label(measure))


def opened() -> bool:
    """Whether this run of the page follows a click that has set the selectors."""
    return bool(st.session_state.get(_OPENED))


def drawn() -> None:
    """The selectors are on the page; from here on they keep their values themselves."""
    st.session_state[_OPENED] = False


def _choose(key: str, value: str) -> None:
    """Set a selector of the drill-down; Streamlit keeps only those in the link that were shown before."""
    if key not in st.session_state:
        st.query_params[key] = value
    st.session_state[key] = value
