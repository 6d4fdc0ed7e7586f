"""Is it real? Two models compared item by item and prompt by prompt, corrected for how many comparisons are made.

Items and prompts that both models answered are paired and the seeds of a model averaged first, so what is resampled is
the independent unit. Verdicts use Holm's correction over all the lines of one comparison.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from limit.statistics import Difference, Interval, holm, paired_difference, verdict_of
from limit.store import Store, queries_gauntlet
from limit.store.packed import unpack
from limit.store.queries_gauntlet import CORE
from limit.store.queries_preferences import comparisons, prompt_means
from limit.store.schema import Row

READING_ERROR = "reading error"  # basis of a difference that was read off a published figure, not tested
LEVEL = 0.05  # p below which a difference counts as told, after the correction
PartKey = tuple[Any, ...]
T = TypeVar("T")
WHY_NOT = {
    "not published": "a score is not published",
    "not judged": "nobody judged the two",
    "not scored": "they share no scored item",
    "other baseline": "each was judged against a baseline of its own",
}
SHOWN = {"average": "Gauntlet average", "preference": "Preference (a tie counts one half)"}


@dataclass(frozen=True)
class ItemScores:
    """A model's mean score of each item by part (category, task, shots, sub-category): indices, scores.

    With chance and what its questions were (hashes of file and settings), both by task and shots.
    """

    parts: dict[PartKey, tuple[Any, Any]]
    baselines: dict[tuple[Any, Any], float]
    questions: dict[tuple[Any, Any], set[str]]

    def same_questions(self, other: ItemScores, task: tuple[Any, Any]) -> bool:
        """Whether items of one number are one question; what an older or imported evaluation does not say may be."""
        mine, theirs = (scores.questions.get(task) or set() for scores in (self, other))
        return not mine or not theirs or mine == theirs


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
        lines += _preferences(store, [a], b)
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

    No correction is made.
    """
    if measure == "preference":
        return _preferences(store, rows, full)
    own = [row for row in rows if not _is_paper(row, full)]
    keys = [f"line {measure} {row['eval_ids']} {full['eval_ids']}" for row in own]
    by_key = dict(zip(keys, own, strict=True))

    def make(missing: list[str]) -> dict[str, Row]:
        scores = item_scores(store, [full["eval_ids"], *(by_key[key]["eval_ids"] for key in missing)])
        return dict(zip(missing, side_by_side(lambda mine: _scored(mine, scores[0], measure), scores[1:]), strict=True))

    lines = dict(zip(keys, store.hold(keys, make), strict=True))
    found = {row["key"]: dict(lines[key]) for key, row in zip(keys, own, strict=True)}
    return [found[row["key"]] if row["key"] in found else _published(row, full, measure) for row in rows]


def side_by_side(make: Callable[[T], Row], each: Sequence[T]) -> list[Row]:
    """`make` of each, in order, on as many cores as there are: resampling is numpy's work, which threads can share."""
    workers = min(len(each), os.cpu_count() or 1)
    if workers < 2:
        return [make(one) for one in each]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(make, each))


def _scored(mine: ItemScores, other: ItemScores, measure: str) -> Row:
    lines = _lines_of(shared_scores(mine, other, _category(measure)), measure)
    return lines[0] if lines else _line(measure, "items", "not scored")


def verdicts_with(store: Store, rows: Sequence[Row], other: Row, measure: str) -> list[Row]:
    """The line of `compare_models(store, row, other)` on one measure for each row, at a fraction of the work.

    The other lines of a comparison matter to Holm's correction alone, so they are computed only where p lies so close
    to the level that the correction may change the verdict.
    """
    out = []
    for row, line in zip(rows, compare_with(store, rows, other, measure), strict=True):
        lines = len({*row["categories"], *other["categories"]}) + 2
        if line["basis"] == "paired" and line["p_value"] < LEVEL <= lines * line["p_value"]:
            line = next(each for each in _whole(store, row, other) if each["measure"] == measure)
        elif line["basis"] == "paired":
            line["verdict"] = verdict_of(Interval(line["low"], line["high"]), line["p_value"])
        out.append({**line, "sentence": sentence(line, row["label"], other["label"])})
    return out


