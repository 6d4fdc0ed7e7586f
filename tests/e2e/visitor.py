"""Somebody who opens the app for the first time, in the browser context that all tests share."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
HEADINGS = {"Overview": "LIMIT"}  # of pages that are headed by more than their name
PATIENCE_MS = 90_000


def is_complaint(message: Any) -> bool:
    """Streamlit asks for its health below a page's path first and gets a 404; every other error counts."""
    return message.type == "error" and "404 (Not Found)" not in message.text


def new_page(context: Any, url: str, viewport: dict[str, int], scheme: str) -> Any:
    """An empty page of a screen and a theme; what the address's origin keeps in a browser is forgotten."""
    page = context.new_page()
    context.clear_cookies()
    parts = urlsplit(url)
    devtools = context.new_cdp_session(page)
    kept = {"origin": f"{parts.scheme}://{parts.netloc}", "storageTypes": "local_storage,indexeddb"}
    devtools.send("Storage.clearDataForOrigin", kept)
    devtools.detach()
    page.set_viewport_size(viewport)
    page.emulate_media(color_scheme=scheme)
    return page


def open_page(context: Any, url: str, viewport: dict[str, int], scheme: str) -> tuple[Any, list[str]]:
    """A stranger's page at an address, and the list that collects what the console and the network complain about."""
    page = new_page(context, url, viewport, scheme)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"{request.url} {request.failure}"))
    page.goto(url)
    page.get_by_role("heading", level=1).first.wait_for(timeout=PATIENCE_MS)
    wait_until_still(page)
    return page, complaints


def wait_until_still(page: Any) -> None:
    """Wait until the script has ended and nothing is greyed out any more."""
    page.wait_for_timeout(400)
    page.wait_for_function(
        "document.querySelector('[data-test-script-state=notRunning]')"
        " && !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]')",
        timeout=PATIENCE_MS,
        polling=100,
    )


def walk_to(page: Any, name: str) -> None:
    """Go to a page by its link in the sidebar, which loads nothing anew."""
    page.locator("[data-testid=stSidebarNav]").get_by_role("link", name=name, exact=True).click()
    page.get_by_role("heading", name=HEADINGS.get(name, name), level=1).wait_for(timeout=PATIENCE_MS)
    wait_until_still(page)
