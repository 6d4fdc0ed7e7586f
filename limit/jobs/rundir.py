"""A job's folder: the frozen request, the changing status, the log, and how each is read when it is broken.

`job.json` is written once. `status.json` is written by the job's supervisor while there is one, else by whoever
holds the scheduler's lock. `events.jsonl` is the worker's. Readers take no lock and never write.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError, content_id, read_json, utc_now, write_json
from limit.jobs import processes
from limit.settings import Workspace, safe_name

QUEUED = "queued"
ACTIVE = ("starting", "running", "stopping")
ENDED = ("finished", "stopped", "failed", "lost")
RESUMABLE = ("stopped", "failed", "lost")
STATES = (QUEUED, *ACTIVE, *ENDED)
SILENT_S = 60.0
TAIL_BYTES = 64 * 1024

_SECRET = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


@dataclass(frozen=True)
class JobRequest:
    """One long thing to do: `python -m <module> <arguments> --job FOLDER` in a process of its own.

    `gpus` None takes the kind's default (`limit.jobs.slots`), 0 asks for no slot. `after` are jobs that must finish
    first. With a `request_id` the id is made from it, otherwise from kind, arguments and subject. `environment` is
    written to disk, so it holds settings and never secrets.
    """

    kind: str
    title: str
    arguments: tuple[str, ...] | list[str]
    subject: Json = field(default_factory=dict)
    gpus: int | None = None
    after: tuple[str, ...] | list[str] = ()
    request_id: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    module: str = "limit"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", self.kind):
            raise LimitError(f"job kind {self.kind!r} cannot be used; take lower-case letters")
        if self.gpus is not None and not 0 <= self.gpus <= 64:
            raise LimitError(f"a job cannot ask for {self.gpus} GPUs; give a number from 0 to 64")
        for word in self.arguments:
            if not isinstance(word, str) or "\0" in word:
                raise LimitError(f"job argument {word!r} is not text that a command line can carry")
        for name in self.environment:
            if _SECRET.search(name):
                raise LimitError(f"{name} looks like a secret; set it in the environment of the app, not in the job")

    def job_id(self) -> str:
        """The same for the same request, on any machine."""
        by_content = {"kind": self.kind, "arguments": list(self.arguments), "subject": self.subject}
        named = {"kind": self.kind, "request_id": self.request_id}
        return f"{self.kind}-{content_id(by_content if self.request_id is None else named)}"

    def to_job(self, created_by: str) -> Json:
        """What job.json holds."""
        return {
            "job_id": self.job_id(),
            "kind": self.kind,
            "title": " ".join(self.title.split())[:300] or self.kind,
            "arguments": list(self.arguments),
            "subject": self.subject,
            "gpus": self.gpus,
            "after": list(dict.fromkeys(self.after)),
            "request_id": self.request_id,
            "environment": self.environment,
            "module": self.module,
            "created": utc_now(),
            "created_by": created_by,
        }


def new_status(attempt: int, order: float) -> Json:
    """A status in the queue, before anything has run."""
    return {
        "state": QUEUED,
        "attempt": attempt,
        "order": order,
        "held": False,
        "queued_at": utc_now(),
        "started": None,
        "ended": None,
        "pid": None,
        "create_time": None,
        "pgid": None,
        "supervisor_pid": None,
        "supervisor_create_time": None,
        "token": None,
        "launched": False,
        "events_offset": 0,
        "stopping": None,
        "host": None,
        "boot_id": None,
        "gpus": [],
        "slots": [],
        "step": None,
        "total": None,
        "eta_s": None,
        "progress": {},
        "heartbeat": None,
        "stalled": False,
        "exit_code": None,
        "cause": None,
        "reason": None,
        "what_to_do": None,
    }


class _Cache:
    """Shaped JSON files by path, read again only when a file was replaced: 550 jobs cost 1,100 calls of stat."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], Json]] = {}
        self._lock = threading.Lock()

    def read(self, folder: Path, name: str, shape: Callable[[Path, Json | None], Json]) -> Json:
        """A copy of `shape(folder, content)`; content is None when the file is missing or is no JSON object."""
        path = f"{folder}/{name}"
        try:
            info = os.stat(path)  # noqa: PTH116 - a Path for each of a thousand files costs more than the call
        except OSError:
            return shape(folder, None)
        key = (info.st_ino, info.st_mtime_ns, info.st_size)
        with self._lock:
            known = self._known.get(path)
        if known is None or known[0] != key:
            try:
                known = (key, shape(folder, read_json(Path(path))))
            except LimitError:
                known = (key, shape(folder, None))
            with self._lock:
                self._known[path] = known
        return dict(known[1])


_cache = _Cache()


def job_folders(ws: Workspace) -> Iterator[Path]:
    """Every job's folder, in no order; none when there are no jobs yet."""
    root = str(ws.jobs)
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return
    yield from (_folder(root, name) for name in names)


@lru_cache(maxsize=20_000)
def _folder(root: str, name: str) -> Path:
    """Kept, because the same hundreds of paths are asked for at each look."""
    return Path(root, name)


def load_job(folder: Path) -> Json:
    """The frozen request; a placeholder that says so when job.json is missing or broken."""
    return _cache.read(folder, "job.json", _shape_job)


