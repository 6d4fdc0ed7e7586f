"""Single items of a task: the prompt as the model saw it, its choices and their scores, where two models differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from limit.core import LimitError
from limit.formats import accuracy, p_value
from limit.gauntlet.results import compare, compare_pairs, read_eval
from limit.gauntlet.rows import read_choices, read_items
from limit.store import Store
from limit.store.schema import Row
from limit.ui.gauntlet_tables import items_table, pairs_table
from limit.ui.shell import errors_in_words, note_line, plain, printable, show_error, show_text

FILTERS = ("all", "wrong", "right", "near ties", "NaN", "the two disagree")
VERDICTS = {"better": ":blue-badge[better]", "worse": ":orange-badge[worse]", "cannot tell": ":gray-badge[cannot tell]"}


def eval_folder(store: Store, eval_id: str) -> Path:
    """Where an evaluation's files lie."""
    found = store.rows("select file from gauntlet_evals where eval_id = ?", [eval_id])
    return store.path_of(found[0]["file"]).parent


def eval_records(store: Store, eval_ids: Sequence[str]) -> list[Row]:
    """What eval.json of each evaluation holds, read once for the data at hand. Raises LimitError like `read_eval`."""

    def read(keys: list[str]) -> dict[str, Row]:
        return {key: read_eval(eval_folder(store, key.removeprefix("eval "))) for key in keys}

    return store.hold([f"eval {eval_id}" for eval_id in eval_ids], read)


def show_items(store: Store, rows: Sequence[Row], heads: dict[str, Row]) -> None:
    """Choose a task and one or two evaluations, then read its items."""
    with errors_in_words():
        labels = {row["eval_id"]: printable(f"{row['label']} · {row['eval_id']}") for row in rows}
        tasks = list(dict.fromkeys((row["task"], row["num_fewshot"]) for row in rows))
        left, middle, right = st.columns(3)
        titles = [f"{name} ({shots}-shot)" for name, shots in tasks]
        _keep_only("task", titles)
        title = left.selectbox("Task", titles, format_func=printable, key="task", bind="query-params")
        task, shots = tasks[titles.index(title)]
        ids = [row["eval_id"] for row in rows if (row["task"], row["num_fewshot"]) == (task, shots)]
        _keep_only("first", ids)
        first = middle.selectbox("Items of", ids, format_func=labels.__getitem__, key="first", bind="query-params")
        others = [key for key in ids if key != first and heads[key]["version"] == heads[first]["version"]]
        _keep_only("beside", others)
        second = right.selectbox(
            "Beside",
            others,
            index=None,
            format_func=labels.__getitem__,
            key="beside",
            bind="query-params",
            placeholder="another model",
            disabled=not others,
        )
        names = [labels[key] for key in ids]
        if len(ids) > 2 and st.toggle("Every pair of models", key="every-pair", bind="query-params"):
            _pairs([eval_folder(store, key) for key in ids], names, task, shots)
        folder = eval_folder(store, first)
        other = eval_folder(store, second) if second else None
        if other is not None:
            _verdict(folder, other, task, shots)
        _items(store, folder, other, task, shots)


def _keep_only(key: str, options: Sequence[str]) -> None:
    """Forget a choice that another choice has made impossible."""
    if st.session_state.get(key) not in (None, *options):
        del st.session_state[key]


def _verdict(a: Path, b: Path, task: str, shots: int) -> None:
    """Whether the first is better than the second on the same items."""
    found = _compared(str(a), str(b))
    row = next((row for row in found if (row["task"], row["num_fewshot"]) == (task, shots)), None)
    if row is None:
        return
    told = row["verdict"] != "cannot tell"
    words = f"The first is {VERDICTS[row['verdict']]}" if told else f"{VERDICTS[row['verdict']]} which is better"
    st.markdown(
        f"{words}: {row['difference']:+.3f} \\[{row['ci_low']:+.3f}, {row['ci_high']:+.3f}\\] in accuracy on "
        f"{row['n']:,} items{'' if told else _needed(row)}."
    )
    note_line(
        only_the_first_right=f"{row['only_a']:,}",
        only_the_second=f"{row['only_b']:,}",
        test="McNemar's exact, Holm over the tasks both scored",
        p=p_value(row["p_holm"]).removeprefix("= "),
    )


def _pairs(folders: Sequence[Path], names: Sequence[str], task: str, shots: int) -> None:
    """Every two of the models on this task's items, with Holm over all of the pairs."""
    rows = _all_pairs(tuple(map(str, folders)), task, shots)
    if not rows:
        st.info("No two of these evaluations have the same settings, so their items do not pair.")
        return
    pairs_table(rows, names)
    note_line(
        test=f"McNemar's exact, Holm over {len(rows):,} pairs",
        interval="95 % bootstrap over items",
        needed="items that would settle a difference of this size with 80 % power",
    )


@st.cache_data(show_spinner=False, max_entries=16)
def _all_pairs(folders: tuple[str, ...], task: str, shots: int) -> list[Row]:
    return compare_pairs([Path(folder) for folder in folders], task, shots)


def _needed(row: Row) -> str:
    return f"; about {row['needed_n']:,} items would settle a difference of this size" if row["needed_n"] else ""


