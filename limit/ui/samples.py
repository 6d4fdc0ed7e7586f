"""The Samples page: sources on the left, what was found in the middle, one sample on the right."""

from __future__ import annotations

import streamlit as st

from limit import formats
from limit.core import Json
from limit.settings import Workspace
from limit.sources.browsing import PAGE, browse, lengths, sample
from limit.sources.filters import Filter
from limit.sources.listing import list_sources
from limit.sources.searching import INDEX_FROM_ROWS, MODES, search
from limit.sources.topics import load_topics, topic_rows
from limit.ui.samples_add import add_form
from limit.ui.samples_charts import length_figure
from limit.ui.samples_compare import compare_view, topics_view
from limit.ui.samples_detail import sample_panel
from limit.ui.samples_words import first_line, licence_words, linked_choice, palette
from limit.ui.shell import (
    chart,
    errors_in_words,
    next_step,
    note_line,
    open_workspace,
    page_head,
    plain,
    printable,
)

VIEWS = ("Browse", "Compare sources", "Topics", "Add or fetch")
EVERYTHING = "all subsets"


def show() -> None:
    """Draw the page."""
    page_head("Samples", "What is in the data?")
    with errors_in_words():
        ws = open_workspace()
        sources = list_sources(ws)
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
        resets=("row", "topic", "subset", "page"),
    )
    return by_name[name]


def _browse_view(ws: Workspace, source: Json) -> None:
    left, middle, right = st.columns([2, 4, 4], gap="medium")
    with left:
        where = _filters(ws, source)
    with middle:
        found = _found(ws, source, where)
        row = _result_list(source, found)
    with right:
        if row is not None:
            with errors_in_words():
                sample_panel(ws, source, sample(ws, source["source"], row))


def _filters(ws: Workspace, source: Json) -> Filter:
    st.caption(plain(f"{source['title']} · {licence_words(source)}"))
    if source["rejected"]:
        st.caption(
            plain(f"{formats.count(source['rejected'])} rows could not be used; see rejects.jsonl in its folder")
        )
    named = {name: count for name, count in source["subsets"].items() if name}
    subset = None
    if named:
        ordered = sorted(named, key=lambda name: -named[name])
        chosen = linked_choice(
            "Subset",
            [EVERYTHING, *ordered],
            "subset",
            lambda name: name if name == EVERYTHING else f"{printable(name)} · {named[name]:,}",
            resets=("row", "topic", "page"),
            default=EVERYTHING,
        )
        subset = None if chosen == EVERYTHING else chosen
    facts = _lengths(ws.root.as_posix(), source["source"], source["content_sha256"], subset)
    chart(
        length_figure({source["source"]: facts}, palette(), 170), f"response lengths of {source['source']}", "lengths"
    )
    quarter = [facts["p10"], facts["p50"], facts["p90"]]
    note_line(n=formats.count(facts["n"]), characters_p10_p50_p90=" · ".join(f"{value:,.0f}" for value in quarter))
    with st.expander("Filters"):
        of = st.segmented_control(
            "Length of", ("response", "prompt", "both"), default="response", required=True, key="of"
        )
        unit = st.segmented_control(
            "Length in",
            ("characters", "tokens"),
            default="characters",
            required=True,
            key="unit",
            help="Tokens are estimated here at 4 characters each; the sample itself is counted.",
        )
        scale = 4 if unit == "tokens" else 1
        low = st.number_input("At least", 0, None, 0, key="min")
        high = st.number_input("At most (0 for no limit)", 0, None, 0, key="max")
        turns = st.segmented_control("Turns", ("any", "one", "several"), default="any", required=True, key="turns")
        mark = st.selectbox("Marked by people", ("any", "flag", "exclude", "note"), key="mark", bind="query-params")
    return Filter(
        subset=subset,
        min_chars=low * scale or None,
        max_chars=high * scale or None,
        length_of=of,  # type: ignore[arg-type]
        min_turns=2 if turns == "several" else None,
        max_turns=1 if turns == "one" else None,
        marks=() if mark == "any" else (mark,),  # type: ignore[arg-type]
    )


@st.cache_data(show_spinner=False, max_entries=200)
def _lengths(root: str, source: str, content: str, subset: str | None) -> Json:
    from pathlib import Path

    return lengths(Workspace(Path(root)), source, subset)


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
    topic = st.query_params.get("topic")
    if query and query.strip():
        found: Json = {"rows": [], "words": "nothing searched"}
        with errors_in_words():
            found |= _searched(ws, source, query, mode, where)
        return found
    if topic and topic.isdecimal() and load_topics(ws, source["source"]):
        rows = topic_rows(ws, source["source"], int(topic))
        shown = [sample(ws, source["source"], row) for row in rows[:PAGE]]
        if st.button("Leave the topic"):
            del st.query_params["topic"]
            st.rerun()
        return {"rows": shown, "words": f"{len(shown)} of {len(rows):,} samples of topic {int(topic)}"}
    page = st.session_state.get("page", 1)
    found = browse(ws, source["source"], int(page), where=where)
    first = (found["page"] - 1) * PAGE + 1 if found["total"] else 0
    words = f"{first:,} to {min(found['page'] * PAGE, found['total']):,} of {found['total']:,} samples"
    return {**found, "words": words}


def _searched(ws: Workspace, source: Json, query: str, mode: str, where: Filter) -> Json:
    name = source["source"]
    started = st.session_state.get("search_from", 0) if st.session_state.get("searched") == (name, query, mode) else 0
    found = search(ws, name, query, mode, PAGE, started, 1.0, where)  # type: ignore[arg-type]
    words = f"{len(found['rows'])} found"
    if found["complete"]:
        words += f" from row {started:,} on, all searched" if started else ", all searched"
    else:
        words += f"; looked at rows {started:,} to {found['scanned']:,} of {source['rows']:,}"
        if st.button("Go on searching", icon=":material/arrow_downward:"):
            st.session_state["searched"] = (name, query, mode)
            st.session_state["search_from"] = found["next_row"]
            st.rerun()
    if mode == "words" and not source["indexed"] and source["rows"] >= INDEX_FROM_ROWS:
        _offer_index(ws, source)
    return {**found, "words": words}


def _offer_index(ws: Workspace, source: Json) -> None:
    st.caption("This source is large and has no search index, so it is scanned.")
    if st.button("Build its search index", icon=":material/manage_search:"):
        from limit.sources.launch import launch_work

        started = launch_work(ws, "index", source["source"])
        next_step("The index is being built.", "pages/runs.py", "Follow it", {"job": started["job_id"]})


def _result_list(source: Json, found: Json) -> int | None:
    """The list of samples; returns the row of the chosen one."""
    rows = found["rows"]
    st.caption(plain(found["words"]))
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
        key=f"list-{source['source']}-{rows[0]['row']}-{len(rows)}",
        column_config={
            "prompt": st.column_config.TextColumn(width=190),
            "response": st.column_config.TextColumn(width=130),
        },
        lazy=False,
        alt="samples found",
    )
    if found.get("pages", 1) > 1:
        st.pagination(found["pages"], key="page")
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
    wanted = st.query_params.get("row", "")
    return int(wanted) if wanted.isascii() and wanted.isdecimal() and int(wanted) < source["rows"] else None
