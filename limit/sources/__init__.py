"""Sources of samples: add them, look into them, search them.

The names are imported on first use, so a worker that only reads a mix loads no more than it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limit.sources.add import About, add_source, preview_source
    from limit.sources.browsing import browse, sample
    from limit.sources.catalog import catalog_entry, paper_mixes
    from limit.sources.filters import Filter
    from limit.sources.listing import list_sources, source_info
    from limit.sources.recordforms import FORM_NAMES, Columns
    from limit.sources.searching import search

_HOMES = {
    "About": "add",
    "Columns": "recordforms",
    "FORM_NAMES": "recordforms",
    "Filter": "filters",
    "add_source": "add",
    "browse": "browsing",
    "catalog_entry": "catalog",
    "list_sources": "listing",
    "paper_mixes": "catalog",
    "preview_source": "add",
    "sample": "browsing",
    "search": "searching",
    "source_info": "listing",
}
__all__ = [
    "FORM_NAMES",
    "About",
    "Columns",
    "Filter",
    "add_source",
    "browse",
    "catalog_entry",
    "list_sources",
    "paper_mixes",
    "preview_source",
    "sample",
    "search",
    "source_info",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
