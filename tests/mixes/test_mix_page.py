"""The Mix page: from parts to a saved mix and the way to the launch, by clicking."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from limit.mixes import build_mix, list_mixes
from limit.settings import Workspace
from limit.specs import MixSpec
from tests.mixes.conftest import short_rows, write_rows
from tests.mixes.test_build import spec
from tests.pages import open_page


def check(app: Any) -> None:
    assert [error.value for error in app.exception] == []
    assert [error.value for error in app.error] == []


def metric(app: Any, label: str) -> str:
    return str(next(m.value for m in app.metric if m.label == label))


def button(app: Any, label: str) -> Any:
    return next(b for b in app.button if b.label == label)


def param(app: Any, name: str) -> str:
    """A parameter of the URL, which the test gets as text or as a list of one."""
    value = app.query_params[name]
    return str(value if isinstance(value, str) else value[0])


def box(app: Any, label: str, place: int = 0) -> Any:
    return [b for b in app.selectbox if b.label == label][place]


def test_a_mix_is_opened_changed_saved_and_offered_for_launch(stocked: Workspace) -> None:
    first = build_mix(stocked, spec("short:20", "long:30"), "mine")
    app = open_page("mix", mix=first["mix_id"])
    check(app)
    assert metric(app, "samples") == "50"
    assert any(first["mix_id"] in s.value for s in app.success)
    exact = next(n for n in app.number_input if n.label == "exactly")
    exact.set_value(25).run()
    check(app)
    assert metric(app, "samples") == "55"
    assert not app.success
    button(app, "Save this mix").click().run()
    check(app)
    saved = next(mix for mix in list_mixes(stocked) if mix["mix_id"] != first["mix_id"])
    assert [part["take"] for part in saved["spec"]["parts"]] == [25, 30]
    assert any(saved["mix_id"] in s.value for s in app.success)


def test_the_live_figures_are_those_of_the_library(stocked: Workspace) -> None:
    from limit import formats
    from limit.mixes import describe_spec

    request = spec("short/task1:10", "long:50")
    mix = build_mix(stocked, request)
    app = open_page("mix", mix=mix["mix_id"])
    found = describe_spec(stocked, request)
    assert metric(app, "tokens") == formats.tokens(found["tokens"])
    assert metric(app, "steps an epoch") == formats.count(found["steps_per_epoch"])


def test_removing_the_last_part_starts_anew(stocked: Workspace) -> None:
    mix = build_mix(stocked, spec("short/task1:50"))
    app = open_page("mix", mix=mix["mix_id"])
    button(app, "Remove this part").click().run()
    check(app)
    assert metric(app, "samples")
    assert MixSpec.from_dict(mix["spec"]) == spec("short/task1:50")


def test_a_missing_preset_says_what_to_fetch(stocked: Workspace) -> None:
    app = open_page("mix")
    box(app, "Start from a mix of the paper").select("7b-subset-lima").run()
    button(app, "Take it").click().run()
    assert app.exception == [] or not list(app.exception)
    assert any("instruct-v1" in info.value for info in app.info)


@pytest.mark.parametrize("name", ["samples", "mix"])
def test_pages_of_an_empty_workspace_say_the_next_click(ws: Workspace, name: str) -> None:
    check(open_page(name))


@pytest.mark.parametrize(
    "query",
    [
        {"view": "Compare sources"},
        {"view": "Topics", "source": "short"},
        {"view": "Add or fetch"},
        {"source": "short", "row": "7", "panel": "notes"},
        {"source": "short", "q": "even"},
        {"source": "short", "q": "(", "mode": "regex"},
        {"source": "nope", "row": "-1", "subset": "x"},
        {"source": "short", "row": "99999999999", "panel": "neighbours"},
    ],
)
def test_every_view_of_the_samples_page_renders(stocked: Workspace, query: dict[str, str]) -> None:
    app = open_page("samples", **query)
    assert [error.value for error in app.exception] == []


def test_the_row_of_a_link_is_shown(stocked: Workspace) -> None:
    app = open_page("samples", source="short", row="7")
    check(app)
    assert any("row 7 " in caption.value for caption in app.caption)
    assert any("Is 7 even?" in code.value for code in app.code)


def test_a_broken_pattern_is_an_error_in_words(stocked: Workspace) -> None:
    app = open_page("samples", source="short", q="(", mode="regex")
    assert [error.value for error in app.exception] == []
    assert any("pattern" in error.value for error in app.error)


def test_marks_made_on_the_page_are_kept(stocked: Workspace) -> None:
    from limit.sources import sample
    from limit.sources.marks import read_marks

    app = open_page("samples", source="short", row="7", panel="notes")
    next(t for t in app.toggle if t.label == "Exclude from mixes").set_value(True).run()
    check(app)
    assert read_marks(stocked, "short")[sample(stocked, "short", 7)["sample_id"]] == {"exclude": True}


def table(app: Any) -> Any:
    return next(frame.value for frame in app.dataframe if "response" in frame.value.columns)


def test_a_link_carries_every_filter_and_the_page(stocked: Workspace) -> None:
    from limit.sources import browse
    from limit.sources.marks import mark

    rows = browse(stocked, "short", 1, size=200)["rows"]
    mark(stocked, "short", [row["sample_id"] for row in rows[:60]], "flag", True)
    mark(stocked, "short", [rows[70]["sample_id"]], "note", "Look again")
    app = open_page("samples", source="short", marks="flagged", min="3", page="2")
    check(app)
    expected = [row["prompt"] for row in rows[:60] if row["n_response_chars"] >= 3]
    assert list(table(app)["prompt"]) == expected[25:50]
    app = open_page("samples", source="short", note="again")
    check(app)
    assert list(table(app)["prompt"]) == [rows[70]["prompt"]]


def test_a_range_of_grades_stands_in_the_link(stocked: Workspace) -> None:
    from limit.core import append_jsonl
    from limit.sources import browse

    rows = browse(stocked, "short", 1, size=10)["rows"]
    grades = [{"prompt_id": row["sample_id"], "raw_text": str(n + 1), "status": "ok"} for n, row in enumerate(rows)]
    append_jsonl(stocked.source("short") / "grades" / "judge" / "judgments.jsonl", grades)
    app = open_page("samples", source="short", grades=["3", "5"])
    check(app)
    assert list(table(app)["prompt"]) == [row["prompt"] for row in rows[2:5]]
    app.slider[0].set_value((9.0, 10.0)).run()
    check(app)
    assert list(table(app)["prompt"]) == [row["prompt"] for row in rows[8:]]


def test_a_search_goes_on_from_the_row_of_the_link(stocked: Workspace) -> None:
    app = open_page("samples", source="short", q="even", **{"from": "190"})
    check(app)
    assert list(table(app)["prompt"]) == [row["prompt"] for row in short_rows()[190:]]
    next(t for t in app.text_input if t.label == "Search").set_value("Answer").run()
    check(app)
    assert list(table(app)["prompt"]) == [row["prompt"] for row in short_rows()[:25]]
    assert "from" not in app.query_params


def test_an_unsaved_draft_is_a_link(stocked: Workspace) -> None:
    app = open_page("mix")
    check(app)
    assert "draft" not in app.query_params
    next(n for n in app.number_input if n.label == "Seed").set_value(5).run()
    check(app)
    link = param(app, "draft")
    request = {
        "parts": [
            {"source": "short", "subset": "task1", "take": 7, "max_chars": 2, "turns": "single", "contains": "even"},
            {"source": "long", "share": 0.5, "min_chars": 30},
        ],
        "seed": 2**53 - 1,
        "total": 100,
        "exclude": ["0123456789abcdef"],
    }
    app = open_page("mix", draft=json.dumps(request), **{"mix-length": "512", "mix-batch": "7"})
    check(app)
    assert json.loads(param(app, "draft")) == request
    assert metric(app, "samples") == "57"
    assert metric(app, "steps an epoch") == "9"
    app = open_page("mix", draft=link)
    check(app)
    assert next(n for n in app.number_input if n.label == "Seed").value == 5
    first = build_mix(stocked, spec("short:20"), "mine")
    app = open_page("mix", mix=first["mix_id"], draft=link)
    check(app)
    button(app, "Save this mix").click().run()
    check(app)
    assert "draft" not in app.query_params
    assert param(app, "mix") != first["mix_id"]


@pytest.mark.parametrize("draft", ["{", "[]", '"x"', '{"parts": 5}', '{"parts": [], "seed": 1}', '{"parts": [{}]}'])
def test_a_draft_that_cannot_be_read_is_said_in_words(stocked: Workspace, draft: str) -> None:
    app = open_page("mix", draft=draft)
    assert [error.value for error in app.exception] == []
    assert len(app.error) == 1


def test_a_seed_too_large_for_a_browser_is_kept(stocked: Workspace) -> None:
    mix = build_mix(stocked, spec("short:20").replace(seed=2**63 - 1), "large")
    app = open_page("mix", mix=mix["mix_id"])
    check(app)
    assert any(mix["mix_id"] in s.value for s in app.success)


def test_a_mix_whose_source_changed_says_so(stocked: Workspace, tmp_path: Path) -> None:
    from limit.sources import add_source

    mix = build_mix(stocked, spec("short:20", "long:5"), "old")
    add_source(stocked, "short", write_rows(tmp_path / "other.jsonl", short_rows(30)), replace=True)
    shutil.rmtree(stocked.source("long"))
    app = open_page("mix", mix=mix["mix_id"])
    check(app)
    words = " ".join(w.value for w in app.warning)
    assert "long, short changed or went away" in words and "long is gone" in words


def test_a_search_keeps_to_the_filters(stocked: Workspace) -> None:
    app = open_page("samples", source="short", q="even", subset="task1", max="2")
    check(app)
    assert set(table(app)["subset"]) == {"task1"}
    assert set(table(app)["response"]) == {"no"}


def test_filters_are_given_up_with_the_source(stocked: Workspace) -> None:
    app = open_page("samples", source="short", min="3", turns="one", page="2")
    box(app, "Source").set_value("long").run()
    check(app)
    assert "1 to 25 of 100 samples" in [caption.value.replace("\\", "") for caption in app.caption]


@pytest.mark.parametrize(
    ("box", "characters"),
    [
        ([], None),
        ([{"x": [1.0, 2.0]}], (10, 100)),
        ([{"x": [2.0, 1.0]}], (10, 100)),
        ([{"x": [-3.0, 99.0]}], (1, 10**9)),
        ([{"y": [1.0, 2.0]}], None),
    ],
)
def test_a_brush_spans_characters(box: list[Any], characters: tuple[int, int] | None) -> None:
    from types import SimpleNamespace

    from limit.ui.samples_filters import brushed_range

    assert brushed_range(SimpleNamespace(selection=SimpleNamespace(box=box))) == characters


def test_the_mix_page_offers_to_leave_flagged_samples_out(stocked: Workspace) -> None:
    from limit.sources import browse
    from limit.sources.marks import mark

    mark(stocked, "short", [row["sample_id"] for row in browse(stocked, "short")["rows"][:3]], "flag", True)
    first = build_mix(stocked, spec("short:all"), "mine")
    app = open_page("mix", mix=first["mix_id"])
    next(t for t in app.toggle if t.label == "Leave out 3 samples with a flag").set_value(True).run()
    check(app)
    assert metric(app, "samples") == "197"


def test_a_filtered_page_says_how_many_there_are(stocked: Workspace) -> None:
    app = open_page("samples", source="short", min="3")
    check(app)
    fitting = sum(len(row["response"]) >= 3 for row in short_rows())
    assert f"1 to 25 of {fitting} samples" in [caption.value for caption in app.caption]


def test_a_topic_of_the_map_opens_its_samples(stocked: Workspace) -> None:
    from limit.jobs.context import JobContext
    from limit.sources.topics import make_topics

    topics = make_topics(stocked, "long", JobContext(None), topics=3)["topics"]
    app = open_page("samples", source="long", view="Topics")
    check(app)
    next(b for b in app.button if b.key == f"topic-{topics[0]['topic']}").click().run()
    check(app)
    shown = min(25, topics[0]["rows"])
    assert f"1 to {shown} of {topics[0]['rows']} samples" in [caption.value for caption in app.caption]


def test_a_neighbour_is_opened(stocked: Workspace) -> None:
    app = open_page("samples", source="short", row="7", panel="neighbours")
    check(app)
    opened = next(b for b in app.button if b.label == "Open this sample")
    row = opened.key.removeprefix("open-")
    opened.click().run()
    check(app)
    assert app.query_params["row"] == row
    assert any(caption.value.startswith(f"row {row} ") for caption in app.caption)


def test_a_saved_mix_is_opened_anew_after_changes(stocked: Workspace) -> None:
    first = build_mix(stocked, spec("short:20"), "mine")
    app = open_page("mix", mix=first["mix_id"])
    next(n for n in app.number_input if n.label == "exactly").set_value(25).run()
    assert metric(app, "samples") == "25"
    app.session_state["saved-list"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    button(app, "Open a copy").click().run()
    check(app)
    assert metric(app, "samples") == "20"
