"""From a score to the data: items that flipped between two models, both answers, and the nearest training samples."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from limit import charts
from limit.store import Store
from limit.store.queries_gauntlet import CORE, item_texts, paired_items
from limit.store.schema import Row
from limit.ui.compare_click import PREFERENCE
from limit.ui.compare_prompts import show_nearest, show_prompts
from limit.ui.compare_real import choose_two, warn_of_changed
from limit.ui.shell import next_step, note_line, plain, show_text

FLIPS = {"B wrong, A right": (1, 0), "A wrong, B right": (0, 1), "both wrong": (0, 0), "both right": (1, 1)}


def show_items(store: Store, rows: Sequence[Row]) -> None:
    """Choose two models and a category, then read item by item."""
    read = [row for row in rows if row["eval_ids"] or row["comparison_ids"] or (row["is_baseline"] and row["run_ids"])]
    if len(read) < 2:
        next_step("Items exist for evaluations made here; the paper published none.", "pages/gauntlet.py", "Gauntlet")
        return
    chosen = choose_two(read)
    if chosen is None:
        return
    labels = {charts.category_label(category): category for category in CORE}
    label = st.selectbox("What", [*labels, PREFERENCE], key="category", bind="query-params")
    if label == PREFERENCE:
        show_prompts(store, *chosen)
    else:
        _items(store, *chosen, labels[label])


def _items(store: Store, a: Row, b: Row, category: str) -> None:
    """One category's items, where the two differ or agree."""
    if not a["eval_ids"] or not b["eval_ids"]:
        next_step("One of the two has no Gauntlet scores yet.", "pages/gauntlet.py", "Score it")
        return
    flip = st.selectbox("Items where", list(FLIPS), key="flip", bind="query-params")
    pairs = paired_items(store, a["eval_ids"][0], b["eval_ids"][0], category)
    counts = {name: sum((p["a"], p["b"]) == want for p in pairs) for name, want in FLIPS.items()}
    note_line(
        n=f"{len(pairs):,} items of {charts.category_label(category)} that both answered",
        flips=", ".join(f"{name} {number:,}" for name, number in counts.items()),
        evaluations=f"{a['eval_ids'][0]} and {b['eval_ids'][0]} (first seed of each)",
    )
    warn_of_changed(store, a, b)
    wanted = [pair for pair in pairs if (pair["a"], pair["b"]) == FLIPS[flip]]
    if not wanted:
        st.info("No such item in this category.", icon=":material/info:")
        return
    _reader(store, a, b, wanted)


def _reader(store: Store, a: Row, b: Row, items: list[Row]) -> None:
    number = st.number_input(f"Item (1 to {len(items):,})", 1, len(items), key="item", bind="query-params")
    item = items[int(number) - 1]
    texts = [item_texts(store, row["eval_ids"][0], [item]) for row in (a, b)]
    st.caption(
        plain(f"{item['task']} · item {item['idx']}" + (f" · {item['subcategory']}" if item["subcategory"] else ""))
    )
    if not texts[0] and not texts[1]:
        st.info("The texts of this item are not on this machine.", icon=":material/info:")
        return
    shown = (texts[0] or texts[1])[0]
    show_text(str(shown.get("context") or ""))
    for column, row, found in zip(st.columns(2), (a, b), texts, strict=True):
        with column:
            _answer(row, found[0] if found else {})
    show_nearest(store, a, b, str(shown.get("context") or ""))


def _answer(row: Row, item: Row) -> None:
    """One model's answer to the item."""
    mark = ":blue-badge[right]" if item.get("correct") else ":orange-badge[wrong]"
    st.markdown(f"{mark} **{plain(row['label'])}**")
    choices = item.get("choices") or []
    answer = item.get("generated") or _choice(choices, item.get("prediction"))
    show_text(f"answer: {answer}\nright:  {_choice(choices, item.get('gold'))}")


def _choice(choices: Sequence[str], value: object) -> str:
    if isinstance(value, int) and 0 <= value < len(choices):
        return str(choices[value])
    return "" if value is None else str(value)
