"""What a rate is made of: length, topics of prompts, and the style of each model's answers, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from limit.core import Json
from limit.formats import count, percent, percent_interval
from limit.judge.answers import answer_style
from limit.judge.categories import by_category
from limit.judge.judgments import Comparison
from limit.store.schema import Row
from limit.ui.shell import note_line, plain


def show_length(facts: Json) -> None:
    """The rate at equal length, and the rate in each third of length ratios."""
    control = facts["length_control"]
    if control.rate_pct is None:
        st.markdown(plain(f"No length-controlled rate: {control.reason}."))
    else:
        rate = percent_interval(control.rate_pct, control.low, control.high)
        st.markdown(
            plain(
                f"If both answers were equally long the candidate would be preferred {rate}, against "
                f"{percent(facts['score_pct'])} as judged, ties as half in both. This is our minimal model; "
                "it does not compare with AlpacaEval's leaderboard."
            )
        )
    table = [
        {
            "candidate's length over baseline's": f"{third['ratio_low']:.2f} to {third['ratio_high']:.2f}",
            "candidate's score": percent(third["rate_pct"]),
            "pairs": count(third["n"]),
        }
        for third in facts["length_thirds"]
    ]
    if table:
        st.dataframe(table, hide_index=True, lazy=False, alt="Score by length ratio")


def show_topics(comparison: Comparison, rows: Sequence[Row], topics: Mapping[str, str]) -> None:
    """What the comparison came to on each topic of its prompts."""
    if not topics:
        return
    table = [
        {
            "topic": entry["category"],
            "preferred": percent_interval(entry["preference_pct"], entry["ci_low"], entry["ci_high"]),
            "prompts": count(entry["n_prompts"]),
            "won": count(entry["wins"]),
            "lost": count(entry["losses"]),
            "tied": count(entry["ties"]),
            "without a verdict": count(entry["invalid"]),
        }
        for entry in by_category(comparison, rows, topics)
    ]
    st.markdown("**Topics of prompts**")
    st.dataframe(table, hide_index=True, lazy=False, alt="Preference by topic")
    note_line(interval="95 % bootstrap over the topic's prompts", note="not corrected for looking at many topics")


def show_style(row: Row, rows: list[Row], mark: str) -> None:
    """How each model answers; `mark` changes when the rows do."""
    names = (row.get("baseline") or "baseline", row.get("candidate") or "candidate")
    sides = [_style(row["comparison_id"], mark, side, rows) for side in (1, 2)]
    st.markdown("**How each model answers**")
    st.dataframe(style_table(sides, names), hide_index=True, lazy=False, alt="Style of both models' answers")
    note_line(
        n=f"{count(sides[0]['n'])} and {count(sides[1]['n'])} different answers",
        shares="rough patterns, interval Wilson, 95 %",
        lengths="characters",
    )
    for column, side, name in zip(st.columns(2), sides, names, strict=True):
        with column:
            _openings(side, str(name))


def style_table(sides: Sequence[Json], names: Sequence[str]) -> list[Row]:
    """Rows of words for both sides: lengths, empty answers, habits."""
    one, two = sides
    first, second = (str(names[0]), str(names[1])) if names[0] != names[1] else ("baseline", "candidate")
    lengths = (("p10", "shortest tenth up to"), ("p50", "median length"), ("p90", "longest tenth from"))
    table: list[Row] = []
    for key, words in lengths:
        sizes = [count(round(side["response_chars"][key])) for side in sides]
        table.append({"answers": words, first: sizes[0], second: sizes[1]})
    table.append({"answers": "empty", first: count(one["empty"]), second: count(two["empty"])})
    for left, right in zip(one["habits"], two["habits"], strict=True):
        table.append({"answers": f"with {_habit_name(left)}", first: _share(left), second: _share(right)})
    return table


def _habit_name(habit: Json) -> str:
    return str(habit["name"]).removeprefix("answers of ")


def _share(habit: Json) -> str:
    if habit["share"] is None:
        return "n/a"
    return percent_interval(100 * habit["share"], 100 * habit["low"], 100 * habit["high"])


def _openings(side: Json, name: str) -> None:
    st.caption(plain(f"Commonest first words of {name}"))
    if not side["openings"]:
        st.markdown("No two answers begin alike.")
        return
    table = [{"begins with": start["words"], "answers": percent(100 * start["share"])} for start in side["openings"]]
    st.dataframe(table, hide_index=True, lazy=False, alt=f"First words of {name}")


@st.cache_data(max_entries=32, show_spinner=False)
def _style(comparison_id: str, mark: str, side: int, _rows: list[Row]) -> Json:
    del comparison_id, mark  # part of the cache key only
    return answer_style(_rows, side)
