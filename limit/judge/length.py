"""How much of a preference is length: AlpacaEval's length-controlled win rate, tertiles, share won by the longer.

The minimal model fits `logit P(candidate wins) = a * tanh(delta / sd) + k` by maximum likelihood on soft verdicts, with
delta = characters of the baseline's answer minus the candidate's (unstripped, as alpaca_eval counts) and sd their
standard deviation. The controlled rate is that of equal lengths, sigmoid(k). AlpacaEval 2's own model, which
needs its published files, stands in `alpaca_length.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from limit.core import Json

Array = NDArray[np.float64]

MIN_DECIDED = 100
MAX_MEAN_SHIFT = 1.5  # mean length difference in standard deviations beyond which equal length is extrapolation
_CLAMP = 30.0
_MAX_STEPS, _MAX_CHANGE = 60, 2.0  # short steps, so that a one-sided resample cannot throw the fit off


@dataclass(frozen=True)
class LengthControl:
    """A length-controlled rate in per cent with its interval; `reason` says why there is none."""

    rate_pct: float | None
    low: float | None = None
    high: float | None = None
    length_weight: float | None = None
    reason: str | None = None


def length_controlled(
    scores: Sequence[float], len_1: Sequence[float], len_2: Sequence[float], prompts: Sequence[Any], draws: int = 200
) -> LengthControl:
    """Minimal length control of the candidate's scores (0-1), refitted in a bootstrap over distinct prompts.

    Gives no rate where it would be an extrapolation: fewer than 100 decided rows, one-sided outcomes, or lengths
    that differ by more than 1.5 standard deviations on average.
    """
    y, delta = np.asarray(scores, float), np.asarray(len_1, float) - np.asarray(len_2, float)
    reason = _unfit(y, delta)
    if reason:
        return LengthControl(None, reason=reason)
    weight, intercept = fit_minimal(y, delta)
    rates = _refits(y, delta, prompts, draws)
    low, high = np.quantile(rates, [0.025, 0.975]).tolist()
    return LengthControl(100 * float(special.expit(intercept)), low, high, weight)


def _unfit(y: Array, delta: Array) -> str | None:
    decided = int((y != 0.5).sum())
    if decided < MIN_DECIDED:
        return f"only {decided} decided verdicts; length control needs {MIN_DECIDED}"
    if (y >= 0.5).all() or (y <= 0.5).all():
        return "all verdicts went one way"
    sd = delta.std(ddof=1)
    if sd == 0:
        return "all answers differ by the same length"
    shift = abs(delta.mean()) / sd
    if shift > MAX_MEAN_SHIFT:
        return f"answers differ in length by {shift:.1f} standard deviations on average; equal length is out of reach"
    return None


def fit_minimal(scores: Array, delta: Array) -> tuple[float, float]:
    """Weights (a, k) of the minimal model by unregularised maximum likelihood on soft outcomes in [0, 1]."""
    a, k = _newton(_length_feature(delta), scores, np.ones((1, len(scores))))[0].tolist()
    return a, k


def _length_feature(delta: Array) -> Array:
    return np.tanh(delta / delta.std(ddof=1))


def _newton(feature: Array, y: Array, weights: Array, ridge: float = 1e-9) -> Array:
    """Maximum-likelihood (a, k) of `a * feature + k` for many weightings of the rows at once.

    `weights` is [fits, rows], the result [fits, 2]. Weights are kept within +-30, where the likelihood is flat.
    """
    beta = np.zeros((len(weights), 2))
    for _ in range(_MAX_STEPS):
        p = special.expit(beta[:, :1] * feature + beta[:, 1:])
        residual, spread = weights * (y - p), weights * p * (1 - p)
        gradient = np.stack([residual @ feature, residual.sum(axis=1)], axis=1) - 2 * ridge * beta
        aa, ak = spread @ feature**2 + 2 * ridge, spread @ feature
        kk = spread.sum(axis=1) + 2 * ridge
        det = np.maximum(aa * kk - ak**2, 1e-300)
        step = np.stack([kk * gradient[:, 0] - ak * gradient[:, 1], aa * gradient[:, 1] - ak * gradient[:, 0]], axis=1)
        change = np.clip(step / det[:, None], -_MAX_CHANGE, _MAX_CHANGE)
        beta = np.clip(beta + change, -_CLAMP, _CLAMP)
        if np.abs(change).max() < 1e-10:
            break
    return beta


def _refits(y: Array, delta: Array, prompts: Sequence[Any], draws: int) -> Array:
    """Rates in per cent of the model refitted on resampled prompts."""
    numbers: dict[Any, int] = {}
    cluster = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts])
    rng = np.random.default_rng(17)
    weights = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=draws)[:, cluster]
    return 100 * special.expit(_newton(_length_feature(delta), y, weights.astype(float))[:, 1])


def longer_wins(rows: Sequence[Json]) -> tuple[int, int]:
    """(verdicts that went to the longer answer, decided verdicts with unequal lengths), in characters."""
    won = decided = 0
    for row in rows:
        one, two = len(row["text_1"] or ""), len(row["text_2"] or "")
        if row["verdict"] in ("1", "2") and one != two:
            decided += 1
            won += (two > one) == (row["verdict"] == "2")
    return won, decided


def by_length_ratio(scores: Sequence[float], len_1: Sequence[float], len_2: Sequence[float]) -> list[Json]:
    """Candidate's rate within tertiles of its length relative to the baseline's, shortest third first.

    Each entry: {ratio_low, ratio_high, rate_pct, n}. Empty for fewer than 9 rows.
    """
    y = np.asarray(scores, float)
    ratio = (np.asarray(len_2, float) + 1) / (np.asarray(len_1, float) + 1)
    if len(y) < 9:
        return []
    thirds = np.array_split(np.argsort(ratio, kind="stable"), 3)
    return [
        {
            "ratio_low": float(ratio[part].min()),
            "ratio_high": float(ratio[part].max()),
            "rate_pct": 100 * float(y[part].mean()),
            "n": len(part),
        }
        for part in thirds
    ]


def win_rate(preferences: Sequence[float | None]) -> Json:
    """AlpacaEval's raw figures from preferences in [1, 2] (0 and 1.5 tie, None, NaN and -1 missing).

    {win_rate, standard_error, discrete_win_rate (per cent), n_wins, n_wins_base, n_draws, n_total}.
    """
    known = [p for p in preferences if p is not None and not math.isnan(p) and p != -1]
    y = np.array([0.5 if p == 0 else p - 1 for p in known])
    n = len(y)
    wins, losses = int((y > 0.5).sum()), int((y < 0.5).sum())
    return {
        "win_rate": 100 * float(y.mean()) if n else None,
        "standard_error": 100 * float(y.std(ddof=1)) / math.sqrt(n) if n > 1 else None,
        "discrete_win_rate": 100 * (wins + (n - wins - losses) / 2) / n if n else None,
        "n_wins": wins,
        "n_wins_base": losses,
        "n_draws": n - wins - losses,
        "n_total": n,
    }
