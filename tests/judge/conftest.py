"""Pairs to judge, comparisons to put them in, and the tiny judge behind the test server."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from limit.judge.judgments import Comparison
from limit.judge.runner import Pair
from limit.responses.identity import prompt_id
from tests.judge.server import TinyJudge

WORDS = ["river", "baker", "town", "bread", "mill", "stone", "cloud", "letter", "garden", "winter", "copper", "lantern"]


@pytest.fixture(scope="session")
def tiny_judge(tiny_llama: Path) -> TinyJudge:
    """The model behind the test server, loaded once."""
    return TinyJudge(tiny_llama)


def make_pairs(count: int, seed: int = 0) -> list[Pair]:
    """Pairs of different short answers to `count` different prompts."""
    rng = random.Random(seed)
    pairs = []
    for number in range(count):
        prompt = f"Question {number}: tell me about {rng.choice(WORDS)}."
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 12))) + f" {number}{side}" for side in "xy"]
        pairs.append(Pair(prompt_id(prompt), prompt, *texts))
    return pairs


def make_comparison(name: str = "c0ffee") -> Comparison:
    """A judged comparison of two invented models."""
    return Comparison(name, "judged", "baseline", "candidate", "test", "tiny", origin={"judge_id": "tiny"})
