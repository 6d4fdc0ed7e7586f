"""First start on an empty workspace: every page has content, wide in light and narrow in dark, without a complaint of
the browser's or, where it is serious or critical, of axe-core's.

The app is loaded once and walked through, since loading it costs a browser without a GPU more than all else here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.e2e.accessibility import grave_complaints
from tests.e2e.conftest import App
from tests.e2e.visitor import NARROW, WIDE, open_page, wait_until_still, walk_to

PAGES = ("Overview", "Samples", "Mix", "Launch", "Runs", "Gauntlet", "Preferences", "Compare", "Vote", "Present")
ANY_LINK = "samples?source=tiny-lima"
LIGHTNESS = "+getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor.match(/\\d+/)[0]"
# A rule that the server adds to pages in dark.
DRAWN_FOR_DARK = "[...document.querySelectorAll('style')].some(style => style.textContent.includes('#0F1218'))"


@pytest.fixture(scope="module")
def first_visit(app: App, context: Any) -> Iterator[tuple[Any, list[str], str]]:
    """The page of the server's very first visitor, what was complained of, and the address that was arrived at."""
    page, complaints = open_page(context, f"{app.url}/{ANY_LINK}", WIDE, "light")
    yield page, complaints, page.url
    page.close()


def test_the_first_visitor_of_a_new_server_may_come_by_any_link(first_visit: tuple[Any, list[str], str]) -> None:
    page, complaints, address = first_visit
    assert complaints == []
    page.get_by_role("heading", name="Samples", level=1).wait_for(timeout=60_000)
    assert page.get_by_role("link", name="Overview").count() == 1, "the page was run without app.py"
    assert "source=tiny-lima" in address


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_clean(first_visit: tuple[Any, list[str], str], name: str) -> None:
    page, complaints, _ = first_visit
    complaints.clear()
    show(page, WIDE, "light")
    walk_to(page, name)
    is_clean(page, complaints, WIDE, "light")
    show(page, NARROW, "dark")
    is_clean(page, complaints, NARROW, "dark")


def show(page: Any, viewport: dict[str, int], scheme: str) -> None:
    """Change the screen and the theme of a page; what the server draws follows at its next look."""
    dark = str(scheme == "dark").lower()
    page.set_viewport_size(viewport)
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(f"({LIGHTNESS} < 100) == {dark}", timeout=30_000, polling=100)
    page.wait_for_function(f"{DRAWN_FOR_DARK} == {dark}", timeout=60_000, polling=100)
    wait_until_still(page)


def test_a_phone_at_night_opens_clean(app: App, context: Any) -> None:
    page, complaints = open_page(context, app.url, NARROW, "dark")
    is_clean(page, complaints, NARROW, "dark")


def is_clean(page: Any, complaints: list[str], viewport: dict[str, int], scheme: str) -> None:
    """No complaint, no error, nothing beyond the screen's side, the right theme, nothing grave for a screen reader."""
    assert complaints == []
    assert page.get_by_text("encountered an error").count() == 0
    width = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
    assert width <= viewport["width"], "the page scrolls sideways"
    assert (page.evaluate(LIGHTNESS) < 100) == (scheme == "dark")
    assert grave_complaints(page) == []


def test_overview_shows_the_papers_numbers_at_first_start(first_visit: tuple[Any, list[str], str]) -> None:
    page, *_ = first_visit
    show(page, WIDE, "light")
    walk_to(page, "Overview")
    assert "65.1" in page.locator("[data-testid=stMain]").inner_text()


def test_the_server_listens_on_this_machine_only(app: App) -> None:
    assert app.process is not None
    family = [psutil.Process(app.process.pid), *psutil.Process(app.process.pid).children(recursive=True)]
    heard = [c.laddr.ip for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert set(heard) == {"127.0.0.1"}
