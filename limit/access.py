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


_provider: Callable[[], Role] = _operator


def set_role_provider(provider: Callable[[], Role] | None) -> None:
    """Ask `provider` for the role of whoever is acting now; None goes back to a single operator."""
    global _provider
    _provider = provider or _operator


def role() -> Role:
    """The role of whoever is acting now."""
    return _provider()


def may(needed: Role) -> bool:
    """Whether the present role includes `needed`: operator includes analyst, analyst includes viewer."""
    return ROLES.index(role()) >= ROLES.index(needed)


def require(needed: Role, action: str) -> None:
    """Raise LimitError unless the present role includes `needed`."""
    if not may(needed):
        raise LimitError(f"a {role()} may not {action}; ask for the role '{needed}' in the app's secrets")
