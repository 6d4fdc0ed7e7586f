"""The draft of a mix that is on the screen: plain dictionaries in the session, turned into a request when asked."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from limit.core import Json, LimitError, canonical_json
from limit.specs import MixPart, MixSpec

UNITS = ("rows", "all", "share", "tokens")
DRAFT = "mix-draft"
MOST_IN_LINK = 40  # excluded samples


def draft() -> Json:
    """The draft of this session: {parts: [part], seed, total, exclude, name, version}."""
    if DRAFT not in st.session_state:
        reset([], 17, 1_000, [], "")
    return st.session_state[DRAFT]


def reset(parts: list[Json], seed: int, total: int | None, exclude: list[str], name: str) -> None:
    """Replace the draft; a new version number gives its widgets new keys, so none keeps an old value."""
    version = st.session_state.get(DRAFT, {}).get("version", 0) + 1
    numbered = [{**part, "key": number} for number, part in enumerate(parts)]
    st.session_state[DRAFT] = {
        "parts": numbered,
        "seed": seed,
        "total": total or 1_000,
        "exclude": exclude,
        "name": name,
        "version": version,
        "next_key": len(parts),
    }


def load(spec: MixSpec, name: str) -> None:
    """Put a request on the screen."""
    reset([from_part(part) for part in spec.parts], spec.seed, spec.total, list(spec.exclude), name)


def from_part(part: MixPart) -> Json:
    """A part as the editor holds it."""
    unit, amount = "all", 0.0
    for name, value in (("rows", part.take), ("share", part.share), ("tokens", part.tokens)):
        if value is not None:
            unit, amount = name, float(value)
    filters = {name: getattr(part, name) for name in ("min_chars", "max_chars", "turns", "contains")}
    return {"source": part.source, "subset": part.subset, "unit": unit, "amount": amount, **filters}


def add_part(source: str, rows: int) -> None:
    """Add a part with a thousand rows, or all of a smaller source."""
    held = draft()
    part = from_part(MixPart(source=source, take=min(1_000, rows)))
    held["parts"].append({**part, "key": held["next_key"]})
    held["next_key"] += 1


def as_link(spec: MixSpec) -> str | None:
    """A request as text for the URL; None where more samples are left out than an address has room for."""
    if len(spec.exclude) > MOST_IN_LINK:
        return None
    fields = {name: value for name, value in spec.to_dict().items() if value}
    parts = [{name: value for name, value in part.items() if value not in (None, "any")} for part in fields["parts"]]
    return canonical_json({**fields, "parts": parts, "seed": spec.seed})


def from_link(text: str) -> MixSpec:
    """The request that a URL holds. Raises LimitError for text that is none."""
    try:
        return MixSpec.from_dict(json.loads(text))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise LimitError(f"the link's draft {text[:60]!r} cannot be read; copy the whole link again") from None


def to_spec() -> MixSpec:
    """The draft as a request. Raises LimitError when a part or the whole is not valid."""
    held = draft()
    parts = tuple(_to_part(part) for part in held["parts"])
    shared = any(part.share is not None for part in parts)
    return MixSpec(
        parts=parts,
        seed=int(held["seed"]),
        total=int(held["total"]) if shared else None,
        exclude=tuple(held["exclude"]),
    )


def _to_part(part: Json) -> MixPart:
    by_unit: dict[str, dict[str, Any]] = {
        "rows": {"take": int(part["amount"])},
        "share": {"share": float(part["amount"])},
        "tokens": {"tokens": int(part["amount"])},
        "all": {},
    }
    sizes = by_unit[part["unit"]]
    filters = {name: part[name] for name in ("min_chars", "max_chars", "turns", "contains")}
    return MixPart(source=part["source"], subset=part["subset"], **sizes, **filters)
