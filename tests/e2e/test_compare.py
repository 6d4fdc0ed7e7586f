"""Compare in a real browser: a click on a bar opens the items behind it, and the link shows the same view."""

from __future__ import annotations

from typing import Any

import pytest

from limit.settings import SHIPPED
from tests.e2e.conftest import App
from tests.e2e.visitor import WIDE, open_page, wait_until_still

pytestmark = pytest.mark.skipif(
    not (SHIPPED / "tiny" / "results" / "studies" / "mini").is_dir(), reason="no study ships yet"
)
STUDY = "compare?study=tiny+%C2%B7+shipped+study"


def chosen(page: Any, label: str) -> str:
    return str(page.get_by_role("combobox", name=label, exact=True).first.input_value())


def test_a_click_on_a_bar_opens_the_items_behind_it(app: App, context: Any) -> None:
    page, complaints = open_page(context, f"{app.url}/{STUDY}", WIDE, "light")
    assert complaints == []
    bars = page.locator(".st-key-compare_panels .js-plotly-plot .subplot.x3y3 .bars .point")
    bars.first.wait_for(timeout=120_000)
    bars.first.scroll_into_view_if_needed()
    box = bars.first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.get_by_text("that both answered").wait_for(timeout=120_000)
    wait_until_still(page)
    assert "view=drill+down" in page.url or "view=drill%20down" in page.url
    text = page.locator("[data-testid=stMain]").inner_text()
    assert "Commonsense reasoning" in text and "flips:" in text
    link, answers = page.url, page.locator("[data-testid=stCode]").all_inner_texts()
    assert len(answers) >= 3, "the item and both answers"
    assert "Session State API" not in app.log.read_text(), "a selector has a default and a value that was set"
    page.close()
    again, _ = open_page(context, link, WIDE, "light")
    again.get_by_text("that both answered").wait_for(timeout=120_000)
    wait_until_still(again)
    assert again.locator("[data-testid=stCode]").all_inner_texts() == answers


def test_a_preference_leads_to_both_answers_and_to_the_nearest_samples_of_a_shipped_mix(app: App, context: Any) -> None:
    link = f"{app.url}/{STUDY}&view=drill+down&category=Preference&nearest=true&a=LIMA+only+%28tiny%29"
    page, complaints = open_page(context, link, WIDE, "light")
    assert complaints == []
    page.get_by_text("on which both were judged").wait_for(timeout=120_000)
    assert page.locator("[data-testid=stCode]").count() == 3
    page.get_by_role("button", name="Build this mix again").first.click()
    page.get_by_text("similarity").first.wait_for(timeout=120_000)
    wait_until_still(page)
    assert page.get_by_text("similarity").count() == 3
