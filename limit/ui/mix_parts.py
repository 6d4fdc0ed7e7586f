"""The editor of a mix's parts: source, subset, how much, filters; then seed and exclusions."""

from __future__ import annotations

import streamlit as st

from limit import formats
from limit.core import Json
from limit.settings import Workspace
from limit.sources.marks import excluded_ids
from limit.ui.clicks import clicked
from limit.ui.mix_state import UNITS, add_part, draft
from limit.ui.samples_words import licence_words
from limit.ui.shell import plain, printable

ALL_SUBSETS = "all subsets"
MOST_EXACT = 2**53 - 1
UNIT_WORDS = {"rows": "rows", "all": "all", "share": "% of mix", "tokens": "tokens"}


def parts_editor(ws: Workspace, sources: dict[str, Json]) -> None:
    """Rows of widgets, one a part; the draft in the session follows them."""
    held = draft()
    for part in list(held["parts"]):
        if part["source"] not in sources:
            held["parts"].remove(part)
            st.warning(plain(f"source {part['source']} is gone, so its part was left out"))
            continue
        with st.container(border=True):
            _part(part, held, sources)
    left, middle, right = st.columns([2, 1, 2], vertical_alignment="bottom")
    with left.popover("Add a part", icon=":material/add:", width="stretch"):
        for name, source in sources.items():
            words = f"{name} · {formats.count(source['rows'])} samples · {licence_words(source)}"
            if clicked(plain(words), f"add-{name}", width="stretch"):
                add_part(name, source["rows"])
                st.rerun()
    with middle:
        _seed(held)
    with right:
        _exclusions(ws, held)
    if any(part["unit"] == "share" for part in held["parts"]):
        held["total"] = st.number_input(
            "Rows of the whole mix", 1, None, int(held["total"]), key=f"total-{held['version']}"
        )


def _seed(held: Json) -> None:
    """A number, as far as browsers know them exactly; a larger one, from the command line, is shown alone."""
    if held["seed"] > MOST_EXACT:
        st.caption(f"Seed {held['seed']}")
        return
    held["seed"] = st.number_input("Seed", 0, MOST_EXACT, int(held["seed"]), key=f"seed-{held['version']}")


def _part(part: Json, held: Json, sources: dict[str, Json]) -> None:
    key = f"{held['version']}-{part['key']}"
    names = list(sources)
    where, size, amount, rest = st.columns([3, 4, 4, 1], vertical_alignment="bottom")
    part["source"] = where.selectbox(
        "Source",
        names,
        names.index(part["source"]),
        key=f"source-{key}",
        format_func=lambda name: f"{name} · {formats.count(sources[name]['rows'])}",
    )
    source = sources[part["source"]]
    subsets = sorted((name for name in source["subsets"] if name), key=lambda name: -source["subsets"][name])
    with where:
        part["subset"] = _subset(part, source, subsets, f"subset-{key}-{part['source']}") if subsets else None
    available = source["subsets"].get(part["subset"], source["rows"]) if part["subset"] else source["rows"]
    part["unit"] = size.segmented_control(
        "Take", UNITS, default=part["unit"], required=True, format_func=lambda unit: UNIT_WORDS[unit], key=f"unit-{key}"
    )
    with amount:
        _amount(part, available, key)
    with rest.popover("", icon=":material/tune:", help="filters of this part"):
        _filters(part, key)
        if clicked("Remove this part", f"remove-{key}", icon=":material/delete:"):
            held["parts"].remove(part)
            st.rerun()


def _subset(part: Json, source: Json, subsets: list[str], key: str) -> str | None:
    options = [ALL_SUBSETS, *subsets]
    present = options.index(part["subset"]) if part["subset"] in options else 0
    chosen = st.selectbox(
        "Subset",
        options,
        present,
        key=key,
        format_func=lambda name: name if name == ALL_SUBSETS else f"{printable(name)} · {source['subsets'][name]:,}",
    )
    return None if chosen == ALL_SUBSETS else chosen


def _amount(part: Json, available: int, key: str) -> None:
    unit = part["unit"]
    if unit == "rows":
        value = min(max(1, int(part["amount"]) or min(1_000, available)), available)
        if available > 1:
            step = max(1, available // 1_000)
            part["amount"] = st.slider(
                "rows", 1, available, value, step, key=f"rows-{key}-{available}", label_visibility="collapsed"
            )
            exact = st.number_input(
                "exactly",
                1,
                available,
                int(part["amount"]),
                key=f"exact-{key}-{part['amount']}",
                label_visibility="collapsed",
            )
            part["amount"] = exact
        else:
            part["amount"] = 1
    elif unit == "share":
        share = part["amount"] if 0 < part["amount"] <= 1 else 0.5
        part["amount"] = (
            st.slider(
                "share", 1, 100, round(100 * share), format="%d %%", key=f"share-{key}", label_visibility="collapsed"
            )
            / 100
        )
    elif unit == "tokens":
        value = int(part["amount"]) if part["amount"] > 1_000 else 100_000
        part["amount"] = st.number_input("tokens (estimated)", 1, None, value, 10_000, key=f"tokens-{key}")
    else:
        st.caption(f"all {available:,} samples")


def _filters(part: Json, key: str) -> None:
    part["min_chars"] = (
        st.number_input("Responses of at least (characters)", 0, None, part["min_chars"] or 0, key=f"min-{key}") or None
    )
    part["max_chars"] = (
        st.number_input("Responses of at most (0 for no limit)", 0, None, part["max_chars"] or 0, key=f"max-{key}")
        or None
    )
    part["turns"] = st.segmented_control(
        "Turns", ("any", "single", "multi"), default=part["turns"], required=True, key=f"turns-{key}"
    )
    part["contains"] = st.text_input("Only samples that contain", part["contains"] or "", key=f"contains-{key}") or None


def _exclusions(ws: Workspace, held: Json) -> None:
    """Samples that people or judges marked, and what was left out by checks."""
    names = [part["source"] for part in held["parts"]]
    excluded = set(excluded_ids(ws, names))
    flagged = set(excluded_ids(ws, names, flagged_too=True)) - excluded
    others = set(held["exclude"]) - excluded - flagged
    chosen = set(others)
    for words, ids in (("marked 'exclude'", excluded), ("with a flag", flagged)):
        if ids and st.toggle(
            f"Leave out {len(ids):,} sample{'s' if len(ids) != 1 else ''} {words}",
            bool(ids & set(held["exclude"])),
            key=f"{words}-{held['version']}",
        ):
            chosen |= ids
    held["exclude"] = sorted(chosen)
    if others:
        st.caption(f"{len(others):,} samples left out by checks")
        if clicked("Take them back", "take-back"):
            held["exclude"] = sorted(chosen - others)
            st.rerun()
