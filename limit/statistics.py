"""Uncertainty of means and differences, the same for both paradigms.

Notable: what is resampled is the independent unit (a prompt, a question), never the row, so rows that share a prompt
go together (`clusters`); everything is seeded, so the same data give the same interval on any machine. Of scipy only
`special` is imported: `stats` would take longer to load than a page to paint.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

Verdict = Literal["better", "worse", "cannot tell"]
Numbers = Sequence[float] | NDArray[Any]
Clusters = Sequence[Hashable] | NDArray[Any]

POWER = 0.8
_BLOCK = 2_000_000  # resampled values held at once: 16 MB
_FEW = 16  # items for each distinct value from which on counting picks is faster than picking
_SHORT = 16  # columns


@dataclass(frozen=True)
class Interval:
    """A confidence interval in the unit of the values; both ends are NaN when there was nothing to measure."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """`a - b` over `n` paired clusters; `needed_n` clusters would show it with 80 % power (None: no difference)."""

    estimate: float
    low: float
    high: float
    p_value: float
    n: int
    verdict: Verdict
    needed_n: int | None


def bootstrap_mean(
    values: Numbers, clusters: Clusters | None = None, draws: int = 2000, seed: int = 17, level: float = 0.95
) -> Interval:
    """Percentile interval of the mean of `values`, resampling whole clusters with replacement.

    `clusters` names the independent unit of each value; without it every value is its own. The mean is over values,
    so a cluster of four rows weighs four times one of a single row. Raises ValueError on NaN or unequal lengths.
    """
    sums, counts = _cluster_sums(_finite(values), clusters)
    if len(sums) == 0:
        return Interval(math.nan, math.nan)
    return _percentiles(_resampled_means(sums, counts, draws, seed), level)


def paired_difference(
    a: Numbers,
    b: Numbers,
    clusters: Clusters | None = None,
    draws: int = 2000,
    seed: int = 17,
    level: float = 0.95,
) -> Difference:
    """Mean of `a - b` over items scored by both, with an interval, a p-value and a plain verdict.

    The p-value is McNemar's exact one when every value is 0 or 1 and there are no clusters, else that of a seeded
    sign-flip test over clusters. Raises ValueError on NaN or unequal lengths.
    """
    first, second = _finite(a), _finite(b)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    sums, counts = _cluster_sums(first - second, clusters)
    n = len(sums)
    if n == 0:
        return Difference(math.nan, math.nan, math.nan, math.nan, 0, "cannot tell", None)
    estimate = float(sums.sum() / counts.sum())
    groups = _groups(sums)
    if groups is not None and clusters is None and _FEW * len(groups[0]) <= n:
        interval = _percentiles(_grouped_means(*groups, draws, seed), level)
    else:
        interval = _percentiles(_resampled_means(sums, counts, draws, seed), level)
    if clusters is None and _is_binary(first) and _is_binary(second):
        p_value = mcnemar_exact(int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum()))
    else:
        p_value = _sign_flip_p(sums, seed) if groups is None else _grouped_flip_p(*groups, seed)
    return Difference(
        estimate=estimate,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        n=n,
        verdict=verdict_of(interval, p_value, level),
        needed_n=_needed_n(estimate, sums / counts.mean(), level),
    )


def verdict_of(interval: Interval, p_value: float, level: float = 0.95, zero: float = 0.0) -> Verdict:
    """`better` or `worse` only where the interval leaves out `zero` and the test agrees, else `cannot tell`."""
    if not p_value < 1 - level:
        return "cannot tell"
    if interval.low > zero:
        return "better"
    return "worse" if interval.high < zero else "cannot tell"


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p that two paired yes/no outcomes differ; the counts are the discordant pairs."""
    return sign_test(only_a, only_b)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact binomial p that wins and losses are equally likely; 1 without either."""
    if wins == losses:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(wins, losses), wins + losses, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given; NaN stays NaN and is not counted."""
    adjusted = [math.nan] * len(p_values)
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def seed_interval(means: Numbers, level: float = 0.95) -> Interval:
    """Interval of the mean over training seeds, `mean +- t(k-1) * sd / sqrt(k)`; NaN for fewer than two seeds."""
    points = _finite(means)
    if len(points) < 2:
        return Interval(math.nan, math.nan)
    half = float(special.stdtrit(len(points) - 1, (1 + level) / 2) * points.std(ddof=1) / math.sqrt(len(points)))
    return Interval(float(points.mean()) - half, float(points.mean()) + half)


def needed_prompts(rate: float, sd: float, level: float = 0.95) -> int | None:
    """Prompts that would tell `rate` from one half with 80 % power, given the spread `sd` of one prompt's score."""
    if math.isnan(rate) or math.isnan(sd) or rate == 0.5:
        return None
    return _sample_size(abs(rate - 0.5), sd, level)


