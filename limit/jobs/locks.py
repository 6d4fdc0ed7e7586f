"""Kernel locks: free the moment their last holder is gone, so there is never a stale one to clean up.

A lock belongs to an open file, and a child that inherits the descriptor holds it too. That is how the queue hands a
job and its slots to a supervisor without a gap, and how a slot stays taken while an orphaned worker still uses it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from limit.core import explained

SCHEDULER_WAIT_S = 20.0


def try_lock(path: Path, tries: int = 3) -> int | None:
    """Lock `path` and return the descriptor that holds the lock, or None when another process has it.

    A few tries a moment apart, because a fork elsewhere in this process may hold a copy until its exec.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    for attempt in range(tries):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if attempt + 1 < tries:
                time.sleep(0.003)
    os.close(descriptor)
    return None


@contextlib.contextmanager
def locked(path: Path, wait_s: float = SCHEDULER_WAIT_S) -> Iterator[bool]:
    """Hold `path` inside the block; yields False, without the lock, when it stayed busy for `wait_s`."""
    deadline = time.monotonic() + wait_s
    while (descriptor := try_lock(path, tries=1)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_locked(path: Path) -> bool:
    """True while some process holds `path`. Only for a holder of the scheduler's lock: a probe takes the lock."""
    if not path.exists():
        return False
    descriptor = try_lock(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
