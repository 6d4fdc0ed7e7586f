"""Two processes (gloo, CPU) give the loss of one, whichever way they share the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from limit.finetune.train import finetune
from limit.jobs.context import JobContext
from limit.settings import PROJECT, Workspace
from tests.finetune.conftest import metrics


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(ws: Workspace, make_run: Callable[..., str]) -> None:
    settings = ("learning_rate=0.01", "global_batch_size=7")
    alone, together = make_run(*settings), make_run(*settings, "keep_checkpoints=3")
    finetune(ws, alone, JobContext(None))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "--", "limit", "finetune", "--run", together, "--job", str(ws.root / "job"), "--json"],
        cwd=PROJECT,
        env={**os.environ, "LIMIT_HOME": str(ws.root), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["processes"] == 2
    pairs = zip(metrics(ws, alone, "train"), metrics(ws, together, "train"), strict=True)
    for one, two in pairs:
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
