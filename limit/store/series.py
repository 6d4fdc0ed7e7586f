"""Which colour key data and mixes have: the paper's five where the contents are alike, else their own id."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from limit.core import canonical_json
from limit.store.schema import Row

PAPER_SERIES = ("base", "lima", "subset", "subset+lima", "full")


def source_series(source: str) -> str:
    """The colour key of a source: LIMA and Instruct data by their names, any other source its own."""
    name = source.casefold()
    if "lima" in name:
        return "lima"
    if "instruct" in name or "dolly" in name:
        return "subset"
    return source


def role(parts: Sequence[Row], whole: bool) -> str | None:
    """The paper's series that a mix of these parts plays, or None; `whole` says that nothing was left out."""
    kinds = {source_series(str(part["source"])) for part in parts}
    if kinds == {"lima"}:
        return "lima"
    if kinds == {"subset"}:
        return "full" if whole else "subset"
    return "subset+lima" if kinds == {"lima", "subset"} else None


def named_role(name: str | None) -> str:
    """The paper's colour key of a model by the names its files use (`7b_instructv1_5k_lima`), else the name itself."""
    text = (name or "").casefold()
    if "lima" in text:
        return "subset+lima" if "instruct" in text else "lima"
    if "instruct" in text:
        return "subset" if any(size in text for size in ("_1k", "_5k", "_10k")) else "full"
    return name or "unknown"


def mix_series(mixes: Iterable[Row]) -> dict[str, str]:
    """A colour key for each mix, given oldest first as {mix_id, parts, spec}.

    The oldest request of a role has the paper's colour, later ones of the same role their own id: no mix that is
    added changes the colour of one that was there. Mixes that differ in their seed alone share a colour.
    """
    taken: set[str] = set()
    by_request: dict[str, str] = {}
    keys = {}
    for mix in mixes:
        request = _request(mix)
        if request not in by_request:
            wanted = role(mix["parts"], _is_whole(mix.get("spec")))
            by_request[request] = mix["mix_id"] if wanted is None or wanted in taken else wanted
            taken.add(by_request[request])
        keys[mix["mix_id"]] = by_request[request]
    return keys


def _request(mix: Row) -> str:
    """What was asked for besides the seed; a mix whose request is unknown is like no other."""
    spec = as_json(mix.get("spec"))
    if not isinstance(spec, dict):
        return str(mix["mix_id"])
    return canonical_json({key: value for key, value in spec.items() if key != "seed"})


def _is_whole(spec: str | None) -> bool:
    """Whether a mix takes all rows of each of its parts, by its stored request."""
    parts: Any = (as_json(spec) or {}).get("parts")
    return bool(parts) and all(isinstance(part, dict) and part.get("take") is None for part in parts)


def as_json(text: str | None) -> Any:
    """What a JSON column holds; None for null or text that is no JSON."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None
