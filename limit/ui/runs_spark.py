"""A finetune's training loss as a line that fits a cell or a card, read once and then only where the file has grown."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

from limit.jobs.rundir import EventTail

POINTS = 40
KEPT_FILES = 500


class Curve:
    """The losses of one metrics file; a file that was written anew (a resumed run rewinds its own) is read again."""

    def __init__(self, path: Path) -> None:
        self._tail = EventTail(path)
        self._inode: int | None = None
        self._lock = threading.Lock()
        self.losses: list[float] = []

    def read(self) -> list[float]:
        """All finite training losses so far, in the order of the file."""
        try:
            info = os.stat(self._tail.path)  # noqa: PTH116 - 25 files at each rerun
        except OSError:
            return []
        with self._lock:
            if info.st_ino != self._inode or info.st_size < self._tail.offset:
                self._inode, self._tail.offset, self.losses = info.st_ino, 0, []
            if info.st_size > self._tail.offset:
                self.losses += [loss for row in self._tail.new() if (loss := _loss(row)) is not None]
            return self.losses


def _loss(row: dict[str, Any]) -> float | None:
    value = row.get("loss") if row.get("kind") == "train" else None
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known and value is not None else None


_curves: dict[str, Curve] = {}


def spark(train: Path | None) -> list[float] | None:
    """The losses of a training folder, thinned out to `POINTS`; None where there are fewer than two."""
    if train is None:
        return None
    path = f"{train}/metrics.jsonl"
    if path not in _curves:
        while len(_curves) >= KEPT_FILES:
            _curves.pop(next(iter(_curves)), None)
        _curves[path] = Curve(Path(path))
    losses = _curves[path].read()
    if len(losses) < 2:
        return None
    last = len(losses) - 1
    wanted = min(len(losses), POINTS)
    return [losses[round(n * last / (wanted - 1))] for n in range(wanted)]
