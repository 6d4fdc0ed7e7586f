"""The filters of the Samples page: subset, a length range brushed on a histogram, turns, labels, notes, grades, topic.

Every value stands in the URL, so a filtered view is a link.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from limit import formats
from limit.core import Json
from limit.settings import Workspace
from limit.sources.browsing import lengths
from limit.sources.filters import Filter, Mark
from limit.sources.grades import read_grades
from limit.sources.listing import rejected_rows
from limit.sources.topics import load_topics
from limit.ui.samples_charts import length_histogram
from limit.ui.samples_words import first_line, licence_words, linked_choice, palette
from limit.ui.shell import chart, note_line, plain, printable

EVERYTHING = "all subsets"
CHARS_PER_TOKEN = 4
MARK_WORDS: dict[str, Mark] = {"flagged": "flag", "excluded": "exclude", "with a note": "note", "unmarked": "none"}
FIRST_PAGE = {"page": 1}
LIFTED = {**FIRST_PAGE, "min": 0, "max": 0, "turns": "any", "marks": [], "note": ""}  # given up for another source


def filters(ws: Workspace, source: Json) -> Filter:
    """Draw the left column; returns what it asks for."""
    st.caption(plain(f"{source['title']} · {licence_words(source)}"))
    if source["rejected"]:
        _rejects(source)
    subset = _subset(source)
    _histogram(ws, source, subset)
    with st.expander("Filters", expanded=_any_set()):
        of, low, high = _length_range()
        turns = _choice("Turns", ("any", "one", "several"), "turns")
        marks = st.pills(
            "Labels",
            list(MARK_WORDS),
            selection_mode="multi",
            key="marks",
            bind="query-params",
            help="samples that bear at least one of the chosen labels",
        )
        note = st.text_input("Words in the note", key="note", bind="query-params")
        grades = _grades(ws, source)
    return Filter(
        subset=subset,
        min_chars=low or None,
        max_chars=high or None,
        length_of=of,  # type: ignore[arg-type]
        min_turns=2 if turns == "several" else None,
        max_turns=1 if turns == "one" else None,
        marks=tuple(MARK_WORDS[word] for word in marks or ()),
        note=(note or "").strip() or None,
        min_grade=grades[0] if grades else None,
        max_grade=grades[1] if grades else None,
        topic=_topic(ws, source),
    )


def _subset(source: Json) -> str | None:
    named = {name: count for name, count in source["subsets"].items() if name}
    if not named:
        return None
    chosen = linked_choice(
        "Subset",
        [EVERYTHING, *sorted(named, key=lambda name: -named[name])],
        "subset",
        lambda name: name if name == EVERYTHING else f"{printable(name)} · {named[name]:,}",
        resets=("row", "topic"),
        lifts=FIRST_PAGE,
        default=EVERYTHING,
    )
    return None if chosen == EVERYTHING else chosen


def _rejects(source: Json) -> None:
    """What could not be used, where it stands in its file, and why."""
    words = "1 row" if source["rejected"] == 1 else f"{formats.count(source['rejected'])} rows"
    with st.expander(f"{words} not used"):
        rows = _rejected(source["path"], source["created"])
        st.dataframe(rows, hide_index=True, alt="rows that could not be used", lazy=False)
        if len(rows) < source["rejected"]:
            st.caption(f"the first {len(rows)}; all of them stand in rejects.jsonl in the source's folder")


def _histogram(ws: Workspace, source: Json, subset: str | None) -> None:
    """Response lengths; dragging over it sets the length range, a double click lifts it."""
    facts = _lengths(ws.root.as_posix(), source["source"], source["content_sha256"], subset)
    low, high = (_number(name) for name in ("min", "max"))
    chosen = (low, high) if (low or high) and _held("of", "response") == "response" else None
    if chosen and _held("unit", "characters") == "tokens":
        chosen = (chosen[0] * CHARS_PER_TOKEN, chosen[1] * CHARS_PER_TOKEN)
    key = f"lengths-{source['source']}-{subset}"
    event = chart(
        length_histogram(facts, palette(), chosen),
        f"response lengths of {source['source']}; drag over a range to filter by it",
        key,
        on_select="rerun",
        selection_mode="box",
    )
    _brush(key, brushed_range(event))
    quarter = " · ".join(f"{facts[name]:,.0f}" for name in ("p10", "p50", "p90"))
    note_line(n=formats.count(facts["n"]), characters_p10_p50_p90=quarter, filter="drag over the bars")


def brushed_range(event: Any) -> tuple[int, int] | None:
    """The characters that a selection on the histogram spans; its axis is the logarithm to base ten."""
    boxes = getattr(getattr(event, "selection", None), "box", None) or []
    ends = boxes[0].get("x") if boxes else None
    if not ends or len(ends) < 2:
        return None
    low, high = sorted(min(max(float(end), 0.0), 9.0) for end in ends[:2])
    return max(1, round(10**low)), max(1, round(10**high))


def _brush(key: str, found: tuple[int, int] | None) -> None:
    """Put a new selection into the number fields, once; later changes by hand stand."""
    seen = st.session_state.get("brushed")
    if (key, found) == seen or (found is None and (seen is None or seen[1] is None)):
        return
    st.session_state["brushed"] = (key, found)
    if found is None and seen is not None and seen[0] != key:
        return  # the selection belonged to the histogram of another source or subset
    st.session_state["min"], st.session_state["max"] = found or (0, 0)
    for name, value in (("of", "response"), ("unit", "characters")):
        if _held(name, value) != value:
            st.session_state[name] = value
    st.session_state.update(FIRST_PAGE)


def _length_range() -> tuple[str, int, int]:
    of = _choice("Length of", ("response", "prompt", "both"), "of")
    unit = _choice(
        "Length in",
        ("characters", "tokens"),
        "unit",
        f"Tokens are estimated here at {CHARS_PER_TOKEN} characters each; the sample itself is counted.",
    )
    scale = CHARS_PER_TOKEN if unit == "tokens" else 1
    low = st.number_input("At least", 0, None, 0, key="min", bind="query-params")
    high = st.number_input("At most (0 for no limit)", 0, None, 0, key="max", bind="query-params")
    return of, int(low) * scale, int(high) * scale


def _choice(label: str, options: tuple[str, ...], key: str, help: str | None = None) -> str:
    """A select box, because the column is too narrow for buttons side by side."""
    return str(st.selectbox(label, options, key=key, bind="query-params", help=help))


def _grades(ws: Workspace, source: Json) -> tuple[float, float] | None:
    """The range of judges' grades, where samples were graded; None when all of it is wanted."""
    if not read_grades(ws, source["source"]):
        return None
    low, high = st.slider("Judges' mean grade", 1.0, 10.0, (1.0, 10.0), 0.5, key="grades", bind="query-params")
    return None if (low, high) == (1.0, 10.0) else (low, high)


