"""One comparison in full: what it says, how much is length or seat, whether its judge can be trusted, its pairs."""

from __future__ import annotations

import json

import streamlit as st

from limit import charts
from limit.core import Json
from limit.formats import count, percent, percent_interval
from limit.judge.alpaca_eval import annotation_rows
from limit.judge.judgments import Comparison
from limit.judge.quality import check_judge, is_checked, report
from limit.judge.readings import is_rubric
from limit.mixes.style import style_of
from limit.store import Store
from limit.store.schema import Row
from limit.ui.glossary import explain
from limit.ui.preferences_pairs import show_pairs
from limit.ui.preferences_rubric import show_readings
from limit.ui.shell import note_line, open_workspace, plain

VERDICTS = {
    "better": "The candidate's answers are preferred.",
    "worse": "The baseline's answers are preferred.",
    "cannot tell": "These verdicts cannot tell the two apart.",
}


def show_comparison(store: Store, row: Row, rows: list[Row], palette: charts.Palette) -> None:
    """Sentence, figures, trust, pair reader and downloads of one comparison."""
    if not rows:
        st.info("This comparison has no verdicts yet.", icon=":material/hourglass_empty:")
        return
    comparison = comparison_of(row)
    with st.spinner("Counting verdicts", show_time=True):
        facts = _facts(row["comparison_id"], len(rows), comparison, rows)
    _answer(row, facts)
    _figures(facts)
    tabs = st.tabs(["Read the pairs", "Length and style", "Can this judge be trusted?", "Download", *_more(comparison)])
    with tabs[0]:
        show_pairs(row, rows)
    with tabs[1]:
        _length(facts)
        _style(row, rows)
    with tabs[2]:
        _trust(comparison, rows, facts)
    with tabs[3]:
        _downloads(comparison, rows)
    if len(tabs) > 4:
        with tabs[4]:
            show_readings(row, comparison, rows, palette)


def _more(comparison: Comparison) -> list[str]:
    """The rubric is a program, so its verdicts can be read in other ways; a reader's cannot."""
    return ["Other rubrics"] if is_rubric(comparison.judge) else []


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
def _facts(comparison_id: str, n: int, _comparison: Comparison, _rows: list[Row]) -> Json:
    """Kept by id and number of rows: a journal only grows."""
    return report(_comparison, _rows)


def _answer(row: Row, facts: Json) -> None:
    test = facts["sign_test"]
    needed = test["needed_prompts"]
    more = needed - facts["n_prompts"] if needed else 0
    settle = (
        f" About {count(more)} more prompts would settle it." if test["verdict"] == "cannot tell" and more > 0 else ""
    )
    st.subheader(plain(f"{row['label']}"), anchor=False)
    st.markdown(
        f"**{VERDICTS[test['verdict']]}** "
        + plain(
            f"Candidate preferred {percent_interval(facts['preference_pct'], facts['ci_low'], facts['ci_high'])}; "
            f"better on {count(test['wins'])} prompts, worse on {count(test['losses'])} (sign test p = "
            f"{test['p_value']:.3g}).{settle}"
        )
    )


def _figures(facts: Json) -> None:
    control, lean = facts["length_control"], facts["leanings"]
    columns = st.columns(4)
    columns[0].metric("Raw rate", percent(facts["preference_pct"]), help=explain("preference rate"), border=True)
    columns[1].metric("At equal length", percent(control.rate_pct), help=explain("length-controlled"), border=True)
    columns[2].metric("Longer answer won", percent(lean["longer_pct"]), border=True)
    columns[3].metric(
        "Same verdict in both orders",
        percent(lean["consistency_pct"]),
        help=explain("position consistency"),
        border=True,
    )
    seeds = facts["per_seed_pct"]
    note_line(
        n=f"{count(facts['n_prompts'])} prompts, {count(facts['wins'])} won, {count(facts['losses'])} lost, "
        f"{count(facts['ties'])} tied, {count(facts['invalid'])} without a verdict",
        missing=_missing(facts),
        seeds=", ".join(percent(seed) for seed in seeds) + _seed_words(facts) if len(seeds) > 1 else None,
        judge=facts["judge"],
    )


