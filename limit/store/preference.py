"""What one comparison came to, computed by `limit.judge.summary` when its journal is read, so that pages need not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from limit.judge.judgments import Comparison
from limit.judge.ranking import prompt_scores
from limit.judge.summary import summarise
from limit.store.schema import Row, as_text

SCORES = {"1": 0.0, "2": 1.0}  # of the second answer, the candidate's


def preference_row(comparison_id: str, rows: Sequence[Row]) -> Row:
    """Counts, the rate by the paper's rule with its interval, the rate of each seed, and how often length won."""
    frame = Comparison(comparison_id, kind="judged", baseline="", candidate="", prompt_set="", judge="")
    summary = summarise(frame, rows)
    seeds = sorted({int(row.get("seed") or 0) for row in rows})
    per_seed = [{"seed": s, "preference_pct": p} for s, p in zip(seeds, summary["per_seed_pct"], strict=False)]
    own = {"per_seed": per_seed, "longer_wins_pct": longer_wins_pct(rows), **_by_prompt(rows)}
    return {**summary, "comparison_id": comparison_id, **own}


def _by_prompt(rows: Sequence[Row]) -> Row:
    """The candidate's scores by prompt: sorted `prompts`, the sums of their `scores` and how many `verdicts` each has.

    A win is 1, a tie one half, a loss 0. `agreed` has the mean over pairs on which both orders must agree, else NaN.
    Prompts without a verdict stay, so that comparisons over one prompt set have the same list.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for row in rows:
        prompt, verdict = as_text(row.get("prompt_id")), as_text(row.get("verdict"))
        if prompt is not None:
            sums[prompt] = sums.get(prompt, 0.0) + (0.0 if verdict is None else SCORES.get(verdict, 0.5))
            counts[prompt] = counts.get(prompt, 0) + (verdict is not None)
    prompts, agreed = sorted(sums), {as_text(prompt): score for prompt, score in prompt_scores(rows).items()}
    return {
        "prompts": prompts,
        "scores": np.array([sums[prompt] for prompt in prompts], "<f8").tobytes(),
        "verdicts": np.array([counts[prompt] for prompt in prompts], "<i8").tobytes(),
        "agreed": np.array([agreed.get(prompt, np.nan) for prompt in prompts], "<f8").tobytes(),
    }


def agreed_scores(row: Row) -> dict[str, float]:
    """`limit.judge.ranking.prompt_scores` of the comparison behind a row of `preferences`."""
    scores = np.frombuffer(row["agreed"] or b"", "<f8").tolist()
    return {prompt: s for prompt, s in zip(_names(row["prompts"] or "[]"), scores, strict=True) if s == s}


def mean_scores(each: Sequence[Row]) -> dict[str, float]:
    """Mean score of each prompt over all verdicts of some rows of `preferences`, by prompt id."""
    read = [
        (row["prompts"], np.frombuffer(row["scores"], "<f8"), np.frombuffer(row["verdicts"], "<i8"))
        for row in each
        if row["prompts"]
    ]
    sums: dict[str, Any] = {}  # by list of prompts: most comparisons of a model have one list
    counts: dict[str, Any] = {}
    for prompts, scores, verdicts in read:
        sums[prompts] = sums.get(prompts, 0) + scores
        counts[prompts] = counts.get(prompts, 0) + verdicts
    totals: dict[str, tuple[float, int]] = {}
    for prompts in sums:
        for prompt, total, n in zip(_names(prompts), sums[prompts].tolist(), counts[prompts].tolist(), strict=True):
            before = totals.get(prompt, (0.0, 0))
            totals[prompt] = before[0] + total, before[1] + n
    return {prompt: total / n for prompt, (total, n) in sorted(totals.items()) if n}


@lru_cache(maxsize=64)
def _names(prompts: str) -> tuple[str, ...]:
    """The ids of a stored list of prompts."""
    return tuple(json.loads(prompts))


def longer_wins_pct(rows: Sequence[Row]) -> float | None:
    """Share of decided verdicts, in per cent, that went to the longer answer (characters); equal lengths are out."""
    outcomes = []
    for row in rows:
        one, two = row.get("n_chars_1"), row.get("n_chars_2")
        if row.get("verdict") in ("1", "2") and isinstance(one, int) and isinstance(two, int) and one != two:
            outcomes.append((two > one) == (row["verdict"] == "2"))
    return 100 * sum(outcomes) / len(outcomes) if outcomes else None
