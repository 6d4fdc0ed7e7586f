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


def preference_row(comparison_id: str, rows: Sequence[Row]) -> Row:
    """Counts, the rate by the paper's rule with its interval, the rate of each seed, and how often length won."""
    frame = Comparison(comparison_id, kind="judged", baseline="", candidate="", prompt_set="", judge="")
    summary = summarise(frame, rows)
    seeds = sorted({int(row.get("seed") or 0) for row in rows})
    per_seed = [{"seed": s, "preference_pct": p} for s, p in zip(seeds, summary["per_seed_pct"], strict=False)]
    own = {"per_seed": per_seed, "longer_wins_pct": longer_wins_pct(rows), **_by_prompt(rows)}
    return {**summary, "comparison_id": comparison_id, **own}


def _by_prompt(rows: Sequence[Row]) -> Row:
    """The candidate's `prompt_scores`: sorted `prompts` and, for each, its score as bytes.

    Prompts without a verdict stay, as NaN, so that comparisons over one prompt set have the same list.
    """
    known = {as_text(prompt): score for prompt, score in prompt_scores(rows).items()}
    prompts = sorted({prompt for row in rows if (prompt := as_text(row.get("prompt_id"))) is not None})
    return {"prompts": prompts, "scores": np.array([known.get(p, np.nan) for p in prompts], "<f8").tobytes()}


def scores_by_prompt(row: Row) -> dict[str, float]:
    """`limit.judge.ranking.prompt_scores` of the comparison behind a row of `preferences`, by prompt id."""
    prompts, scores = _read(row)
    return {prompt: score for prompt, score in zip(prompts, scores.tolist(), strict=True) if score == score}


def mean_scores(each: Sequence[Row]) -> dict[str, float]:
    """Each prompt's mean over those of some rows of `preferences` that have a score of it, by prompt id."""
    read = [_read(row) for row in each]
    if len({prompts for prompts, _ in read}) == 1:  # as most comparisons of a model have it
        stacked = np.stack([scores for _, scores in read])
        counts = (~np.isnan(stacked)).sum(axis=0)
        means = np.nansum(stacked, axis=0) / np.maximum(counts, 1)
        return {p: mean for p, mean, n in zip(read[0][0], means.tolist(), counts.tolist(), strict=True) if n}
    found: dict[str, list[float]] = {}
    for prompts, scores in read:
        for prompt, score in zip(prompts, scores.tolist(), strict=True):
            found.setdefault(prompt, []).append(score)
    kept = {prompt: [s for s in scores if s == s] for prompt, scores in sorted(found.items())}
    return {prompt: sum(scores) / len(scores) for prompt, scores in kept.items() if scores}


def _read(row: Row) -> tuple[tuple[str, ...], Any]:
    return _names(row["prompts"] or "[]"), np.frombuffer(row["scores"] or b"", "<f8")


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
