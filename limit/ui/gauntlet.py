"""The Gauntlet page: six panels of bars, from a category to its tasks to single items."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import streamlit as st

from limit import charts
from limit.formats import accuracy, count
from limit.gauntlet.results import protocol_differences
from limit.store import Store
from limit.store.queries_gauntlet import best_evals, evals, protocol_text, task_rows
from limit.store.queries_runs import runs
from limit.store.schema import Row
from limit.ui.gauntlet_bars import AVERAGE, bar_rows, dot_rows, score_by
from limit.ui.gauntlet_items import eval_records, show_items
from limit.ui.gauntlet_launch import show_launch
from limit.ui.gauntlet_tables import bars_table, tasks_table
from limit.ui.overview import palette_for
from limit.ui.panels import show_panels
from limit.ui.shell import chart, errors_in_words, folded, next_step, note_line, open_store, page_head, plain, printable

PAPER = "the paper"
PAPER_VERSION = "v0"
IMPORTED = "lm-eval"  # the category of results of lm-evaluation-harness
RULES = {"Gauntlet": None, "acc": "acc_sum", "acc_norm": "acc_norm"}
RULE_WORDS = {
    "Gauntlet": "lowest mean loss per token",
    "acc": "summed log-probability, as lm-evaluation-harness's acc",
    "acc_norm": "summed log-probability per character, as its acc_norm",
}
SCORE_RULES = {"weighting", "subtract_random_baseline", "rescale_accuracy"}
MOST_AT_FIRST = 8  # bars of one panel that can still be told apart


def show() -> None:
    """The whole page."""
    page_head("Gauntlet", "What did it learn? Accuracy above chance on tasks with one right answer.", results=True)
    with errors_in_words():
        store = open_store()
        heads = _known(store)
        version, rule, with_paper = _choices(heads)
        chosen = _evaluations(store, {key: row for key, row in heads.items() if row["version"] == version})
        rows = bar_rows(store, chosen, RULES[rule], with_paper)
        _bars(store, rows, [heads[key] for key in chosen], rule, with_paper)
        if chosen:
            st.fragment(_tasks)(store, chosen, heads, rule, rows)
        elif not heads:
            next_step("No evaluations of your own yet; the bars are the paper's.", "pages/launch.py", "Launch one")
        show_launch(store)


def _choices(heads: dict[str, Row]) -> tuple[str, str, bool]:
    """Version, scoring rule, and whether the paper's bars stand beside."""
    versions = sorted({row["version"] or "unknown" for row in heads.values()} | {PAPER_VERSION})
    newest = next((row["version"] for row in heads.values() if row["origin"] != "shipped"), PAPER_VERSION)
    left, middle, right = st.columns([3, 3, 2], vertical_alignment="bottom")
    with left:
        version = st.segmented_control(
            "Version",
            versions,
            default=newest,
            required=True,
            format_func=_in_label,
            key="version",
            bind="query-params",
        )
    with middle:
        rule = st.segmented_control(
            "Rule",
            list(RULES),
            default="Gauntlet",
            required=True,
            key="rule",
            bind="query-params",
            help="How one answer is picked from its log-probabilities.",
        )
    matches = version == PAPER_VERSION and rule == "Gauntlet"
    if not matches:
        return version or newest, rule or "Gauntlet", False
    with right:
        paper = st.toggle("The paper's bars", value=True, key="paper", bind="query-params")
    return PAPER_VERSION, "Gauntlet", bool(paper)


def _in_label(version: str) -> str:
    """A version as a button shows it and a link holds it: a file may call itself anything."""
    return version if re.fullmatch(r"[A-Za-z0-9.-]+", version) else plain(version)


def _known(store: Store) -> dict[str, Row]:
    """All evaluations by id, looked up once more when a link names one that came after the last look at the files.

    Those of the link that do not exist are said once and leave the address.
    """
    heads = {row["eval_id"]: row for row in evals(store)}
    linked = st.query_params.get_all("eval")
    if all(key in heads for key in linked):
        return heads
    store.refresh()
    heads = {row["eval_id"]: row for row in evals(store)}
    if gone := [key for key in linked if key not in heads]:
        words = (
            f"There is no evaluation {', '.join(key[:40] for key in gone[:5])} here; these are those that there are."
        )
        st.info(plain(words), icon=":material/link_off:")
        st.query_params["eval"] = [key for key in linked if key in heads]
    return heads


