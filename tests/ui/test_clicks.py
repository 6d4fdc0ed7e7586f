"""A click that starts something is acted on once, whatever interrupts its run, and what it started stays to be read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from limit import jobs
from limit.settings import Workspace
from limit.ui import clicks


def interrupted_page() -> None:
    """A page that is drawn anew before it comes to its buttons, as when a job ends at the moment of the click."""
    import streamlit as st

    from limit.ui.clicks import clicked, submitted

    if st.session_state.pop("interrupt", False):
        st.rerun()
    done = st.session_state.setdefault("done", [])
    if clicked("Go", "go"):
        done.append("go")
    with st.form("other"):
        if submitted("Send", "send"):
            done.append("send")


@pytest.mark.parametrize("key", ["go", "send"])
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_click_is_acted_on_once_also_when_its_run_is_interrupted(key: str, interrupted: bool) -> None:
    app = AppTest.from_function(interrupted_page).run()
    app.session_state["interrupt"] = interrupted
    app.button(key=key).click().run()
    app.run()
    assert app.session_state["done"] == [key]


def test_a_click_that_was_never_acted_on_is_forgotten_on_another_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limit.ui.shell.jobs_pill", lambda *_: None)

    def page() -> None:
        import streamlit as st

        from limit.ui import shell
        from limit.ui.clicks import clicked

        shell.page_head(st.session_state.get("title", "One"), "?")
        if st.session_state.get("title", "One") == "One" and not st.session_state.pop("stop", False):
            st.session_state["done"] = clicked("Go", "go")

    app = AppTest.from_function(page).run()
    app.session_state["stop"] = True
    app.button(key="go").click().run()
    assert app.session_state[clicks.CLICKS].keys() == {"go"}
    app.session_state["title"] = "Two"
    app.run()
    app.session_state["title"] = "One"
    assert app.run().session_state["done"] is False


def coming_and_going_page() -> None:
    """A button that stands there only while something runs, drawn as app.py draws a page."""
    import streamlit as st

    from limit.ui.clicks import clicked, forget, waiting

    before = waiting()
    if st.session_state.get("running", True) and clicked("Stop", "stop"):
        st.session_state["stops"] = st.session_state.get("stops", 0) + 1
        st.session_state["running"] = False
    forget(before)


def test_the_second_click_of_a_double_one_does_not_wait_for_its_button_to_be_back() -> None:
    app = AppTest.from_function(coming_and_going_page).run()
    app.button(key="stop").click().run()
    assert app.session_state["stops"] == 1
    app.button(key="stop").click().run()  # the browser still showed it
    app.session_state["running"] = True
    app.run()
    assert app.session_state["stops"] == 1
    app.button(key="stop").click().run()
    assert app.session_state["stops"] == 2


def test_a_click_that_waited_too_long_is_not_acted_on() -> None:
    app = AppTest.from_function(interrupted_page).run()
    app.session_state[clicks.CLICKS] = {"go": time.monotonic() - clicks.KEPT_S - 1, "send": time.monotonic()}
    app.run()
    assert app.session_state["done"] == ["send"]


def started_page() -> None:
    from limit.settings import workspace
    from limit.ui.clicks import show_started

    show_started(workspace(), "form")


def test_what_a_click_started_is_told_until_it_is_put_away(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    states: dict[str, Any] = {"state": "queued", "reason": None}
    monkeypatch.setattr(jobs, "status", lambda *_: states)
    monkeypatch.setattr("streamlit.delta_generator.DeltaGenerator.page_link", lambda *_, **__: None)
    app = AppTest.from_function(started_page)
    app.session_state[clicks.STARTED] = {"form": {"job_id": "judge-1"}}
    assert "Job judge-1 is queued" in plain_words(app.run().success)
    states.update(state="finished", reason="summary written")
    assert "Job judge-1 is finished" in plain_words(app.run().success)
    states.update(state="failed", reason="no key for the judge")
    assert "Job judge-1 is failed: no key for the judge" in plain_words(app.run().error)
    app.button(key="put-away-form").click().run()
    assert not app.error and not app.button


def plain_words(boxes: Any) -> str:
    return " ".join(str(box.value).replace("\\", "") for box in boxes)


def test_a_job_that_was_removed_is_told_of_no_more(ws: Workspace, tmp_path: Path) -> None:
    app = AppTest.from_function(started_page)
    app.session_state[clicks.STARTED] = {"form": {"job_id": "judge-gone"}}
    assert not app.run().success and not app.exception
