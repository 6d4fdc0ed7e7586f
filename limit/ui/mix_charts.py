"""The figure of the alignment meter."""

from __future__ import annotations

from limit.charts import Palette, category_label, share_bars
from limit.charts.figure import Drawing
from limit.core import Json

COLOURS = {"Gauntlet category": "#3B7DD8", "open-ended prompts": "#2B2D6E"}


def alignment_figure(alignment: Json, palette: Palette) -> Drawing:
    """Share of each test as bars with intervals; Gauntlet categories first, then open-ended prompt sets."""
    bars: dict[str, list[Json]] = {name: [] for name in COLOURS}
    for group in sorted(alignment["groups"], key=lambda group: -group["share"]):
        if group["kind"] == "gauntlet":
            bars["Gauntlet category"].append({**group, "name": category_label(group["group"])})
        else:
            name = group["group"] if "prompts" in group["group"] else f"{group['group']} prompts"
            bars["open-ended prompts"].append({**group, "name": name})
    height = 120 + 34 * len(alignment["groups"])
    return share_bars(bars, palette, colours=COLOURS, x_title="share of the mix's prompts, %", height=height)
