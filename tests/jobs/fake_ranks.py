"""A stand-in for distributed work: each rank joins a gloo group, adds up the ranks, and rank 0 reports.

Run under torchrun by the supervisor when a job asks for two slots.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from limit.core import LimitError
from limit.jobs.context import open_context


def main() -> None:
    import torch
    import torch.distributed as dist

    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--fail", type=int, default=-1, help="this rank fails")
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--job", required=True)
    options = parser.parse_args()
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"rank-{rank}").write_text(str(os.getpid()))
    total = torch.tensor([rank + 1.0])
    dist.all_reduce(total)
    if rank == options.fail:
        raise LimitError(f"rank {rank} found a bad row")
    if options.hang:
        time.sleep(600)
    if rank == 0:
        open_context(options.job).result({"total": total.item(), "ranks": dist.get_world_size()})
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
