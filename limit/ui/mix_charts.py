"""The figure of the alignment meter."""

from __future__ import annotations

import plotly.graph_objects as go

from limit.charts.palette import Palette
from limit.charts.style import category_label, literal, styled
from limit.core import Json

KIND_COLOUR = {"gauntlet": "#3B7DD8", "prompts": "#2B2D6E"}


def alignment_figure(alignment: Json, palette: Palette) -> go.Figure:
    """Share of each test as bars with intervals; Gauntlet categories first, then open-ended prompt sets."""
    groups = sorted(alignment["groups"], key=lambda group: (group["kind"] != "gauntlet", -group["share"]))
    figure = go.Figure()
    for kind, name in (("gauntlet", "Gauntlet category"), ("prompts", "open-ended prompts")):
        mine = [group for group in groups if group["kind"] == kind]
        shares = [100 * group["share"] for group in mine]
        figure.add_bar(
            y=[
                literal(category_label(group["group"]) if kind == "gauntlet" else f"{group['group']} prompts")
                for group in mine
            ],
            x=shares,
            orientation="h",
            name=name,
            marker={"color": KIND_COLOUR[kind], "line": {"color": palette.edge, "width": 1}},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [100 * group["high"] - share for group, share in zip(mine, shares, strict=True)],
                "arrayminus": [share - 100 * group["low"] for group, share in zip(mine, shares, strict=True)],
                "thickness": 1.5,
                "color": palette.muted,
            },
            hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title="share of the mix's prompts, %", rangemode="tozero")
    return styled(figure, palette, 120 + 34 * len(groups))
