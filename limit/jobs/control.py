"""What a person does with jobs: start, stop, discard, resume, hold, release, move, pause the queue.

Everything here takes the scheduler's lock, so it never meets a job that is just being given out.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from limit.access import require
from limit.core import Json, LimitError, explained, read_json, sync_folder, utc_now, write_json
from limit.jobs import queue
from limit.jobs.cluster import cluster_of
from limit.jobs.locks import locked
from limit.jobs.rundir import (
    ACTIVE,
    ENDED,
    QUEUED,
    RESUMABLE,
    JobRequest,
    job_folders,
    load_job,
    new_status,
    require_job,
    seen_status,
    stored_status,
    write_status,
)
from limit.jobs.slots import check_size
from limit.settings import Workspace, safe_name

Place = Literal["top", "up", "down", "bottom"]
LEFTOVER_S = 3600.0


def start(ws: Workspace, request: JobRequest) -> str:
    """Put a job into the queue and return its id; it starts at once when there is a free place.

    Idempotent: the same request is the same job. One that is queued, active or finished stays as it is; one that was
    stopped, failed or was lost is resumed. To do a finished thing again, give a `request_id` of its own.
    Raises LimitError when it asks for more GPUs than there are, or names a job before it that does not exist.
    """
    require("operator", "start jobs")
    job = request.to_job(_user())
    check_size(job, cluster_of(ws) is not None)
    for link in job["after"]:
        require_job(ws, link)
    if _create(ws, job):
        _advance(ws)
    elif seen_status(ws.job(job["job_id"]))["state"] in RESUMABLE:
        resume(ws, job["job_id"])
    return str(job["job_id"])


def _create(ws: Workspace, job: Json) -> bool:
    """Make the job's folder whole and at once, by a rename that fails where there is one. False when there was."""
    folder = ws.job(job["job_id"])
    if (folder / "job.json").exists():
        return False
    ws.make()
    with explained(ws.jobs):
        ws.jobs.mkdir(exist_ok=True)
    _sweep(ws)
    draft = ws.jobs / f".new-{uuid.uuid4().hex}"
    try:
        with explained(draft):
            draft.mkdir()
        write_json(draft / "job.json", job)
        write_status(draft, new_status(1, time.time()))
        with explained(folder):
            try:
                draft.rename(folder)
            except OSError:
                if (folder / "job.json").exists():
                    return False
                raise
            sync_folder(ws.jobs)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True


def _sweep(ws: Workspace) -> None:
    """Remove folders that a process left half made or half removed when it was killed."""
    for path in (*ws.jobs.glob(".new-*"), *ws.jobs.glob(".gone-*")):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFTOVER_S:
                shutil.rmtree(path, ignore_errors=True)


def _advance(ws: Workspace) -> None:
    """Let the queue go on; what cannot be done now is done, or said, by whoever looks next."""
    with contextlib.suppress(LimitError):
        queue.schedule(ws)


def stop(ws: Workspace, job_id: str, discard: bool = False) -> None:
    """Ask a job to save and end; with `discard` end it now and remove what it made.

    A queued job leaves the queue. The supervisor terminates and then kills a worker that does not listen; its timer
    is in the status under `stopping`. Discarding a job that has already ended removes what it made.
    Raises LimitError when there is no such job.
    """
    require("operator", "stop jobs")
    folder = require_job(ws, job_id)
    with _deciding(ws):
        status = seen_status(folder)
        if status["state"] == QUEUED:
            status.update(state="stopped", cause="stopped", reason="taken out of the queue", ended=utc_now())
            write_status(folder, status)
        elif status["state"] in ACTIVE:
            write_json(folder / "cancel", {"discard": discard, "time": utc_now()})
        elif discard:
            discard_outputs(ws, load_job(folder))
            kept = {k: v for k, v in status.items() if k != "unreadable"}
            kept.update(state="stopped", cause="discarded", reason="what it had made was discarded")
            write_status(folder, kept)
    _advance(ws)


def read_cancel(folder: Path) -> Json | None:
    """What was asked of a job: {discard}, or None. A flag that was made by hand is a plain stop."""
    flag = folder / "cancel"
    if not flag.exists():
        return None
    try:
        return {"discard": read_json(flag).get("discard") is True}
    except LimitError:
        return {"discard": False}


def discard_outputs(ws: Workspace, job: Json) -> list[Path]:
    """Remove what a job has made: a finetune's training folder and model, an evaluation, or a comparison."""
    subject, removed = job["subject"], []
    for path in _outputs(ws, job["kind"], subject):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    return removed


def _outputs(ws: Workspace, kind: str, subject: Json) -> Iterator[Path]:
    run_id, eval_id, comparison_id = (subject.get(key) for key in ("run_id", "eval_id", "comparison_id"))
    if kind == "finetune" and run_id:
        yield from (ws.run(str(run_id)) / "train", ws.run(str(run_id)) / "model")
    if kind == "gauntlet" and run_id and eval_id:
        yield ws.run(str(run_id)) / "gauntlet" / safe_name(str(eval_id), "evaluation")
    if kind == "judge" and comparison_id:
        yield ws.comparison(str(comparison_id))