def _topic(ws: Workspace, source: Json) -> int | None:
    """The topic that the link names, with the way out of it."""
    wanted = st.query_params.get("topic", "")
    topics = load_topics(ws, source["source"]) if wanted.isascii() and wanted.isdecimal() else None
    found = next((t for t in topics["topics"] if str(t["topic"]) == wanted), None) if topics else None
    if found is None:
        return None
    st.caption(plain(f"Topic: {printable(found['name'])}"))
    if st.button("Leave the topic", icon=":material/close:"):
        del st.query_params["topic"]
        st.rerun()
    return int(found["topic"])


def _any_set() -> bool:
    """Whether a filter inside the folded part is at work, so that it must not be hidden."""
    return any(_held(name, "") not in ("", None, [], 0, "0", "any") for name in ("turns", "marks", "note", "grades"))


def _held(name: str, default: str) -> Any:
    return st.session_state.get(name, st.query_params.get(name, default))


def _number(name: str) -> int:
    text = str(_held(name, "0") or "0")
    return int(text) if text.isascii() and text.isdecimal() else 0


@st.cache_data(show_spinner=False, max_entries=50)
def _rejected(path: str, created: str) -> list[Json]:
    found = rejected_rows(Path(path))
    return [{"line": r["line"], "reason": printable(r["reason"]), "row": first_line(r["text"])} for r in found]


@st.cache_data(show_spinner=False, max_entries=200)
def _lengths(root: str, source: str, content: str, subset: str | None) -> Json:
    return lengths(Workspace(Path(root)), source, subset)
