"""The ten pages, and the one way to them: through app.py, which asks who is there.

Streamlit runs a file of `pages/` by itself when the very first visitor of a new server opens a link to it, before any
session has called `st.navigation`. `through_app` sends such a visitor through app.py first, keeping the link.
"""

from __future__ import annotations

import gc
from typing import Any

import streamlit as st

PAGES = {
    "Look": {
        "overview": "dashboard",
        "gauntlet": "bar_chart",
        "preferences": "thumbs_up_down",
        "compare": "balance",
    },
    "Make": {"samples": "library_books", "mix": "blender", "launch": "rocket_launch", "runs": "monitoring"},
    "Tell": {"vote": "how_to_vote", "present": "co_present"},
}
_ROUTED = "limit-routed"
_SETTLED: set[str] = set()


def navigate() -> Any:
    """The page that the address names; to be run by app.py."""
    st.session_state[_ROUTED] = True
    return st.navigation(_pages(), expanded=True)


def settle(title: str) -> None:
    """Once a page has been shown for the first time, take what it brought along out of the garbage collector's sight.

    Modules and tables of the index stay for as long as the server runs. Looking through them again takes the collector
    longer than a page takes to answer a click, and it would do so in the middle of one.
    """
    if title not in _SETTLED:
        _SETTLED.add(title)
        gc.collect()
        gc.freeze()


def hide_pages() -> None:
    """Tell Streamlit that the pages are ours to give, without showing a link to any."""
    # Without icons: before app.py has set ours, the browser would fetch a page's icon from the network.
    st.navigation([f"pages/{name}.py" for group in PAGES.values() for name in group], position="hidden")


def through_app() -> None:
    """First line of every page: go on if app.py has let this visitor in, else run app.py for the same page."""
    if not st.session_state.get(_ROUTED):
        hide_pages()
        st.rerun()


def _page(name: str, icon: str) -> Any:
    title = name.capitalize()
    return st.Page(f"pages/{name}.py", title=title, icon=f":material/{icon}:", default=name == "overview")


def _pages() -> dict[str, list[Any]]:
    return {group: [_page(name, icon) for name, icon in pages.items()] for group, pages in PAGES.items()}
