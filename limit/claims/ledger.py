"""The claims of a workspace: sentences in the order they are told, each bound to a test and the numbers it was made on.

One file, `claims/claims.json`, changed under a lock and written whole; a damaged one is set aside, never overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limit.access import require
from limit.claims.evidence import Evidence, check_test
from limit.core import Json, LimitError, content_id, explained, read_json, utc_now, write_json
from limit.settings import Workspace

MAX_SENTENCE = 300


def read_claims(ws: Workspace) -> list[Json]:
    """Claims in the order they are told; an entry that is no claim, or a second one of an id, is left out.

    Raises LimitError if the file is damaged.
    """
    path = _file(ws)
    if not path.exists():
        return []
    claims = read_json(path).get("claims")
    kept: dict[str, Json] = {}
    for claim in claims if isinstance(claims, list) else []:
        if _is_claim(claim):
            kept.setdefault(claim["claim_id"], claim)
    return list(kept.values())


def _is_claim(value: Any) -> bool:
    named = isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("claim_id", "sentence"))
    if not named or not isinstance(value.get("bound"), dict) or not isinstance(value.get("test"), dict):
        return False
    try:
        check_test(value["test"])
    except LimitError:
        return False
    return True


def add_claim(ws: Workspace, sentence: str, test: Json, evidence: Evidence) -> str:
    """Add a claim bound to the numbers of now; the same test again gives the same claim. Returns its id."""
    require("analyst", "write claims")
    check_test(test)
    text = checked(sentence)
    claim_id = name_of(test)
    with _changing(ws) as claims:
        if all(claim["claim_id"] != claim_id for claim in claims):
            now = utc_now()
            bound = evidence.numbers()
            entry = {"claim_id": claim_id, "sentence": text, "test": test, "bound": bound}
            claims.append({**entry, "created": now, "edited": now})
    return claim_id


def name_of(test: Json) -> str:
    """The id of the claim that makes this test."""
    return content_id(test)


def edit_claim(ws: Workspace, claim_id: str, sentence: str) -> None:
    """Change the words. Raises LimitError when there is no such claim or no words."""
    require("analyst", "edit claims")
    text = checked(sentence)
    with _changing(ws) as claims:
        _find(claims, claim_id).update(sentence=text, edited=utc_now())


def confirm_claim(ws: Workspace, claim_id: str, evidence: Evidence) -> None:
    """Bind a claim to the numbers of now, after somebody read them."""
    require("analyst", "confirm claims")
    with _changing(ws) as claims:
        _find(claims, claim_id).update(bound=evidence.numbers(), edited=utc_now())


def move_claim(ws: Workspace, claim_id: str, step: int) -> None:
    """Tell a claim earlier (negative) or later; it stops at either end."""
    require("analyst", "order claims")
    with _changing(ws) as claims:
        claim = _find(claims, claim_id)
        place = claims.index(claim)
        claims.insert(min(max(0, place + step), len(claims) - 1), claims.pop(place))


def remove_claim(ws: Workspace, claim_id: str) -> None:
    """Take a claim out of the ledger."""
    require("analyst", "remove claims")
    with _changing(ws) as claims:
        claims.remove(_find(claims, claim_id))


def checked(sentence: str) -> str:
    """The sentence on one line. Raises LimitError when it is empty or too long to be read aloud."""
    text = " ".join(sentence.split())
    if not text:
        raise LimitError("a claim needs words; write one sentence")
    if len(text) > MAX_SENTENCE:
        raise LimitError(f"a claim of {len(text)} characters is too long; keep it under {MAX_SENTENCE}")
    return text


def _file(ws: Workspace) -> Path:
    return ws.claims / "claims.json"


def _find(claims: list[Json], claim_id: str) -> Json:
    for claim in claims:
        if claim["claim_id"] == claim_id:
            return claim
    raise LimitError(f"there is no claim {claim_id!r}; somebody may have removed it")


@contextlib.contextmanager
def _changing(ws: Workspace) -> Iterator[list[Json]]:
    """The claims, to be changed in place and written back; one writer at a time."""
    lock = ws.claims / ".lock"
    with explained(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("a")
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        claims = read_claims(ws)
        yield claims
        write_json(_file(ws), {"claims": claims})
