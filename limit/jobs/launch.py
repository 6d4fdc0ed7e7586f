"""Where a worker runs: a child of the supervisor, an orphan taken over, or (in `limit.jobs.ray`) a Ray cluster.

All three look alike to the supervisor: wait for the end, ask by signal, leave nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import psutil

from limit.core import Json, LimitError, explained
from limit.jobs import processes
from limit.jobs.slots import OUTER_GPUS, gpus_needed, outer_visible_devices
from limit.settings import PROJECT, Workspace

POLL_S = 0.05
UNKNOWN_EXIT = None


class Attempt(Protocol):
    """One running worker."""

    pid: int | None
    created: float | None

    def wait(self, seconds: float) -> bool:
        """True once the worker has ended; waits at most `seconds`."""

    def signal(self, number: signal.Signals) -> None:
        """Signal every process of the worker."""

    def close(self) -> int | None:
        """End what is left of the worker's group and return its exit code, None when nobody could see it."""


def worker_command(job: Json, folder: Path, python: str = sys.executable) -> list[str]:
    """The command that a person could type; with several GPUs the same under torchrun, one rank a GPU."""
    module = [job.get("module") or "limit", *job["arguments"], "--job", str(folder)]
    ranks = gpus_needed(job)
    if ranks < 2:
        return [python, "-m", *module]
    # "--" because torchrun would take our `--run` for an abbreviation of its own `--run-path`
    return [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m", "--", *module]


def worker_environment(ws: Workspace, job: Json, token: str, attempt: int) -> dict[str, str]:
    """Settings that every worker gets on top of what it inherits.

    Threads that wait for each other sleep instead of spinning: where the app or other jobs want the same cores,
    spinning took four times the time and the CPU of a small evaluation, and on idle cores it gains nothing.
    """
    return {
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        **{name: str(value) for name, value in (job.get("environment") or {}).items()},
        "LIMIT_HOME": str(ws.root),
        "LIMIT_JOB_ATTEMPT": str(attempt),
        "PYTHONUNBUFFERED": "1",
        processes.TOKEN: token,
    }


def gpu_environment(gpus: Sequence[str], heavy: bool) -> dict[str, str]:
    """Show a worker its own GPUs and no others; a light job sees none, so that it cannot fill one by accident."""
    outer = {OUTER_GPUS: outer_visible_devices() or "all"}
    if gpus:
        return {**outer, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    return outer if heavy else {**outer, "CUDA_VISIBLE_DEVICES": ""}


class LocalAttempt:
    """A child in a session of its own, its output in log.txt; reaped only after its group was ended."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path, held: Sequence[int]) -> None:
        """Start it. `held` are descriptors of locks that live as long as the worker. Raises LimitError."""
        self.token = environment[processes.TOKEN]
        with explained(folder / "log.txt"), (folder / "log.txt").open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    cwd=PROJECT,
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=tuple(held),
                )
            except OSError as error:
                raise LimitError(cannot_start(folder, error)) from error
        self.pid: int | None = self._process.pid
        self.created = processes.create_time(self._process.pid)

    def wait(self, seconds: float) -> bool:
        # A zombie keeps its number, so the group can still be signalled safely; `close` reaps it.
        return processes.wait_until(lambda: not self._running(), seconds, POLL_S)

    def signal(self, number: signal.Signals) -> None:
        processes.signal_group(self._process.pid, self.created, self.token, number)

    def close(self) -> int | None:
        processes.end_group(self._process.pid, self.created, self.token)
        return self._process.wait()

    def _running(self) -> bool:
        return processes.alive(self._process.pid, self.created, self.token)


class OrphanAttempt:
    """A worker whose supervisor was killed; it is watched to its end, but its exit code is nobody's to read."""

    def __init__(self, pid: int | None, created: float | None, token: str) -> None:
        self.pid = pid
        self.created = created
        self.token = token

    def wait(self, seconds: float) -> bool:
        return processes.wait_until(lambda: not self._running(), seconds, POLL_S)

    def signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            processes.signal_group(self.pid, self.created, self.token, number)

    def close(self) -> int | None:
        if self.pid is not None:
            processes.end_group(self.pid, self.created, self.token)
        processes.kill_all(self.token)
        return UNKNOWN_EXIT

    def _running(self) -> bool:
        return processes.alive(self.pid, self.created, self.token)


def cannot_start(folder: Path, error: OSError) -> str:
    """Why no process could be started for a job, in one sentence."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is not there; install the project again"
    what = {
        errno.EAGAIN: "this user may have no more processes; end some, or raise `ulimit -u`",
        errno.ENOMEM: "there is no memory left; close other programs",
        errno.EMFILE: "too many files are open; raise `ulimit -n`",
        errno.E2BIG: "its command is longer than the system allows",
    }.get(error.errno or 0, str(error.strerror or error))
    return f"cannot start a process for {folder.name}: {what}"


def find_orphan(token: str, folder: Path) -> tuple[int, float] | tuple[None, None]:
    """The worker of an attempt whose pid was never written down.

    Its children carry the token too, so it must also lead a session and name the job's folder on its command line;
    torchrun's ranks do both, but are younger than their launcher.
    """
    found = []
    for process in processes.with_token(token):
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == process.pid and str(folder) in process.cmdline():
                found.append((process.create_time(), process.pid))
    if not found:
        return None, None
    created, pid = min(found)
    return pid, created


def log_mark(folder: Path, text: str) -> None:
    """Write a line of ours into the log, such as the start of a second attempt."""
    with explained(folder / "log.txt"), (folder / "log.txt").open("ab") as log:
        log.write(f"--- {text} {time.strftime('%Y-%m-%d %H:%M:%S %Z')}\n".encode())
