"""axe-core over every page in both themes: nothing serious or critical in what this project draws."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import App
from tests.e2e.test_first_start import PAGES, WIDE, open_page

axe_module = pytest.importorskip("axe_playwright_python.sync_playwright")

# Drawn by Streamlit itself, out of reach of this project's code.
STREAMLITS_OWN = (
    "[data-testid=stHeader]",  # toolbar and main menu
    "[data-testid=stSidebarHeader]",
    "[data-testid=stSidebarNav]",  # a list whose headings are no list items
    "[data-testid=stDataFrame]",  # a canvas with its own grid for screen readers
    "[data-testid=stFileUploaderDropzone]",
    ".modebar",  # plotly's buttons
)
GRAVE = ("serious", "critical")


def complaints_of(page: Any) -> list[str]:
    """Serious and critical violations as `rule: place: markup`."""
    context = {"exclude": [[selector] for selector in STREAMLITS_OWN]}
    found = axe_module.Axe().run(page, context=context).response["violations"]
    return [
        f"{rule['id']}: {node['target']}: {node['html'][:160]}"
        for rule in found
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_page_has_nothing_serious(app: App, browser: Any, path: str, scheme: str) -> None:
    page, _ = open_page(browser, f"{app.url}/{path}", WIDE, scheme)
    try:
        assert complaints_of(page) == []
    finally:
        page.context.close()
