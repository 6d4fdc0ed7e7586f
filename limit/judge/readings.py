"""The rubric's verdicts read in another way: what the same answers come to when only accuracy or length counts.

Notable: nothing is judged again. The rubric is a program, so every reading follows from the answers that stand in the
judgments; the readings do not all agree, and that is what a reader should see beside the rubric's own rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from limit.core import Json
from limit.judge.judgments import Comparison
from limit.judge.rubric import TIES, VARIANTS, Variant, find_subject, measure
from limit.judge.summary import summarise
from limit.tiny.world import build_world


def is_rubric(judge: str | None) -> bool:
    """Whether a comparison's judge is the rubric program, in whatever reading."""
    return (judge or "").split(":")[0].split(" ")[0] == "rubric"


def readings(comparison: Comparison, rows: Sequence[Json]) -> list[Json]:
    """One summary per reading (as `summarise` gives it), with `variant` and what it counts in words."""
    found = []
    for variant in get_args(Variant):
        read = summarise(comparison, read_as(rows, variant))
        found.append({**read, "variant": variant, "counts": VARIANTS[variant]})
    return found


def read_as(rows: Sequence[Json], variant: Variant) -> list[Json]:
    """The rows with the verdict of another reading; one about nothing in the world has no verdict."""
    world = build_world()
    scores: dict[tuple[str, str], float | None] = {}

    def score(prompt: str, answer: str) -> float | None:
        if (prompt, answer) not in scores:
            subject = find_subject(prompt, world)
            scores[prompt, answer] = measure(answer, subject, world).score(variant) if subject else None
        return scores[prompt, answer]

    def verdict(row: Json) -> str | None:
        return _verdict(score(row["prompt"], row["text_1"]), score(row["prompt"], row["text_2"]), variant)

    return [{**row, "verdict": verdict(row)} for row in rows]


def _verdict(baseline: float | None, candidate: float | None, variant: Variant) -> str | None:
    if baseline is None or candidate is None:
        return None
    if abs(baseline - candidate) <= TIES[variant]:
        return "tie"
    return "1" if baseline > candidate else "2"
