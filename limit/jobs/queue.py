"""The queue: who may start now, and what became of jobs whose supervisor is gone.

Any process may call `schedule`; a kernel lock lets one of them decide at a time. It passes a job's lock and its slots
to the new supervisor by inheritance, so there is no moment in which a job that was given out belongs to nobody.
A process that dies in the middle leaves a job that the next call can judge:

- `starting`, never launched: back to the queue;
- its worker still runs (it holds `.attempt.lock`): a new supervisor watches it to its end;
- its worker is gone: finished if it had recorded its result, else lost.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError, explained, utc_now
from limit.jobs import processes
from limit.jobs.cluster import cluster_of
from limit.jobs.launch import cannot_start
from limit.jobs.locks import is_locked, locked, try_lock
from limit.jobs.notify import notify
from limit.jobs.rundir import (
    ACTIVE,
    ENDED,
    QUEUED,
    SILENT_S,
    elsewhere,
    heartbeat_age_s,
    job_folders,
    load_job,
    lost_fields,
    result_of,
    stored_status,
    write_status,
)
from limit.jobs.slots import OUTER_GPUS, acquire, outer_visible_devices, pool_of, too_large
from limit.settings import PROJECT, Workspace

Table = dict[str, tuple[Json, Json]]

_children: list[subprocess.Popen[bytes]] = []


def scheduler_lock(ws: Workspace) -> Path:
    """Held by whoever starts, stops, resumes or reorders."""
    return ws.jobs / ".scheduler.lock"


def pause_flag(ws: Workspace) -> Path:
    """While this file is there, nothing new starts."""
    return ws.jobs / ".paused"


def job_lock(folder: Path) -> Path:
    """Held by the job's supervisor as long as it lives."""
    return folder / ".lock"


def attempt_lock(folder: Path) -> Path:
    """Held by the worker, and by children that inherit it, as long as any of them lives."""
    return folder / ".attempt.lock"


def schedule(ws: Workspace) -> list[str]:
    """Settle jobs that lost their supervisor, then start what may start. Returns the ids that were started.

    What is wrong with one job's files does not keep the others waiting. Raises LimitError, after all that could be
    done, when something could not: a workspace that cannot be written, or no more processes.
    """
    _reap()
    if not ws.jobs.is_dir():
        return []
    problems: list[LimitError] = []
    with locked(scheduler_lock(ws)) as mine:
        if not mine:
            return []
        table = _read_table(ws)
        ended = [entry for entry in table.values() if _tried(problems, _settle, ws, *entry)]
        ended += _tried(problems, _skip_broken_chains, ws, table) or []
        started = [] if pause_flag(ws).exists() else _start_ready(ws, table, problems)
    for job, status in ended:
        notify(job, status)
    if problems:
        raise problems[0]
    return started


