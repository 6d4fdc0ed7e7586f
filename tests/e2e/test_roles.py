"""An app with a login: strangers see nothing but the login, whatever link they come by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from limit.settings import Workspace
from tests.e2e.conftest import App
from tests.e2e.test_first_start import PAGES, WIDE, open_page

SECRETS = """
[auth]
redirect_uri = "http://127.0.0.1/oauth2callback"
cookie_secret = "a secret of this test only"
client_id = "limit"
client_secret = "nobody"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"

[roles]
operator = ["ada@example.org"]
default = "viewer"
"""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("locked")
    secrets = folder / ".streamlit" / "secrets.toml"
    secrets.parent.mkdir()
    secrets.write_text(SECRETS)
    # Streamlit reads secrets from the home folder of whoever starts it.
    running = App(Workspace(folder / "workspace").make(), folder / "app.log", environment={"HOME": str(folder)})
    running.start()
    yield running
    running.kill()


@pytest.mark.parametrize("path", ["samples?source=tiny-lima", "present?present=1", *PAGES])
def test_a_stranger_sees_only_the_login(locked: App, browser: Any, path: str) -> None:
    page, complaints = open_page(browser, f"{locked.url}/{path}", WIDE, "light")
    try:
        assert complaints == []
        assert page.get_by_role("button", name="Log in").count() == 1
        assert page.locator("[data-testid=stMain] button").count() == 1
        links = page.locator("a:not([data-testid=stSkipToContent])")
        assert links.evaluate_all("links => links.map(link => link.outerHTML)") == []
        assert page.locator(".js-plotly-plot, [data-testid=stDataFrame], table").count() == 0
        assert page.get_by_role("heading", level=1).all_inner_texts() == ["LIMIT"]
    finally:
        page.context.close()
