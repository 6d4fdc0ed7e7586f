"""Processes that train one run together: what they agree on, how their gradients become one sum, how they part."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist

from limit.core import LimitError

BUCKET = 2**25  # gradient elements in one message: 128 MiB in fp32


def any_rank(mine: bool, device: torch.device) -> bool:
    """True on every process when it is true on one."""
    flag = torch.tensor(int(mine), device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag)


def first_rank(mine: bool, device: torch.device) -> bool:
    """What the first process says, on all processes."""
    flag = torch.tensor(int(mine), device=device)
    dist.broadcast(flag, src=0)
    return bool(flag)


def largest(mine: int, device: torch.device) -> int:
    """The largest of all processes' numbers."""
    count = torch.tensor(mine, device=device)
    dist.all_reduce(count, op=dist.ReduceOp.MAX)
    return int(count)


def sum_gradients(parameters: Iterable[Any]) -> None:
    """Replace every gradient by its sum over the processes; all must have gradients of the same parameters."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for bucket in _buckets(grads):
        flat = torch.cat([grad.reshape(-1) for grad in bucket])
        dist.all_reduce(flat)
        for grad, part in zip(bucket, flat.split([grad.numel() for grad in bucket]), strict=True):
            grad.copy_(part.view_as(grad))


def _buckets(grads: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Gradients of one number format at a time, together at most `BUCKET` elements where single ones are not more."""
    for dtype in dict.fromkeys(grad.dtype for grad in grads):
        bucket: list[torch.Tensor] = []
        for grad in (grad for grad in grads if grad.dtype == dtype):
            if bucket and sum(held.numel() for held in bucket) + grad.numel() > BUCKET:
                yield bucket
                bucket = []
            bucket.append(grad)
        if bucket:
            yield bucket


@contextlib.contextmanager
def parting() -> Iterator[None]:
    """Destroy the process group at the end; its threads abort an interpreter that ends with the group alive.

    After an error others may still wait for this process, and so would the end of its interpreter and torchrun with
    it: it says what was wrong and leaves at once.
    """
    try:
        yield
    except BaseException as error:
        if not (dist.is_available() and dist.is_initialized()):
            raise
        _say(error)
        os._exit(2 if isinstance(error, LimitError) else 1)
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def leave(words: str) -> None:
    """Say the last words and end a process that trained with others; one that trained alone goes on.

    Everything is on disk by then. gloo's threads may still be alive after their group, and an interpreter that ends
    beside them is aborted now and then, which would turn a run that is done into one that failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if os.environ.get("RANK", "0") == "0":
            print(words)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _say(error: BaseException) -> None:
    """What the command line would have printed."""
    if isinstance(error, LimitError):
        print(f"limit: {error}", file=sys.stderr)
    elif _lost_another(error):
        print(f"process {dist.get_rank()} ends, since another has left: {_first_line(error)}", file=sys.stderr)
    else:
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()


def _lost_another(error: BaseException) -> bool:
    """True when the error only tells that another process, which has said why, is gone."""
    text = str(error)
    return isinstance(error, dist.DistError) or "gloo" in text or "closed by peer" in text


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
