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
from limit.ui.shell import plain

MAY: dict[Role, str] = {
    "viewer": "A viewer sees and exports.",
    "analyst": "An analyst sees, exports, builds mixes, writes claims and votes.",
    "operator": "An operator may do everything: also launch, stop and delete.",
}

# Fixed texts of ours: a login ends on the first page, so the link that somebody came by waits in the browser's tab.
KEEP_LINK = """<script>sessionStorage.setItem("limit-link", location.href);</script>"""
FOLLOW_LINK = """
<script>
(function () {
  const link = sessionStorage.getItem("limit-link");
  sessionStorage.removeItem("limit-link");
  if (link && link !== location.href && new URL(link).origin === location.origin) location.replace(link);
})();
</script>
"""


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
    return role_of(_address(), st.secrets.get("roles", {}))


def current_user() -> str | None:
    """Who is behind the present script run: a vouched-for address, else the provider's own id; None without a login."""
    if not login_configured() or not st.user.is_logged_in:
        return None
    return _address() or str(st.user.get("sub") or st.user.get("name") or "unknown")


def _address() -> str | None:
    """The e-mail address that the provider vouches for; some send `email_verified` as text."""
    verified = str(st.user.get("email_verified", True)).casefold() == "true"
    return cast(str | None, st.user.get("email")) if verified else None


def sign_in() -> None:
    """Install the role provider; with `[auth]` configured, show a login page to strangers and go no further."""
    access.set_role_provider(current_role)
    access.set_user_provider(current_user)
    if not login_configured():
        return
    if st.user.is_logged_in:
        _who()
        return
    hide_pages()
    st.title("LIMIT", anchor=False)
    st.caption("Which small mix makes a language model good under both evaluation paradigms?")
    st.html(KEEP_LINK, unsafe_allow_javascript=True)
    st.button("Log in", on_click=st.login, type="primary", icon=":material/login:")
    st.stop()


def _who() -> None:
    """Below the pages: who is here, what that person may do, and the way out."""
    role = current_role()
    with st.sidebar:
        st.html(FOLLOW_LINK, unsafe_allow_javascript=True)
        st.caption(f"{plain(_address() or str(st.user.get('name') or 'no known address'))} · {role}", help=MAY[role])
        st.button("Log out", on_click=st.logout, icon=":material/logout:", type="tertiary")
