"""Several models on one scale: Bradley-Terry strengths, and sign tests corrected for looking at many pairs."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from limit.core import Json
from limit.formats import count, p_value, percent_interval
from limit.judge.ranking import bradley_terry, sign_tests
from limit.store import Store
from limit.store.queries_preferences import scores_of
from limit.store.schema import Row
from limit.ui.shell import note_line, plain


def show_ranking(store: Store, rows: Sequence[Row]) -> None:
    """For each prompt set and judge with two comparisons or more."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["prompt_set"] or "unnamed", row["judge"] or "unknown judge"), []).append(row)
    groups = {key: group for key, group in groups.items() if len(group) > 1}
    if not groups or not st.toggle("Rank all models on one scale", key="rank", bind="query-params"):
        return
    for (prompt_set, judge), group in groups.items():
        st.markdown(f"**{plain(prompt_set)}**, judged by {plain(judge)}")
        _show_group(store, group)


def _ranked(store: Store, group: Sequence[Row]) -> tuple[str, list[Json], list[Json]]:
    """The anchor, the strengths of all models and the sign test of each comparison, once for the data at hand."""
    ids = [row["comparison_id"] for row in group]
    key = f"ranking {' '.join(ids)}"

    def rank(_: list[str]) -> dict[str, tuple[str, list[Json], list[Json]]]:
        with st.spinner("Ranking", show_time=True):
            found = scores_of(store, ids)
            names = [(str(row["baseline"]), str(row["candidate"])) for row in group]
            scores = [found.get(id_, {}) for id_ in ids]
            games = dict.fromkeys((pair[0] for pair in names), 0)
            for pair, by_prompt in zip(names, scores, strict=True):
                games[pair[0]] += len(by_prompt)
            anchor = max(sorted(games), key=games.__getitem__)
            judged = [(*pair, by_prompt) for pair, by_prompt in zip(names, scores, strict=True)]
            return {key: (anchor, bradley_terry(judged, anchor), sign_tests(scores) if games[anchor] else [])}

    return store.hold([key], rank)[0]


def _show_group(store: Store, group: Sequence[Row]) -> None:
    anchor, ranked, tested = _ranked(store, group)
    if not tested:
        st.info("No verdicts yet.", icon=":material/info:")
        return
    strengths = [
        {
            "model": entry["model"],
            f"wins against {anchor}": percent_interval(entry["win_pct"], entry["low"], entry["high"]),
            "prompts": count(entry["games"]),
        }
        for entry in ranked
    ]
    st.dataframe(strengths, hide_index=True, lazy=False, alt=f"Strengths relative to {anchor}")
    tests = [
        {
            "comparison": row["label"],
            "better on": count(test["wins"]),
            "worse on": count(test["losses"]),
            "p after Holm": p_value(test["p_holm"]).removeprefix("= "),
            "verdict": test["verdict"],
        }
        for row, test in zip(group, tested, strict=True)
    ]
    st.dataframe(tests, hide_index=True, lazy=False, alt="Sign tests")
    note_line(
        model="Bradley-Terry over prompts, ties half",
        interval="95 % bootstrap over prompts",
        test=f"exact sign test over prompts, Holm's correction over {len(tests)} comparisons",
    )