def stored_status(folder: Path) -> Json:
    """status.json as it stands; state `lost` with a reason when it cannot be read."""
    return _cache.read(folder, "status.json", _shape_status)


_JOB_TYPES = {"kind": str, "title": str, "arguments": list, "after": list, "subject": dict, "gpus": (int, type(None))}
_STATUS_TYPES = {"attempt": int, "order": (int, float), "gpus": list, "slots": list, "progress": dict}


def _fits(value: Json, types: dict[str, Any]) -> bool:
    return all(isinstance(value[name], kind) for name, kind in types.items())


def _shape_job(folder: Path, content: Json | None) -> Json:
    empty: Json = {"kind": "unknown", "title": folder.name, "arguments": [], "subject": {}, "gpus": None, "after": []}
    job = {**empty, "created": None, **(content or {}), "job_id": folder.name}
    if content is None or "arguments" not in content or not _fits(job, _JOB_TYPES):
        return {**empty, "gpus": 0, "created": None, "broken": True, "job_id": folder.name}
    return job


def _shape_status(folder: Path, content: Json | None) -> Json:
    base = {**new_status(1, 0.0), "queued_at": None}
    status = {**base, **(content or {})}
    if content is not None and content.get("state") in STATES and _fits(status, _STATUS_TYPES):
        return status
    return {
        **base,
        "state": "lost",
        "unreadable": True,
        "cause": "unreadable",
        "reason": "its status file is missing or cannot be read",
        "what_to_do": "resume the job; it goes on from its last checkpoint",
    }


def write_status(folder: Path, status: Json) -> None:
    """Replace status.json. Raises LimitError when the disk is full."""
    write_json(folder / "status.json", status)


def seen_status(folder: Path) -> Json:
    """The status as it is now: an active job whose processes are gone is `lost`, a silent one is stalled."""
    status = stored_status(folder)
    if status["state"] not in ACTIVE or elsewhere(status):
        return status
    if supervisor_alive(status) or worker_alive(status):
        return {**status, "stalled": status["stalled"] or heartbeat_age_s(folder) > SILENT_S}
    if status["supervisor_pid"] is None and heartbeat_age_s(folder) < SILENT_S:
        return status
    last = stored_status(folder)  # the supervisor may have written its last word, and left, since the first look
    return {**status, **lost_fields(status)} if last == status else seen_status(folder)


def lost_fields(status: Json) -> Json:
    """What changes in the status of a job that ended with nobody watching."""
    rebooted = status["boot_id"] not in (None, processes.boot_id())
    why = "the machine was restarted" if rebooted else "the processes of this job are gone and left no result"
    return {
        "state": "lost",
        "cause": "reboot" if rebooted else "vanished",
        "reason": why,
        "what_to_do": "resume it; it goes on from its last checkpoint",
        "eta_s": None,
        "stalled": False,
    }


def elsewhere(status: Json) -> bool:
    """True when another machine runs the job, so that its processes cannot be looked up here."""
    return status["host"] not in (None, processes.host())


def supervisor_alive(status: Json) -> bool:
    """Whether the process that watches this attempt lives on this machine."""
    if status["boot_id"] not in (None, processes.boot_id()):
        return False
    token = f"{status['token']}-s" if status["token"] else None
    return processes.alive(status["supervisor_pid"], status["supervisor_create_time"], token)


def worker_alive(status: Json) -> bool:
    """Whether the worker of this attempt lives on this machine."""
    if status["boot_id"] not in (None, processes.boot_id()):
        return False
    return processes.alive(status["pid"], status["create_time"], status["token"])


def heartbeat_age_s(folder: Path) -> float:
    """Seconds since status.json was written; a clock that was set back gives 0, not a negative age."""
    try:
        return max(0.0, time.time() - (folder / "status.json").stat().st_mtime)
    except OSError:
        return 0.0


def require_job(ws: Workspace, job_id: str) -> Path:
    """The folder of an existing job. Raises LimitError naming the id."""
    folder = ws.job(safe_name(job_id, "job"))
    if not folder.is_dir():
        raise LimitError(f"there is no job {job_id!r}; `limit jobs list` shows those there are")
    return folder


def result_of(folder: Path, status: Json) -> Any:
    """The value that the last attempt recorded with `context.result`, or None."""
    value = None
    for event in EventTail(folder / "events.jsonl", status.get("events_offset") or 0).new():
        if event.get("kind") == "result":
            value = event.get("value")
    return value


class EventTail:
    """Reads what was appended to a journal since the last look; a torn last line waits for its end."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def new(self) -> list[Json]:
        """Whole new lines, as objects; lines that are no JSON objects are skipped."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self.offset:
                    self.offset = 0  # it was removed, and the worker has begun another
                file.seek(self.offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        events = []
        for line in whole.splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                events.append(value)
        return events


def tail_log(folder: Path, lines: int = 30) -> list[str]:
    """The last lines of log.txt without colours and overwritten progress bars; at most 64 kB are read."""
    try:
        with (folder / "log.txt").open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    if size > TAIL_BYTES:
        text = text.partition("\n")[2] or text
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in _ANSI.sub("", text).split("\n")]
    while shown and not shown[-1].strip():
        shown.pop()
    return shown[-lines:] if lines > 0 else []
