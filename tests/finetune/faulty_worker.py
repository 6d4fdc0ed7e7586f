"""A finetune worker for torchrun whose second process meets a fault, and which can shard its weights on CPUs.

    torchrun ... faulty_worker.py RUN_ID [--shard] [--kill-at STEP] [--starve-at STEP] [--fail-at STEP]

accelerate shards on accelerators only; with --shard it takes gloo ranks for GPUs, and all else is what a job on GPUs
runs. Faults: killed by the kernel, out of memory for rows of more than 300 tokens, a sentence for the user.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from accelerate import state
from accelerate.utils import DistributedType

from limit.core import LimitError
from limit.finetune import commands, ranks, train, trainer
from limit.settings import workspace

FEW_TOKENS = 300


def take_cpus_for_gpus() -> None:
    """Let accelerate shard on CPUs, and make sure that it did."""
    plain, built = state.PartialState.__init__, train._build

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self._shared_state["distributed_type"] = DistributedType.MULTI_GPU

    def build(*args: Any, **kwargs: Any) -> Any:
        made = built(*args, **kwargs)
        assert made[0].sharded, "accelerate did not shard"
        return made

    state.PartialState.__init__ = init
    train._build = build


def at_step(step: int, fault: Callable[[], None]) -> None:
    """Run `fault` on the second process before that optimizer step."""
    original = trainer.Finetuner.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step + 1 == step and self.args.process_index == 1:
            fault()
        return original(self, *args, **kwargs)

    trainer.Finetuner.training_step = training_step  # type: ignore[method-assign]


def starve() -> None:
    """From now on the head finds no memory for long rows, after the layers have exchanged their weights."""
    original = trainer.to_device

    def to_device(row: Any, device: Any) -> Any:
        if row.tokens > FEW_TOKENS:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return original(row, device)

    trainer.to_device = to_device


def fail() -> None:
    raise LimitError("the second process has had enough")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_id")
    parser.add_argument("--shard", action="store_true")
    for name in ("--kill-at", "--starve-at", "--fail-at"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    if options.shard:
        take_cpus_for_gpus()
    if options.kill_at:
        at_step(options.kill_at, lambda: os.kill(os.getpid(), signal.SIGKILL))
    if options.starve_at:
        at_step(options.starve_at, starve)
    if options.fail_at:
        at_step(options.fail_at, fail)
    worker = argparse.Namespace(run_id=options.run_id, job=None, log_to=[])
    commands._work(workspace(), worker)
    assert not dist.is_initialized(), "the process group outlives the run"
    ranks.leave("done")


if __name__ == "__main__":
    try:
        main()
    except LimitError as error:
        raise SystemExit(f"limit: {error}") from None
