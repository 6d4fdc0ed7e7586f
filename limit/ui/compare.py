"""Compare: both paradigms side by side, the limit curve, whether a difference is real, and the items behind it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import partial

import streamlit as st

from limit import charts
from limit.claims.sizes import value_of
from limit.export.report import category_rows
from limit.formats import accuracy, accuracy_interval, count, percent, percent_interval
from limit.store import Store
from limit.store.queries_gauntlet import CORE
from limit.store.queries_models import paper_rows, protocols
from limit.store.schema import Row
from limit.ui.compare_click import VIEWS, drawn, opened, opening
from limit.ui.compare_curve import show_curve
from limit.ui.compare_items import show_items
from limit.ui.compare_real import show_real
from limit.ui.overview import (
    TABLE_STYLE,
    choose_study,
    composition,
    few_models,
    palette_for,
    plane_rows,
    warn_of_protocols,
)
from limit.ui.panels import show_panels
from limit.ui.shell import chart, errors_in_words, next_step, note_line, open_store, page_head

MIX_CHARS = 64  # of a mix's parts in a table cell; the rest on hover
CELL_STYLE = """
<style>
.limit-both table th, .limit-both table td { padding: 5px 6px; font-size: 0.8rem; }
.limit-both table { min-width: 600px; }
.limit-both table th { font-size: 0.72rem; }
.limit-both table td:first-child { min-width: 130px; max-width: 190px; }
.limit-both small { display: block; }
.limit-cell { position: relative; height: 7px; border-radius: 2px; min-width: 44px;
  background: rgba(128,128,128,0.18); }
.limit-cell i { position: absolute; left: 0; top: 0; bottom: 0; border-radius: 2px; }
.limit-cell b { position: absolute; top: -2px; bottom: -2px; opacity: 0.75;
  border-left: 1.5px solid; border-right: 1.5px solid; }
.limit-cell u { position: absolute; top: -3px; bottom: -3px; width: 1px; background: currentColor; opacity: 0.5; }
</style>
"""


def show() -> None:
    """The whole page."""
    page_head("Compare", "Is it real, and how much data is enough?", results=True)
    with errors_in_words():
        store = open_store()
        rows = choose_study(store)
        first = None if opened() else VIEWS[0]
        view = st.segmented_control("View", VIEWS, default=first, required=True, key="view", bind="query-params")
        warn_of_protocols(rows)
        if not rows:
            next_step("Nothing to compare yet: a study needs models.", "pages/launch.py", "Launch one")
        elif view == VIEWS[1]:
            show_curve(store, rows)
        elif view == VIEWS[2]:
            show_real(store, rows)
        elif view == VIEWS[3]:
            show_items(store, rows)
        else:
            _both(store, rows)
        drawn()


def _both(store: Store, every: list[Row]) -> None:
    rows = few_models(every)
    palette = palette_for(store)
    own = any(row["origin"] != "published" for row in rows)
    left, right = st.columns([2, 1], gap="small")
    with left:
        st.html(TABLE_STYLE + CELL_STYLE + both_table(rows, palette))
        _table_note(rows)
    with right:
        layered = own and st.toggle("With the paper's models", key="paper", bind="query-params")
        shown = [*rows, *paper_rows(store)] if layered else list(rows)
        drawn = charts.plane(plane_rows(shown), palette, height=440)
        chart(drawn, charts.plane_alt(shown), key="compare_plane", **opening("compare_plane", every))
        if layered:
            st.caption("The paper's Gauntlet has other tasks than yours: compare shapes across layers, not values.")
    st.subheader("Gauntlet categories", anchor=False)
    options = partial(opening, rows=every)
    show_panels(store, category_rows(rows), palette, "compare_panels", options)
    st.caption("A click on a point or a bar opens the items behind it.")


def _table_note(rows: Sequence[Row]) -> None:
    judged = next((row for row in rows if row["judge"]), None)
    note_line(
        protocol=" / ".join(protocols(rows)),
        judge=judged["judge"] if judged else None,
        prompts=judged["prompt_set"] if judged else None,
        bars="Gauntlet from 0 (guessing) to 1, preference from 0 to 100 %; thin mark at 50 %",
        preferred="share of decided verdicts, ties left out",
        interval="reading error; bootstrap over prompts" if rows[0]["origin"] == "published" else "95 %",
    )


def both_table(rows: Sequence[Row], palette: charts.Palette) -> str:
    """One line for each model: composition, average, five categories and preference, each a number over a small bar."""
    names = [charts.category_label(category).split()[0] for category in CORE]
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in ("model", "Average", *names, "Preferred"))
    body = "".join(_both_row(row, palette) for row in rows)
    box = '<div class="limit-table limit-both" tabindex="0" role="region" aria-label="both paradigms">'
    return f"{box}<table><tr>{heads}</tr>{body}</table></div>"


def _both_row(row: Row, palette: charts.Palette) -> str:
    colour = palette.colour(row["series"])
    bar = charts.composition_html(row["parts"], palette) if row["parts"] else ""
    name = html.escape(row["label"][:80])
    mix = composition(row)
    shown = mix if len(mix) <= MIX_CHARS else f"{mix[: MIX_CHARS - 1]}…"
    small = f'<small title="{html.escape(mix[:400])}">{html.escape(shown)}; {count(row["samples"])} samples</small>'
    cells = [f'<td><span class="limit-dot" style="background:{colour}"></span>{name}{bar}{small}</td>']
    unknown = "not published" if row["origin"] == "published" else "n/a"
    for measure in ("average", *CORE):
        score, low, high = value_of(row, measure)
        title = accuracy_interval(score, low, high)
        partial = " (partial)" if row["categories"].get(measure, {}).get("partial") else ""
        cells.append(_cell(score, low, high, 1.0, accuracy(score) + partial, title, unknown, colour, ""))
    rate, low, high = value_of(row, "preference")
    if row["is_baseline"]:
        cells.append("<td>baseline</td>")
    else:
        half = '<u style="left:50%"></u>'
        cells.append(
            _cell(rate, low, high, 100.0, percent(rate), percent_interval(rate, low, high), unknown, colour, half)
        )
    return f"<tr>{''.join(cells)}</tr>"


def _cell(
    value: float | None,
    low: float | None,
    high: float | None,
    scale: float,
    shown: str,
    title: str,
    unknown: str,
    colour: str,
    mark: str,
) -> str:
    if value is None:
        return f"<td><small>{unknown}</small></td>"
    bar = f'<i style="width:{_per_cent(value, scale)}%;background:{colour}"></i>{mark}'
    if low is not None and high is not None:
        left, right = _per_cent(low, scale), _per_cent(high, scale)
        bar += f'<b style="left:{left}%;width:{max(0.5, right - left):.1f}%"></b>'
    return f'<td title="{title}">{shown}<div class="limit-cell">{bar}</div></td>'


def _per_cent(value: float, scale: float) -> float:
    return round(min(100.0, max(0.0, 100 * value / scale)), 1)
