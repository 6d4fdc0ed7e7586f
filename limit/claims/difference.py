"""Is it real? Two models compared item by item and prompt by prompt, corrected for how many comparisons are made.

Items and prompts that both models answered are paired and the seeds of a model averaged first, so what is resampled is
the independent unit. Verdicts use Holm's correction over all the lines of one comparison.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from limit.statistics import Difference, Interval, holm, paired_difference, verdict_of
from limit.store import Store
from limit.store.queries_gauntlet import CORE
from limit.store.schema import Row

READING_ERROR = "reading error"  # basis of a difference that was read off a published figure, not tested
Means = Callable[[tuple[str, ...]], dict[str, float]]
WHY_NOT = {
    "not published": "a score is not published",
    "not judged": "nobody judged the two",
    "not scored": "they share no scored item",
}
SHOWN = {"average": "Gauntlet average", "preference": "Preference"}


def compare_models(store: Store, a: Row, b: Row, only: str | None = None) -> list[Row]:
    """One line for the average, each category and preference: how far `a` is above `b`.

    `a` and `b` are rows of `queries_models`. Each line: measure, estimate, low, high (score, or per cent for
    preference), p_value, p_adjusted, n, unit (items, prompts or none), verdict, needed_n, basis, sentence.
    With `only` one measure is computed, and no correction made. Published models can only be compared by their
    reading error; the line says so.
    """
    if only == "preference":
        lines = []
    elif _is_paper(a, b):
        lines = [_published(a, b, c) for c in ("average", *_shared(a, b)) if only in (None, c)]
    else:
        lines = _lines_of(paired_scores(store, a["eval_ids"], b["eval_ids"], _category(only)), only)
    if only in (None, "preference"):
        lines.append(_preference(store, a, b))
    adjusted = holm([line["p_value"] for line in lines])
    for line, p in zip(lines, adjusted, strict=True):
        line["p_adjusted"] = p
        if line["basis"] == "paired":
            line["verdict"] = verdict_of(Interval(line["low"], line["high"]), p)
        line["sentence"] = sentence(line, a["label"], b["label"])
    return lines


def _is_paper(a: Row, b: Row) -> bool:
    return "published" in (a["origin"], b["origin"])


def _shared(a: Row, b: Row) -> list[str]:
    return [c for c in a["categories"] if c in b["categories"]]


def _line(measure: str, unit: str, basis: str, **values: Any) -> Row:
    empty = {"estimate": None, "low": None, "high": None, "p_value": math.nan, "n": 0, "needed_n": None}
    return {"measure": measure, "unit": unit, "basis": basis, "verdict": "cannot tell", **empty, **values}


def _published(a: Row, b: Row, category: str) -> Row:
    """Digitised scores differ when their reading errors do not overlap; sampling error was not published."""
    first, second = (_score(row, category) for row in (a, b))
    if first["score"] is None or second["score"] is None:
        return _line(category, "none", "not published")
    estimate = first["score"] - second["score"]
    error = (first["high"] or first["score"]) - first["score"] + (second["high"] or second["score"]) - second["score"]
    verdict = "better" if estimate > error else "worse" if estimate < -error else "cannot tell"
    bounds = {"estimate": estimate, "low": estimate - error, "high": estimate + error}
    return _line(category, "none", READING_ERROR, verdict=verdict, **bounds)


def _score(row: Row, category: str) -> Row:
    if category == "average":
        return {"score": row["x"], "low": row["x_low"], "high": row["x_high"]}
    return row["categories"].get(category) or {"score": None, "low": None, "high": None}


def compare_with(store: Store, rows: Sequence[Row], full: Row, measure: str) -> list[Row]:
    """One line for each of `rows` against `full` on one measure, in their order, as `compare_models` with `only`.

    Items are read once for all of them. No correction is made.
    """
    if measure == "preference":
        means = functools.cache(lambda ids: prompt_means(store, ids))
        return [_preference(store, row, full, means) for row in rows]
    if any(_is_paper(row, full) for row in rows):
        return [_published(row, full, measure) for row in rows]
    scores = item_scores(store, [full["eval_ids"], *(row["eval_ids"] for row in rows)], _category(measure))
    pairs = [_lines_of(shared_scores(scores, position, 0), measure) for position in range(1, len(rows) + 1)]
    return [lines[0] if lines else _line(measure, "items", "not scored") for lines in pairs]


def _category(measure: str | None) -> str | None:
    return measure if measure in CORE else None


def _lines_of(items: dict[str, tuple[Any, Any]], only: str | None) -> list[Row]:
    """The average and each category from `shared_scores`, or one of them."""
    names = [c for c in CORE if c in items] + sorted(set(items) - set(CORE))
    lines = []
    if names and only in (None, "average"):
        core = [c for c in names if c in CORE] or names
        total = sum(len(items[c][0]) for c in core)
        first, second = (
            np.concatenate([items[c][side] * total / (len(core) * len(items[c][side])) for c in core])
            for side in (0, 1)
        )
        lines.append(_paired("average", "items", first, second))
    return lines + [_paired(c, "items", *items[c]) for c in names if only in (None, c)]


def paired_scores(
    store: Store, evals_a: Sequence[str], evals_b: Sequence[str], category: str | None = None
) -> dict[str, tuple[Any, Any]]:
    """`shared_scores` of two models' evaluations."""
    return shared_scores(item_scores(store, [evals_a, evals_b], category), 0, 1)


