"""A finetune's loss as a line for a cell or a card, and its latest figures; a file is read on where it has grown."""

from __future__ import annotations

import base64
import math
import os
import threading
from pathlib import Path
from typing import Any, TypeGuard

from limit.jobs.rundir import EventTail

POINTS = 40
KEPT_FILES = 500
WIDTH, HEIGHT = 300, 36


class Curve:
    """The losses of one metrics file; a file that was written anew (a resumed run rewinds its own) is read again."""

    def __init__(self, path: Path) -> None:
        self._tail = EventTail(path)
        self._inode: int | None = None
        self._lock = threading.Lock()
        self.losses: list[float] = []
        self.last: dict[str, Any] = {}

    def read(self) -> list[float]:
        """All finite training losses so far, in the order of the file; `last` is then the latest training row."""
        try:
            info = os.stat(self._tail.path)  # noqa: PTH116 - 25 files at each rerun
        except OSError:
            return []
        with self._lock:
            if info.st_ino != self._inode or info.st_size < self._tail.offset:
                self._inode, self._tail.offset, self.losses, self.last = info.st_ino, 0, [], {}
            if info.st_size > self._tail.offset:
                for row in self._tail.new():
                    self._take(row)
            return self.losses

    def _take(self, row: dict[str, Any]) -> None:
        if row.get("kind") != "train":
            return
        self.last, loss = row, row.get("loss")
        if is_number(loss) and math.isfinite(loss):
            self.losses.append(float(loss))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value read from a file can be shown as a figure."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_curves: dict[str, Curve] = {}


def _curve(train: Path) -> Curve:
    path = f"{train}/metrics.jsonl"
    if path not in _curves:
        while len(_curves) >= KEPT_FILES:
            _curves.pop(next(iter(_curves)), None)
        _curves[path] = Curve(Path(path))
    return _curves[path]


def latest(train: Path | None) -> dict[str, Any]:
    """The latest training row: loss, tokens_per_s, memory_gb and more; empty before the first step."""
    if train is None:
        return {}
    curve = _curve(train)
    curve.read()
    return curve.last


def spark(train: Path | None) -> list[float] | None:
    """The losses of a training folder, thinned out to `POINTS`; None where there are fewer than two."""
    losses = _curve(train).read() if train is not None else []
    if len(losses) < 2:
        return None
    last = len(losses) - 1
    wanted = min(len(losses), POINTS)
    return [losses[round(n * last / (wanted - 1))] for n in range(wanted)]


def spark_html(line: list[float], colour: str) -> str:
    """The line as a picture as wide as its place; the lowest value lies at the bottom."""
    low, high = min(line), max(line)
    across, up = WIDTH / (len(line) - 1), (HEIGHT - 4) / (high - low or 1)
    points = " ".join(f"{n * across:.1f},{HEIGHT - 2 - (value - low) * up:.1f}" for n, value in enumerate(line))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">'
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" '
        'vector-effect="non-scaling-stroke"/>'
        "</svg>"
    )
    data = base64.b64encode(svg.encode()).decode()
    alt = f"loss from {line[0]:.3f} to {line[-1]:.3f}"
    return (
        f'<img alt="{alt}" style="width:100%;height:{HEIGHT}px;display:block" src="data:image/svg+xml;base64,{data}">'
    )
