"""From right and wrong answers to task scores, category scores and averages, by llm-foundry's rules.

Notable: sub-categories count alike whatever their size; a category with a task missing has no score (what is there is
kept as `partial_score`, by name); an average is the mean of the categories that have one.

An average over no category: llm-foundry writes 0, which reads as "no better than guessing" where nothing was measured.
Here its `score` is null, in eval.json as everywhere that people look, and `upstream_score` beside it is the number that
llm-foundry writes: 0.0 then, else the score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limit.core import Json
from limit.gauntlet.tasks import Entry, Version

DRAWS, SEED, LEVEL = 2000, 17, 0.95


@dataclass(frozen=True)
class TaskResult:
    """Right (1) and wrong (0) answers of one task by sub-category ("" for tasks without)."""

    task: str
    num_fewshot: int
    correct: Mapping[str, Sequence[int]]

    @property
    def key(self) -> str:
        return f"{self.task}/{self.num_fewshot}-shot"

    @property
    def n(self) -> int:
        return sum(map(len, self.correct.values()))

    @property
    def accuracy(self) -> float:
        """Unweighted mean over sub-categories."""
        return float(np.mean([np.mean(values) for values in self.correct.values()]))

    @property
    def stderr(self) -> float | None:
        """Standard error of the accuracy; None where a sub-category has fewer than two records."""
        if any(len(values) < 2 for values in self.correct.values()):
            return None
        variances = [np.var(values, ddof=1) / len(values) for values in self.correct.values()]
        return float(math.sqrt(sum(variances)) / len(variances))

    def resampled(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Accuracies of resampled records. Resampling n zeros and ones is drawing from a binomial distribution."""
        means = [rng.binomial(len(v), float(np.mean(v)), size=DRAWS) / len(v) for v in self.correct.values()]
        return np.asarray(np.mean(means, axis=0))


@dataclass(frozen=True)
class Composite:
    """Scores by name: whole categories, categories with tasks missing, averages, and what each average is made of."""

    categories: Mapping[str, Any]
    partial: Mapping[str, Any]
    averages: Mapping[str, Any]
    members: Mapping[str, tuple[str, ...]]


def task_score(accuracy: Any, baseline: float, version: Version) -> Any:
    """Accuracy above chance, scaled so that 1 is perfect; not clipped."""
    value = accuracy - baseline if version.subtract_random_baseline else accuracy
    return value / (1 - baseline) if version.rescale_accuracy else value


def weight(entry: Entry, version: Version, records: Mapping[str, int]) -> float:
    """How much a task counts in its category; `records` maps `<task>/<k>-shot` to how many the task has."""
    n = max(records.get(entry.key, 1), 1)
    if version.weighting == "SAMPLE_SZ":
        return float(n)
    return max(math.log2(n), 1.0) if version.weighting == "LOG_SAMPLE_SZ" else 1.0


def composite(version: Version, accuracies: Mapping[str, Any], records: Mapping[str, int]) -> Composite:
    """Category scores and averages from accuracies in [0, 1] by `<task>/<k>-shot`: numbers, or arrays of resamples.

    These are llm-foundry's numbers, with 0 for an average over no category.
    """
    categories: dict[str, Any] = {}
    partial: dict[str, Any] = {}
    for name, entries in version.categories.items():
        found = [entry for entry in entries if entry.key in accuracies]
        if not found:
            continue
        scores = [task_score(accuracies[entry.key], entry.random_baseline, version) for entry in found]
        weights = [weight(entry, version, records) for entry in found]
        mean = sum(s * w for s, w in zip(scores, weights, strict=True)) / sum(weights)
        (categories if len(found) == len(entries) else partial)[name] = mean
    members = {
        name: tuple(label for label in labels if label in categories) for name, labels in version.averages.items()
    }
    averages = {
        name: sum(categories[label] for label in labels) / len(labels) if labels else 0.0
        for name, labels in members.items()
    }
    return Composite(categories, partial, averages, members)


def summarise(version: Version, results: Sequence[TaskResult], records: Mapping[str, int]) -> Json:
    """{categories, averages, intervals: {`<task>/<k>-shot`: {ci_low, ci_high} of the task's score}} of eval.json.

    The same resampled accuracies go into tasks, categories and averages, so the intervals fit each other.
    """
    rng = np.random.default_rng(SEED)
    by_key = {result.key: result for result in results}
    resampled = {key: result.resampled(rng) for key, result in sorted(by_key.items())}
    points = composite(version, {key: result.accuracy for key, result in by_key.items()}, records)
    drawn = composite(version, resampled, records)
    return {
        "categories": [_category(name, version, points, drawn, by_key) for name in version.categories],
        "averages": [
            {
                "name": name,
                "score": points.averages[name] if points.members[name] else None,
                "upstream_score": points.averages[name],
                **_interval(drawn.averages[name] if points.members[name] else None),
                "categories": list(points.members[name]),
                "missing": [label for label in labels if label not in points.members[name]],
            }
            for name, labels in version.averages.items()
        ],
        "intervals": {
            key: _interval(task_score(values, _baseline(version, key), version) if by_key[key].n > 1 else None)
            for key, values in resampled.items()
        },
    }


def _category(
    name: str, version: Version, points: Composite, drawn: Composite, results: Mapping[str, TaskResult]
) -> Json:
    entries = version.categories[name]
    missing = [entry.task for entry in entries if entry.key not in results]
    return {
        "category": name,
        "score": points.categories.get(name),
        "partial_score": points.partial.get(name),
        **_interval(drawn.categories.get(name, drawn.partial.get(name))),
        "tasks": [entry.task for entry in entries if entry.key in results],
        "missing": missing,
        "partial": bool(missing),
    }


def _baseline(version: Version, key: str) -> float:
    return next(task.random_baseline for task in version.tasks if task.key == key)


def _interval(values: NDArray[np.float64] | None) -> Json:
    if values is None:
        return {"ci_low": None, "ci_high": None}
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"ci_low": float(low), "ci_high": float(high)}
