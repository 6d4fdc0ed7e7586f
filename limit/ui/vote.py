"""The Vote page: choose what to vote on, vote blind by keys, and see what it came to after the last pair."""

from __future__ import annotations

import time

import streamlit as st

from limit.access import may
from limit.core import Json, LimitError
from limit.formats import count, percent_interval
from limit.judge.judgments import Comparison
from limit.judge.runner import Pair
from limit.judge.votes import (
    MAX_NAME,
    Ballot,
    Choice,
    Turn,
    ballot_of_runs,
    cast,
    make_ballot,
    next_turn,
    outcome,
    reveal,
    signed_in,
    voter_name,
)
from limit.store import Store
from limit.store.queries_preferences import comparisons
from limit.store.queries_runs import answered_runs, runs
from limit.store.schema import Row
from limit.ui.clicks import clicked, submitted
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
    printable,
    show_error,
)

VOTER = "ballot-name"  # in the session while the page is open
HOW_MANY = (10, 20, 50, 100, 300)
VIEWER = "Voting is for analysts; you are a viewer."
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
        chosen = st.query_params.get("on") or ""
        if not chosen and VOTER not in st.session_state:
            store.refresh()  # whoever comes to choose waits for a look at the files, however long it takes
        sources, answered = _sources(store), _answered_runs(store)
        if chosen and chosen not in sources and "/" not in chosen:
            store.refresh()  # the link may be younger than the last look at the files
            sources = _sources(store)
        voter = st.query_params.get("voter")
        if voter and (chosen in sources or chosen.count("/") == 2):
            _ballot(store, voter, chosen, sources.get(chosen))
            return
        if chosen and chosen not in sources:
            st.info("There is no such ballot here; choose another.", icon=":material/link_off:")
        if sources or answered:
            _set_up(store, sources, answered)
        else:
            next_step(
                "There are no pairs of answers yet: import verdicts, or let two runs answer the same prompts.",
                "pages/preferences.py",
                "Preferences",
            )


def _ballot(store: Store, voter: str, chosen: str, source: Row | None) -> None:
    """The next pair, or the outcome, of whoever may vote under this name; else why not, and a click back."""
    own = signed_in()
    if not may("analyst"):
        st.info(VIEWER, icon=":material/info:")
        st.page_link("pages/preferences.py", label="See what readers prefer", icon=":material/arrow_forward:")
    elif own is not None and " ".join(voter.split()) != own:
        st.info(plain(f"This is the ballot of {voter[:80]}; you are signed in as {own}."), icon=":material/info:")
        if st.button("Vote on it as yourself"):
            _begin(own, chosen, _how_many())
    else:
        try:
            _vote_on_comparison(store, source) if source else _vote_on_runs(*chosen.split("/"))
        except LimitError as error:
            show_error(str(error))
            _start_over()


def _start_over() -> None:
    if st.button("Vote on something else"):
        st.query_params.clear()
        st.rerun()


def _sources(store: Store) -> dict[str, Row]:
    """Comparisons whose answers can be voted on, by id."""
    return {row["comparison_id"]: row for row in comparisons(store) if row.get("kind") != "votes"}


def _answered_runs(store: Store) -> dict[str, list[str]]:
    """Prompt sets that two runs or more have answered, with those runs."""
    return {prompts: able for prompts, able in answered_runs(store).items() if len(able) > 1}


def _set_up(store: Store, sources: dict[str, Row], answered: dict[str, list[str]]) -> None:
    if not may("analyst"):
        st.info(VIEWER, icon=":material/info:")
        return
    st.markdown(
        "You will read a prompt and two answers in random order, without names. Your votes are kept as you go: "
        "come back under the same name and you go on where you stopped."
    )
    if sources:
        _choose_comparison(sources)
    if answered:
        with st.expander("Two runs that nobody has compared yet", expanded=not sources, icon=":material/compare:"):
            _choose_runs(store, answered)


def _choose_comparison(sources: dict[str, Row]) -> None:
    names = {
        id_: f"{row['prompt_set']} prompts · ballot {number}" for number, (id_, row) in enumerate(sources.items(), 1)
    }
    with st.form("ballot"):
        voter = _ask_name(VOTER)
        chosen = st.selectbox("Vote on", list(names), format_func=lambda id_: printable(names[id_]))
        many = st.segmented_control("Pairs", HOW_MANY, default=20, required=True)
        if submitted("Start", "vote-start", type="primary"):
            _begin(voter, chosen or "", many)


def _ask_name(key: str) -> str:
    """The name to vote under; where there is a login, it is the login's."""
    own = signed_in()
    words = "Only to tell voters apart and to resume." if own is None else "As you are signed in."
    typed = st.text_input("Your name", own or "", MAX_NAME, key=key, help=words, disabled=own is not None)
    return own or typed


def _choose_runs(store: Store, answered: dict[str, list[str]]) -> None:
    """Whoever sets up a ballot sees the names once; on which side they stand stays hidden."""
    names = {run["run_id"]: printable(run["name"] or run["run_id"]) for run in runs(store)}
    prompts = st.selectbox("Prompts", list(answered), format_func=printable, key="ballot-prompts")
    left, right = st.columns(2)
    baseline = left.selectbox(
        "One run", answered[prompts], format_func=lambda id_: names.get(id_, id_), key="ballot-one"
    )
    others = [run_id for run_id in answered[prompts] if run_id != baseline]
    candidate = right.selectbox("Other run", others, format_func=lambda id_: names.get(id_, id_), key="ballot-other")
    voter = _ask_name("ballot-voter")
    many = st.segmented_control("Pairs", HOW_MANY, default=20, required=True, key="ballot-many")
    if clicked("Start with these runs", "vote-start-runs"):
        _begin(voter, f"{prompts}/{baseline}/{candidate}", many)


def _begin(voter: str, on: str, many: int | None) -> None:
    st.query_params.update({"voter": voter_name(voter), "on": on, "n": str(many or 20)})
    st.rerun()


def _how_many() -> int:
    asked = st.query_params.get("n", "20")
    return int(asked) if asked in map(str, HOW_MANY) else 20


def _vote_on_comparison(store: Store, source: Row) -> None:
    rows = _rows(store, source)
    _vote(make_ballot(comparison_of(source), rows, _how_many()), rows)


def _vote_on_runs(prompts: str, baseline: str, candidate: str) -> None:
    _vote(ballot_of_runs(open_workspace(), baseline, candidate, prompts, _how_many()), [])


def _vote(ballot: Ballot, judged: list[Row]) -> None:
    voter = voter_name(st.query_params["voter"])
    turn = next_turn(open_workspace(), ballot, voter)
    if turn is None:
        _show_outcome(ballot, voter, judged)
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
        # The key names the turn and the pair is an argument: a key pressed twice votes on no pair that was not seen.
        arguments = (ballot, voter, turn.pair, choice, since)
        column.button(
            label, shortcut=key, width="stretch", key=f"vote-{choice}-{turn.number}", on_click=_cast, args=arguments
        )
    if turn.number > 1 and st.button("Finish here and see what it came to", type="tertiary"):
        reveal(open_workspace(), ballot, voter)
        st.rerun()


def _cast(ballot: Ballot, voter: str, pair: Pair, choice: Choice, since: float) -> None:
    with errors_in_words():
        cast(open_workspace(), ballot, voter, pair, choice, round(time.monotonic() - since, 2))


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
        if judged:
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
    _start_over()


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