def item_scores(store: Store, evals: Sequence[Sequence[str]], category: str | None = None) -> dict[str, Any]:
    """Every item that the evaluations of any of several models scored, as columns in a fixed order.

    Columns: category, baseline, task and part (numbers of a task and of its sub-category), and `0`, `1`, ...: what each
    model scored, its evaluations averaged; NaN where it did not score the item.
    """
    means = [f"avg(correct) filter (where list_contains($m{i}, eval_id)) as m{i}" for i in range(len(evals))]
    found = store.columns(
        f"""with scored as (
             select category, task, num_fewshot, coalesce(subcategory, '') as subcategory, idx, {", ".join(means)}
             from gauntlet_items
             where eval_id in (select unnest($every)) and ($category is null or category = $category) group by all),
           base as (select task, num_fewshot, any_value(baseline) as baseline from gauntlet_tasks
                    where list_contains($every, eval_id) group by all)
           select category, coalesce(baseline, 0) as baseline,
                  dense_rank() over (order by task, num_fewshot) as task,
                  dense_rank() over (order by task, num_fewshot, subcategory) as part,
                  {", ".join(f"m{i}" for i in range(len(evals)))}
           from scored left join base using (task, num_fewshot) order by category, task, part, idx""",
        {
            "every": sorted({eval_id for ids in evals for eval_id in ids}),
            "category": category,
            **{f"m{i}": list(ids) for i, ids in enumerate(evals)},
        },
    )
    out = {name: found[name] for name in ("baseline", "task", "part")}
    out["category"] = found["category"].astype(str)
    return out | {str(i): np.ma.filled(found[f"m{i}"].astype(float), math.nan) for i in range(len(evals))}


def shared_scores(scores: dict[str, Any], a: int, b: int) -> dict[str, tuple[Any, Any]]:
    """For each category the values of the items that two models share, scaled so that their mean is the score.

    `a` and `b` are positions in what `item_scores` was asked for. An item counts
    1 / (tasks * items of its task * (1 - baseline)) of its category, times the number of items; seeds are averaged.
    The difference of the means is then the difference of the category scores over shared items.
    """
    both = np.isfinite(scores[str(a)]) & np.isfinite(scores[str(b)])
    shared = {name: values[both] for name, values in scores.items()}
    out = {}
    for name in sorted(set(shared["category"].tolist())):
        mine = {key: values[shared["category"] == name] for key, values in shared.items()}
        weights = _item_weights(mine["task"], mine["part"], mine["baseline"])
        out[name] = weights * mine[str(a)], weights * mine[str(b)]
    return out


def _item_weights(tasks: Any, parts: Any, baselines: Any) -> Any:
    """The weight of each item of one category; sub-categories of a task weigh alike, as in the Gauntlet."""
    _, part_of, part_sizes = np.unique(parts, return_inverse=True, return_counts=True)
    _, first = np.unique(parts, return_index=True)
    names, task_of_part = np.unique(tasks[first], return_inverse=True)
    parts_of_task = np.bincount(task_of_part, minlength=len(names))
    per_part = len(names) * parts_of_task[task_of_part] * part_sizes
    return len(tasks) / (per_part[part_of] * (1 - baselines))


def _paired(measure: str, unit: str, first: Any, second: Any) -> Row:
    return _from_difference(measure, unit, paired_difference(first, second))


