"""A page of the real app under AppTest, as the first visitor of a new server gets it."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from limit.settings import PROJECT, Workspace, workspace
from limit.tiny import ensure_sources


def open_page(name: str, **query: str | list[str]) -> Any:
    """The app on the page of this name with these parameters in its URL, run once; the app's caches start empty."""
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    st.cache_resource.clear()
    st.cache_data.clear()
    _put_sources(workspace())
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=120)
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(f"pages/{name}.py").run()


def _put_sources(ws: Workspace) -> None:
    """The two small sources that the app would make at its first start, made once for all tests of a process."""
    if ws.root.is_dir() and not ws.source("tiny-lima").exists():
        made = _made_sources()
        for folder in (made.sources, made.prompts):
            shutil.copytree(folder, ws.root / folder.name, dirs_exist_ok=True)


@functools.cache
def _made_sources() -> Workspace:
    folder = Path(tempfile.mkdtemp(prefix="limit-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = Workspace(folder).make()
    ensure_sources(made)
    return made
