"""Who may do what, asked inside the functions that do it.

On the command line and in a single-user app everybody is an operator. An app with a login installs a role provider,
and every function that changes something calls `require`, so a hidden button is never the only guard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from limit.core import LimitError

Role = Literal["viewer", "analyst", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)


def _operator() -> Role:
    return "operator"


def _nobody() -> str | None:
    return None


_provider: Callable[[], Role] = _operator
_namer: Callable[[], str | None] = _nobody


def set_role_provider(provider: Callable[[], Role] | None) -> None:
    """Ask `provider` for the role of whoever is acting now; None goes back to a single operator."""
    global _provider
    _provider = provider or _operator


def role() -> Role:
    """The role of whoever is acting now."""
    return _provider()


def set_user_provider(provider: Callable[[], str | None] | None) -> None:
    """Ask `provider` for the name of whoever is acting now; None goes back to an app without a login."""
    global _namer
    _namer = provider or _nobody


def user() -> str | None:
    """The name that the login gives whoever is acting now; None without a login."""
    return _namer()


def may(needed: Role) -> bool:
    """Whether the present role includes `needed`: operator includes analyst, analyst includes viewer."""
    return ROLES.index(role()) >= ROLES.index(needed)


def require(needed: Role, action: str) -> None:
    """Raise LimitError unless the present role includes `needed`."""
    if not may(needed):
        raise LimitError(f"a {role()} may not {action}; ask for the role '{needed}' in the app's secrets")
