"""The live record of a run: one JSON line per step, held-out loss, generation or note in `train/metrics.jsonl`."""

from __future__ import annotations

import math
import os
import resource
import time
from collections import deque
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError, append_jsonl, read_jsonl, utc_now, write_atomic
from limit.core import canonical_json as to_line
from limit.finetune.checkpoints import is_disk_full
from limit.settings import Workspace

# Dense bf16 tensor peak in FLOP/s, from the makers' data sheets (no sparsity).
PEAK_FLOPS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "V100": 125e12,
    "T4": 65e12,
}

# Where transformers can log to besides, and the packages that do it, any of which will do.
LOGGERS = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
}
PROJECT_NAME = "limit"  # under which loggers file the runs


def require_loggers(names: Iterable[str]) -> None:
    """Raise LimitError for a logger whose package is not installed."""
    for name in names:
        if not any(map(find_spec, LOGGERS[name])):
            raise LimitError(f"--log-to {name} needs the {name} package; `pip install {name}`, or leave --log-to away")


def place_loggers(ws: Workspace) -> None:
    """Let loggers keep what they write in the workspace, and call the project by name, unless the user's own
    environment says otherwise; by themselves they write into whatever folder a job runs in."""
    os.environ.setdefault("WANDB_DIR", str(ws.root))
    os.environ.setdefault("WANDB_PROJECT", PROJECT_NAME)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{ws.root}/mlflow.db")
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", PROJECT_NAME)


def peak_flops(device_name: str) -> float | None:
    """Peak of a GPU by its name, None when unknown (and for CPUs, where MFU means little)."""
    return next((peak for name, peak in PEAK_FLOPS.items() if name in device_name), None)


def flops_per_token(parameters: int, layers: int, width: int, mean_context: float, trained_share: float = 1.0) -> float:
    """Training FLOP per token: 4 N for forward and activations' gradients, 2 N more where weights are trained,
    plus causal attention, 6 x layers x width x mean context (PaLM, appendix B, halved by the causal mask)."""
    return (4 + 2 * trained_share) * parameters + 6 * layers * width * mean_context


class Journal:
    """Appends rows to metrics.jsonl on the first process; the others stay silent.

    While the disk is full rows wait in memory: a line that cannot be written is not worth hours of training.
    """

    def __init__(self, path: Path, write: bool = True) -> None:
        self.path = path
        self.write = write
        self._waiting: list[Json] = []

    def rewind(self, step: int) -> None:
        """Drop rows after `step`: a resumed run writes them again."""
        if self.write and self.path.exists():
            rows = [row for row in read_jsonl(self.path) if int(row.get("step") or 0) <= step]
            write_atomic(self.path, "".join(to_line(row) + "\n" for row in rows))

    def row(self, kind: str, step: int, **values: Any) -> None:
        if self.write:
            self._append({"kind": kind, "step": step, **_as_json(values)}, sync=kind != "train")

    def flush(self) -> None:
        """Write what waits, where there is room by now."""
        if self._waiting:
            self._append(sync=True)

    def rows(self) -> list[Json]:
        """All rows, those included that wait."""
        return [*read_jsonl(self.path), *self._waiting]

    def _append(self, *new: Json, sync: bool) -> None:
        rows = [*self._waiting, *new]
        end = self.path.stat().st_size if self.path.exists() else 0
        try:
            append_jsonl(self.path, rows, sync=sync)
            self._waiting = []
        except LimitError as error:
            if not is_disk_full(error):
                raise
            self._waiting = rows
            if self.path.exists():
                os.truncate(self.path, end)  # what fitted of them would come twice

    def note(self, step: int, text: str) -> None:
        """A line for people, such as a halved micro-batch."""
        self.row("note", step, text=text)


def _as_json(values: Json) -> Json:
    """Values with null for numbers that JSON has no words for."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


class Speed:
    """Tokens per second over the last steps, the time left, and what all steps took together."""

    def __init__(self, window: int = 20) -> None:
        self._steps: deque[tuple[int, float]] = deque(maxlen=window)
        self._first: float | None = None
        self._done = 0
        self.tokens, self.seconds = 0, 0.0  # of all steps that this process made

    def step(self, tokens: int, seconds: float) -> None:
        self.tokens, self.seconds = self.tokens + tokens, self.seconds + seconds
        self._first = self._first or time.monotonic() - seconds
        self._done += 1
        self._steps.append((tokens, seconds))

    @property
    def tokens_per_s(self) -> float:
        seconds = sum(spent for _, spent in self._steps)
        return sum(tokens for tokens, _ in self._steps) / seconds if seconds else 0.0

    def eta_s(self, remaining: int) -> float | None:
        """Seconds left at the pace so far, evaluations and checkpoints included."""
        if self._first is None or not self._done:
            return None
        return (time.monotonic() - self._first) / self._done * remaining


def memory_gb(device: Any) -> float:
    """Peak memory in GB: of the GPU where there is one, else of this process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def train_row(values: Json, tokens: int, speed: Speed, remaining: int, flops: float, peak: float | None) -> Json:
    """The fields of one `train` row beyond kind and step."""
    rate = speed.tokens_per_s
    eta = speed.eta_s(remaining)
    return {
        **values,
        "tokens": tokens,
        "tokens_per_s": round(rate, 1),
        "mfu": None if peak is None else round(rate * flops / peak, 4),
        "eta_s": None if eta is None else round(eta, 1),
        "time": utc_now(),
    }