def _evaluations(store: Store, heads: dict[str, Row]) -> list[str]:
    """Ids of the evaluations to show; one of each run unless others are picked."""
    if not heads:
        return []
    version = next(iter(heads.values()))["version"]
    names, start = store.hold([f"offered {version}"], lambda keys: {keys[0]: _offered(store, version)})[0]
    linked = [key for key in st.query_params.get_all("eval") if key in heads]
    picked = st.multiselect(
        "Evaluations",
        list(heads),
        default=linked or start,
        format_func=lambda key: printable(f"{names.get(heads[key]['run_id']) or heads[key]['model']} · {key}"),
    )
    if set(picked) != set(start) or linked:
        st.query_params["eval"] = picked
    return picked


def _offered(store: Store, version: str) -> tuple[dict[str, str], list[str]]:
    """Names of the runs, and what a page of this version opens with."""
    known = {run["run_id"]: run for run in runs(store)}
    return {id_: run["name"] for id_, run in known.items()}, first_shown(
        list(best_evals(store, version).values()), known
    )


def first_shown(best: Sequence[Row], known: Mapping[str, Row]) -> list[str]:
    """Ids of the evaluations that the page opens with: all where they are few, else one of each kind of run.

    Runs that differ only in their seed are of one kind; own ones stand before those that ship.
    """
    ordered = sorted(best, key=lambda row: row["origin"] == "shipped")
    if len(ordered) > MOST_AT_FIRST:
        kinds: dict[object, Row] = {}
        for row in ordered:
            run = known.get(row["run_id"])
            kind = (
                [run[name] for name in ("model", "kind", "series", "samples", "recipe_name")] if run else row["run_id"]
            )
            kinds.setdefault(str(kind), row)
        ordered = list(kinds.values())
    return [row["eval_id"] for row in ordered[:MOST_AT_FIRST]]


def _bars(store: Store, rows: list[Row], heads: Sequence[Row], rule: str, with_paper: bool) -> None:
    own = [row for row in rows if row.get("eval_id")]
    shown = [row for row in rows if row["score"] is not None or not row.get("eval_id")]
    if shown or not heads:
        show_panels(store, shown, palette_for(store), "panels", _selecting)
    else:
        st.info("These results have no Gauntlet categories; their tasks are below.", icon=":material/info:")
    note_line(
        protocol="; ".join(dict.fromkeys(protocol_text(head) for head in heads)) or None,
        rule=f"{rule}, {RULE_WORDS[rule]}" if own else None,
        interval="95 % bootstrap over items" if own and rule == "Gauntlet" else None,
        n=f"{count(sum(row['n'] or 0 for row in own if row['category'] == AVERAGE))} items" if own else None,
        zero="what guessing gives" if shown else None,
        paper="digitised from its figures, whisker is the reading error; its Gauntlet version is not stated, v0 fits "
        "best" if with_paper else None,
    )  # fmt: skip
    _warn_of_differences(store, heads, with_paper)
    lacking = {row["category"]: row["missing"] for row in own if row.get("partial") and row["category"] != AVERAGE}
    if lacking:
        words = [f"{charts.category_label(c)} without {', '.join(m)}" for c, m in lacking.items() if c in charts.PANELS]
        st.caption(plain(f"Hatched bars are partial and not comparable with whole ones: {'; '.join(words)}."))
    if shown:
        folded("Table", "bars-table", bars_table, shown, PAPER)


def _clicked(key: str) -> list[str]:
    """What a chart's clicked mark carries: evaluation, category or task, series."""
    points = (st.session_state.get(key) or {}).get("selection", {}).get("points") or []
    data = points[0].get("customdata") if points else None
    return [str(value) for value in data] if data and len(data) > 1 else []


def _selecting(key: str) -> dict[str, Any]:
    """Options of a chart whose bars open their category."""
    return {"on_select": partial(_open_category, key), "selection_mode": "points"}


def _open_category(key: str) -> None:
    """A click on a bar opens its category's tasks."""
    data = _clicked(key)
    if data and data[1] in charts.PANELS[1:]:
        st.session_state["category"] = data[1]


def _open_task(key: str) -> None:
    """A click on a dot opens its task's items, those of its model first."""
    data = _clicked(key)
    if data:
        st.session_state["task"], st.session_state["first"] = data[1], data[0]


