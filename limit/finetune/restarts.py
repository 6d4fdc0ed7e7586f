"""Starting again with smaller rows, for sharded runs whose memory ran out on one process.

Replicated processes halve the micro-batch within a step. Sharded ones exchange weights in the middle of a pass, so a
process that fails there leaves the others waiting: it writes down the smaller rows and ends, torchrun starts all
processes again, and they go on from the last checkpoint. A restart that nobody asked for ends at once, so that every
other failure stays a failure. No torch is needed here.
"""

from __future__ import annotations

import os
from pathlib import Path

from limit.core import LimitError, read_json, write_json

MOST_RESTARTS = 4
# torchrun reads its options from the environment too. Its store must not be shared: it lasts from one attempt to the
# next, and new processes would look for the dead ones by the addresses there (torch 2.13).
ENVIRONMENT = {"PET_MAX_RESTARTS": str(MOST_RESTARTS), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
_NAME = "restart.json"


def attempt_number() -> int:
    """How often torchrun has started this run's processes again, 0 the first time or without torchrun."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def can_restart() -> bool:
    """Whether torchrun would start the processes again."""
    return attempt_number() < int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))


def ask_restart(train: Path, row_tokens: int) -> None:
    """Let the next attempt take rows of at most `row_tokens` tokens."""
    write_json(train / _NAME, {"attempt": attempt_number() + 1, "row_tokens": row_tokens})


def asked_rows(train: Path) -> int | None:
    """The rows that an earlier attempt asked for, None when none did."""
    try:
        return int(read_json(train / _NAME)["row_tokens"])
    except (LimitError, KeyError, ValueError, TypeError):
        return None


def is_unasked(train: Path) -> bool:
    """True in an attempt that torchrun made by itself, after a failure that would only come again."""
    if attempt_number() == 0:
        return False
    try:
        return int(read_json(train / _NAME)["attempt"]) != attempt_number()
    except (LimitError, KeyError, ValueError, TypeError):
        return True


def forget(train: Path) -> None:
    """The run is finished."""
    (train / _NAME).unlink(missing_ok=True)
