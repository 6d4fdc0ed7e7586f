"""Two or three sources side by side, and the topics of one."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from limit import formats
from limit.access import may
from limit.core import Json
from limit.mixes.style import source_style
from limit.settings import Workspace
from limit.sources.browsing import lengths, random_samples
from limit.sources.launch import launch_work
from limit.sources.topics import load_topics
from limit.ui.clicks import clicked
from limit.ui.samples_charts import length_figure, style_figure, topic_figure
from limit.ui.samples_filters import LIFTED
from limit.ui.samples_words import first_line, licence_words, open_samples, palette
from limit.ui.shell import chart, errors_in_words, next_step, note_line, plain, printable, show_text

MOST = 3
EXAMPLES = 5


def compare_view(ws: Workspace, sources: list[Json]) -> None:
    """Length and style distributions together, then random samples in columns."""
    names = [source["source"] for source in sources]
    chosen = st.multiselect("Sources", names, names[:2], max_selections=MOST, key="compare", bind="query-params")
    if not chosen:
        st.info("Choose two or three sources to see them side by side.")
        return
    by_name = {source["source"]: source for source in sources}
    colours = palette().with_mixes(chosen)
    left, right = st.columns(2)
    with left:
        st.subheader("How long are the responses?", anchor=False)
        facts = {name: _lengths(str(ws.root), name, by_name[name]["content_sha256"]) for name in chosen}
        chart(length_figure(facts, colours, 360), "response lengths of the chosen sources", "compare-lengths")
        medians = ", ".join(f"{name} {value['p50']:,.0f}" for name, value in facts.items())
        note_line(median_characters=medians, n=", ".join(formats.count(value["n"]) for value in facts.values()))
    with right:
        st.subheader("What style do they teach?", anchor=False)
        styles = {name: _style(str(ws.root), name, by_name[name]["content_sha256"]) for name in chosen}
        chart(style_figure(styles, colours), "style shares of the chosen sources", "compare-style")
        drawn = ", ".join(f"{name} {value['n']:,}" for name, value in styles.items())
        note_line(n=drawn, interval="Wilson 95 %", measure="patterns over prompt or response")
    _examples(ws, [by_name[name] for name in chosen])


def _examples(ws: Workspace, sources: list[Json]) -> None:
    """Random samples of each source in columns."""
    seed = st.session_state.setdefault("examples", 0)
    if st.button(f"Another {EXAMPLES} of each", icon=":material/casino:"):
        seed = st.session_state["examples"] = seed + 1
    for column, source in zip(st.columns(len(sources)), sources, strict=True):
        with column:
            st.caption(plain(f"{source['source']} · {formats.count(source['rows'])} samples · {licence_words(source)}"))
            for sample in random_samples(ws, source["source"], EXAMPLES, seed):
                line = first_line(sample["prompt"])
                with st.expander(plain(f"{line[:89]}…" if len(line) > 90 else line or "…")):
                    show_text(sample["prompt"], 3_000)
                    show_text(sample["response"], 3_000)


@st.cache_data(show_spinner=False, max_entries=50)
def _lengths(root: str, source: str, content: str) -> Json:
    return lengths(Workspace(Path(root)), source)


@st.cache_data(show_spinner="Looking at the style of the responses", max_entries=50)
def _style(root: str, source: str, content: str) -> Json:
    return source_style(Workspace(Path(root)), source)


def topics_view(ws: Workspace, source: Json) -> None:
    """The map of a source, and its topics as a list that filters the samples."""
    topics = load_topics(ws, source["source"])
    if topics is None:
        st.info("Topics of this source have not been made yet; it takes a minute for ten thousand samples.")
        _find(ws, source)
        return
    left, right = st.columns([3, 2])
    with left:
        figure = topic_figure(topics["topics"], topics["points"], palette())
        event = chart(figure, "map of topics", "topic-map", on_select="rerun", selection_mode="points")
        note_line(
            n=f"{topics['samples']:,} samples, {len(topics['points']):,} on the map",
            method=f"{topics.get('method', 'TF-IDF, SVD')}, k-means; t-SNE map: only neighbourhoods mean something",
        )
        with st.expander("Find them anew"):
            _find(ws, source)
    with right:
        picked = _picked_topic(event)
        for topic in topics["topics"]:
            label = f"{printable(topic['name'])} · {topic['rows']:,}"
            mark = "▸ " if picked == topic["topic"] else ""
            st.button(
                plain(mark + label),
                key=f"topic-{topic['topic']}",
                type="tertiary",
                on_click=open_samples,
                args=(source["source"], LIFTED),
                kwargs={"topic": str(topic["topic"])},
            )


def _find(ws: Workspace, source: Json) -> None:
    """Start the job, by word counts or by a model that the user has."""
    folder = st.text_input(
        "Folder of a sentence-embedding model",
        key="embeddings",
        placeholder="empty: by word counts",
        help="a folder on the server with config.json, a tokenizer and safetensors",
    )
    if clicked("Find topics", "find-topics", icon=":material/hub:", type="primary", disabled=not may("operator")):
        with errors_in_words():
            started = launch_work(ws, "topics", source["source"], (folder or "").strip() or None)
            next_step("Topics are being found.", "pages/runs.py", "Follow it", {"job": started["job_id"]})


def _picked_topic(event: object) -> int | None:
    points = getattr(getattr(event, "selection", None), "points", None) or []
    data = points[0].get("customdata") if points else None
    return int(data[0]) if data else None
