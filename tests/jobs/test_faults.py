"""A sample of the kill harness; `LIMIT_ALL_FAULTS=1` (or `python -m tests.jobs.faults`) plays all of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from limit.settings import Workspace
from tests.jobs.conftest import end_everything
from tests.jobs.faults import PHASES, TARGETS, play

EVERY = len(PHASES) * len(TARGETS)
SAMPLE = (4, 8, 12, 18, 23, 27, 30, 34)
SEEDS = tuple(range(4 * EVERY)) if os.environ.get("LIMIT_ALL_FAULTS") else SAMPLE


@pytest.mark.parametrize("seed", SEEDS)
def test_a_kill_loses_nothing(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_GPU_SLOTS", "1")
    try:
        play(tmp_path, seed)
    finally:
        for folder in tmp_path.glob("*/ws"):
            end_everything(Workspace(folder))