def _tried(problems: list[LimitError], work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work` returns, or None and its problem on the list."""
    try:
        return work(*arguments)
    except LimitError as error:
        problems.append(error)
        return None


def queued_in_order(table: Table) -> list[tuple[Json, Json]]:
    """What waits, first to start first."""
    waiting = [entry for entry in table.values() if entry[1]["state"] == QUEUED]
    return sorted(waiting, key=lambda entry: (entry[1]["order"], entry[1]["queued_at"] or "", entry[0]["job_id"]))


def _read_table(ws: Workspace) -> Table:
    return {folder.name: (load_job(folder), stored_status(folder)) for folder in job_folders(ws)}


def _settle(ws: Workspace, job: Json, status: Json) -> bool:
    """Judge one job that may have lost its supervisor; changes `status` in place. True when the job ended by it."""
    if status["state"] not in ACTIVE and not status.get("unreadable"):
        return False
    folder = ws.job(job["job_id"])
    if elsewhere(status) and heartbeat_age_s(folder) < SILENT_S:
        return False
    if is_locked(job_lock(folder)):
        return False
    if status.get("ray") or is_locked(attempt_lock(folder)):
        if not status.get("unreadable"):  # without its token the worker cannot be told from others; let it end
            _watch_orphan(ws, folder)
        return False
    status.clear()
    status.update(stored_status(folder))  # what was read before the locks may be older than the last word of its holder
    if status["state"] == "starting" and not status["launched"]:
        _back_to_queue(status)
    elif status["state"] in ACTIVE:
        _close_books(folder, status)
    elif not status.get("unreadable"):
        return False
    status.pop("unreadable", None)
    write_status(folder, status)
    return status["state"] in ENDED


def _close_books(folder: Path, status: Json) -> None:
    """The last word on a job that ended while nobody watched; children it left behind end with it."""
    if status["token"]:
        processes.kill_all(status["token"])
    status["ended"] = utc_now()
    if result_of(folder, status) is not None:
        note = "it finished while its supervisor was gone, so nobody saw its exit code"
        status.update(state="finished", reason=note, eta_s=None, stalled=False)
    elif (folder / "cancel").exists():
        status.update(state="stopped", reason="stopped while its supervisor was gone", eta_s=None, stalled=False)
    else:
        status.update(lost_fields(status))


def _skip_broken_chains(ws: Workspace, table: Table) -> list[tuple[Json, Json]]:
    """Take jobs out of the queue whose predecessor will not finish, and say which one and why."""
    skipped: list[tuple[Json, Json]] = []
    again = True
    while again:
        again = False
        for job, status in queued_in_order(table):
            broken = next((link for link in job["after"] if _state(table, link) in (*ENDED[1:], None)), None)
            if broken is not None:
                _skip(ws, job, status, broken, table.get(broken))
                skipped.append((job, status))
                again = True
    return skipped


def _skip(ws: Workspace, job: Json, status: Json, link: str, found: tuple[Json, Json] | None) -> None:
    before = f"{found[0]['title']!r} {found[1]['state']}" if found else f"job {link} is no longer there"
    why = f" ({found[1]['reason']})" if found and found[1]["reason"] else ""
    status.update(
        state="stopped",
        cause="skipped",
        skipped_for=link,
        reason=f"skipped: {before}{why}",
        what_to_do="resume the job before it; this one then goes back to the queue",
        ended=utc_now(),
    )
    write_status(ws.job(job["job_id"]), status)


def _state(table: Table, job_id: str) -> str | None:
    return table[job_id][1]["state"] if job_id in table else None


def ready(job: Json, status: Json, table: Table) -> bool:
    """Whether nothing but a free place keeps the job from starting."""
    if status["held"] or job.get("broken"):
        return False
    return all(_state(table, link) == "finished" for link in job["after"])


def _start_ready(ws: Workspace, table: Table, problems: list[LimitError]) -> list[str]:
    """First come, first served in each pool: a large job at the head keeps smaller ones from overtaking it.

    One that is too large for this machine, as it is now, keeps nobody waiting.
    """
    started: list[str] = []
    full: set[str] = set()
    ready = list(_ready_in_order(table))
    if not ready:
        return started
    cluster = cluster_of(ws) is not None
    for job, status in ready:
        pool = pool_of(job, cluster)
        if pool in full or too_large(job, cluster):
            continue
        done = _tried(problems, _start, ws, job, status, cluster)
        if done:
            started.append(job["job_id"])
        elif done is not None:
            full.add(pool)
    return started


def _ready_in_order(table: Table) -> Iterator[tuple[Json, Json]]:
    return (entry for entry in queued_in_order(table) if ready(*entry, table))


def _start(ws: Workspace, job: Json, status: Json, cluster: bool) -> bool:
    """Give a job its places and a supervisor. False when there is no free place."""
    folder = ws.job(job["job_id"])
    own = try_lock(job_lock(folder))
    if own is None:
        return True  # its last supervisor is just leaving; the next call starts it
    places = acquire(ws, job, cluster)
    if places is None:
        os.close(own)
        return False
    slots, held = places
    try:
        status.update(
            state="starting",
            token=status["token"] or secrets.token_hex(8),
            slots=[slot.name for slot in slots],
            gpus=[slot.gpu for slot in slots if slot.gpu],
            host=processes.host(),
            boot_id=processes.boot_id(),
            supervisor_pid=None,
            supervisor_create_time=None,
            launched=False,
        )
        write_status(folder, status)
        try:
            _spawn(folder, [own, *held], status["token"])
        except LimitError:
            _back_to_queue(status)
            write_status(folder, status)
            raise
    finally:
        for descriptor in [own, *held]:
            os.close(descriptor)
    return True


def _back_to_queue(status: Json) -> None:
    """As it was before it was given out."""
    status.update(state=QUEUED, supervisor_pid=None, supervisor_create_time=None, slots=[], gpus=[])


def _watch_orphan(ws: Workspace, folder: Path) -> None:
    own = try_lock(job_lock(folder))
    if own is not None:
        try:
            _spawn(folder, [own], stored_status(folder)["token"] or "", "--orphan")
        finally:
            os.close(own)


def _spawn(folder: Path, held: list[int], token: str, *options: str) -> None:
    """A supervisor in its own session; its output goes to the job's log, never to a pipe."""
    environment = {**os.environ, processes.TOKEN: f"{token}-s"}
    if OUTER_GPUS in os.environ:  # this process is itself a worker, with GPUs hidden from it
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if (outer := outer_visible_devices()) is not None:
            environment["CUDA_VISIBLE_DEVICES"] = outer
    command = [sys.executable, "-m", "limit.jobs.supervisor", str(folder), "--hold", ",".join(map(str, held))]
    with explained(folder / "log.txt"), (folder / "log.txt").open("ab") as log:
        try:
            child = subprocess.Popen(
                [*command, *options],
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=tuple(held),
            )
        except OSError as error:
            raise LimitError(cannot_start(folder, error)) from error
    _children.append(child)


def _reap() -> None:
    """Let go of supervisors that this process started and that have ended, so that none stays a zombie."""
    _children[:] = [child for child in _children if child.poll() is None]