def _whole(store: Store, a: Row, b: Row) -> list[Row]:
    """`compare_models`, computed once for the data at hand."""
    key = f"whole {[(row['key'], row['eval_ids'], row['comparison_ids']) for row in (a, b)]}"
    return store.hold([key], lambda _: {key: compare_models(store, a, b)})[0]


def _category(measure: str | None) -> str | None:
    return measure if measure in CORE else None


def _lines_of(items: dict[str, tuple[Any, Any]], only: str | None) -> list[Row]:
    """The average and each category from `shared_scores`, or one of them."""
    names = [c for c in CORE if c in items] + sorted(set(items) - set(CORE))
    pairs = []
    if names and only in (None, "average"):
        core = [c for c in names if c in CORE] or names
        total = sum(len(items[c][0]) for c in core)
        first, second = (
            np.concatenate([items[c][side] * total / (len(core) * len(items[c][side])) for c in core])
            for side in (0, 1)
        )
        pairs.append(("average", first, second))
    pairs += [(c, *items[c]) for c in names if only in (None, c)]
    return side_by_side(lambda pair: _paired(pair[0], "items", *pair[1:]), pairs)


def paired_scores(
    store: Store, evals_a: Sequence[str], evals_b: Sequence[str], category: str | None = None
) -> dict[str, tuple[Any, Any]]:
    """`shared_scores` of two models' evaluations."""
    first, second = item_scores(store, [evals_a, evals_b])
    return shared_scores(first, second, category)


def item_scores(store: Store, evals: Sequence[Sequence[str]]) -> list[ItemScores]:
    """What each model scored on each item, its evaluations averaged; read once for the data at hand."""
    keys = {f"items {' '.join(sorted(ids))}": list(ids) for ids in evals}
    found = store.hold(list(keys), lambda missing: _item_scores(store, {key: keys[key] for key in missing}))
    by_key = dict(zip(keys, found, strict=True))
    return [by_key[f"items {' '.join(sorted(ids))}"] for ids in evals]


def _item_scores(store: Store, evals: dict[str, list[str]]) -> dict[str, ItemScores]:
    models: dict[str, list[str]] = {}
    for key, ids in evals.items():
        for eval_id in ids:
            models.setdefault(eval_id, []).append(key)
    out = {key: ItemScores({}, {}, {}) for key in evals}
    packed: dict[tuple[str, PartKey], list[tuple[Any, Any]]] = {}
    for row in queries_gauntlet.packed_scores(store, list(models)):
        part = (row["category"], row["task"], row["num_fewshot"], row["subcategory"] or "")
        for key in models[row["eval_id"]]:
            packed.setdefault((key, part), []).append(unpack(row["idx"], row["correct"]))
    for (key, part), each in packed.items():
        out[key].parts[part] = _mean_scores(each)
    for row in queries_gauntlet.task_questions(store, list(models)):
        for key in models[row["eval_id"]]:
            for shots in (row["num_fewshot"], None):  # items may not say with how many examples they were asked
                out[key].baselines.setdefault((row["task"], shots), row["baseline"] or 0.0)
                out[key].questions.setdefault((row["task"], shots), set()).update(
                    [row["questions"]] if row["questions"] else []
                )
    return out


