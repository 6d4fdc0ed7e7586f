"""What a comparison came to: counts, the preference rate by the paper's rule, and its interval over prompts.

The paper's rule (LIMIT, reproduced to one decimal from its 36 files): per seed candidate / (candidate + baseline),
rows without a verdict and ties left out, then the unweighted mean over seeds. Intervals resample distinct prompts,
all rows and seeds of a prompt together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limit.core import Json
from limit.judge.judgments import Comparison, list_comparisons, read_judgments
from limit.settings import Workspace
from limit.statistics import Interval

Counts = NDArray[np.float64]
_BLOCK = 4_000_000  # resampled counts held at once: 32 MB


def summarise_all(ws: Workspace) -> list[Json]:
    """One summary for each comparison of the workspace, oldest first."""
    return [summarise(comparison, read_judgments(ws, comparison.comparison_id)) for comparison in list_comparisons(ws)]


def summarise(comparison: Comparison, rows: Sequence[Json]) -> Json:
    """Counts over rows, preference_pct (0-100) with its 95 % interval, and the number of distinct prompts judged.

    preference_pct and its interval are None when no row has a winner.
    """
    rows = resolve_orders(rows)
    wins, losses = tally(rows)
    rate = preference_rate(wins, losses)
    interval = preference_interval(wins, losses)
    verdicts = [row.get("verdict") for row in rows]
    return {
        "comparison": comparison.comparison_id,
        "baseline": comparison.baseline,
        "candidate": comparison.candidate,
        "prompt_set": comparison.prompt_set,
        "judge": comparison.judge,
        "wins": verdicts.count("2"),
        "losses": verdicts.count("1"),
        "ties": verdicts.count("tie"),
        "invalid": verdicts.count(None),
        "preference_pct": _pct(rate),
        "ci_low": _pct(interval.low),
        "ci_high": _pct(interval.high),
        "n_prompts": len({row.get("prompt_id") for row in rows}),
        "per_seed_pct": [_pct(value) for value in _rates(wins.sum(axis=1), losses.sum(axis=1))],
    }


def resolve_orders(rows: Sequence[Json]) -> list[Json]:
    """One row for each pair of answers: a win needs both orders (and most repeats) to agree, else it is a tie.

    A pair without a verdict in one of its orders has no verdict. Rows without an order, as imported files have
    them, stand for themselves.
    """
    pairs: dict[Any, list[Json]] = {}
    out = []
    for row in rows:
        if row.get("order") is None:
            out.append(row)
        else:
            texts = row.get("text_1"), row.get("text_2")
            pairs.setdefault((row.get("seed"), row.get("voter"), row.get("prompt_id"), texts), []).append(row)
    return out + [_resolve(group) for group in pairs.values()]


def _resolve(group: Sequence[Json]) -> Json:
    if len(group) == 1:
        return group[0]
    by_order: dict[Any, list[Any]] = {}
    for row in group:
        by_order.setdefault(row.get("order"), []).append(row.get("verdict"))
    verdicts = {_majority(repeats) for repeats in by_order.values()}
    verdict = None if None in verdicts else verdicts.pop() if len(verdicts) == 1 else "tie"
    scores = [row["score"] for row in group if row.get("score") is not None]
    score = sum(scores) / len(scores) if scores and verdict is not None else None
    status = "ok" if verdict else next(row.get("status") for row in group if row.get("verdict") is None)
    return {**group[0], "verdict": verdict, "score": score, "status": status}


def _majority(verdicts: Sequence[Any]) -> Any:
    """The verdict of more than half of the valid repeats, a tie without one, None when none is valid."""
    valid = [verdict for verdict in verdicts if verdict is not None]
    if not valid:
        return None
    top = max(set(valid), key=valid.count)
    return top if 2 * valid.count(top) > len(valid) else "tie"


def tally(rows: Sequence[Json]) -> tuple[Counts, Counts]:
    """Wins and losses of the candidate, two arrays [seeds, distinct prompts]; ties and invalid rows are in neither."""
    seeds = {seed: i for i, seed in enumerate(sorted({_seed(row) for row in rows}))}
    prompts: dict[Any, int] = {}
    for row in rows:
        prompts.setdefault(row.get("prompt_id"), len(prompts))
    wins, losses = np.zeros((2, len(seeds), len(prompts)))
    for row in rows:
        side = {"2": wins, "1": losses}.get(row.get("verdict") or "")
        if side is not None:
            side[seeds[_seed(row)], prompts[row.get("prompt_id")]] += 1
    return wins, losses


def _seed(row: Json) -> int:
    seed = row.get("seed")
    return seed if isinstance(seed, int) else 0


def preference_rate(wins: Counts, losses: Counts) -> float:
    """Mean over seeds of wins / (wins + losses), 0-1; NaN when nothing was decided. Arrays are [seeds, prompts]."""
    return _mean_known(_rates(wins.sum(axis=1), losses.sum(axis=1)))


def preference_interval(
    wins: Counts, losses: Counts, draws: int = 2000, seed: int = 17, level: float = 0.95
) -> Interval:
    """Percentile interval of `preference_rate`, resampling prompts (columns) with all their seeds."""
    n = wins.shape[1]
    if n == 0 or not (wins + losses).any():
        return Interval(math.nan, math.nan)
    rates = []
    for weights in _drawn_prompts(n, draws, seed) if n * draws <= _BLOCK else _draw_prompts(n, draws, seed):
        won, lost = weights @ wins.T, weights @ losses.T
        with np.errstate(invalid="ignore"):
            shares = won / (won + lost)
        known = ~np.isnan(shares)
        rates.append(np.where(known, shares, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))
    low, high = np.quantile(np.concatenate(rates), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def nested_interval(wins: Counts, losses: Counts, draws: int = 2000, seed: int = 17, level: float = 0.95) -> Interval:
    """Percentile interval of `preference_rate` over seeds and prompts: each draw takes seeds, then prompts.

    The seeds answered the same prompts, so a draw's prompts are shared by its seeds and come with all their rows;
    prompts drawn anew for every seed would count one prompt as several. NaN below two seeds with a decided row.
    """
    decided = (wins + losses).any(axis=1)
    wins, losses = wins[decided], losses[decided]
    k, n = wins.shape
    if k < 2:
        return Interval(math.nan, math.nan)
    rng = np.random.default_rng(seed)
    rates = []
    for weights in _draw_prompts(n, draws, seed):
        won, lost = weights @ wins.T, weights @ losses.T
        with np.errstate(invalid="ignore"):
            shares = np.take_along_axis(won / (won + lost), rng.integers(0, k, size=won.shape), axis=1)
        known = ~np.isnan(shares)
        rates.append(np.where(known, shares, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))
    low, high = np.quantile(np.concatenate(rates), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _draw_prompts(n: int, draws: int, seed: int) -> Iterator[Counts]:
    """How often each of n prompts is drawn, an array [draws, n] in blocks of bounded size."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // n)
    for start in range(0, draws, step):
        yield rng.multinomial(n, np.full(n, 1 / n), size=min(step, draws - start)).astype(np.float64)


@functools.lru_cache(maxsize=4)
def _drawn_prompts(n: int, draws: int, seed: int) -> tuple[Counts, ...]:
    """The same draws kept: comparisons on one prompt set share them, and drawing is nine tenths of an interval."""
    return tuple(_draw_prompts(n, draws, seed))


def _rates(wins: Counts, losses: Counts) -> list[float]:
    return [
        won / (won + lost) if won + lost else math.nan for won, lost in zip(wins.tolist(), losses.tolist(), strict=True)
    ]


def _mean_known(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _pct(value: float) -> float | None:
    return None if math.isnan(value) else 100 * value
