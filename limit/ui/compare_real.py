"""Is it real? A sentence and a verdict for each category and for preference, for any two models."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from limit.claims.difference import READING_ERROR, changed_tasks, compare_models
from limit.claims.evidence import AS_PUBLISHED
from limit.store import Store
from limit.store.schema import Row
from limit.ui.compare_click import opened
from limit.ui.overview import named
from limit.ui.shell import note_line, plain

CHIPS = {"better": ":blue-badge[better]", "worse": ":orange-badge[worse]", "cannot tell": ":gray-badge[cannot tell]"}


def choose_two(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    """Two models of the study, kept in the URL; None while there is only one."""
    if len(rows) < 2:
        st.info("Two models are needed here.", icon=":material/info:")
        return None
    by_name = named(rows)
    names = list(by_name)
    left, right = st.columns(2)
    with left:
        first = st.selectbox("A", names, 0 if opened() else len(names) - 1, key="a", bind="query-params")
    with right:
        others = [name for name in names if name != first]
        known = next((i for i, name in enumerate(others) if by_name[name]["x"] is not None), 0)
        second = st.selectbox("B", others, 0 if opened() else known, key="b", bind="query-params")
    return by_name[first], by_name[second]


def show_real(store: Store, rows: Sequence[Row]) -> None:
    """The lines of one comparison."""
    chosen = choose_two(rows)
    if chosen is None:
        return
    a, b = chosen
    lines = cached_lines(store, a, b)
    for line in lines:
        chip, words = st.columns([1, 7], vertical_alignment="center")
        if line["basis"] == READING_ERROR and line["verdict"] != "cannot tell":
            chip.markdown(":gray-badge[as published]", help=AS_PUBLISHED)
        else:
            chip.markdown(CHIPS[line["verdict"]])
        n = f" :gray[n = {line['n']:,} {line['unit']}]" if line["n"] else ""
        words.markdown(f"{plain(line['sentence'])}{n}")
    _note(lines, a, b)
    warn_of_changed(store, a, b)
    tested = [line for line in lines if _tested(line)]
    told = [line for line in tested if line["verdict"] != "cannot tell"]
    st.caption(f"{len(told)} of {len(tested)} tested differences can be told from chance.")


def warn_of_changed(store: Store, a: Row, b: Row) -> None:
    """Name the tasks whose items were left out because they are not the same questions."""
    tasks = changed_tasks(store, a, b)
    if tasks:
        words = f"Left out: {', '.join(tasks)}. The files or settings of these tasks were changed between the two"
        st.warning(plain(f"{words} evaluations, so their items are other questions; evaluate both again to pair them."))


def _tested(line: Row) -> bool:
    """Whether there was something to compare and its sampling error was known."""
    return line["estimate"] is not None and line["basis"] != READING_ERROR


def cached_lines(store: Store, a: Row, b: Row) -> list[Row]:
    """The lines of `compare_models`, computed once for the data at hand."""
    return _lines(store.version, a["key"], b["key"], store, a, b)


@st.cache_data(show_spinner="Comparing item by item", max_entries=256)
def _lines(version: int, key_a: str, key_b: str, _store: Store, _a: Row, _b: Row) -> list[Row]:
    return compare_models(_store, _a, _b)


def _note(lines: Sequence[Row], a: Row, b: Row) -> None:
    bases = {line["basis"] for line in lines}
    paired = "paired over items and prompts, seeds averaged first; 95 % bootstrap; p by Holm over these lines"
    published = "only the reading error of the figure is known, and the intervals of the released verdicts"
    note_line(
        basis=paired if "paired" in bases else published,
        protocol=" / ".join(dict.fromkeys(row["protocol"] for row in (a, b) if row["protocol"])),
        runs=", ".join([*a["run_ids"], *b["run_ids"]]) or None,
    )