def _mean_scores(each: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Item numbers and mean scores over evaluations, whichever items each of them has."""
    numbers = [idx for idx, _ in each]
    if all(np.array_equal(idx, numbers[0]) for idx in numbers[1:]) and (np.diff(numbers[0]) > 0).all():
        return numbers[0], np.mean([scores for _, scores in each], axis=0)
    shared, at = np.unique(np.concatenate(numbers), return_inverse=True)
    return shared, np.bincount(at, np.concatenate([scores for _, scores in each])) / np.bincount(at)


def shared_scores(a: ItemScores, b: ItemScores, category: str | None = None) -> dict[str, tuple[Any, Any]]:
    """For each category (or one) the values of the items that two models share, scaled so that their mean is the score.

    An item counts 1 / (tasks * parts of its task * items of its part * (1 - baseline)) of its category, times the
    number of items; sub-categories of a task weigh alike, as in the Gauntlet. The difference of the means is then the
    difference of the category scores over shared items. A task whose file or settings were changed between two
    evaluations has other questions under the same numbers, so it is left out.
    """
    found: dict[str, dict[PartKey, tuple[Any, Any]]] = {}
    for key in sorted(a.parts.keys() & b.parts.keys(), key=str):
        if category in (None, key[0]) and a.same_questions(b, (key[1], key[2])):
            pair = _at_shared(*a.parts[key], *b.parts[key])
            if len(pair[0]):
                found.setdefault(str(key[0]), {})[key] = pair
    baselines = b.baselines | a.baselines
    return {name: _weighted(parts, baselines) for name, parts in found.items()}


def changed_tasks(store: Store, a: Row, b: Row) -> list[str]:
    """Tasks that both models were scored on, but not with the same file and settings; nothing pairs their items."""
    first, second = item_scores(store, [a["eval_ids"], b["eval_ids"]])
    shared = first.baselines.keys() & second.baselines.keys()
    return sorted({str(task[0]) for task in shared if not first.same_questions(second, task)})


def _at_shared(idx_a: Any, a: Any, idx_b: Any, b: Any) -> tuple[Any, Any]:
    if np.array_equal(idx_a, idx_b):
        return a, b
    _, at_a, at_b = np.intersect1d(idx_a, idx_b, assume_unique=True, return_indices=True)
    return a[at_a], b[at_b]


def _weighted(parts: dict[PartKey, tuple[Any, Any]], baselines: dict[tuple[Any, Any], float]) -> tuple[Any, Any]:
    """The items of one category, each at its weight."""
    parts_of_task = Counter((key[1], key[2]) for key in parts)
    total = sum(len(first) for first, _ in parts.values())
    sides: tuple[list[Any], list[Any]] = ([], [])
    for key, pair in parts.items():
        task = (key[1], key[2])
        chance = baselines.get(task, 0.0)
        above = 1 - chance if 0 <= chance < 1 else 1.0
        weight = total / (len(parts_of_task) * parts_of_task[task] * len(pair[0]) * above)
        for side, values in zip(sides, pair, strict=True):
            side.append(weight * values)
    return np.concatenate(sides[0]), np.concatenate(sides[1])


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


def _preferences(store: Store, rows: Sequence[Row], other: Row) -> list[Row]:
    """Preference of each row over `other`; verdicts are read once for all of them."""
    direct = [(_between(store, row, other), _between(store, other, row)) for row in rows]
    wanted = [tuple(row["comparison_ids"]) for row in (*rows, other)]
    wanted += [ids for pair in direct for ids in pair]
    means = _verdicts(store, wanted)
    each = list(zip(rows, direct, strict=True))
    return side_by_side(lambda one: _preference(one[0], other, *one[1], means), each)


def _preference(
    a: Row, b: Row, direct: tuple[str, ...], mirrored: tuple[str, ...], means: dict[tuple[str, ...], dict[str, float]]
) -> Row:
    """Preference of `a` over `b`: judged directly where that was done, else both against the same baseline."""
    scores = means[direct] or {prompt: 1 - score for prompt, score in means[mirrored].items()}
    if scores:
        values = np.array(list(scores.values()))
        return _from_difference("preference", "prompts", paired_difference(values, np.full(len(values), 0.5)), 100)
    if a["y"] is None or b["y"] is None:
        return _line("preference", "none", "not judged")
    if a["baseline"] != b["baseline"]:
        return _line("preference", "none", "other baseline")
    first, second = (means[tuple(row["comparison_ids"])] for row in (a, b))
    shared = sorted(set(first) & set(second))
    if shared:
        pair = ([first[p] for p in shared], [second[p] for p in shared])
        return _from_difference("preference", "prompts", paired_difference(*pair), 100)
    return _by_intervals(a, b)


def _by_intervals(a: Row, b: Row) -> Row:
    """Without verdicts by prompt: the difference of two rates, their half-widths added in squares."""
    known = [row for row in (a, b) if row["y_low"] is not None]
    if not known:
        return _line("preference", "none", "not judged")
    half = math.hypot(*(max(r["y_high"] - r["y"], r["y"] - r["y_low"]) for r in known))
    estimate = a["y"] - b["y"]
    verdict = "better" if estimate > half else "worse" if estimate < -half else "cannot tell"
    bounds = {"estimate": estimate, "low": estimate - half, "high": estimate + half}
    return _line("preference", "none", "published intervals", verdict=verdict, **bounds)


def _between(store: Store, candidate: Row, baseline: Row) -> tuple[str, ...]:
    """Direct comparisons of two models, by the judge and on the prompts that their rates are from."""
    judge, prompts = (candidate[name] or baseline[name] for name in ("judge", "prompt_set"))
    key = f"judged {json.dumps([judge, prompts])}"
    table = store.hold([key], lambda _: {key: _by_runs(store, prompts, judge)})[0]
    pairs = ((mine, other) for mine in candidate["run_ids"] for other in baseline["run_ids"])
    return tuple(sorted(comparison for pair in pairs for comparison in table.get(pair, ())))


def _by_runs(store: Store, prompts: str | None, judge: str | None) -> dict[tuple[Any, Any], list[str]]:
    """Comparisons on a prompt set by a judge: (candidate's run, baseline's run) to their ids."""
    table: dict[tuple[Any, Any], list[str]] = {}
    for row in comparisons(store, prompts, judge):
        table.setdefault((row["candidate_run"], row["baseline_run"]), []).append(row["comparison_id"])
    return table


def _verdicts(store: Store, wanted: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], dict[str, float]]:
    """The candidate's mean score of each prompt over each of several groups of comparisons, read once."""
    groups = {f"prompts {' '.join(ids)}": ids for ids in wanted if ids}
    found = store.hold(list(groups), lambda missing: prompt_means(store, {key: groups[key] for key in missing}))
    return {(): {}} | dict(zip(groups.values(), found, strict=True))


def sentence(line: Row, a: str, b: str) -> str:
    """The line in words: what is better, by how much, and what would settle what cannot be told."""
    name = SHOWN.get(line["measure"]) or line["measure"].replace("_", " ").capitalize()
    if line["estimate"] is None:
        return f"{name}: {a} and {b} cannot be compared, {WHY_NOT[line['basis']]}."
    show: Callable[[float], str] = _points if line["measure"] == "preference" else _score_text
    low, high, value = line["low"], line["high"], line["estimate"]
    if line["verdict"] == "cannot tell":
        span = f"difference {show(value)} [{show(low)}, {show(high)}]"
        why = " Alone it would count as real, among all the comparisons made here it may be chance."
        return f"{name}: cannot tell {a} from {b} ({span}).{why if only_by_correction(line) else _more(line)}"
    if line["verdict"] == "worse":
        low, high, value = -high, -low, -value
    by = f"by {show(value)} [{show(low)}, {show(high)}]"
    if line["basis"] == READING_ERROR:
        return f"{name}: {a} is published {'above' if line['verdict'] == 'better' else 'below'} {b} {by}."
    return f"{name}: {a} is {line['verdict']} than {b} {by}."


def only_by_correction(line: Row) -> bool:
    """Whether a difference cannot be told only because many were looked at: alone it would be."""
    return leaves_out_zero(line) and bool(line["verdict"] == "cannot tell" and line["p_value"] < LEVEL)


def leaves_out_zero(line: Row) -> bool:
    """Whether a tested difference has an interval of its own that leaves out 0, whatever its p-value says."""
    return line["basis"] == "paired" and (line["low"] > 0 or line["high"] < 0)


def _more(line: Row) -> str:
    if line["needed_n"] is None or line["needed_n"] <= line["n"] or line["unit"] == "none":
        return ""
    more = line["needed_n"] - line["n"]
    unit = line["unit"] if more > 1 else line["unit"].removesuffix("s")
    return f" About {more:,} more {unit} would settle a difference of this size."


def _points(value: float) -> str:
    return f"{value:z.1f} pp"


def _score_text(value: float) -> str:
    return f"{value:z.3f}"
