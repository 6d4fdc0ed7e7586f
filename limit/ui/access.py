"""Login and roles: one local user without configuration, OpenID Connect with three roles where secrets say so.

Secrets: `[auth]` as Streamlit's `st.login` wants it, and `[roles]` with lists of e-mail addresses under `operator`
and `analyst` and a `default` for everybody else (`viewer` when absent).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import streamlit as st

from limit import access
from limit.access import ROLES, Role
from limit.ui.router import hide_pages


def login_configured() -> bool:
    """Whether the secrets hold an `[auth]` section; no secrets file means no login."""
    try:
        return "auth" in st.secrets
    except (FileNotFoundError, st.errors.StreamlitSecretNotFoundError):
        return False


def role_of(email: str | None, roles: Mapping[str, Any]) -> Role:
    """The highest role whose list names `email`, else the default."""
    wanted = (email or "").casefold()
    for role in reversed(ROLES):
        names = roles.get(role, [])
        listed = [names] if isinstance(names, str) else list(names)
        if wanted and wanted in [str(name).casefold() for name in listed]:
            return role
    default = roles.get("default", "viewer")
    return cast(Role, default) if default in ROLES else "viewer"


def current_role() -> Role:
    """The role of the person behind the present script run."""
    if not login_configured():
        return "operator"
    if not st.user.is_logged_in:
        return "viewer"
    email = st.user.get("email") if st.user.get("email_verified", True) else None
    return role_of(cast(str | None, email), st.secrets.get("roles", {}))


def sign_in() -> None:
    """Install the role provider; with `[auth]` configured, show a login page to strangers and go no further."""
    access.set_role_provider(current_role)
    if not login_configured() or st.user.is_logged_in:
        return
    hide_pages()
    st.title("LIMIT", anchor=False)
    st.caption("Which small mix makes a language model good under both evaluation paradigms?")
    st.button("Log in", on_click=st.login, type="primary", icon=":material/login:")
    st.stop()
