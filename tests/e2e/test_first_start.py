"""First start on an empty workspace: every page has content, wide in light and narrow in dark, without a complaint of
the browser's or, where it is serious or critical, of axe-core's.

A page is loaded once and then made narrow and dark, since loading costs a browser without a GPU ten seconds of a core.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from limit.settings import Workspace
from tests.e2e.accessibility import grave_complaints
from tests.e2e.conftest import App

PAGES = ("", "samples", "mix", "launch", "runs", "gauntlet", "preferences", "compare", "vote", "present")
LIGHTNESS = "+getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor.match(/\\d+/)[0]"
# A rule that the server adds to pages in dark.
DRAWN_FOR_DARK = "[...document.querySelectorAll('style')].some(style => style.textContent.includes('#0F1218'))"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def is_complaint(message: Any) -> bool:
    """Streamlit asks for its health below a page's path first and gets a 404; every other error counts."""
    return message.type == "error" and "404 (Not Found)" not in message.text


def open_page(browser: Any, url: str, viewport: dict[str, int], scheme: str) -> tuple[Any, list[str]]:
    """A fresh context at an address, and the list that collects what the console and the network complain about."""
    return visit(browser.new_context(viewport=viewport, color_scheme=scheme), url)


def visit(context: Any, url: str) -> tuple[Any, list[str]]:
    """The same in a context that may hold the app's files already."""
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"{request.url} {request.failure}"))
    page.goto(url)
    page.get_by_role("heading", level=1).first.wait_for(timeout=90_000)
    wait_until_still(page)
    return page, complaints


def wait_until_still(page: Any) -> None:
    """Wait until the script has ended and nothing is greyed out any more."""
    page.wait_for_timeout(400)
    page.wait_for_function(
        "document.querySelector('[data-test-script-state=notRunning]')"
        " && !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]')",
        timeout=90_000,
    )


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    """One context for all pages, so that the app's scripts are fetched once."""
    context = browser.new_context(viewport=WIDE, color_scheme="light")
    yield context
    context.close()


@pytest.mark.parametrize("path", PAGES)
def test_page_opens_clean(app: App, context: Any, path: str) -> None:
    page, complaints = visit(context, f"{app.url}/{path}")
    try:
        is_clean(page, complaints, WIDE, "light")
        page.set_viewport_size(NARROW)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"{LIGHTNESS} < 100", timeout=30_000)
        page.wait_for_function(DRAWN_FOR_DARK, timeout=60_000)  # what the server draws follows at its next look
        wait_until_still(page)
        is_clean(page, complaints, NARROW, "dark")
    finally:
        page.close()


def test_a_phone_at_night_opens_clean(app: App, browser: Any) -> None:
    page, complaints = open_page(browser, app.url, NARROW, "dark")
    try:
        is_clean(page, complaints, NARROW, "dark")
    finally:
        page.context.close()


def is_clean(page: Any, complaints: list[str], viewport: dict[str, int], scheme: str) -> None:
    """No complaint, no error, nothing beyond the screen's side, the right theme, nothing grave for a screen reader."""
    assert complaints == []
    assert page.get_by_text("encountered an error").count() == 0
    width = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
    assert width <= viewport["width"], "the page scrolls sideways"
    assert (page.evaluate(LIGHTNESS) < 100) == (scheme == "dark")
    assert grave_complaints(page) == []


def test_overview_shows_the_papers_numbers_at_first_start(app: App, browser: Any) -> None:
    page, _ = open_page(browser, app.url, WIDE, "light")
    try:
        text = page.locator("[data-testid=stMain]").inner_text()
        assert "65.1" in text
    finally:
        page.context.close()


def test_the_server_listens_on_this_machine_only(app: App) -> None:
    import psutil

    assert app.process is not None
    family = [psutil.Process(app.process.pid), *psutil.Process(app.process.pid).children(recursive=True)]
    heard = [c.laddr.ip for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert set(heard) == {"127.0.0.1"}


def test_the_first_visitor_of_a_new_server_may_come_by_any_link(
    tmp_path_factory: pytest.TempPathFactory, browser: Any
) -> None:
    folder = tmp_path_factory.mktemp("fresh")
    fresh = App(Workspace(folder / "workspace").make(), folder / "app.log")
    fresh.start()
    try:
        page, complaints = open_page(browser, f"{fresh.url}/samples?source=tiny-lima", WIDE, "light")
        assert complaints == []
        page.get_by_role("heading", name="Samples", level=1).wait_for(timeout=60_000)
        assert page.get_by_role("link", name="Overview").count() == 1, "the page was run without app.py"
        assert "source=tiny-lima" in page.url
        page.context.close()
    finally:
        fresh.kill()
