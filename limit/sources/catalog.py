"""Facts on known data sets from `data/catalog/sources.json`: hub id, columns, rows, licence, the paper's mixes."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from limit.core import Json, LimitError, read_json
from limit.settings import SHIPPED

CATALOG = SHIPPED / "catalog" / "sources.json"
_NON_COMMERCIAL = re.compile(
    r"non-?\s?commercial|\bnc\b|\bno(t for)? commercial|\b(research|academic)[ -]((use|purposes?)[ -])?only\b",
    re.IGNORECASE,
)
_KNOWN_OPEN = re.compile(
    r"\b(mit|apache|cc0|cc[- ]by|bsd|odc-by|public domain|unlicense|odbl|afl|[al]?gpl|gfdl|mpl|isc|pddl|cdla)\b",
    re.IGNORECASE,
)


@functools.cache
def _read() -> Json:
    return read_json(CATALOG)


def catalog() -> list[Json]:
    """All known data sets: {id, title, hub_id, columns, rows, licence, non_commercial, description, format, ...}."""
    return [{**entry, "non_commercial": is_non_commercial(entry["licence"])} for entry in _read()["sources"]]


def catalog_entry(source: str) -> Json:
    """One data set by its id or hub id. Raises LimitError that lists the known ids."""
    for entry in catalog():
        if source in (entry["id"], entry["hub_id"]):
            return entry
    known = ", ".join(entry["id"] for entry in catalog())
    raise LimitError(f"{source!r} is not in the catalogue; known are {known}; or give a hub id such as owner/name")


def facts_for(catalog_id: str | None) -> Json:
    """The entry whose id is `catalog_id`, or an empty dict."""
    return next((entry for entry in catalog() if entry["id"] == catalog_id), {})


def paper_mixes() -> list[Json]:
    """Every mix of the paper: {id, title, seed, recipe, parts: ["SOURCE:N", ...]}."""
    return list(_read()["mixes"])


def is_non_commercial(licence: str | None) -> bool | None:
    """True or False where a licence's text tells, None where nothing is known of it or of one of several (`a; b`)."""
    parts = [part.replace("_", "-") for part in (licence or "").split(";") if part.strip()]
    if any(_NON_COMMERCIAL.search(part) for part in parts):
        return True
    return False if parts and all(_KNOWN_OPEN.search(part) for part in parts) else None


def licence_on_card(text: str) -> str | None:
    """The licences that a data set's card names in its head, all of them; None where none is stated."""
    import yaml

    head = text.split("---", 2)[1] if text.startswith("---") and text.count("---") > 1 else ""
    try:
        facts = yaml.safe_load(head)
    except yaml.YAMLError:
        return None
    if not isinstance(facts, dict):
        return None
    stated = facts.get("license") or facts.get("licence")
    names = [str(name) for name in (stated if isinstance(stated, list) else [stated]) if name]
    further = facts.get("license_name")
    return "; ".join(names + ([str(further)] if further else []))[:200] or None


def card_text(card: Path) -> str:
    """The text of a README, empty where there is none."""
    return card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
