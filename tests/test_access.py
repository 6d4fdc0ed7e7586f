"""Roles are asked for inside the functions that change things."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from limit import access
from limit.core import LimitError
from limit.ui import access as login
from limit.ui.access import role_of


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    access.set_role_provider(None)
    access.set_user_provider(None)


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"email": "ada@example.org", "sub": "7"}, "ada@example.org"),
        ({"email": "ada@example.org", "email_verified": "false", "sub": "7"}, "7"),
        ({}, "unknown"),
    ],
)
def test_the_login_names_who_is_acting(monkeypatch: pytest.MonkeyPatch, facts: dict[str, str], name: str) -> None:
    assert access.user() is None and login.current_user() is None
    monkeypatch.setattr(login, "login_configured", lambda: True)
    person = type("Person", (dict,), {"is_logged_in": True})(facts)
    monkeypatch.setattr(login.st, "user", person)
    assert login.current_user() == name
    person.__class__.is_logged_in = False
    assert login.current_user() is None


def test_without_login_everybody_is_an_operator() -> None:
    access.require("operator", "stop a job")


@pytest.mark.parametrize(("role", "allowed"), [("viewer", ["viewer"]), ("analyst", ["viewer", "analyst"])])
def test_a_role_includes_the_ones_below_it(role: access.Role, allowed: list[str]) -> None:
    access.set_role_provider(lambda: role)
    assert [name for name in access.ROLES if access.may(name)] == allowed
    with pytest.raises(LimitError, match=f"a {role} may not launch"):
        access.require("operator", "launch a finetune")


def test_roles_by_email_fall_back_to_viewer() -> None:
    roles = {"operator": ["Ada@Example.org"], "analyst": "bob@example.org"}
    assert [role_of(name, roles) for name in ("ada@example.org", "bob@example.org", "eve@example.org", None, "")] == [
        "operator", "analyst", "viewer", "viewer", "viewer",
    ]  # fmt: skip
    assert role_of("eve@example.org", {"default": "analyst"}) == "analyst"
    assert role_of("eve@example.org", {"default": "root"}) == "viewer"