def _warn_of_differences(store: Store, heads: Sequence[Row], with_paper: bool) -> None:
    """Say so where bars of different protocols stand side by side, or where a score says little."""
    read = eval_records(store, [head["eval_id"] for head in heads])
    found = {name for other in read[1:] for name in protocol_differences(read[0], other)}
    if found:
        words = ", ".join(sorted(name.replace("_", " ") for name in found))
        st.warning(f"These evaluations differ in {plain(words)}: read differences between their bars with care.")
    if len({value["protocol"].get("tokenizer") for value in read} - {None}) > 1:
        st.warning(
            "These models have different tokenizers: the same text is cut into other tokens, so the mean loss per "
            "token that picks an answer is not the same measure for all of them. acc and acc_norm count no tokens."
        )
    own = sorted({word for value in read for word in unlike_the_paper(value)})
    if with_paper and own:
        st.warning(f"Bars of your own differ from the paper's protocol: {plain(', '.join(own))}.")
    for value in read:
        beyond = sum(task.get("beyond_positions") or 0 for task in value["tasks"])
        if beyond:
            st.warning(
                f"{plain(str(value['model']))}: {beyond:,} items are longer than the model was made for, so their "
                f"scores say little. Score it again with a smaller --max-seq-len."
            )


def unlike_the_paper(value: Row) -> list[str]:
    """In what an evaluation of the paper's version differs from the paper's protocol, in words."""
    protocol = value["protocol"]
    limit, settings = protocol.get("limit"), set(protocol.get("settings") or {})
    tasks = {f"{t['task']}/{t['num_fewshot']}-shot" for t in value["tasks"] if t["category"] in charts.PANELS}
    own = settings & (tasks | {f"category {category}" for category in charts.PANELS} | SCORE_RULES)
    facts = (
        (protocol.get("shots") != "paper", f"{protocol.get('shots')} shots"),
        (bool(own), "settings of your own"),
        (bool(limit), f"the first {limit} records of a task"),
        (not limit and not protocol.get("complete"), "not every task and record"),
    )
    return [words for applies, words in facts if applies]


def _tasks(store: Store, chosen: Sequence[str], heads: dict[str, Row], rule: str, bars: Sequence[Row]) -> None:
    """One category's tasks as dots, then one task's items."""
    everything = dot_rows(task_rows(store, chosen), bars)
    categories = list(dict.fromkeys(row["category"] for row in everything))
    if not categories:
        return
    if st.session_state.get("category") not in (None, *categories):
        del st.session_state["category"]
    elif "category" not in st.session_state and st.query_params.get("category") in categories:
        st.session_state["category"] = st.query_params["category"]  # a link may also say world_knowledge
    category = st.selectbox(
        "Category", categories, format_func=charts.category_label, key="category", bind="query-params"
    )
    rows = [row for row in everything if row["category"] == category]
    column = RULES[rule]
    if column:
        rows = [_by_rule(row, column) for row in rows]
    dots = charts.task_dots([_named(row) for row in rows], palette_for(store))
    chart(dots, _dots_alt(rows), key="tasks", on_select=partial(_open_task, "tasks"), selection_mode="points")
    imported = category == IMPORTED
    note_line(
        n=f"{count(sum(row['n'] or 0 for row in rows))} answers",
        interval="95 % by the harness's standard error"
        if imported
        else "95 % bootstrap over items"
        if not column
        else None,
        zero="no answer right: nothing is taken off for guessing" if imported else "what guessing gives",
        near_ties=f"{sum(row['near_ties'] or 0 for row in rows):,}",
        nan=f"{sum(row['nan'] or 0 for row in rows):,}",
    )
    folded("Tasks as a table", "tasks-table", tasks_table, rows)
    st.fragment(show_items)(store, rows, heads)


def _named(row: Row) -> Row:
    return {**row, "task": f"{row['task']} ({row['num_fewshot']}-shot)"}


def _by_rule(row: Row, column: str) -> Row:
    return {**row, "score": score_by(row, column), "low": None, "high": None}


def _dots_alt(rows: Sequence[Row]) -> str:
    words = [f"{row['label']} {row['task']} {accuracy(row['score'])}" for row in rows]
    return f"Scores of the category's tasks: {'; '.join(words)}."
