"""The Samples page: sources on the left, what was found in the middle, one sample on the right."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from limit import formats
from limit.core import Json
from limit.settings import Workspace
from limit.sources.browsing import PAGE, browse, count_samples, sample
from limit.sources.filters import Filter
from limit.sources.listing import list_sources
from limit.sources.searching import INDEX_FROM_ROWS, MODES, search
from limit.ui.clicks import clicked
from limit.ui.samples_add import add_form
from limit.ui.samples_compare import compare_view, topics_view
from limit.ui.samples_detail import sample_panel
from limit.ui.samples_filters import LIFTED, filters
from limit.ui.samples_words import first_line, linked_choice, name_broken
from limit.ui.shell import (
    errors_in_words,
    next_step,
    open_workspace,
    page_head,
    plain,
    printable,
)

VIEWS = ("Browse", "Compare sources", "Topics", "Add or fetch")


def show() -> None:
    """Draw the page."""
    page_head("Samples", "What is in the data?")
    with errors_in_words():
        ws = open_workspace()
        sources = list_sources(ws)
        name_broken(ws)
        view = st.segmented_control(
            "View",
            VIEWS,
            default=VIEWS[0],
            required=True,
            key="view",
            bind="query-params",
            label_visibility="collapsed",
        )
        if view == "Add or fetch":
            add_form(ws)
        elif not sources:
            st.info("There are no sources yet. Add a file of your own, or fetch one of the paper's data sets.")
            add_form(ws)
        elif view == "Compare sources":
            compare_view(ws, sources)
        else:
            source = _pick_source(sources)
            if view == "Topics":
                topics_view(ws, source)
            else:
                _browse_view(ws, source)


def _pick_source(sources: list[Json]) -> Json:
    by_name = {source["source"]: source for source in sources}
    name = linked_choice(
        "Source",
        list(by_name),
        "source",
        lambda key: f"{key} · {formats.count(by_name[key]['rows'])} samples",
        resets=("row", "topic", "subset", "grades", "brushed"),
        lifts=LIFTED,
    )
    return by_name[name]


def _browse_view(ws: Workspace, source: Json) -> None:
    left, middle, right = st.columns([3, 5, 5], gap="medium")
    with left:
        where = filters(ws, source)
    with middle:
        found = _found(ws, source, where)
        words = st.empty()
        row = _result_list(source, found)
        turner = st.container()
    _say_count(found, words, turner)
    with right:
        if row is not None:
            with errors_in_words():
                sample_panel(ws, source, sample(ws, source["source"], row))
    if found.get("pages", 1) is None:  # the page stood first; reading the whole source for its number comes last
        total = count_samples(ws, source["source"], where)
        _say_count(found | {"total": total, "pages": max(1, -(-total // PAGE))}, words, turner)


def _say_count(found: Json, words: DeltaGenerator, turner: DeltaGenerator) -> None:
    """How many samples there are above the list, and the way to further pages below it."""
    words.caption(plain(found["words"] if "words" in found else _range_words(found)))
    if (found.get("pages") or 1) > 1:
        turner.pagination(found["pages"], key="page", bind="query-params")


def _range_words(found: Json) -> str:
    first = (found["page"] - 1) * PAGE + 1 if found["rows"] else 0
    last = first + len(found["rows"]) - 1 if found["rows"] else 0
    total = "… (counting)" if found["total"] is None else f"{found['total']:,}"
    return f"{first:,} to {last:,} of {total} samples"


def _found(ws: Workspace, source: Json, where: Filter) -> Json:
    query = st.text_input(
        "Search", key="q", type="search", live="400ms", bind="query-params", placeholder="words to find"
    )
    mode = st.segmented_control(
        "Search for",
        MODES,
        default="words",
        required=True,
        key="mode",
        bind="query-params",
        label_visibility="collapsed",
    )
    if query and query.strip():
        found: Json = {"rows": [], "words": "nothing searched"}
        with errors_in_words():
            found |= _searched(ws, source, query, mode, where)
        return found
    return browse(ws, source["source"], _page(), where=where, counted=False)


def _page() -> int:
    """The page that is held, or that a link names before its widget is there."""
    wanted = str(st.session_state.get("page") or st.query_params.get("page") or 1)
    return int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 13 else 1


def _searched(ws: Workspace, source: Json, query: str, mode: str, where: Filter) -> Json:
    name = source["source"]
    if st.session_state.get("searched") not in (None, (name, query, mode)):
        st.query_params.pop("from", None)
    st.session_state["searched"] = (name, query, mode)
    started = _number_in_url("from") or 0
    found = search(ws, name, query, mode, PAGE, started, 1.0, where)  # type: ignore[arg-type]
    words = f"{len(found['rows'])} found"
    if found["complete"]:
        words += f" from row {started:,} on, all searched" if started else ", all searched"
    else:
        words += f"; looked at rows {started:,} to {found['scanned']:,} of {source['rows']:,}"
        if st.button("Go on searching", icon=":material/arrow_downward:"):
            st.query_params["from"] = str(found["next_row"])
            st.rerun()
    if mode == "words" and not source["indexed"] and source["rows"] >= INDEX_FROM_ROWS:
        _offer_index(ws, source)
    return {**found, "words": words}


def _offer_index(ws: Workspace, source: Json) -> None:
    st.caption("This source is large and has no search index, so it is scanned.")
    if clicked("Build its search index", "build-index", icon=":material/manage_search:"):
        from limit.sources.launch import launch_work

        started = launch_work(ws, "index", source["source"])
        next_step("The index is being built.", "pages/runs.py", "Follow it", {"job": started["job_id"]})


def _result_list(source: Json, found: Json) -> int | None:
    """The list of samples; returns the row of the chosen one."""
    rows = found["rows"]
    if not rows:
        st.info("Nothing fits. Loosen the filters or change the search.")
        return None
    shown = [
        {
            "prompt": first_line(row["prompt"]),
            "response": first_line(row["response"]),
            "subset": printable(row["subset"]),
            "characters": row["n_prompt_chars"] + row["n_response_chars"],
        }
        for row in rows
    ]
    event = st.dataframe(
        shown,
        hide_index=True,
        height=35 * min(len(rows), 16) + 40,
        on_select="rerun",
        selection_mode="single-row",
        key=f"list-{source['source']}-{rows[0]['row']}-{len(rows)}-{st.session_state.get('opened', 0)}",
        column_config={
            "prompt": st.column_config.TextColumn(width=190),
            "response": st.column_config.TextColumn(width=130),
        },
        lazy=False,
        alt="samples found",
    )
    picked = list(event.selection.rows) if event and event.selection else []
    if picked and picked[0] < len(rows):
        row = int(rows[picked[0]]["row"])
        st.query_params["row"] = st.session_state["row-clicked"] = str(row)
        return row
    linked = _row_of_link(source)
    if linked is not None and str(linked) == st.session_state.get("row-clicked"):
        st.query_params.pop("row")  # it was picked from a list that is no longer on the screen
        linked = None
    return int(rows[0]["row"]) if linked is None else linked


def _row_of_link(source: Json) -> int | None:
    wanted = _number_in_url("row")
    return wanted if wanted is not None and wanted < source["rows"] else None


def _number_in_url(name: str) -> int | None:
    wanted = st.query_params.get(name, "")
    return int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 19 else None
