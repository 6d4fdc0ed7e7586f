"""The pair reader: prompt on top, two answers side by side, the verdict in each order, its reason, the lengths."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import streamlit as st

from limit.formats import count
from limit.judge.prompts import cut_middle
from limit.store.schema import Row
from limit.ui.shell import plain, printable

FILTERS = (
    "all",
    "candidate won",
    "baseline won",
    "tie",
    "orders disagree",
    "longer answer lost",
    "without a verdict",
    "candidate much longer",
    "baseline much longer",
)
MUCH = 1.5
MAX_SHOWN = 20_000


def show_pairs(row: Row, rows: Sequence[Row]) -> None:
    """Filter, search, and read pair by pair; the place is in the URL."""
    pairs = group_pairs(rows)
    left, right = st.columns([1, 1])
    chosen = left.selectbox("Pairs", FILTERS, key="pairs", bind="query-params")
    words = right.text_input("Containing", key="find", bind="query-params", type="search", live="300ms")
    found = [pair for pair in pairs if is_kind(pair, chosen) and _contains(pair, words)]
    if not found:
        st.info("No such pair.", icon=":material/info:")
        return
    place = _place(len(found))
    _show_pair(row, found[place])


def group_pairs(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one pair of answers together: its orders and repeats; pairs in the order judged."""
    groups: dict[Any, list[Row]] = {}
    for number, row in enumerate(rows):
        texts = row.get("text_1"), row.get("text_2")
        alone = number if row.get("order") is None else None
        groups.setdefault((row.get("seed"), row.get("prompt_id"), texts, alone), []).append(row)
    return list(groups.values())


def is_kind(pair: Sequence[Row], kind: str) -> bool:
    """Whether a pair belongs to one of FILTERS."""
    verdicts = {row.get("verdict") for row in pair}
    one, two = _length(pair[0], "text_1"), _length(pair[0], "text_2")
    shorter = "1" if one < two else "2"
    return {
        "all": True,
        "candidate won": verdicts == {"2"},
        "baseline won": verdicts == {"1"},
        "tie": verdicts == {"tie"},
        "orders disagree": len(verdicts - {None}) > 1,
        "longer answer lost": one != two and verdicts == {shorter},
        "without a verdict": None in verdicts,
        "candidate much longer": two > MUCH * one,
        "baseline much longer": one > MUCH * two,
    }[kind]


def _length(row: Row, column: str) -> int:
    return len(row.get(column) or "")


def _contains(pair: Sequence[Row], words: str) -> bool:
    row, wanted = pair[0], (words or "").casefold()
    return not wanted or any(wanted in (row.get(name) or "").casefold() for name in ("prompt", "text_1", "text_2"))


def _place(total: int) -> int:
    """The chosen pair, from 0; buttons and the arrow keys move it."""
    now = min(max(_number(st.query_params.get("pair")), 1), total)
    back, middle, on = st.columns([1, 3, 1], vertical_alignment="center")
    if back.button("Previous", shortcut="Left", disabled=now <= 1, width="stretch"):
        st.query_params["pair"] = str(now - 1)
        st.rerun()
    middle.markdown(f"Pair {count(now)} of {count(total)}", text_alignment="center")
    if on.button("Next", shortcut="Right", disabled=now >= total, width="stretch"):
        st.query_params["pair"] = str(now + 1)
        st.rerun()
    return now - 1


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 9 else 1


def _show_pair(comparison: Row, pair: Sequence[Row]) -> None:
    first = pair[0]
    st.caption("Prompt")
    show_prose(str(first.get("prompt") or ""))
    names = (comparison.get("baseline") or "baseline", comparison.get("candidate") or "candidate")
    for column, number, name in zip(st.columns(2), "12", names, strict=True):
        text = str(first.get(f"text_{number}") or "")
        with column:
            won = " · won" if {row.get("verdict") for row in pair} == {number} else ""
            st.caption(plain(f"{name} · {count(len(text))} characters, {count(len(text.split()))} words{won}"))
            show_prose(text or "(empty)")
    for row in pair:
        st.markdown(f"- {plain(verdict_words(row))}")


def verdict_words(row: Row) -> str:
    """One verdict in words: which order, who won, how sure, why."""
    orders = {1: "baseline shown first", 2: "candidate shown first"}
    seat = orders.get(row.get("first_response") or 0, "order not recorded")
    seat = f"seed {row['seed']}, {seat}" if row.get("seed") is not None else seat
    results = {"1": "baseline won", "2": "candidate won", "tie": "tie"}
    what = results.get(row.get("verdict") or "", f"no verdict ({row.get('status') or 'unknown'})")
    score = row.get("score")
    sure = f", candidate's share {score:.2f}" if isinstance(score, float) and score not in (0.0, 0.5, 1.0) else ""
    reason = row.get("reason") or row.get("error_text")
    return f"{seat}: {what}{sure}" + (f". {str(reason)[:500]}" if reason else "")


def show_prose(text: str) -> None:
    """Untrusted text in the reading font, as it is; the middle of a very long one is left out and said so."""
    with st.container(border=True):
        st.html(f'<div class="limit-text">{html.escape(printable(cut_middle(text.strip(), MAX_SHOWN)))}</div>')
