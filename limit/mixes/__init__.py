"""Mixes: draw them from sources, see what is in them, check them, compare them.

The names are imported on first use, so a worker that only reads a mix loads no more than it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limit.mixes.build import build_mix, label_mix
    from limit.mixes.checks import check, without
    from limit.mixes.contents import describe, describe_spec
    from limit.mixes.export import export_mix
    from limit.mixes.listing import diff, list_mixes, load_mix, mix_samples

_HOMES = {
    "build_mix": "build",
    "check": "checks",
    "describe": "contents",
    "describe_spec": "contents",
    "diff": "listing",
    "export_mix": "export",
    "label_mix": "build",
    "list_mixes": "listing",
    "load_mix": "listing",
    "mix_samples": "listing",
    "without": "checks",
}
__all__ = [
    "build_mix",
    "check",
    "describe",
    "describe_spec",
    "diff",
    "export_mix",
    "label_mix",
    "list_mixes",
    "load_mix",
    "mix_samples",
    "without",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
