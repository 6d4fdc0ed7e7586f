"""Many models at once: Bradley-Terry strengths relative to one model, and sign tests with Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from limit.core import Json
from limit.judge.summary import resolve_orders
from limit.statistics import holm, needed_prompts, sign_test

Games = Sequence[tuple[str, str, float, Any]]
Array = NDArray[np.float64]
PRIOR = 1e-3  # keeps the strength of a model that never lost finite
MAX_STEPS = 60


def bradley_terry(games: Games, anchor: str, draws: int = 200) -> list[Json]:
    """Strengths from games (baseline, candidate, candidate's score, prompt), strongest first.

    Each entry: {model, strength (logits above the anchor), win_pct (against the anchor), low, high, games}; the
    interval of win_pct resamples prompts. Models that no chain of games joins to the anchor are left out.
    """
    joined = _joined(games, anchor)
    games = [game for game in games if game[0] in joined and game[1] in joined]
    models = sorted(joined - {anchor})
    column = {model: i for i, model in enumerate(models)}
    design = np.zeros((len(games), len(models)))
    for row, (baseline, candidate, _, _) in enumerate(games):
        for model, sign in ((baseline, -1.0), (candidate, 1.0)):
            if model != anchor:
                design[row, column[model]] += sign
    y = np.array([game[2] for game in games])
    fitted = _fit(design, y, np.ones((1, len(y))))[0]
    spread = _bootstrap(design, y, [game[3] for game in games], draws)
    played = {model: sum(model in game[:2] for game in games) for model in models}
    entries = [
        {
            "model": model,
            "strength": float(fitted[i]),
            "win_pct": 100 * float(special.expit(fitted[i])),
            "low": float(np.quantile(spread[:, i], 0.025)),
            "high": float(np.quantile(spread[:, i], 0.975)),
            "games": played[model],
        }
        for model, i in column.items()
    ]
    return sorted(entries, key=lambda entry: -entry["strength"])


def _joined(games: Games, anchor: str) -> set[str]:
    reached, grew = {anchor}, True
    while grew:
        near = {model for game in games if reached & set(game[:2]) for model in game[:2]}
        grew = not near <= reached
        reached |= near
    return reached


def _fit(design: Array, y: Array, weights: Array) -> Array:
    """Strengths by Newton's method, many fits at once: weights [fits, games] -> strengths [fits, models]."""
    games, models = design.shape
    squares = (design[:, :, None] * design[:, None, :]).reshape(games, models * models)
    ridge = 2 * PRIOR * np.eye(models)
    beta = np.zeros((len(weights), models))
    for _ in range(MAX_STEPS):
        p = special.expit(beta @ design.T)
        gradient = (weights * (y - p)) @ design - 2 * PRIOR * beta
        curvature = ((weights * p * (1 - p)) @ squares).reshape(-1, models, models) + ridge
        step = np.clip(np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0], -1.0, 1.0)
        beta += step
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    return beta


def _bootstrap(design: Array, y: Array, prompts: Sequence[Any], draws: int) -> Array:
    """Win percentages against the anchor in each draw [draws, models]."""
    numbers: dict[Any, int] = {}
    cluster = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts], dtype=int)
    rng = np.random.default_rng(17)
    weights = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=draws)[:, cluster]
    return 100 * special.expit(_fit(design, y, weights.astype(float)))


def prompt_scores(rows: Sequence[Json]) -> dict[Any, float]:
    """The candidate's score of each distinct prompt: 1 win, 0.5 tie, 0 loss, mean over seeds and copies."""
    found: dict[Any, list[float]] = {}
    for row in resolve_orders(rows):
        if row.get("verdict") is not None:
            found.setdefault(row["prompt_id"], []).append({"2": 1.0, "1": 0.0}.get(row["verdict"], 0.5))
    return {prompt: sum(scores) / len(scores) for prompt, scores in found.items()}


def sign_tests(comparisons: Sequence[Sequence[Json]]) -> list[Json]:
    """For each comparison's rows {wins, losses, p_value, p_holm, verdict, needed_prompts}, counted in prompts.

    `verdict` is better, worse or cannot tell at 5 % after Holm's correction over all of them.
    """
    tested: list[Json] = []
    for rows in comparisons:
        scores = np.array(list(prompt_scores(rows).values()))
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
