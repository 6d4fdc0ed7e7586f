"""The rubric read in other ways: the same answers when only accuracy, precision, facts per word or length count."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from limit import charts
from limit.core import Json
from limit.judge.judgments import Comparison
from limit.judge.readings import readings
from limit.store.schema import Row
from limit.ui.shell import chart, note_line, plain

NAMES = {
    "rubric": "Rubric",
    "accuracy": "Accuracy only",
    "precision": "Precision only",
    "per-word": "Facts per word",
    "length": "Length only",
}


def show_readings(row: Row, comparison: Comparison, rows: list[Row], mark: str, palette: charts.Palette) -> None:
    """A bar per reading, what each counts, and whether they agree."""
    found = _readings(row["comparison_id"], mark, comparison, rows)
    bars = [_bar(row, reading) for reading in found]
    chart(charts.preference_bars(bars, palette), charts.preference_alt(bars), key="rubric-readings")
    st.markdown(plain(agreement(found)))
    for reading in found:
        st.markdown(f"- **{NAMES[reading['variant']]}**: {plain(reading['counts'])}.")
    note_line(
        judge="a program that knows the small world's facts, not a language model",
        whisker="95 % bootstrap over distinct prompts",
        shown="the same answers in every bar; nothing is judged again",
    )


@st.cache_data(max_entries=16, show_spinner=False)
def _readings(comparison_id: str, mark: str, _comparison: Comparison, _rows: list[Row]) -> list[Json]:
    del comparison_id, mark  # part of the cache key only
    return readings(_comparison, _rows)


def _bar(row: Row, reading: Json) -> Row:
    return {
        "label": NAMES[reading["variant"]],
        "candidate_series": row["candidate_series"],
        "baseline_series": row["baseline_series"],
        "preference_pct": reading["preference_pct"],
        "low": reading["ci_low"],
        "high": reading["ci_high"],
        **{key: reading[key] for key in ("wins", "losses", "ties", "invalid", "n_prompts")},
    }


def agreement(found: Sequence[Json]) -> str:
    """Which readings prefer the candidate, which the baseline, and which cannot tell."""
    sides: dict[str, list[str]] = {"the candidate": [], "the baseline": [], "neither": []}
    for reading in found:
        low, high = reading["ci_low"], reading["ci_high"]
        told = low is not None and high is not None
        side = "the candidate" if told and low > 50 else "the baseline" if told and high < 50 else "neither"
        sides[side].append(NAMES[reading["variant"]].lower())
    said = [f"{_listed(names)} prefer{'s' * (len(names) == 1)} {side}" for side, names in sides.items() if names]
    if len(said) == 1:
        return f"All readings agree: each prefers {next(side for side, names in sides.items() if names)}."
    return f"The readings do not agree: {'; '.join(said)}."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
