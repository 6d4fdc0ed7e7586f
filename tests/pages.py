"""A page of the real app under AppTest, as the first visitor of a new server gets it."""

from __future__ import annotations

from typing import Any

from limit.settings import PROJECT, workspace
from tests.prepared import put_index, put_sources


def open_page(name: str, **query: str | list[str]) -> Any:
    """The app on the page of this name with these parameters in its URL, run once; the app's caches start empty."""
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    st.cache_resource.clear()
    st.cache_data.clear()
    ws = workspace()
    if ws.root.is_dir():
        put_sources(ws)
        put_index(ws)
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=120)
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(f"pages/{name}.py").run()
