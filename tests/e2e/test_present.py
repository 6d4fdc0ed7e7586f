"""Presenting in a real browser: slides turned by keys in the room and on a phone, and files that keep what they say."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pptx import Presentation

from limit.claims import ledger
from limit.claims.suggest import suggestions
from limit.core import Json
from limit.store import Store
from limit.store.queries_models import paper_rows
from tests.e2e.conftest import App
from tests.e2e.visitor import NARROW, WIDE, open_page, wait_until_still

ROOM = {"width": 1920, "height": 1080}
FORMATS = {"PowerPoint": "pptx"}  # where the label is not the ending
HOSTILE = "<script>document.title = 'taken over'</script> the judge prefers **it**"


@pytest.fixture(scope="module")
def claims(app: App) -> list[Json]:
    """Three claims about the paper; the words of the last one are hostile."""
    with Store.open(app.ws) as store:
        offered = suggestions(store, paper_rows(store, ["7B"]))
        for claim in (offered[0], offered[1], offered[-1]):
            ledger.add_claim(app.ws, claim["sentence"], claim["test"], claim["evidence"])
    ledger.edit_claim(app.ws, ledger.read_claims(app.ws)[2]["claim_id"], HOSTILE)
    return ledger.read_claims(app.ws)


def shown_claim(page: Any) -> str:
    return str(page.locator("h1.limit-claim").inner_text())


@pytest.fixture(scope="module")
def opened(app: App, context: Any, claims: list[Json]) -> Iterator[tuple[Any, list[str]]]:
    """A page that somebody opened by the link to the slides in the room, and what was complained of."""
    page, complaints = open_page(context, f"{app.url}/present?present=1", ROOM, "light")
    yield page, complaints
    page.close()


def leave_slides(page: Any) -> None:
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="Claims").wait_for(timeout=20_000)
    wait_until_still(page)


def test_a_slide_fits_the_room(opened: tuple[Any, list[str]]) -> None:
    page, _ = opened
    below = page.get_by_role("button", name="Next").bounding_box()
    assert below["y"] + below["height"] <= ROOM["height"], "the buttons are below the screen"
    assert float(page.locator("h1.limit-claim").evaluate("e => parseFloat(getComputedStyle(e).fontSize)")) >= 40


@pytest.mark.parametrize(("viewport", "scheme"), [(ROOM, "light"), (NARROW, "dark")], ids=["room", "phone"])
def test_slides_are_turned_by_keys(
    opened: tuple[Any, list[str]], claims: list[Json], viewport: dict[str, int], scheme: str
) -> None:
    """The first time from a link to the slides, then from the page's own button."""
    page, complaints = opened
    page.set_viewport_size(viewport)
    page.emulate_media(color_scheme=scheme)
    if "present=1" not in page.url:
        page.get_by_role("button", name="Present", exact=True).click()
        page.locator("h1.limit-claim").wait_for(timeout=90_000)
        wait_until_still(page)
        assert "present=1" in page.url, "what is shown has no link"
    assert complaints == []
    assert shown_claim(page) == claims[0]["sentence"]
    assert not page.locator("[data-testid=stSidebar]").is_visible()
    assert page.locator(".js-plotly-plot").count() == 1
    for number in (1, 2):
        page.keyboard.press("ArrowRight")
        page.get_by_text(f"{number + 1} / 3").wait_for(timeout=20_000)
        wait_until_still(page)
        assert shown_claim(page) == claims[number]["sentence"]
        assert f"slide={number + 1}" in page.url
    assert page.title() != "taken over"
    width = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
    assert width <= viewport["width"]
    page.keyboard.press("ArrowLeft")
    page.get_by_text("2 / 3").wait_for(timeout=20_000)
    leave_slides(page)
    assert "present=1" not in page.url


@pytest.fixture
def present_page(opened: tuple[Any, list[str]]) -> Any:
    """The same page as it is after the slides."""
    page, complaints = opened
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")
    if "present=1" in page.url:
        leave_slides(page)
    assert complaints == []
    return page


def take_away(page: Any, label: str, folder: Path) -> Path:
    """Press Prepare and Download as a person would; returns the file."""
    page.get_by_role("button", name=f"Prepare {label}").click()
    button = page.locator(f".st-key-get-{FORMATS.get(label, label.lower())} button")
    button.wait_for(timeout=60_000)
    wait_until_still(page)
    with page.expect_download() as waiting:
        button.click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_the_html_file_works_offline(present_page: Any, browser: Any, claims: list[Json], tmp_path: Path) -> None:
    path = take_away(present_page, "HTML", tmp_path)
    context = browser.new_context(viewport=WIDE)
    context.set_offline(True)
    page = context.new_page()
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=60_000)
    text = page.locator("body").inner_text()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert problems == []
    assert claims[0]["sentence"] in text and HOSTILE in text and "65.1" in text
    assert page.title() != "taken over"
    context.close()


def test_the_slides_hold_charts_that_can_be_edited(present_page: Any, claims: list[Json], tmp_path: Path) -> None:
    deck = Presentation(str(take_away(present_page, "PowerPoint", tmp_path)))
    shapes = [shape for slide in deck.slides for shape in slide.shapes]
    text = "\n".join(shape.text_frame.text for shape in shapes if shape.has_text_frame)
    assert claims[0]["sentence"] in text and HOSTILE in text
    assert any(shape.has_chart for shape in shapes)


def test_the_csv_holds_the_published_numbers(present_page: Any, tmp_path: Path) -> None:
    path = take_away(present_page, "CSV", tmp_path)
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
    rates = [row["value"] for row in rows if row["measure"] == "preference" and "subset + LIMA" in row["model"]]
    assert "65.1" in [f"{float(rate):.1f}" for rate in rates if rate]
    assert {"mix_id", "study", "samples"} <= rows[0].keys()
    assert not any(str(cell).startswith(("=", "+", "@")) for row in rows for cell in row.values())


@pytest.mark.parametrize(("label", "start"), [("Parquet", b"PAR1"), ("PDF", b"%PDF"), ("PNG", b"\x89PNG")])
def test_other_files_are_what_they_say(present_page: Any, tmp_path: Path, label: str, start: bytes) -> None:
    path = take_away(present_page, label, tmp_path)
    assert path.read_bytes().startswith(start) and path.stat().st_size > 1000
