"""Several models on one scale: Bradley-Terry strengths, and sign tests corrected for looking at many pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from limit.formats import count, p_value, percent_interval
from limit.judge.ranking import bradley_terry, prompt_scores, sign_tests
from limit.store.schema import Row
from limit.ui.shell import note_line, plain


def show_ranking(rows: Sequence[Row], load: Callable[[Row], list[Row]]) -> None:
    """For each prompt set and judge with two comparisons or more; `load` gives a comparison's judgments."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["prompt_set"] or "unnamed", row["judge"] or "unknown judge"), []).append(row)
    groups = {key: group for key, group in groups.items() if len(group) > 1}
    if not groups or not st.toggle("Rank all models on one scale", key="rank", bind="query-params"):
        return
    for (prompt_set, judge), group in groups.items():
        st.markdown(f"**{plain(prompt_set)}**, judged by {plain(judge)}")
        _show_group(group, [load(row) for row in group])


def _show_group(group: Sequence[Row], judged: Sequence[list[Row]]) -> None:
    games = [
        (str(row["baseline"]), str(row["candidate"]), score, prompt)
        for row, rows in zip(group, judged, strict=True)
        for prompt, score in prompt_scores(rows).items()
    ]
    if not games:
        st.info("No verdicts yet.", icon=":material/info:")
        return
    baselines = [game[0] for game in games]
    anchor = max(sorted(set(baselines)), key=baselines.count)
    strengths = [
        {
            "model": entry["model"],
            f"wins against {anchor}": percent_interval(entry["win_pct"], entry["low"], entry["high"]),
            "prompts": count(entry["games"]),
        }
        for entry in bradley_terry(games, anchor)
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
        for row, test in zip(group, sign_tests(judged), strict=True)
    ]
    st.dataframe(tests, hide_index=True, lazy=False, alt="Sign tests")
    note_line(
        model="Bradley-Terry over prompts, ties half",
        interval="95 % bootstrap over prompts",
        test=f"exact sign test over prompts, Holm's correction over {len(tests)} comparisons",
    )
