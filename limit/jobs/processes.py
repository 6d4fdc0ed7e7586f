"""Whether a process is still the one we started, and how to end all of it.

A pid alone names nothing after a reboot or a wrap-around, so a process is known by pid and creation time, and by a
token in its environment that survives a change of the clock. A zombie has ended: nobody may have reaped it yet (a
container's first process often never does), but it computes nothing and holds no lock.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil

TOKEN = "LIMIT_JOB_TOKEN"
_SAME_MOMENT_S = 0.05


@cache
def boot_id() -> str:
    """Changes with every start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def host() -> str:
    """Name of this machine; a container's own name inside a container."""
    return platform.node()


def create_time(pid: int) -> float | None:
    """When a process began, in seconds since 1970, or None when it is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def alive(pid: int | None, created: float | None, token: str | None = None) -> bool:
    """True when `pid` runs, is no zombie, and is the process that began at `created` or carries `token`.

    The token matters where the clock was set while the process ran: its creation time then reads differently.
    """
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return False
        if created is not None and abs(process.create_time() - created) < _SAME_MOMENT_S:
            return True
        return token is not None and process.environ().get(TOKEN) == token
    except (psutil.Error, OSError, ValueError, OverflowError):
        return False


def with_token(token: str) -> list[psutil.Process]:
    """All live processes that were started for one job, whatever session they moved to; none for an empty token."""
    found: list[psutil.Process] = []
    if not token:
        return found
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(TOKEN) == token:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if _running(process)]


def signal_group(pid: int, created: float | None, token: str, number: signal.Signals) -> None:
    """Signal the group that `pid` leads, if it still leads it, and every other process that carries `token`.

    A zombie leader counts: until it is reaped its number cannot name another group.
    """
    began = create_time(pid)
    same = began is not None and created is not None and abs(began - created) < _SAME_MOMENT_S
    if same or alive(pid, created, token):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
    for process in with_token(token):
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def kill_all(token: str) -> None:
    """Kill every process of a job."""
    for process in with_token(token):
        with contextlib.suppress(psutil.Error):
            process.kill()


def end_group(pid: int, created: float | None, token: str, grace_s: float = 2.0) -> int:
    """Terminate, then kill, whatever is left of an attempt. Returns how many processes were still there."""
    left = _others(pid, token)
    if not left:
        return 0
    signal_group(pid, created, token, signal.SIGTERM)
    if not wait_until(lambda: not _others(pid, token), grace_s):
        signal_group(pid, created, token, signal.SIGKILL)
        wait_until(lambda: not _others(pid, token), grace_s)
    return len(left)


def wait_until(done: Callable[[], bool], timeout_s: float, pause_s: float = 0.05) -> bool:
    """Poll `done` until it is true. Returns False when `timeout_s` passed first."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)
    return True


def _others(group: int, token: str) -> list[int]:
    members = {process.pid for process in with_token(token)}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group and _running(process):
                members.add(process.pid)
    return sorted(members)


def _running(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False
