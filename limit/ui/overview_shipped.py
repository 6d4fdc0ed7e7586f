"""Your own run of the embedded study beside the results that ship with it."""

from __future__ import annotations

import streamlit as st

from limit.core import Json
from limit.formats import accuracy, percent
from limit.ui.shell import open_workspace, plain


def show_difference(study: str, version: int) -> None:
    """A closed table with one line above it; nothing when the study was not run here or does not ship."""
    if not (open_workspace().studies / study / "study.json").is_file():
        return
    rows, words = _rows(study, str(open_workspace().root), version)
    if not rows:
        return
    with st.expander(f"Your embedded study against what ships: {plain(words)}"):
        st.dataframe([_line(row) for row in rows], hide_index=True, lazy=False, alt="Your study and the shipped one")
        st.caption(
            "The same mixes, seeds and models. On another processor the last digits of a finetune differ, and a few "
            "answers and items with them; larger differences mean that something else changed."
        )


@st.cache_data(max_entries=4, show_spinner=False)
def _rows(study: str, root: str, version: int) -> tuple[list[Json], str]:
    """The runs side by side and one line on them, kept until the store changes; `root` tells workspaces apart."""
    from limit.studies.difference import against_shipped, difference_text  # the Overview paints without it

    rows = against_shipped(open_workspace(), study)
    return rows, difference_text(rows)


def _line(row: Json) -> Json:
    return {
        "model": row["label"],
        "seed": "" if row["seed"] is None else str(row["seed"]),
        "Gauntlet, yours": accuracy(row["gauntlet"]),
        "Gauntlet, shipped": accuracy(row["gauntlet_shipped"]),
        "difference": _signed(row["gauntlet_difference"], 3),
        "preferred, yours": percent(row["preference"]),
        "preferred, shipped": percent(row["preference_shipped"]),
        "difference in points": _signed(row["preference_difference"], 1),
    }


def _signed(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:+.{digits}f}"
