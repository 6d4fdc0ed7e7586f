"""Every page renders with nothing in the workspace, with content, and with texts that try to break it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from limit.mixes import build_mix
from limit.settings import PROJECT, Workspace
from limit.sources import add_source
from limit.specs import MixPart, MixSpec
from tests.hostile import add_hostile_results, write_hostile_file
from tests.pages import open_page

PAGES = sorted(path.stem for path in (PROJECT / "pages").glob("*.py"))
TEN = {"overview", "samples", "mix", "launch", "runs", "gauntlet", "preferences", "compare", "vote", "present"}


def check(app: Any) -> None:
    assert [error.value for error in app.exception] == []
    assert len(app.title) >= 1


def test_the_ten_pages_exist() -> None:
    assert set(PAGES) == TEN


@pytest.mark.parametrize("name", PAGES)
def test_page_with_an_empty_workspace(name: str, ws: Workspace) -> None:
    check(open_page(name))


@pytest.fixture
def hostile(ws: Workspace, tmp_path: Path) -> Workspace:
    add_source(ws, "hostile", write_hostile_file(tmp_path))
    mix = build_mix(ws, MixSpec(parts=(MixPart(source="hostile"),)), name="<b>mix</b> **x**")
    add_hostile_results(ws, mix["mix_id"])
    return ws


@pytest.mark.parametrize("name", PAGES)
def test_page_with_hostile_content(name: str, hostile: Workspace) -> None:
    app = open_page(name)
    check(app)
    markdown = " ".join(str(block.value) for block in [*app.markdown, *app.caption, *app.title, *app.header])
    assert "<script>" not in markdown


@pytest.mark.parametrize("name", PAGES)
def test_page_with_a_link_to_things_that_are_not_there(name: str, ws: Workspace) -> None:
    wrong = dict.fromkeys(("run", "mix", "source", "job", "eval", "comparison", "study", "task"), "../../etc/passwd")
    check(open_page(name, **wrong))


def test_widgets_of_one_key_are_of_one_kind() -> None:
    """Streamlit keeps values by key from page to page: a toggle that meets a selector's text ends in a traceback."""
    kinds: dict[str, set[str]] = {}
    for path in sorted((PROJECT / "limit" / "ui").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                key = next((word.value for word in node.keywords if word.arg == "key"), None)
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    kinds.setdefault(key.value, set()).add(node.func.attr)
    mixed = {key: names for key, names in kinds.items() if len(names) > 1}
    assert mixed == {}
