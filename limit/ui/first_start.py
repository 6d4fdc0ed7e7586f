"""What the app does once per server: make the workspace, put shipped content in, find the jobs that went on."""

from __future__ import annotations

import streamlit as st

from limit.ui.shell import errors_in_words, open_workspace


@st.cache_resource(show_spinner=False)
def _prepare(root: str) -> None:
    from limit import jobs, tiny

    ws = open_workspace()
    tiny.ensure_sources(ws)
    jobs.schedule(ws)


def prepare() -> None:
    """Idempotent; a workspace that cannot be written is said in words and the pages go on with what ships."""
    with errors_in_words():
        _prepare(str(open_workspace().root))
