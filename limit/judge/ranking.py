"""Many models at once: Bradley-Terry strengths relative to one model, and sign tests with Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from limit.core import Json
from limit.judge.summary import resolve_orders
from limit.statistics import holm, needed_prompts, sign_test

Judged = Sequence[tuple[str, str, Mapping[Any, float]]]  # baseline, candidate, the candidate's score of each prompt
Array = NDArray[np.float64]
SCORES = {"1": 0.0, "tie": 0.5, "2": 1.0}  # of the second answer, the candidate's
PRIOR = 1e-3  # keeps the strength of a model that never lost finite
MAX_STEPS = 60
_HELD = 2_000_000  # values of curvature held at once: 16 MB


def bradley_terry(judged: Judged, anchor: str, draws: int = 200) -> list[Json]:
    """Strengths from judged pairs of models, strongest first; each prompt of a pair is a game.

    Each entry: {model, strength (logits above the anchor), win_pct (against the anchor), low, high, games}; the
    interval of win_pct resamples prompts. Models that no chain of pairs joins to the anchor are left out.

    Given the anchor, models that only it joins to one another say nothing about each other: each such group is fitted
    by itself, and all models that met the anchor alone in one step.
    """
    judged = [pair for pair in judged if pair[2]]
    groups = _groups(judged, anchor)
    joined = {anchor}.union(*groups)
    judged = [pair for pair in judged if pair[0] in joined and pair[1] in joined]
    if not judged:
        return []
    pairs, counts, scores = _by_pair(judged)
    weights = np.ones((1 + draws, counts.shape[1]))  # the first row is the sample itself
    weights[1:] = _resampled(counts.shape[1], draws)
    entries = []
    for models in groups:
        rows = [row for row, pair in enumerate(pairs) if models & set(pair)]
        design = _design([pairs[row] for row in rows], sorted(models))
        strengths = _fit(design, weights @ counts[rows].T, weights @ scores[rows].T)
        shares = 100 * special.expit(strengths)
        low, high = np.quantile(shares[1:], [0.025, 0.975], axis=0)
        played = np.abs(design).T @ counts[rows].sum(axis=1)
        entries += [
            {
                "model": model,
                "strength": float(strengths[0, i]),
                "win_pct": float(shares[0, i]),
                "low": float(low[i]),
                "high": float(high[i]),
                "games": int(played[i]),
            }
            for i, model in enumerate(sorted(models))
        ]
    return sorted(entries, key=lambda entry: -entry["strength"])


def _groups(judged: Judged, anchor: str) -> list[set[str]]:
    """Models that some chain of pairs joins to the anchor, by which others they meet without it; loners in one set."""
    met: dict[str, set[str]] = {}
    for one, two, _ in judged:
        met.setdefault(one, set()).add(two)
        met.setdefault(two, set()).add(one)
    groups: list[set[str]] = []
    loners: set[str] = set()
    seen = {anchor}
    for first in sorted(met.get(anchor, ())):
        group, waiting = set(), [first]
        while waiting:
            model = waiting.pop()
            if model not in seen:
                seen.add(model)
                group.add(model)
                waiting += met[model]
        (groups.append if len(group) > 1 else loners.update)(group)
    return [*groups, loners] if loners else groups


def _by_pair(judged: Judged) -> tuple[list[tuple[str, str]], Array, Array]:
    """Pairs of models, how many games each has on each prompt [pairs, prompts], and the sums of their scores."""
    pairs: dict[tuple[str, str], int] = {}
    prompts: dict[Any, int] = {}
    places = [
        (pairs.setdefault((baseline, candidate), len(pairs)), [prompts.setdefault(p, len(prompts)) for p in by_prompt])
        for baseline, candidate, by_prompt in judged
    ]
    counts, scores = np.zeros((len(pairs), len(prompts))), np.zeros((len(pairs), len(prompts)))
    for (row, columns), (*_, by_prompt) in zip(places, judged, strict=True):
        counts[row, columns] += 1
        scores[row, columns] += list(by_prompt.values())
    return list(pairs), counts, scores


def _resampled(prompts: int, draws: int) -> NDArray[np.int64]:
    """How often each prompt is drawn [draws, prompts]."""
    return np.random.default_rng(17).multinomial(prompts, np.full(prompts, 1 / prompts), size=draws)


def _design(pairs: Sequence[tuple[str, str]], models: Sequence[str]) -> Array:
    """+1 for the candidate and -1 for the baseline of each pair [pairs, models]; the anchor has no column."""
    column = {model: i for i, model in enumerate(models)}
    design = np.zeros((len(pairs), len(models)))
    for row, (baseline, candidate) in enumerate(pairs):
        for model, sign in ((baseline, -1.0), (candidate, 1.0)):
            if model in column:
                design[row, column[model]] += sign
    return design


def _fit(design: Array, counts: Array, scores: Array) -> Array:
    """Strengths by Newton's method, many fits at once: games and sums of scores [fits, pairs] -> [fits, models]."""
    models = design.shape[1]
    apart = bool((np.count_nonzero(design, axis=1) <= 1).all())  # no two of these models met
    beta = np.zeros((len(counts), models))
    block = max(1, _HELD // (models * models))
    for _ in range(MAX_STEPS):
        p = special.expit(beta @ design.T)
        gradient = (scores - counts * p) @ design - 2 * PRIOR * beta
        information = counts * p * (1 - p)
        if apart:
            step = gradient / (information @ np.abs(design) + 2 * PRIOR)
        else:
            parts = range(0, len(beta), block)
            step = np.concatenate([_solved(design, information[i : i + block], gradient[i : i + block]) for i in parts])
        step = np.clip(step, -1.0, 1.0)
        beta += step
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    return beta


def _solved(design: Array, information: Array, gradient: Array) -> Array:
    """Newton's step of some fits, from the information of each pair."""
    models = design.shape[1]
    curvature = np.zeros((len(information), models, models))
    both = np.flatnonzero(np.count_nonzero(design, axis=1) == 2)
    one, two = design[both].argmax(axis=1), design[both].argmin(axis=1)
    curvature[:, one, two] -= information[:, both]
    curvature[:, two, one] -= information[:, both]
    diagonal = np.arange(models)
    curvature[:, diagonal, diagonal] = information @ np.abs(design) + 2 * PRIOR
    return np.asarray(np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0], dtype=np.float64)


