"""The preference rate of one comparison from its verdict rows, kept in the index so that pages need not recompute it.

The rule is the paper's: wins over wins and losses in each seed, ties and invalid verdicts left out, then the plain
mean over seeds. The interval resamples prompts: all seeds, orders and duplicates of a prompt go together.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limit.store.schema import Row

DRAWS, SEED = 2000, 17


def summarise(rows: Sequence[Row]) -> Row:
    """Counts, the rate in per cent, its interval and the rate of each seed."""
    verdicts = [row.get("verdict") for row in rows]
    decided = [row for row in rows if row.get("verdict") in ("1", "2")]
    ties = verdicts.count("tie")
    wins = verdicts.count("2")
    prompts = {row.get("prompt_id") for row in rows if row.get("prompt_id") is not None}
    value: Row = {
        "wins": wins,
        "losses": verdicts.count("1"),
        "ties": ties,
        "invalid": len(rows) - len(decided) - ties,
        "n_prompts": len(prompts),
    }
    if not decided:
        return {**value, "per_seed": []}
    won, counted, seeds = _by_seed_and_prompt(decided)
    rates = 100 * won.sum(axis=1) / counted.sum(axis=1)
    low, high = _interval(won, counted)
    per_seed = [{"seed": seed, "preference_pct": float(rate)} for seed, rate in zip(seeds, rates, strict=True)]
    return {
        **value,
        "preference_pct": float(rates.mean()),
        "ci_low": low,
        "ci_high": high,
        "per_seed": per_seed,
        "longer_wins_pct": _longer_wins(decided),
    }


def _by_seed_and_prompt(decided: Sequence[Row]) -> tuple[NDArray[Any], NDArray[Any], list[Any]]:
    """Wins and decided verdicts as (seeds, prompts) matrices."""
    seeds = sorted({row.get("seed") for row in decided}, key=lambda seed: (seed is None, str(seed)))
    prompts = sorted({str(row.get("prompt_id")) for row in decided})
    seed_index = {seed: i for i, seed in enumerate(seeds)}
    prompt_index = {prompt: i for i, prompt in enumerate(prompts)}
    won, counted = np.zeros((len(seeds), len(prompts))), np.zeros((len(seeds), len(prompts)))
    for row in decided:
        cell = seed_index[row.get("seed")], prompt_index[str(row.get("prompt_id"))]
        counted[cell] += 1
        won[cell] += row["verdict"] == "2"
    return won, counted, seeds


def _interval(won: NDArray[Any], counted: NDArray[Any]) -> tuple[float, float]:
    """95 % percentile interval over prompts, in per cent."""
    weights = _weights(won.shape[1])
    decided = weights @ counted.T
    rates = np.where(decided > 0, (weights @ won.T) / np.maximum(decided, 1), np.nan)
    means = 100 * np.nanmean(rates[~np.isnan(rates).all(axis=1)], axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


@functools.lru_cache(maxsize=16)
def _weights(n: int) -> NDArray[Any]:
    """How often each of n prompts is drawn in each bootstrap draw; the same for every comparison of n prompts."""
    generator = np.random.default_rng(SEED)
    return generator.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)


def _longer_wins(decided: Sequence[Row]) -> float | None:
    """Share of decided verdicts, in per cent, that went to the longer answer; equal lengths are left out."""
    outcomes = []
    for row in decided:
        one, two = row.get("n_chars_1"), row.get("n_chars_2")
        if isinstance(one, int) and isinstance(two, int) and one != two:
            outcomes.append((two > one) == (row["verdict"] == "2"))
    return 100 * sum(outcomes) / len(outcomes) if outcomes else None
