"""Sources of samples: add them, look into them, search them."""

from limit.sources.add import About, add_source, preview_source
from limit.sources.catalog import catalog, catalog_entry, paper_mixes
from limit.sources.listing import list_sources, source_info
from limit.sources.recordforms import FORM_NAMES, Columns

__all__ = [
    "FORM_NAMES",
    "About",
    "Columns",
    "add_source",
    "catalog",
    "catalog_entry",
    "list_sources",
    "paper_mixes",
    "preview_source",
    "source_info",
]
