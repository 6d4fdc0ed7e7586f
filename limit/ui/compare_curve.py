"""The limit curve: what each number of samples buys, and from which size on more cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from limit import charts
from limit.claims.sizes import Sufficient, curve_rows, families, smallest_sufficient
from limit.store import Store
from limit.store.queries_gauntlet import CORE
from limit.store.queries_models import protocols
from limit.store.schema import Row
from limit.ui.compare_click import opening
from limit.ui.overview import palette_for
from limit.ui.shell import chart, next_step, note_line, plain

MEASURES = ("average", "preference", *CORE)
PERCENT_TITLE = "preferred over the baseline (%)"


def show_curve(store: Store, rows: Sequence[Row]) -> None:
    """One measure by size, a line for each family of mixes, and the answer in words."""
    measure = st.selectbox(
        "Measure", MEASURES, format_func=_measure_label, key="measure", bind="query-params", width=340
    )
    drawn = [{**row, "measure": measure} for row in curve_rows(rows, measure)]
    groups = _families(rows)
    answers = {name: _answer(store, members, measure) for name, members in groups.items()}
    if len({row["size"] for row in drawn if row["score"] is not None}) < 2:
        words = "A curve needs at least two sizes of one kind of mix."
        next_step(words, "pages/launch.py", "Launch a size curve", {"what": "a study", "plan": "size-curve"})
        return
    title = PERCENT_TITLE if measure == "preference" else f"{_measure_label(measure)} (score above chance)"
    figure = charts.limit_curve(
        drawn,
        palette_for(store).with_mixes(row["series"] for row in drawn if row["series"]),
        y_title=title,
        sufficient={name: found.at_least for name, found in answers.items() if found and found.at_least},
    )
    chart(figure, charts.curve_alt(drawn, title), key="compare_curve", **opening("compare_curve", rows))
    note_line(
        protocol=" / ".join(protocols(rows)),
        band="reading error; bootstrap over prompts"
        if rows[0]["origin"] == "published"
        else "95 %, over seeds from three on",
        size="samples in the mix, log axis",
    )
    for name, answer in answers.items():
        if answer is not None:
            st.markdown(f"**{plain(name)}** · {plain(answer.sentence)}")
    if any(row["origin"] == "published" for row in rows):
        st.caption("The paper's sizes differ in what they hold, too: LIMA, a mix, and all of Instruct.")


def _families(rows: Sequence[Row]) -> dict[str, list[Row]]:
    names = families(rows)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["key"] in names:
            groups.setdefault(names[row["key"]], []).append(row)
    return groups


def _answer(store: Store, members: list[Row], measure: str) -> Sufficient | None:
    """`smallest_sufficient`, computed once for the data at hand."""
    key = f"answer {measure} {' '.join(row['key'] for row in members)}"

    def compare(_: list[str]) -> dict[str, Sufficient | None]:
        with st.spinner("Comparing sizes with the full set"):
            return {key: smallest_sufficient(store, members, measure)}

    return store.hold([key], compare)[0]


def _measure_label(measure: str) -> str:
    return "Preference" if measure == "preference" else charts.category_label(measure)
