"""A page of the real app under AppTest, as the first visitor of a new server gets it."""

from __future__ import annotations

import functools
from typing import Any

from limit.settings import PROJECT, workspace
from limit.ui.shell import HEADED
from tests.prepared import put_index, put_sources


def open_page(name: str, **query: str | list[str]) -> Any:
    """The app on the page of this name with these parameters in its URL, run once; the app's caches start empty."""
    import streamlit as st
    from streamlit.components.v2 import manifest_scanner
    from streamlit.testing.v1 import AppTest

    st.cache_resource.clear()
    st.cache_data.clear()
    ws = workspace()
    if ws.root.is_dir():
        put_sources(ws)
        put_index(ws)
    if not hasattr(manifest_scanner.scan_component_manifests, "cache_info"):  # each AppTest looks at all packages
        manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=120)
    app.session_state[HEADED] = True
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(f"pages/{name}.py").run()
