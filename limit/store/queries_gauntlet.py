"""Gauntlet results: evaluations, categories and tasks as rows for charts, and items paired between two runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.dataset as ds

from limit.store.index import Store
from limit.store.queries_runs import runs
from limit.store.schema import Row
from limit.store.series import as_json

CORE = (
    "world_knowledge",
    "commonsense_reasoning",
    "symbolic_problem_solving",
    "language_understanding",
    "reading_comprehension",
)
PROTOCOL = ("version", "shots", "draws", "max_seq_len", "dtype", "item_limit")


def evals(store: Store, version: str | None = None, run_ids: Sequence[str] | None = None) -> list[Row]:
    """Evaluations, newest first: eval_id, run_id, model, version, protocol columns, complete, created, origin."""
    every = "select * exclude (file, protocol) from gauntlet_evals order by created desc, eval_id"
    rows = store.remember("evals", lambda: store.rows(every))
    wanted = None if run_ids is None else set(run_ids)
    return [r for r in rows if version in (None, r["version"]) and (wanted is None or r["run_id"] in wanted)]


def best_evals(store: Store, version: str | None = None, origin: str | None = None) -> dict[str, Row]:
    """For each run the evaluation to show: complete before partial, without an item limit before with, then newest."""
    chosen: dict[str, Row] = {}
    for row in evals(store, version):
        if origin not in (None, row["origin"]):
            continue
        rank = (bool(row["complete"]), row["item_limit"] is None, row["created"] or "")
        current = chosen.get(row["run_id"])
        if current is None or rank > (
            bool(current["complete"]),
            current["item_limit"] is None,
            current["created"] or "",
        ):
            chosen[row["run_id"]] = row
    return chosen


def category_scores(store: Store, eval_ids: Sequence[str]) -> list[Row]:
    """Category rows and the core average as category `average`: eval_id, category, score, low, high, partial, missing.

    A partial category has the mean of the tasks that are there; an average over no category has no score.
    The average is the evaluation's own where it has one, by the name `core_average` first.
    """
    return store.recall(f"categories {' '.join(eval_ids)}", lambda: _category_scores(store, eval_ids))


def _category_scores(store: Store, eval_ids: Sequence[str]) -> list[Row]:
    rows = store.rows(
        """select c.eval_id, category, coalesce(score, partial_score) as score, ci_low as low, ci_high as high,
                  partial, missing, tasks,
                  (select sum(n) from gauntlet_tasks t where t.eval_id = c.eval_id and t.category = c.category) as n
           from gauntlet_categories c where list_contains(?, c.eval_id)
           union all by name
           (select eval_id, 'average' as category, case when json_array_length(categories) > 0 then score end as score,
                   ci_low as low, ci_high as high, false as partial,
                   null as missing, categories as tasks,
                   (select sum(n) from gauntlet_tasks t where t.eval_id = a.eval_id) as n
            from gauntlet_averages a where list_contains(?, eval_id)
            qualify row_number() over (partition by eval_id order by (name = 'core_average') desc, name) = 1)
           order by eval_id, category""",
        [list(eval_ids), list(eval_ids)],
    )
    partial = {row["eval_id"] for row in rows if row["partial"] and row["category"] in CORE}
    for row in rows:
        row["missing"] = [str(task) for task in as_json(row["missing"]) or []]
        if row["category"] == "average" and row["eval_id"] in partial:
            row["partial"], row["missing"] = True, ["tasks of its categories"]
    return rows


def gauntlet_rows(store: Store, eval_ids: Sequence[str]) -> list[Row]:
    """Rows for `charts.gauntlet_panels` of some evaluations, in the order given."""
    by_run = {run["run_id"]: run for run in runs(store)}
    heads = {row["eval_id"]: row for row in evals(store)}
    out = []
    for row in category_scores(store, eval_ids):
        head = heads[row["eval_id"]]
        run = by_run.get(head["run_id"], {})
        out.append(
            {
                **row,
                "group": model_name(head["model"]),
                "series": run.get("series", head["run_id"]),
                "label": run.get("name") or head["model"] or row["eval_id"],
                "run_id": head["run_id"],
                "note": protocol_text(head),
                "key": row["eval_id"],
            }
        )
    order = {eval_id: i for i, eval_id in enumerate(eval_ids)}
    return sorted(out, key=lambda row: order[row["eval_id"]])


def task_rows(store: Store, eval_ids: Sequence[str], category: str | None = None) -> list[Row]:
    """Rows for `charts.task_dots`: each task of a category (or of all) in some evaluations, in their order."""
    key = f"tasks {category} {' '.join(eval_ids)}"
    return store.recall(key, lambda: _task_rows(store, eval_ids, category))


def _task_rows(store: Store, eval_ids: Sequence[str], category: str | None) -> list[Row]:
    by_run = {run["run_id"]: run for run in runs(store)}
    rows = store.rows(
        """select t.* exclude (file, origin, ci_low, ci_high), t.ci_low as low, t.ci_high as high, e.run_id, e.model
           from gauntlet_tasks t join gauntlet_evals e using (eval_id)
           where list_contains(?, t.eval_id) and (? is null or t.category = ?)
           order by t.category, t.task, t.num_fewshot, list_position(?, t.eval_id)""",
        [list(eval_ids), category, category, list(eval_ids)],
    )
    for row in rows:
        run = by_run.get(row["run_id"], {})
        row["series"] = run.get("series", row["run_id"])
        row["label"] = run.get("name") or row["model"] or row["eval_id"]
        row["key"] = row["eval_id"]
    return rows


def packed_scores(store: Store, eval_ids: Sequence[str]) -> list[Row]:
    """Every scored item of some evaluations, in rows of `gauntlet_scores`: unpack idx and correct with `unpack`."""
    columns = "eval_id, category, task, num_fewshot, subcategory, idx, correct"
    return _of_evals(store, f"select {columns} from gauntlet_scores", eval_ids)


def task_questions(store: Store, eval_ids: Sequence[str]) -> list[Row]:
    """What each task of some evaluations was scored against: eval_id, task, num_fewshot, baseline, questions."""
    return _of_evals(store, "select eval_id, task, num_fewshot, baseline, questions from gauntlet_tasks", eval_ids)


def _of_evals(store: Store, query: str, eval_ids: Sequence[str]) -> list[Row]:
    """Rows of some evaluations. Ids listed one by one are looked for in the scan; a join takes twice the time."""
    return store.rows(f"{query} where eval_id in ({', '.join('?' * len(eval_ids))})", eval_ids) if eval_ids else []


def paired_items(store: Store, eval_a: str, eval_b: str, category: str | None = None) -> list[Row]:
    """Items that both evaluations scored: category, task, num_fewshot, subcategory, idx, a and b (0 or 1).

    A task whose file or settings were changed in between holds other questions under the same numbers: it is left out.
    An item that stands in an evaluation twice is one, right where it was right once.
    """
    return store.rows(
        """with changed as (
             select a.task, a.num_fewshot from gauntlet_tasks a join gauntlet_tasks b using (task, num_fewshot)
             where a.eval_id = $a and b.eval_id = $b and a.questions <> b.questions),
           items as (
             select eval_id, category, task, num_fewshot, subcategory, idx, max(correct) as correct
             from gauntlet_items
             where eval_id in ($a, $b) and ($category is null or category = $category)
               and correct is not null and idx is not null
             group by all)
           select a.category, a.task, a.num_fewshot, a.subcategory, a.idx, a.correct as a, b.correct as b
           from items a join items b
             on a.task = b.task and a.num_fewshot is not distinct from b.num_fewshot and a.idx = b.idx
                and a.subcategory is not distinct from b.subcategory
           where a.eval_id = $a and b.eval_id = $b
             and not exists (
               select 1 from changed c where c.task = a.task and c.num_fewshot is not distinct from a.num_fewshot)
           order by a.category, a.task, a.subcategory, a.idx""",
        {"a": eval_a, "b": eval_b, "category": category},
    )


def item_texts(store: Store, eval_id: str, items: Sequence[Row]) -> list[Row]:
    """Context, choices, prediction and gold of some items ({task, idx, subcategory}), read from the evaluation's file.

    Texts stay in the files: an item whose file is gone is left out.
    """
    found = store.rows("select file from gauntlet_evals where eval_id = ?", [eval_id])
    if not found or not items:
        return []
    path = store.path_of(found[0]["file"]).with_name("items.parquet")
    if not path.is_file():
        return []
    wanted = ds.field("task").isin([i["task"] for i in items]) & ds.field("idx").isin([i["idx"] for i in items])
    table = ds.dataset(path).to_table(filter=wanted).to_pylist()
    keys = {(i["task"], i["idx"], i.get("subcategory") or None) for i in items}
    return [row for row in table if (row["task"], row["idx"], row.get("subcategory") or None) in keys]


def model_name(model: str | None) -> str:
    """A folder by its last part, anything else as it is."""
    text = model or "unknown model"
    return Path(text).name if text.startswith("/") else text


def protocol_text(row: Row) -> str:
    """`v0, paper shots, 1,024 tokens, fp32`, with an item limit where there was one."""
    words = [str(row["version"]), f"{row['shots']} shots" if row["shots"] else ""]
    words.append(f"{row['max_seq_len']:,} tokens" if row["max_seq_len"] else "")
    words.append(row["dtype"] or "")
    words.append(f"first {row['item_limit']} items of a task" if row["item_limit"] else "")
    return ", ".join(word for word in words if word)
