"""One comparison in full: what it says, how much is length or seat, whether its judge can be trusted, its pairs."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence

import streamlit as st

from limit import charts
from limit.core import Json, LimitError
from limit.formats import count, p_value, percent, percent_interval
from limit.judge.alpaca_eval import annotation_rows
from limit.judge.categories import of_category, prompt_categories
from limit.judge.judgments import Comparison
from limit.judge.quality import check_judge, is_checked, report
from limit.judge.readings import is_rubric
from limit.responses.prompt_sets import load_prompts
from limit.store import Store
from limit.store.schema import Row
from limit.ui.glossary import explain
from limit.ui.preferences_pairs import show_pairs
from limit.ui.preferences_rubric import show_readings
from limit.ui.preferences_style import show_length, show_style, show_topics
from limit.ui.preferences_trust import show_trust, warn_of_judge
from limit.ui.shell import note_line, open_workspace, plain, printable

VERDICTS = {
    "better": "The candidate's answers are preferred.",
    "worse": "The baseline's answers are preferred.",
    "cannot tell": "These verdicts cannot tell the two apart.",
}
SCORES = {  # of a judge that nobody has checked
    "better": "This judge scores the candidate's answers higher.",
    "worse": "This judge scores the baseline's answers higher.",
    "cannot tell": "This judge cannot tell the two apart.",
}
MISSING = {
    "invalid": "unreadable",
    "refused": "refused by the judge",
    "error": "without a reply",
    "skipped_budget": "not asked for want of budget",
}
RUBRICS = "Other rubrics"
HALF = "Mean score over prompts: a win counts 1, a tie one half, a verdict with probabilities as it is."


def show_comparison(store: Store, row: Row, rows: list[Row], palette: charts.Palette) -> None:
    """Sentence, figures, trust, pair reader and downloads of one comparison, on all its prompts or on one topic."""
    if not rows:
        st.info("This comparison has no verdicts yet.", icon=":material/hourglass_empty:")
        return
    comparison, topics = comparison_of(row), _topics(row, rows)
    every, topic = rows, _choose_topic(topics)
    rows = of_category(rows, topics, topic)
    mark = fingerprint(rows)
    with st.spinner("Counting verdicts", show_time=True):
        facts = _facts(row["comparison_id"], mark, comparison, rows)
        checks = _checks(row["comparison_id"], fingerprint(every), store.version, comparison, every)
    trusted = is_checked(comparison, checks)
    warn_of_judge(facts, trusted)
    _answer(row, facts, topic, trusted)
    _figures(facts)
    more = [RUBRICS] if is_rubric(comparison.judge) else []  # a program's verdicts can be read in other ways
    names = ["Read the pairs", "Length and style", "Can this judge be trusted?", "Download", *more]
    tabs = st.tabs(names, key="part", bind="query-params")
    with tabs[0]:
        show_pairs(row, rows)
    with tabs[1]:
        show_length(facts)
        show_topics(comparison, every, topics)
        show_style(row, rows, mark)
    with tabs[2]:
        show_trust(facts, checks)
    with tabs[3]:
        _downloads(comparison, every)
    if more:
        with tabs[4]:
            show_readings(row, comparison, rows, mark, palette)


def fingerprint(rows: Sequence[Row]) -> str:
    """Changes whenever a verdict does: a row that had to be asked again replaces one without changing their number."""
    told = "|".join(f"{row.get('judgement_key')}{row.get('status')}{row.get('verdict')}" for row in rows)
    return hashlib.blake2b(told.encode(), digest_size=12).hexdigest()


def _topics(row: Row, rows: Sequence[Row]) -> dict[str, str]:
    known: dict[str, str] = {}
    with contextlib.suppress(LimitError):  # verdicts may come from elsewhere, on prompts that are not at hand
        prompts = load_prompts(open_workspace(), row["prompt_set"] or "")
        known = {prompt.prompt_id: prompt.category for prompt in prompts if prompt.category}
    return prompt_categories(rows, known)


def _choose_topic(topics: Mapping[str, str]) -> str | None:
    """The topic of the URL or of the box; None for all prompts."""
    if not topics:
        return None
    names = ["all topics", *sorted(set(topics.values()))]
    chosen = st.selectbox("Topic of prompts", names, format_func=printable, key="topic", bind="query-params")
    return chosen if chosen in names[1:] else None


@st.cache_data(max_entries=16, show_spinner=False)
def _checks(comparison_id: str, mark: str, version: int, _comparison: Comparison, _rows: list[Row]) -> list[Json]:
    """Kept until the verdicts or anything else in the store change."""
    del comparison_id, mark, version
    return check_judge(open_workspace(), _comparison, _rows)


def comparison_of(row: Row) -> Comparison:
    """The comparison behind a row of the store."""
    return Comparison(
        comparison_id=row["comparison_id"],
        kind=row.get("kind") or "imported",
        baseline=row.get("baseline") or "baseline",
        candidate=row.get("candidate") or "candidate",
        prompt_set=row.get("prompt_set") or "unnamed",
        judge=row.get("judge") or "unknown judge",
    )


@st.cache_data(max_entries=16, show_spinner=False)
def _facts(comparison_id: str, mark: str, _comparison: Comparison, _rows: list[Row]) -> Json:
    del comparison_id, mark  # part of the cache key only
    return report(_comparison, _rows)


def _answer(row: Row, facts: Json, topic: str | None, trusted: bool) -> None:
    test = facts["sign_test"]
    needed = test["needed_prompts"]
    more = needed - facts["n_prompts"] if needed else 0
    settle = (
        f" About {count(more)} more prompts would settle it." if test["verdict"] == "cannot tell" and more > 0 else ""
    )
    st.subheader(plain(f"{row['label']}" + (f" on {topic}" if topic else "")), anchor=False)
    rate = percent_interval(facts["preference_pct"], facts["ci_low"], facts["ci_high"])
    st.markdown(
        f"**{(VERDICTS if trusted else SCORES)[test['verdict']]}** "
        + plain(
            f"{'Candidate preferred' if trusted else 'Candidate scored higher in'} {rate}; "
            f"better on {count(test['wins'])} prompts, worse on {count(test['losses'])} (sign test, "
            f"p {p_value(test['p_value'])}).{settle}"
        )
    )


def _figures(facts: Json) -> None:
    control, lean = facts["length_control"], facts["leanings"]
    columns = st.columns(5)
    columns[0].metric("Raw rate", percent(facts["preference_pct"]), help=explain("preference rate"), border=True)
    columns[1].metric("Ties as half", percent(facts["score_pct"]), help=HALF, border=True)
    columns[2].metric("At equal length", percent(control.rate_pct), help=explain("length-controlled"), border=True)
    columns[3].metric("Longer answer won", percent(lean["longer_pct"]), border=True)
    columns[4].metric(
        "Same in both orders", percent(lean["consistency_pct"]), help=explain("position consistency"), border=True
    )
    seeds = facts["per_seed_pct"]
    note_line(
        n=f"{count(facts['n_prompts'])} prompts, {count(facts['wins'])} won, {count(facts['losses'])} lost, "
        f"{count(facts['ties'])} tied, {count(facts['invalid'])} without a verdict{_missing_kinds(facts)}",
        missing=_missing(facts),
        seeds=", ".join(percent(seed) for seed in seeds) + _seed_words(facts) if len(seeds) > 1 else None,
        judge=facts["judge"],
    )


def _missing_kinds(facts: Json) -> str:
    """The reasons for missing verdicts, where there are several or one that is no invalid reply."""
    kinds = [f"{count(n)} {MISSING.get(status, status)}" for status, n in sorted(facts["missing"].items())]
    return f" ({', '.join(kinds)})" if set(facts["missing"]) - {"invalid"} else ""


def _missing(facts: Json) -> str | None:
    if not facts["invalid"] or facts["all_lost_pct"] is None:
        return None
    low, high = facts["all_lost_pct"], facts["all_won_pct"]
    return f"between {percent(low)} and {percent(high)} if they were all lost or all won"


def _seed_words(facts: Json) -> str:
    if facts["nested_low"] is None:
        return ""
    alone = f"; seeds alone, by t: [{facts['seed_low']:.1f}, {facts['seed_high']:.1f}]"
    nested = f"[{facts['nested_low']:.1f}, {facts['nested_high']:.1f}]"
    return f" (seed interval {nested}, nested bootstrap over seeds, then prompts{alone})"


def _downloads(comparison: Comparison, rows: list[Row]) -> None:
    st.download_button(
        "annotations.json (AlpacaEval)",
        data=lambda: json.dumps(annotation_rows(comparison, rows), ensure_ascii=False, indent=1).encode(
            "utf-8", "replace"
        ),
        file_name=f"{comparison.comparison_id}-annotations.json",
        mime="application/json",
        on_click="ignore",
    )
    st.download_button(
        "judgments.jsonl (every column)",
        data=lambda: "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-8", "replace"),
        file_name=f"{comparison.comparison_id}-judgments.jsonl",
        mime="application/jsonl",
        on_click="ignore",
    )
