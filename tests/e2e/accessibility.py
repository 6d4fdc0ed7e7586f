"""What axe-core finds serious or critical in what this project draws."""

from __future__ import annotations

from typing import Any

# Drawn by Streamlit itself, out of reach of this project's code.
STREAMLITS_OWN = (
    "[data-testid=stHeader]",  # toolbar and main menu
    "[data-testid=stSidebarHeader]",
    "[data-testid=stSidebarNav]",  # a list whose headings are no list items
    "[data-testid=stDataFrame]",  # a canvas with its own grid for screen readers
    "[data-testid=stFileUploaderDropzone]",
    ".modebar",  # plotly's buttons
)
GRAVE = ("serious", "critical")


def grave_complaints(page: Any) -> list[str]:
    """Each violation as `rule: place: markup`."""
    from axe_playwright_python.sync_playwright import Axe

    context = {"exclude": [[selector] for selector in STREAMLITS_OWN]}
    options = {"resultTypes": ["violations"]}  # of what passes, only the first place is told: less to bring over
    found = Axe().run(page, context=context, options=options).response["violations"]
    return [
        f"{rule['id']}: {node['target']}: {node['html'][:160]}"
        for rule in found
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]
