"""The Vote page: choose what to vote on, vote blind by keys, and see what it came to after the last pair."""

from __future__ import annotations

import time

import streamlit as st

from limit.core import Json
from limit.formats import count, percent_interval
from limit.judge.judgments import Comparison
from limit.judge.votes import Ballot, Choice, Turn, cast, make_ballot, next_turn, outcome, reveal, voter_name
from limit.store import Store
from limit.store.queries_preferences import comparisons
from limit.store.schema import Row
from limit.ui.preferences import load_rows
from limit.ui.preferences_detail import comparison_of
from limit.ui.preferences_pairs import show_prose
from limit.ui.shell import (
    errors_in_words,
    next_step,
    note_line,
    open_store,
    open_workspace,
    page_head,
    plain,
)

HOW_MANY = (10, 20, 50, 100, 300)
BUTTONS: tuple[tuple[str, Choice, str], ...] = (
    ("Left is better", "left", "1"),
    ("No difference", "tie", "0"),
    ("Right is better", "right", "2"),
    ("Skip", "skip", "s"),
)


def show() -> None:
    """The whole page; while voting, nothing but the pair."""
    page_head("Vote", "Which of two answers is better, when you cannot see who wrote them?")
    with errors_in_words():
        store = open_store()
        sources = _sources(store)
        if not sources:
            next_step(
                "There are no pairs of answers yet: import verdicts or judge two runs, then vote on their answers.",
                "pages/preferences.py",
                "Preferences",
            )
            return
        chosen = st.query_params.get("on")
        if st.query_params.get("voter") and chosen in sources:
            _vote(store, sources[chosen])
        else:
            _set_up(sources)


def _sources(store: Store) -> dict[str, Row]:
    """Comparisons whose answers can be voted on, by id."""
    return {row["comparison_id"]: row for row in comparisons(store) if row.get("kind") != "votes"}


def _set_up(sources: dict[str, Row]) -> None:
    st.markdown(
        "You will read a prompt and two answers in random order, without names. Your votes are kept as you go: "
        "come back under the same name and you go on where you stopped."
    )
    names = {
        id_: f"{row['prompt_set']} prompts · ballot {number}" for number, (id_, row) in enumerate(sources.items(), 1)
    }
    with st.form("ballot"):
        voter = st.text_input("Your name", max_chars=60, help="Only to tell voters apart and to resume.")
        chosen = st.selectbox("Vote on", list(names), format_func=lambda id_: names[id_])
        many = st.segmented_control("Pairs", HOW_MANY, default=20, required=True)
        if st.form_submit_button("Start", type="primary"):
            st.query_params.update({"voter": voter_name(voter), "on": chosen or "", "n": str(many or 20)})
            st.rerun()


def _vote(store: Store, source: Row) -> None:
    voter = voter_name(st.query_params["voter"])
    asked = st.query_params.get("n", "20")
    rows = _rows(store, source)
    ballot = make_ballot(comparison_of(source), rows, int(asked) if asked in map(str, HOW_MANY) else 20)
    turn = next_turn(open_workspace(), ballot, voter)
    if turn is None:
        _show_outcome(ballot, voter, rows)
        return
    _show_turn(ballot, voter, turn)


def _rows(store: Store, source: Row) -> list[Row]:
    found = store.rows("select file from comparisons where comparison_id = ?", [source["comparison_id"]])
    return load_rows(store, found[0]["file"]) if found else []


def _show_turn(ballot: Ballot, voter: str, turn: Turn) -> None:
    shown = st.session_state.setdefault("vote_shown", {})
    since = shown.setdefault((turn.pair.prompt_id, turn.number), time.monotonic())
    st.progress((turn.number - 1) / turn.total, text=f"{count(turn.number - 1)} of {count(turn.total)} done")
    st.caption("Prompt")
    show_prose(turn.pair.prompt)
    texts = (turn.pair.text_1, turn.pair.text_2)
    left, right = st.columns(2)
    for column, side, text in ((left, "Left", texts[turn.first - 1]), (right, "Right", texts[2 - turn.first])):
        with column:
            st.caption(side)
            show_prose(text or "(empty)")
    for column, (label, choice, key) in zip(st.columns(4), BUTTONS, strict=True):
        if column.button(label, shortcut=key, width="stretch", key=f"vote-{choice}"):
            cast(open_workspace(), ballot, voter, turn.pair, choice, round(time.monotonic() - since, 2))
            st.rerun()
    if turn.number > 1 and st.button("Finish here and see what it came to", type="tertiary"):
        reveal(open_workspace(), ballot, voter)
        st.rerun()


def _show_outcome(ballot: Ballot, voter: str, judged: list[Row]) -> None:
    ws = open_workspace()
    facts = outcome(ws, ballot, voter, judged)
    mine, everybody, comparison = facts["mine"], facts["all"], ballot.comparison
    if not mine["n_prompts"]:
        st.info("You skipped every pair, so there is nothing to count.", icon=":material/info:")
    else:
        reveal(ws, ballot, voter)
        st.subheader("What it came to", anchor=False)
        st.markdown(plain(_sentence("You preferred", mine, comparison)))
        if facts["voters"] > 1:
            st.markdown(plain(_sentence(f"All {facts['voters']} voters preferred", everybody, comparison)))
        st.markdown(plain(agreement_words("the judge", facts["with_judge"])))
        if facts["voters"] > 1:
            st.markdown(plain(agreement_words("the other voters", facts["with_voters"])))
        note_line(
            n=f"{count(mine['n_prompts'])} prompts",
            interval="95 % bootstrap over prompts",
            ceiling="people agree with each other on about two open-ended pairs in three (AlpacaEval)",
        )
        id_ = comparison.comparison_id
        st.page_link("pages/preferences.py", label="See the votes beside the judges", query_params={"comparison": id_})
    if st.button("Vote on something else"):
        st.query_params.clear()
        st.rerun()


def _sentence(start: str, summary: Json, comparison: Comparison) -> str:
    rate = percent_interval(summary["preference_pct"], summary["ci_low"], summary["ci_high"])
    return (
        f"{start} {comparison.candidate} to {comparison.baseline} in {rate} of decided votes: {count(summary['wins'])} "
        f"won, {count(summary['losses'])} lost, {count(summary['ties'])} tied."
    )


def agreement_words(who: str, facts: Json) -> str:
    """How far a voter agrees with somebody, in a sentence."""
    if not facts["n"]:
        return f"There are no verdicts of {who} on the pairs you voted on."
    rate = percent_interval(facts["agree_pct"], facts["ci_low"], facts["ci_high"])
    kappa = f"kappa {facts['kappa']:.2f}" if facts["kappa"] is not None else f"no kappa: {facts['why']}"
    return f"You agree with {who} on {rate} of {count(facts['n'])} pairs ({kappa})."
