"""Two processes (gloo, CPU) give the loss of one, whichever way they share the work.

One test goes through torchrun as a job does; the others start its agent and its workers from a loaded process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from limit.core import read_json
from limit.encoding.packing import Example, Row, packed_row, sample_weights
from limit.encoding.template import NO_LOSS
from limit.finetune import restarts
from limit.finetune.train import finetune
from limit.jobs.context import JobContext
from limit.models import load_model, resolve_model
from limit.settings import PROJECT, Workspace
from tests.finetune.conftest import metrics

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
WARM = str(PROJECT / "tests" / "finetune" / "warm.py")
WORKER = str(PROJECT / "tests" / "finetune" / "faulty_worker.py")
SETTINGS = ("learning_rate=0.01", "lora_dropout=0", "micro_batch_size=1", "save_every_epochs=0.5", "epochs=2")


def torchrun(ws: Workspace, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Two processes of a worker on this machine's CPUs."""
    return started(ws, [*TORCHRUN, *words], environment)


def started(ws: Workspace, words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    here = {"LIMIT_HOME": str(ws.root), "PYTHONPATH": str(PROJECT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, *words],
        cwd=PROJECT,
        env={**os.environ, **here, **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def warm_torchrun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """`torchrun` whose agent and workers are forked from one process that has loaded everything."""
    address = str(tmp_path_factory.mktemp("warm") / "door")
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen([sys.executable, WARM, "serve", address], cwd=PROJECT, env=environment) as server:
        while not Path(address).exists():
            assert server.poll() is None, "the process that others are forked from has ended"
            time.sleep(0.1)
        forked = [WARM, "run", address]

        def run(ws: Workspace, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
            workers = ["--no-python", sys.executable, "-S", *forked, *words]
            return started(ws, [*forked, *TORCHRUN, *workers], environment)

        yield run
        server.terminate()


def weights(ws: Workspace, run_id: str) -> dict[str, torch.Tensor]:
    return load_file(next((ws.run(run_id) / "model").glob("*.safetensors")))


def assert_same_course(ws: Workspace, one: str, two: str) -> None:
    """Both runs met the same losses and gradients on their way."""
    for a, b in zip(metrics(ws, one, "train"), metrics(ws, two, "train"), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(ws: Workspace, make_run: Callable[..., str]) -> None:
    """Through torchrun, as a job with several GPUs starts it; checkpoints and kept epochs are written on the way."""
    settings = (*SETTINGS, "global_batch_size=7", "save_every_epochs=1")
    alone, together = make_run(*settings), make_run(*settings, "keep_checkpoints=3")
    finetune(ws, alone, JobContext(None))
    job = str(ws.root / "job")
    done = torchrun(ws, "-m", "--", "limit", "finetune", "--run", together, "--job", job, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["processes"] == 2
    assert (ws.run(together) / "train" / "epoch-1").is_dir()
    load_model(resolve_model(ws, together), "fp32", "cpu")
    assert_same_course(ws, alone, together)


@pytest.mark.slow
def test_sharded_processes_have_the_losses_of_one_and_survive_a_kill(
    ws: Workspace, make_run: Any, warm_torchrun: Any
) -> None:
    """FSDP as accelerate sets it up on GPUs: checkpoint, SIGKILL, resume to the same bits, and tied weights."""
    alone, straight, killed = (make_run(*SETTINGS, f"keep_checkpoints={keep}") for keep in (2, 3, 4))
    finetune(ws, alone, JobContext(None))
    for run_id, fault in ((straight, ()), (killed, ("--kill-at", "6")), (killed, ())):
        done = warm_torchrun(ws, WORKER, run_id, "--shard", *fault)
        assert (done.returncode == 0) == (not fault), done.stderr[-3000:]
    assert_same_course(ws, alone, straight)
    one, whole, resumed = (weights(ws, run_id) for run_id in (alone, straight, killed))
    assert one.keys() == whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert all(torch.allclose(one[name], whole[name], atol=1e-5) for name in one)


@pytest.mark.slow
def test_memory_that_runs_out_on_one_replica_halves_the_rows_of_all(
    ws: Workspace, make_run: Any, warm_torchrun: Any
) -> None:
    settings = (*SETTINGS, "max_seq_len=256", "micro_batch_size=4")
    alone, starved = (make_run(*settings, f"keep_checkpoints={keep}", recipe="lora") for keep in (2, 3))
    finetune(ws, alone, JobContext(None))
    done = warm_torchrun(ws, WORKER, starved, "--starve-at", "4")
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_json(ws.run(starved) / "train" / "summary.json")["row_tokens"] == 256
    assert any("memory ran out" in row["text"] for row in metrics(ws, starved, "note"))
    assert_same_course(ws, alone, starved)


@pytest.mark.slow
def test_memory_that_runs_out_on_one_shard_starts_all_again_with_smaller_rows(
    ws: Workspace, make_run: Any, warm_torchrun: Any
) -> None:
    settings = (*SETTINGS, "max_seq_len=256", "micro_batch_size=2")
    alone, starved = (make_run(*settings, f"keep_checkpoints={keep}") for keep in (2, 3))
    finetune(ws, alone, JobContext(None))
    done = warm_torchrun(ws, WORKER, starved, "--shard", "--starve-at", "4", **restarts.ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all processes start again" in done.stderr
    assert read_json(ws.run(starved) / "train" / "summary.json")["row_tokens"] == 256
    assert_same_course(ws, alone, starved)


@pytest.mark.slow
def test_a_failure_of_one_process_ends_all_with_its_sentence(ws: Workspace, make_run: Any, warm_torchrun: Any) -> None:
    environment = {**restarts.ENVIRONMENT, "PET_MAX_RESTARTS": "1"}
    done = warm_torchrun(ws, WORKER, make_run(*SETTINGS), "--shard", "--fail-at", "3", **environment)
    assert done.returncode != 0
    assert done.stderr.count("limit: the second process has had enough") == 1, "a failure is not tried again"
    assert done.stderr.count("process 0 ends, since another has left") == 1
    assert "trainer.py" not in done.stderr, "the other process has nothing to report"
    assert "terminate called" not in done.stderr


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
def test_sharded_weights_give_the_loss_and_gradient_of_whole_ones(tmp_path: Path, warm_torchrun: Any) -> None:
    """FSDP2 as accelerate applies it on GPUs: layers first, then the root with embedding and head."""
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    done = warm_torchrun(Workspace(tmp_path), str(script))
    assert done.returncode == 0, done.stderr[-3000:]
