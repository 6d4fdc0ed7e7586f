"""Two processes (gloo, CPU) give the loss of one, whichever way they share the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from limit.encoding.packing import Example, Row, packed_row, sample_weights
from limit.encoding.template import NO_LOSS
from limit.finetune.train import finetune
from limit.jobs.context import JobContext
from limit.models import load_model, resolve_model
from limit.settings import PROJECT, Workspace
from tests.finetune.conftest import metrics


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["tiny", "lora"])
def test_two_processes_have_the_losses_of_one(recipe: str, ws: Workspace, make_run: Callable[..., str]) -> None:
    """Through torchrun, as a job with several GPUs starts it; checkpoints and kept epochs are written on the way."""
    settings = ("learning_rate=0.01", "global_batch_size=7", "lora_dropout=0", "save_every_epochs=1", "epochs=2")
    alone = make_run(*settings, recipe=recipe)
    together = make_run(*settings, "keep_checkpoints=3", recipe=recipe)
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
    assert (ws.run(together) / "train" / "epoch-1").is_dir()
    load_model(resolve_model(ws, together), "fp32", "cpu")
    for one, two in pairs:
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)


SHARDED = """
import os, torch, torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from limit.finetune.architecture import prepare_model
from tests.finetune.models import random_model
from tests.finetune.test_distributed import some_row
dist.init_process_group("gloo")
for name in ("llama", "llama tied"):
    plain, sharded = random_model(name).eval(), random_model(name).eval()
    for model in (plain, sharded):
        assert prepare_model(model, want_packing=True, pad_id=0).packed
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    for layer in sharded.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    row = some_row()
    losses = []
    for model in (plain, sharded):
        loss = model(row=row)
        loss.backward()
        losses.append(float(loss.detach()))
    assert abs(losses[0] - losses[1]) < 1e-5 * losses[0], losses
    for a, b in zip(plain.parameters(), sharded.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad.full_tensor(), rtol=1e-4, atol=1e-6)
dist.barrier()
# gloo's threads now and then abort an interpreter that ends in the ordinary way; all is checked, so leave at once
os._exit(0)
"""


def some_row() -> Row:
    """Three random documents, a third of each without loss."""
    generator = np.random.default_rng(5)
    examples = []
    for length in (19, 33, 8):
        ids = generator.integers(3, 300, length).astype(np.int32)
        labels = np.where(np.arange(length) < length // 3, NO_LOSS, ids).astype(np.int32)
        examples.append(Example(ids, labels, "s"))
    return packed_row(examples, sample_weights(examples, "token"))


@pytest.mark.slow
def test_sharded_weights_give_the_loss_and_gradient_of_whole_ones(tmp_path: Path) -> None:
    """FSDP2 as accelerate applies it on GPUs: layers first, then the root with embedding and head."""
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
