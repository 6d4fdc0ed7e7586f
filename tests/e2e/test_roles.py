"""An app with a login: strangers see nothing but the login, whatever link they come by, and three roles may do three
things."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from limit.judge.annotations import import_files
from limit.mixes.build import build_mix
from limit.settings import Workspace
from limit.specs.mix import MixPart, MixSpec
from limit.tiny import ensure_sources
from tests.e2e.conftest import App
from tests.e2e.provider import CLIENT, SECRET, Provider
from tests.e2e.visitor import WIDE, open_page, wait_until_still, walk_to

SECRETS = f"""
[auth]
redirect_uri = "%s/oauth2callback"
cookie_secret = "another secret of this test only"
client_id = "{CLIENT}"
client_secret = "{SECRET}"
server_metadata_url = "%s/.well-known/openid-configuration"

[roles]
operator = ["ada@example.org"]
analyst = ["Bob@Example.org"]
default = "viewer"
"""
# What an analyst and what an operator may do; tests/test_roles.py tries every function.
SAVE, START = "Save this mix", "Start mini"
WHERE = {START: "Launch", SAVE: "Mix"}
STUDY = "launch?what=a+study&plan=mini"
BALLOT = "vote?voter=eve&on={}&n=10"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("locked")
    # Streamlit reads secrets from the home folder of whoever starts it.
    running = App(Workspace(folder / "workspace").make(), folder / "app.log", environment={"HOME": str(folder)})
    ensure_sources(running.ws)
    build_mix(running.ws, MixSpec(parts=(MixPart(source="tiny-lima", take=20),)), "twenty")
    secrets = folder / ".streamlit" / "secrets.toml"
    secrets.parent.mkdir()
    secrets.write_text(SECRETS % (running.url, provider.url))
    running.start()
    yield running
    running.kill()


def log_in(context: Any, app: App, provider: Provider, path: str, **person: Any) -> Any:
    """A page of somebody who came by a link and logged in."""
    provider.person = {"sub": "1", "email_verified": True, **person}
    page, complaints = open_page(context, f"{app.url}/{path}", WIDE, "light")
    assert complaints == []
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Log out").wait_for(timeout=90_000)
    return page


def offered(page: Any) -> set[str]:
    """Which of the actions can be clicked by somebody who came by the link of a study."""
    found = set()
    for name, place in WHERE.items():
        if page.get_by_role("heading", name=place, level=1).count() == 0:
            walk_to(page, place)
        buttons = page.get_by_role("button", name=name, exact=name != SAVE).locator("visible=true")
        if any(button.is_enabled() for button in buttons.all()):
            found.add(name)
    return found


@pytest.mark.parametrize(
    ("email", "role", "actions"),
    [
        ("ada@example.org", "operator", {SAVE, START}),
        ("bob@example.org", "analyst", {SAVE}),
        ("eve@example.org", "viewer", set()),
    ],
)
def test_each_role_is_offered_what_it_may_do(
    locked: App, context: Any, provider: Provider, email: str, role: str, actions: set[str]
) -> None:
    page = log_in(context, locked, provider, STUDY, email=email)
    page.get_by_role("heading", name="Launch", level=1).wait_for(timeout=90_000)
    wait_until_still(page)
    assert "what=a+study" in page.url, "the link that somebody came by is lost"
    assert f"{email} · {role}" in page.locator("[data-testid=stSidebar]").inner_text()
    assert offered(page) == actions
    assert page.get_by_text("encountered an error").count() == 0
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("button", name="Log in").wait_for(timeout=90_000)


def test_an_address_that_nobody_vouches_for_has_the_default_role(locked: App, context: Any, provider: Provider) -> None:
    page = log_in(context, locked, provider, "", email="ada@example.org", email_verified="false", name="Ada")
    walk_to(page, "Present")
    assert "Ada · viewer" in page.locator("[data-testid=stSidebar]").inner_text()
    page.get_by_role("button", name="Prepare CSV").click()  # a viewer may take results away
    page.locator(".st-key-get-csv button").wait_for(timeout=60_000)


def test_a_viewer_who_comes_by_the_link_of_a_ballot_may_not_vote(
    locked: App, context: Any, provider: Provider, tmp_path: Path
) -> None:
    comparison = import_one(locked.ws, tmp_path)
    page = log_in(context, locked, provider, BALLOT.format(comparison), email="eve@example.org")
    page.get_by_text("Voting is for analysts").first.wait_for(timeout=90_000)
    wait_until_still(page)
    page.keyboard.press("1")
    page.wait_for_timeout(500)
    assert page.get_by_text("Write about towns").count() == 0
    assert not list(locked.ws.root.glob("votes/*.jsonl"))


def import_one(ws: Workspace, folder: Path) -> str:
    """A comparison whose answers can be voted on; returns its id."""
    rows = [
        {"instruction": f"Write about towns {i}", "output_1": "Short.", "output_2": f"A longer answer {i}.",
         "annotator": "a judge", "preference": 2}
        for i in range(12)
    ]  # fmt: skip
    path = folder / "long_vs_short_seed1.json"
    path.write_text(json.dumps(rows))
    return str(import_files(ws, [path], prompt_set="towns")["comparisons"][0])


def test_a_stranger_sees_only_the_login(locked: App, context: Any) -> None:
    page, complaints = open_page(context, f"{locked.url}/samples?source=tiny-lima", WIDE, "light")
    is_only_the_login(page, complaints)
    page.goto(f"{locked.url}/present?present=1")
    page.get_by_role("button", name="Log in").wait_for(timeout=90_000)
    wait_until_still(page)
    is_only_the_login(page, complaints)


def is_only_the_login(page: Any, complaints: list[str]) -> None:
    assert complaints == []
    assert page.get_by_role("button", name="Log in").count() == 1
    assert page.locator("[data-testid=stMain] button").count() == 1
    links = page.locator("a:not([data-testid=stSkipToContent])")
    assert links.evaluate_all("links => links.map(link => link.outerHTML)") == []
    assert page.locator(".js-plotly-plot, [data-testid=stDataFrame], table").count() == 0
    assert page.get_by_role("heading", level=1).all_inner_texts() == ["LIMIT"]