def _missing(facts: Json) -> str | None:
    if not facts["invalid"] or facts["all_lost_pct"] is None:
        return None
    low, high = facts["all_lost_pct"], facts["all_won_pct"]
    return f"between {percent(low)} and {percent(high)} if they were all lost or all won"


def _seed_words(facts: Json) -> str:
    if facts["seed_low"] is None:
        return ""
    return f" (over seeds alone [{facts['seed_low']:.1f}, {facts['seed_high']:.1f}])"


def _length(facts: Json) -> None:
    control = facts["length_control"]
    if control.rate_pct is None:
        st.markdown(plain(f"No length-controlled rate: {control.reason}."))
    else:
        rate = percent_interval(control.rate_pct, control.low, control.high)
        st.markdown(
            plain(
                f"If both answers were equally long the candidate would be preferred {rate}, against "
                f"{percent(facts['preference_pct'])} as judged. This is our minimal model; "
                "it does not compare with AlpacaEval's leaderboard."
            )
        )
    one, two = facts["median_chars"]
    st.markdown(f"Median answer: baseline {count(one)} characters, candidate {count(two)}.")
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


def _style(row: Row, rows: list[Row]) -> None:
    """How often each side's answers have a habit, side by side."""
    sides = [_habits(row["comparison_id"], len(rows), number, rows) for number in ("1", "2")]
    table = [
        {"answers with": one["name"], "baseline": _habit(one), "candidate": _habit(two)}
        for one, two in zip(*(side["habits"] for side in sides), strict=True)
        if one["key"] != "multiple_choice"
    ]
    st.dataframe(table, hide_index=True, lazy=False, alt="Habits of both models' answers")
    note_line(n=f"{count(sides[0]['n'])} and {count(sides[1]['n'])} answers", interval="Wilson, 95 %, rough patterns")


@st.cache_data(max_entries=32, show_spinner=False)
def _habits(comparison_id: str, n: int, number: str, _rows: list[Row]) -> Json:
    import pyarrow as pa

    answers = {(row.get("prompt") or "", row.get(f"text_{number}") or "") for row in _rows}
    return style_of(pa.table({"prompt": [p for p, _ in answers], "response": [text for _, text in answers]}))


def _habit(habit: Json) -> str:
    if habit["share"] is None:
        return "n/a"
    return percent_interval(100 * habit["share"], 100 * habit["low"], 100 * habit["high"])


def _trust(comparison: Comparison, rows: list[Row], facts: Json) -> None:
    lean = facts["leanings"]
    checks = check_judge(open_workspace(), comparison, rows)
    if not is_checked(comparison, checks):
        st.warning(
            "This judge has not been checked on 30 pairs that people or GPT-4 judged too: read its bar as this judge's "
            "scores, not as what readers prefer. Vote on the same prompts, or import verdicts on the same answers.",
            icon=":material/warning:",
        )
    if checks:
        st.dataframe(
            [_check(entry) for entry in checks], hide_index=True, lazy=False, alt="Agreement with other judges"
        )
    else:
        st.markdown("Nobody else has judged these pairs yet, so there is nothing to compare this judge with.")
    seat = percent_interval(lean["first_seat_pct"], lean["first_seat_low"], lean["first_seat_high"])
    note_line(
        first_seat=f"{seat} of {count(lean['n_decided'])} decided verdicts went to the answer shown first"
        if lean["n_decided"]
        else "the order shown is not recorded in these verdicts",
        repeats=f"{percent(lean['flip_pct'])} of {count(lean['n_repeated'])} repeated questions changed"
        if lean["n_repeated"]
        else None,
        ceiling="on open-ended prompts people agree with each other on about two pairs in three (AlpacaEval)",
    )


def _check(entry: Json) -> Row:
    return {
        "other judge": entry["judge"],
        "kind": entry["kind"],
        "shared pairs": count(entry["n"]),
        "agree": percent_interval(entry["agree_pct"], entry["ci_low"], entry["ci_high"]),
        "kappa": f"{entry['kappa']:.2f}" if entry["kappa"] is not None else entry["why"],
    }


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