def prompt_scores(rows: Sequence[Json]) -> dict[Any, float]:
    """The candidate's score of each distinct prompt: 1 win, 0.5 tie, 0 loss, mean over seeds and copies.

    A pair counts as in the preference rate: a win needs both orders, and a pair without a verdict in one of them, or
    with a verdict that is none of the three, is left out.
    """
    found: dict[Any, list[float]] = {}
    for row in resolve_orders(rows):
        verdict = row.get("verdict")
        score = SCORES.get(verdict) if isinstance(verdict, str) else None
        if score is not None:
            found.setdefault(row["prompt_id"], []).append(score)
    return {prompt: sum(scores) / len(scores) for prompt, scores in found.items()}


def sign_tests(comparisons: Sequence[Mapping[Any, float]]) -> list[Json]:
    """For the `prompt_scores` of each comparison {wins, losses, p_value, p_holm, verdict, needed_prompts} in prompts.

    `verdict` is better, worse or cannot tell at 5 % after Holm's correction over all of them.
    """
    tested: list[Json] = []
    for by_prompt in comparisons:
        scores = np.array(list(by_prompt.values()))
        wins, losses = int((scores > 0.5).sum()), int((scores < 0.5).sum())
        sd = float(scores.std(ddof=1)) if len(scores) > 1 else float("nan")
        rate = float(scores.mean()) if len(scores) else float("nan")
        needed = needed_prompts(rate, sd)
        tested.append({"wins": wins, "losses": losses, "p_value": sign_test(wins, losses), "needed_prompts": needed})
    for entry, p_holm in zip(tested, holm([entry["p_value"] for entry in tested]), strict=True):
        sure = p_holm < 0.05
        verdict = ("better" if entry["wins"] > entry["losses"] else "worse") if sure else "cannot tell"
        entry |= {"p_holm": p_holm, "verdict": verdict}
    return tested
