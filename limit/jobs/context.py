"""What a worker may say and hear while it runs: progress and events out, a request to stop in.

A worker only appends to its job's `events.jsonl`; the supervisor alone writes `status.json`, so a crash of either
leaves the other's file whole. Run by hand, without a job folder, the same worker talks to stderr.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError, append_jsonl, read_json, utc_now

STOP_POLL_S = 0.2


class JobContext:
    """The worker's side of one job; with `folder` None it prints progress to a terminal and never stops early."""

    def __init__(self, folder: Path | None, min_interval_s: float = 0.5) -> None:
        self.folder = folder
        self.min_interval_s = min_interval_s
        self._last_progress = 0.0
        self._last_poll = 0.0
        self._stop = False
        self._first: tuple[float, int] | None = None

    def event(self, kind: str, **fields: Any) -> None:
        """Record something worth keeping, such as `result`, `note` or `error`."""
        if self.folder is not None:
            append_jsonl(self.folder / "events.jsonl", [{"time": utc_now(), "kind": kind, **fields}], sync=False)

    def progress(self, step: int, total: int | None, eta_s: float | None = None, **values: Any) -> None:
        """Report `step` of `total`; calls closer together than `min_interval_s` are dropped, except the last step."""
        now = time.monotonic()
        if now - self._last_progress < self.min_interval_s and step != total:
            return
        self._last_progress = now
        began, first = self._first = self._first or (now, step)  # a resumed job does not begin at step 0
        if eta_s is None and total and step > first:
            eta_s = (now - began) / (step - first) * (total - step)
        with contextlib.suppress(LimitError):  # a disk that is full for a moment costs a report, not hours of work
            self.event("progress", step=step, total=total, eta_s=None if eta_s is None else round(eta_s, 1), **values)
        if self.folder is None and sys.stderr.isatty():
            print(f"\r{step}/{total or '?'}", end="" if step != total else "\n", file=sys.stderr)

    def subject(self) -> Json:
        """Ids of what the job makes or works on, as its request holds them; empty without a job folder."""
        job = read_json(self.folder / "job.json") if self.folder is not None else {}
        return dict(job.get("subject") or {})

    def result(self, value: Json) -> None:
        """Record what the job made; `--wait` prints it."""
        self.event("result", value=value)

    def stop_requested(self) -> bool:
        """True once somebody asked the job to stop; the worker then saves what it has and returns."""
        now = time.monotonic()
        if self.folder is not None and not self._stop and now - self._last_poll >= STOP_POLL_S:
            self._last_poll = now
            self._stop = (self.folder / "cancel").exists()
        return self._stop


def open_context(job_folder: str | Path | None) -> JobContext:
    """The context of a worker started with `--job FOLDER`, or a silent one for work done by hand."""
    return JobContext(Path(job_folder) if job_folder else None)
