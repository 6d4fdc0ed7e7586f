"""Small things that the parts of the Samples and Mix pages share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from limit.charts.palette import Palette
from limit.core import Json
from limit.settings import Workspace
from limit.sources.listing import broken_sources
from limit.ui.shell import is_dark, plain, printable

FIRST_LINE = 160


def palette() -> Palette:
    """The colours for the reader's ground."""
    return Palette.dark() if is_dark() else Palette.light()


def name_broken(ws: Workspace) -> None:
    """Which sources could not be read and are left out, with what to do."""
    for problem in broken_sources(ws).values():
        st.warning(plain(problem), icon=":material/warning:")


def licence_words(source: Json) -> str:
    """What may be done with a source, in a few words."""
    licence = source["licence"] or "licence unknown"
    return f"{licence} · non-commercial" if source["non_commercial"] and "non-commercial" not in licence else licence


def first_line(text: str) -> str:
    """The beginning of a text on one line, safe to show in a table."""
    return printable(" ".join(text[:400].split()))[:FIRST_LINE]


def linked_choice(
    label: str,
    options: Sequence[str],
    param: str,
    format_func: Callable[[str], str],
    resets: Sequence[str] = (),
    default: str | None = None,
    lifts: Mapping[str, object] | None = None,
) -> str:
    """A select box whose value stands in the URL under its plain name, whatever it is called on the screen.

    A choice made by hand also removes the parameters `resets` from the URL and from the page's state, and sets widgets
    that are bound to the URL, `lifts`, back to a value; they are not drawn yet. `default` does not stand in the URL.
    """
    key, seen = f"choice-{param}", f"seen-{param}"
    wanted = st.query_params.get(param)
    if wanted in options and st.session_state.get(seen) != wanted:
        st.session_state[key] = wanted
    elif st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    value = str(st.selectbox(label, list(options), format_func=lambda option: printable(format_func(option)), key=key))
    if wanted != value and (wanted is not None or st.session_state.get(seen) not in (None, value)):
        for other in resets:
            st.query_params.pop(other, None)
            st.session_state.pop(other, None)
        for widget, plain_value in (lifts or {}).items():
            st.session_state[widget] = plain_value
    st.session_state[seen] = value
    if value == default:
        st.query_params.pop(param, None)
    elif wanted != value:
        st.query_params[param] = value
    return value


def open_samples(source: str, lifts: Mapping[str, object] | None = None, **params: str) -> None:
    """A button's callback: browse a source at the given row or topic, with widgets set back to the values in `lifts`.

    It is no link, because a link from a page to itself does not draw the page again.
    """
    st.session_state.update({"view": "Browse", "panel": "text", **(lifts or {})})
    st.session_state["opened"] = st.session_state.get("opened", 0) + 1
    for name in ("row", "topic", "subset"):
        st.query_params.pop(name, None)
    st.query_params.update({"source": source, **params})
