"""Whether a judge can be trusted: agreement with people and other judges, with itself, and its leaning to a seat."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from limit.core import Json
from limit.formats import count, percent, percent_interval
from limit.store.schema import Row
from limit.ui.shell import note_line

SEAT_BIAS = 60.0  # per cent of decided verdicts for one seat from which on it is named before the rate
UNCHECKED = (
    "This judge has not been checked on 30 pairs that people or GPT-4 judged too: read its bar as this judge's scores, "
    "not as what readers prefer. Vote on the same prompts, or import verdicts on the same answers."
)


def warn_of_judge(facts: Json, is_trusted: bool) -> None:
    """Above the figures: a judge that nobody has checked, or that goes by the seat."""
    if not is_trusted:
        st.warning(UNCHECKED, icon=":material/warning:")
    words = seat_words(facts["leanings"])
    if words:
        st.warning(words, icon=":material/event_seat:")


def seat_words(lean: Json) -> str | None:
    """A sentence on a judge that prefers a seat whatever stands there; None when there is nothing to say."""
    share, low, high = lean["first_seat_pct"], lean["first_seat_low"], lean["first_seat_high"]
    if share is None or lean["n_decided"] < 10 or low is None or low <= 50 <= high:
        return None
    if 100 - SEAT_BIAS < share < SEAT_BIAS:
        return None
    seat = "first" if share > 50 else "second"
    kept = lean["consistency_pct"]
    same = f", and kept to its verdict in {percent(kept)} of exchanged pairs" if kept is not None else ""
    part = f"{percent(share if share > 50 else 100 - share)} of its {count(lean['n_decided'])} decided verdicts"
    return (
        f"This judge goes by the seat: {part} went to the answer shown {seat}{same}. "
        "Pairs on which its two orders disagree count as ties."
    )


def show_trust(facts: Json, checks: Sequence[Json]) -> None:
    """Agreement with everybody who judged some of the same pairs, and the judge's own steadiness."""
    lean = facts["leanings"]
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
        both_orders=f"{percent(lean['consistency_pct'])} of {count(lean['n_pairs'])} pairs got the same verdict in both"
        if lean["n_pairs"]
        else None,
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