def _finite(values: Numbers) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("values hold NaN or infinity; leave missing values out first")
    return array


def _is_binary(values: NDArray[np.float64]) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _cluster_sums(
    values: NDArray[np.float64], clusters: Clusters | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of values of each cluster, clusters in order of first appearance."""
    if clusters is None:
        return values, np.ones(len(values))
    if len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    numbers: dict[Hashable, int] = {}
    index = np.fromiter((numbers.setdefault(c, len(numbers)) for c in clusters), dtype=np.int64, count=len(values))
    counts = np.bincount(index, minlength=len(numbers)).astype(np.float64)
    return np.bincount(index, weights=values, minlength=len(numbers)).astype(np.float64), counts


def _resampled_means(
    sums: NDArray[np.float64], counts: NDArray[np.float64], draws: int, seed: int
) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    n = len(sums)
    equal = bool((counts == counts[0]).all())
    means = np.empty(draws)
    step = max(1, _BLOCK // n)
    for start in range(0, draws, step):
        picks = rng.integers(0, n, size=(min(step, draws - start), n))
        total = sums[picks].sum(axis=1)
        means[start : start + len(picks)] = total / (n * counts[0] if equal else counts[picks].sum(axis=1))
    return means


def _grouped_means(values: NDArray[np.float64], sizes: NDArray[np.int64], draws: int, seed: int) -> NDArray[np.float64]:
    """As `_resampled_means` of items with few distinct values: how often each value is picked is multinomial."""
    n = int(sizes.sum())
    picked = np.random.default_rng(seed).multinomial(n, sizes / n, size=draws)
    means: NDArray[np.float64] = picked @ values / n
    return means


def _percentiles(draws: NDArray[np.float64], level: float) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _sign_flip_p(sums: NDArray[np.float64], seed: int, draws: int = 5000) -> float:
    """Share of random sign assignments whose total is at least as far from zero, the observed one included."""
    moved = sums[sums != 0]
    if len(moved) == 0:
        return 1.0
    rng = np.random.default_rng(seed)
    observed = abs(moved.sum()) - 1e-12 * np.abs(moved).sum()
    extreme, step = 0, max(1, _BLOCK // len(moved))
    for start in range(0, draws, step):
        signs = rng.integers(0, 2, size=(min(step, draws - start), len(moved))) * 2.0 - 1
        extreme += int((np.abs(signs @ moved) >= observed).sum())
    return (extreme + 1) / (draws + 1)


def _groups(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """The distinct values of items and how many have each; None where there are too many to gain by it.

    Scores take few values, and the signs of equal ones need not be drawn apart. Values that differ by rounding alone
    (1e-12 of the largest) are one.
    """
    largest = float(np.abs(sums).max())
    if largest == 0:
        return np.zeros(1), np.array([len(sums)])
    _, first, sizes = np.unique(np.round(sums / largest, 12), return_index=True, return_counts=True)
    return (sums[first], sizes) if 4 * len(first) <= len(sums) else None


def _grouped_flip_p(values: NDArray[np.float64], sizes: NDArray[np.int64], seed: int, draws: int = 5000) -> float:
    """As `_sign_flip_p`: of items with one value as many keep their sign as there are ones among random bits."""
    moved = values != 0
    values, sizes = values[moved], sizes[moved]
    if len(values) == 0:
        return 1.0
    rng = np.random.default_rng(seed)
    total = np.zeros(draws)
    for value, size in zip(values, sizes, strict=True):
        words = rng.integers(0, 2**64, size=(draws, -(-int(size) // 64)), dtype=np.uint64)
        words[:, -1] >>= np.uint64(-int(size) % 64)
        kept = _row_sums(np.bitwise_count(words))
        total += value * (2 * kept - size)
    observed = abs(float(values @ sizes)) - 1e-9 * float(np.abs(values) @ sizes)
    return (int((np.abs(total) >= observed).sum()) + 1) / (draws + 1)


def _row_sums(counts: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The sum of each row; of short rows column by column, which is several times faster."""
    if counts.shape[1] > _SHORT:
        return counts.sum(axis=1, dtype=np.float64)
    total = counts[:, 0].astype(np.float64)
    for column in range(1, counts.shape[1]):
        total += counts[:, column]
    return total


def _needed_n(estimate: float, per_cluster: NDArray[np.float64], level: float) -> int | None:
    if estimate == 0 or len(per_cluster) < 2:
        return None
    return _sample_size(abs(estimate), float(per_cluster.std(ddof=1)), level)


def _sample_size(effect: float, sd: float, level: float) -> int:
    z = float(special.ndtri((1 + level) / 2) + special.ndtri(POWER))
    return max(2, math.ceil((z * sd / effect) ** 2))