def _from_difference(measure: str, unit: str, d: Difference, factor: float = 1.0) -> Row:
    return _line(
        measure,
        unit,
        "paired",
        estimate=d.estimate * factor,
        low=d.low * factor,
        high=d.high * factor,
        p_value=d.p_value,
        n=d.n,
        needed_n=d.needed_n,
    )


def _preference(store: Store, a: Row, b: Row, means: Means | None = None) -> Row:
    """Preference of `a` over `b`: judged directly where that was done, else both against the same baseline.

    `means` gives the scores by prompt of some comparisons, for who compares one model with many.
    """
    means = means or (lambda ids: prompt_means(store, ids))
    direct, mirrored = _between(store, a, b, means), _between(store, b, a, means)
    scores = direct or {prompt: 1 - score for prompt, score in mirrored.items()}
    if scores:
        values = np.array(list(scores.values()))
        return _from_difference("preference", "prompts", paired_difference(values, np.full(len(values), 0.5)), 100)
    first, second = (means(tuple(row["comparison_ids"])) for row in (a, b))
    shared = sorted(set(first) & set(second))
    if shared:
        pair = ([first[p] for p in shared], [second[p] for p in shared])
        return _from_difference("preference", "prompts", paired_difference(*pair), 100)
    if a["y"] is None or b["y"] is None:
        return _line("preference", "none", "not judged")
    return _by_intervals(a, b)


def _by_intervals(a: Row, b: Row) -> Row:
    """Without verdicts by prompt: the difference of two rates, their half-widths added in squares."""
    half = math.hypot(*(max(r["y_high"] - r["y"], r["y"] - r["y_low"]) for r in (a, b) if r["y_low"] is not None))
    estimate = a["y"] - b["y"]
    verdict = "better" if estimate > half else "worse" if estimate < -half else "cannot tell"
    bounds = {"estimate": estimate, "low": estimate - half, "high": estimate + half}
    return _line("preference", "none", "published intervals", verdict=verdict, **bounds)


def _between(store: Store, candidate: Row, baseline: Row, means: Means) -> dict[str, float]:
    """Scores by prompt of direct comparisons of two models."""
    found = store.rows(
        """select comparison_id from comparisons
           where list_contains(?, candidate_run) and list_contains(?, baseline_run)""",
        [candidate["run_ids"], baseline["run_ids"]],
    )
    return means(tuple(row["comparison_id"] for row in found))


def prompt_means(store: Store, comparison_ids: Sequence[str]) -> dict[str, float]:
    """The candidate's mean score of each prompt (0-1) over several comparisons; ties are one half."""
    if not comparison_ids:
        return {}
    rows = store.rows(
        """select prompt_id, avg(case verdict when '2' then 1.0 when '1' then 0.0 else 0.5 end) as score
           from judgments where list_contains(?, comparison_id) and verdict is not null and prompt_id is not null
           group by prompt_id order by prompt_id""",
        [list(comparison_ids)],
    )
    return {row["prompt_id"]: row["score"] for row in rows}


def sentence(line: Row, a: str, b: str) -> str:
    """The line in words: what is better, by how much, and what would settle what cannot be told."""
    name = SHOWN.get(line["measure"]) or line["measure"].replace("_", " ").capitalize()
    if line["estimate"] is None:
        return f"{name}: {a} and {b} cannot be compared, {WHY_NOT[line['basis']]}."
    show: Callable[[float], str] = _points if line["measure"] == "preference" else _score_text
    low, high, value = line["low"], line["high"], line["estimate"]
    if line["verdict"] == "cannot tell":
        span = f"difference {show(value)} [{show(low)}, {show(high)}]"
        return f"{name}: cannot tell {a} from {b} ({span}).{_more(line)}"
    if line["verdict"] == "worse":
        low, high, value = -high, -low, -value
    by = f"by {show(value)} [{show(low)}, {show(high)}]"
    if line["basis"] == READING_ERROR:
        return f"{name}: {a} is published {'above' if line['verdict'] == 'better' else 'below'} {b} {by}."
    return f"{name}: {a} is {line['verdict']} than {b} {by}."


def _more(line: Row) -> str:
    if line["needed_n"] is None or line["needed_n"] <= line["n"] or line["unit"] == "none":
        return ""
    return f" About {line['needed_n'] - line['n']:,} more {line['unit']} would settle a difference of this size."


def _points(value: float) -> str:
    return f"{value:.1f} pp"


def _score_text(value: float) -> str:
    return f"{value:.3f}"
