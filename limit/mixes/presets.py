"""The paper's mixes as requests, from the catalogue."""

from __future__ import annotations

from limit.core import LimitError
from limit.sources.catalog import paper_mixes
from limit.specs import MixPart, MixSpec


def preset_spec(preset: str) -> MixSpec:
    """The request of one of the paper's mixes. Raises LimitError that lists the known ones."""
    for mix in paper_mixes():
        if mix["id"] == preset:
            return MixSpec(parts=tuple(MixPart.parse(part) for part in mix["parts"]), seed=mix["seed"])
    raise LimitError(f"preset {preset!r} is not known; choose one of {', '.join(mix['id'] for mix in paper_mixes())}")