@st.cache_data(show_spinner=False, max_entries=16)
def _compared(a: str, b: str) -> list[Row]:
    return compare(Path(a), Path(b))


def _items(store: Store, folder: Path, other: Path | None, task: str, shots: int) -> None:
    items = _load(store, folder, task, shots)
    beside = {_key(item): item for item in _load(store, other, task, shots)}
    show = st.segmented_control(
        "Show", FILTERS if other else FILTERS[:-1], default="all", required=True, key="show", bind="query-params"
    )
    wanted = [item for item in items if _passes(item, beside.get(_key(item)), show or "all")]
    if not wanted:
        st.info(f"No such item among {len(items):,}.", icon=":material/info:")
        return
    if st.toggle("As a table", key="table", bind="query-params"):
        twins = [beside.get(_key(item)) for item in wanted]
        place = items_table(wanted, twins, key=f"items-{folder.name}-{task}-{shots}-{show}-{len(wanted)}")
        _open_item(folder, place)
    number = st.number_input(f"Item (1 to {len(wanted):,})", 1, len(wanted), key="item", bind="query-params")
    item = wanted[int(number) - 1]
    _one(folder, item)
    twin = beside.get(_key(item))
    if twin is not None and other is not None:
        st.markdown("**The other model on this item**")
        _answer(other, twin)


def _open_item(folder: Path, place: int | None) -> None:
    """A click in the table opens the item; a number that is typed afterwards stays."""
    clicked = None if place is None else (str(folder), place)
    if clicked is not None and st.session_state.get("clicked_item") != clicked:
        st.session_state["item"] = clicked[1] + 1
    st.session_state["clicked_item"] = clicked


def _load(store: Store, folder: Path | None, task: str, shots: int) -> list[Row]:
    return _loaded(store.version, str(folder), task, shots) if folder else []


@st.cache_resource(show_spinner=False, max_entries=4)
def _loaded(version: int, folder: str, task: str, shots: int) -> list[Row]:
    """A task's items with their texts: the last few that were looked at; none is to be changed."""
    del version  # part of the cache key only
    rows: list[Row] = read_items(Path(folder), filters={"task": task, "num_fewshot": shots}).to_pylist()
    return rows


def _key(item: Row) -> tuple[str, int]:
    return item["subcategory"] or "", item["idx"]


def _passes(item: Row, twin: Row | None, show: str) -> bool:
    tests = {
        "wrong": not item["correct"],
        "right": bool(item["correct"]),
        "near ties": bool(item["near_tie"]),
        "NaN": bool(item["nan"]),
        "the two disagree": twin is not None and twin["correct"] != item["correct"],
    }
    return tests.get(show, True)


def _one(folder: Path, item: Row) -> None:
    where = f" · {item['subcategory']}" if item["subcategory"] else ""
    cut = item.get("n_cut")
    words = f"the length limit cut its first {cut:,} tokens" if cut else "before any cut" if cut is None else ""
    several = item.get("continuation") is not None
    prompt = "the prompt as the model saw it" + (", with the first option" if several else "")
    parts = [f"{item['task']} · record {item['idx']}{where}", prompt, words]
    st.caption(plain(" · ".join(part for part in parts if part)))
    show_text(str(item["context"] or ""))
    if several:
        st.caption("what is scored after each option")
        show_text(str(item["continuation"]))
    _answer(folder, item)


def _answer(folder: Path, item: Row) -> None:
    """Right or wrong, and each choice with its numbers."""
    flags = " :violet-badge[near tie]" if item["near_tie"] else ""
    flags += " :red-badge[NaN]" if item["nan"] else ""
    st.markdown(f"{':blue-badge[right]' if item['correct'] else ':orange-badge[wrong]'}{flags}")
    if item["generated"] is not None:
        st.caption("what the model wrote")
        show_text(str(item["generated"]) or " ")
        st.caption("accepted answers")
        show_text("\n".join(item["choices"]))
        return
    try:
        scores = read_choices(folder, filters={"task": item["task"], "idx": item["idx"]}).to_pylist()
    except LimitError as error:
        show_error(str(error))
        return
    kept = [s for s in scores if (s["subcategory"], s["protocol"]) == (item["subcategory"], item["protocol"])]
    table = pd.DataFrame([_choice_words(item, row) for row in kept])
    st.dataframe(table, hide_index=True, alt="Choices and their scores")


def _choice_words(item: Row, row: Row) -> Row:
    choices = item["choices"] or []
    text = choices[row["choice"]] if row["choice"] < len(choices) else ""
    multiple = len(choices) > 1
    return {
        "choice": text,
        "": " ".join(
            word
            for word, applies in (
                ("right answer", not multiple or row["choice"] == item["gold"]),
                ("chosen", multiple and row["choice"] == item["prediction"]),
                ("every token the likeliest", not multiple and row["greedy"]),
            )
            if applies
        ),
        "per token": accuracy(row["sum_logprob"] / max(1, row["n_tokens"]) if row["n_tokens"] is not None else None),
        "sum": accuracy(row["sum_logprob"]),
        "per character": accuracy(row["sum_logprob"] / max(1, row["n_chars"])),
        "tokens": "n/a" if row["n_tokens"] is None else str(row["n_tokens"]),
    }
