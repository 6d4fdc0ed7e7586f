"""Buttons whose click is kept until it was acted on, and what was started by one.

Streamlit tells a script of a click by a value that is true in one run only. That run may end before it comes to the
button: another one interrupts it, or a fragment that is just ending sets the value back. A click that starts something
is therefore noted when it arrives, in the same step, and stays noted until the script has come to its button, has
drawn a whole page without it, or the reader has left the page. The second click of a double one may find its button
gone: it must not lie in wait until the button is back. What a click started is kept as well: a line of one run only is
gone before it is read.
"""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from limit import jobs
from limit.core import Json, LimitError
from limit.settings import Workspace
from limit.ui.shell import CLICKS, plain

STARTED = "_started"
KEPT_S = 20.0  # longer than a page takes to draw, also on a busy machine


def clicked(label: str, key: str, place: Any = st, **look: Any) -> bool:
    """Draw a button; true once for a click on it, also when the click's own run never came this far."""
    place.button(label, key=key, on_click=_note, args=(key,), **look)
    return _take(key)


def submitted(label: str, key: str, **look: Any) -> bool:
    """The same for a form's button: true once for each time the form was sent."""
    st.form_submit_button(label, key=key, on_click=_note, args=(key,), **look)
    return _take(key)


def _note(key: str) -> None:
    st.session_state.setdefault(CLICKS, {})[key] = time.monotonic()


def _take(key: str) -> bool:
    noted = _noted().pop(key, None)
    return noted is not None and time.monotonic() - noted < KEPT_S


def _noted() -> dict[str, float]:
    found: dict[str, float] = st.session_state.get(CLICKS) or {}
    return found


def waiting() -> dict[str, float]:
    """The clicks that a page which is about to be drawn may act on, by button, with the time of each."""
    return dict(_noted())


def forget(before: dict[str, float]) -> None:
    """Drop what is left of these: the whole page has been drawn, and their buttons were not on it."""
    noted = _noted()
    for key, when in before.items():
        if noted.get(key) == when:
            del noted[key]


def keep_started(form: str, started: Json) -> None:
    """Remember the job that a form has just started, for `show_started` to tell of."""
    st.session_state.setdefault(STARTED, {})[form] = started


def show_started(ws: Workspace, form: str, page: str = "", result: str = "") -> Json | None:
    """Say what became of the job that a form started last, with the way to it; returns what was kept of it.

    A finished one is also linked to its `result` on `page`, whose id goes into the URL under that name.
    It stays through other clicks and the job's end, until the form starts another or the reader puts it away.
    """
    kept: dict[str, Json] = st.session_state.get(STARTED) or {}
    started = kept.get(form)
    if started is None:
        return None
    try:
        status = jobs.status(ws, started["job_id"])
    except LimitError:
        return None  # removed from the history
    words, reason = f"Job {started['job_id']} is {status['state']}", status.get("reason")
    box = st.error if status["state"] in ("failed", "lost") else st.success
    box(plain(f"{words}: {reason}" if reason and status["state"] != "finished" else f"{words}."))
    row = st.container(horizontal=True, vertical_alignment="center")
    row.page_link("pages/runs.py", label="Follow it", query_params={"job": started["job_id"]})
    if result in started and status["state"] == "finished":
        row.page_link(page, label="See what it came to", query_params={result: started[result]})
    _put_away(row, kept, form)
    return started


def keep_words(form: str, words: str) -> None:
    """Remember what a form has just done, for `show_words` to tell of."""
    st.session_state.setdefault(STARTED, {})[form] = words


def show_words(form: str) -> None:
    """Say what a form did last, until the reader puts it away."""
    kept: dict[str, str] = st.session_state.get(STARTED) or {}
    if form in kept:
        row = st.container(horizontal=True, vertical_alignment="center")
        row.success(plain(kept[form]))
        _put_away(row, kept, form)


def _put_away(place: Any, kept: dict[str, Any], form: str) -> None:
    place.button("Put away", key=f"put-away-{form}", type="tertiary", on_click=kept.pop, args=(form, None))
