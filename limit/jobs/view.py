"""What there is to see of jobs. Reads files, takes no lock, and costs little with hundreds of finished jobs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from limit.core import Json, LimitError
from limit.jobs import processes, queue
from limit.jobs.cluster import cluster_of
from limit.jobs.rundir import (
    ACTIVE,
    ENDED,
    QUEUED,
    elsewhere,
    job_folders,
    load_job,
    require_job,
    result_of,
    seen_status,
    stored_status,
    supervisor_alive,
    tail_log,
)
from limit.jobs.slots import size_words, too_large
from limit.settings import Workspace

POLL_S = 0.2
SCHEDULE_EVERY_S = 2.0
PATIENCE_S = 30.0


def status(ws: Workspace, job_id: str) -> Json:
    """The job's status as it is now. Raises LimitError when there is no such job."""
    return seen_status(require_job(ws, job_id))


def show(ws: Workspace, job_id: str) -> Json:
    """The request with its status beside it. Raises LimitError when there is no such job."""
    folder = require_job(ws, job_id)
    return {**load_job(folder), "status": seen_status(folder)}


def list_jobs(ws: Workspace) -> list[Json]:
    """All jobs with their status: active ones, then the queue in its order, then the ended ones, newest first."""
    jobs = [{**load_job(folder), "status": seen_status(folder)} for folder in job_folders(ws)]
    table = {job["job_id"]: (job, job["status"]) for job in jobs}
    waiting = [job for job, _ in queue.queued_in_order(table)]
    cluster = bool(waiting) and _on_cluster(ws)
    for position, job in enumerate(waiting, 1):
        job["status"] = {**job["status"], "position": position, "waits_for": _waits_for(job, table, cluster)}
    active = [job for job in jobs if job["status"]["state"] in ACTIVE]
    ended = [job for job in jobs if job["status"]["state"] in ENDED]
    active.sort(key=lambda job: job["status"]["started"] or job["created"] or "", reverse=True)
    ended.sort(key=lambda job: job["status"]["ended"] or job["created"] or "", reverse=True)
    return [*active, *waiting, *ended]


def _on_cluster(ws: Workspace) -> bool:
    try:
        return cluster_of(ws) is not None
    except LimitError:
        return False


def _waits_for(job: Json, table: dict[str, tuple[Json, Json]], cluster: bool) -> str:
    if job.get("broken"):
        return "its job.json is missing or broken; take it out and start it anew"
    if job["status"]["held"]:
        return "held"
    for link in job["after"]:
        if link in table and table[link][1]["state"] != "finished":
            return f"after {table[link][0]['title']}"
    with contextlib.suppress(LimitError):
        if too_large(job, cluster):
            return f"asks for {size_words(job)}"
    return "a free slot"


def counts(ws: Workspace) -> dict[str, int]:
    """How many jobs are running (in any active state), queued, failed or lost, and ended (however they did).

    `unwatched` are active jobs of this machine that have lost their supervisor: then a call of `schedule` is due.
    """
    found = {"running": 0, "queued": 0, "failed": 0, "ended": 0, "unwatched": 0}
    for folder in job_folders(ws):
        status = stored_status(folder)
        state = status["state"]
        if state in ACTIVE:
            found["unwatched"] += _is_unwatched(status)
            state = seen_status(folder)["state"]
        if state in ACTIVE or state == QUEUED:
            found["running" if state in ACTIVE else "queued"] += 1
        else:
            found["ended"] += 1
            found["failed"] += state in ("failed", "lost")
    return found


def _is_unwatched(status: Json) -> bool:
    """A job that was just given out has no supervisor to name yet; the next look finds it."""
    named = status["supervisor_pid"] is not None or status["boot_id"] not in (None, processes.boot_id())
    return named and not elsewhere(status) and not supervisor_alive(status)


def tail(ws: Workspace, job_id: str, lines: int = 30) -> list[str]:
    """The last lines of the job's log, without colours and progress bars. Raises LimitError for an unknown job."""
    return tail_log(require_job(ws, job_id), lines)


def result(ws: Workspace, job_id: str) -> Json | None:
    """What the job's last attempt recorded as its result, or None. Raises LimitError for an unknown job."""
    folder = require_job(ws, job_id)
    return result_of(folder, stored_status(folder))


def wait(ws: Workspace, job_id: str, on_status: Callable[[Json], None] | None = None) -> Json:
    """Block until the job has ended and return its status; the queue is kept going meanwhile.

    `on_status` sees every change. A keyboard interrupt leaves the job running. Raises LimitError for an unknown job,
    and for one that waits in a queue which has not gone on for `PATIENCE_S`; the trouble of another job is not its own.
    """
    folder = require_job(ws, job_id)
    looked, last = float("-inf"), None
    went_on = time.monotonic()
    while True:
        now = stored_status(folder)
        if time.monotonic() - looked >= SCHEDULE_EVERY_S:
            try:
                queue.schedule(ws)
                went_on = time.monotonic()
            except LimitError:
                if now["state"] == QUEUED and time.monotonic() - went_on > PATIENCE_S:
                    raise
            looked = time.monotonic()
            now = stored_status(folder)
        if on_status is not None and now != last:
            on_status(now)
        last = now
        if now["state"] in ENDED and not now.get("unreadable"):
            return now
        time.sleep(POLL_S)