def resume(ws: Workspace, job_id: str) -> None:
    """Queue another attempt of a stopped, failed or lost job, and of the jobs that were skipped because of it.

    A second click finds it queued or running and changes nothing. Raises LimitError when the job is just stopping, has
    finished, or its request cannot be read.
    """
    require("operator", "resume jobs")
    folder = require_job(ws, job_id)
    _advance(ws)
    with _deciding(ws):
        status = stored_status(folder)
        if load_job(folder).get("broken"):
            raise LimitError(f"job {job_id} cannot be resumed: its job.json is missing or broken; start it anew")
        if status["state"] in (QUEUED, "starting", "running"):
            return
        if status["state"] not in RESUMABLE:
            raise LimitError(f"job {job_id} is {status['state']}; only a stopped, failed or lost job can be resumed")
        for again in (folder, *_skipped_because_of(ws, job_id)):
            _requeue(again)
    _advance(ws)


def _skipped_because_of(ws: Workspace, job_id: str) -> list[Path]:
    """Folders of the jobs after `job_id`, and after those, that were skipped because of it."""
    found: list[Path] = []
    for folder in job_folders(ws):
        status = stored_status(folder)
        if status["cause"] == "skipped" and status.get("skipped_for") == job_id:
            found += [folder, *_skipped_because_of(ws, folder.name)]
    return found


def _requeue(folder: Path) -> None:
    before = stored_status(folder)
    with explained(folder):
        (folder / "cancel").unlink(missing_ok=True)
    ran = before["launched"] or before["ended"] is not None
    status = new_status(before["attempt"] + 1 if ran else before["attempt"], time.time())
    status.update(token=before["token"], **{key: before[key] for key in ("step", "total")})
    unseen = before.get("ray") if before["exit_code"] is None else None
    status["earlier_ray"] = unseen or before.get("earlier_ray")
    write_status(folder, status)


def remove(ws: Workspace, job_id: str) -> None:
    """Take an ended job out of the history; what it made stays. Raises LimitError while it is queued or active."""
    require("operator", "remove jobs")
    folder = require_job(ws, job_id)
    with _deciding(ws):
        state = seen_status(folder)["state"]
        if state not in ENDED:
            raise LimitError(f"job {job_id} is {state}; stop it before you remove it")
        grave = ws.jobs / f".gone-{uuid.uuid4().hex}"
        with explained(folder):
            folder.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)


def hold(ws: Workspace, job_id: str, held: bool = True) -> None:
    """Keep a queued job from starting, or let it go again. Raises LimitError when it is not queued."""
    require("operator", "change the queue")
    folder = require_job(ws, job_id)
    with _deciding(ws):
        write_status(folder, {**_queued(folder), "held": held})
    _advance(ws)


def move(ws: Workspace, job_id: str, place: Place) -> None:
    """Change a queued job's turn. Raises LimitError when it is not queued."""
    require("operator", "change the queue")
    folder = require_job(ws, job_id)
    with _deciding(ws):
        _queued(folder)
        table = {other.name: (load_job(other), stored_status(other)) for other in job_folders(ws)}
        names = [job["job_id"] for job, _ in queue.queued_in_order(table)]
        at = names.index(job_id)
        to = {"top": 0, "up": max(at - 1, 0), "down": at + 1, "bottom": len(names)}[place]
        names.insert(to, names.pop(at))
        orders = sorted(table[name][1]["order"] for name in names)
        for name, order in zip(names, _spread(orders), strict=True):
            if table[name][1]["order"] != order:
                write_status(ws.job(name), {**table[name][1], "order": order})


def _spread(orders: list[float]) -> list[float]:
    """The same turns, made strictly increasing, so that equal ones (a clock set back) can be told apart."""
    spread: list[float] = []
    for order in orders:
        spread.append(max(order, spread[-1] + 1e-3) if spread else order)
    return spread


def pause(ws: Workspace, paused: bool = True) -> None:
    """Let nothing new start, or let the queue go on. What runs is left alone."""
    require("operator", "change the queue")
    flag = queue.pause_flag(ws)
    with explained(flag):
        if paused:
            flag.parent.mkdir(parents=True, exist_ok=True)
            flag.touch()
        else:
            flag.unlink(missing_ok=True)
    _advance(ws)


def is_paused(ws: Workspace) -> bool:
    """Whether the queue is paused."""
    return queue.pause_flag(ws).exists()


def _queued(folder: Path) -> Json:
    status = stored_status(folder)
    if status["state"] != QUEUED:
        raise LimitError(f"job {folder.name} is {status['state']}; only a queued job can be held or moved")
    return status


@contextlib.contextmanager
def _deciding(ws: Workspace) -> Iterator[None]:
    with locked(queue.scheduler_lock(ws)) as mine:
        if not mine:
            raise LimitError("the queue is busy; try again in a moment")
        yield


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
