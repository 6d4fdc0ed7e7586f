"""`limit jobs`: see and steer what runs in the background."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from limit.cli import Verbs, command
from limit.core import Json, LimitError
from limit.formats import duration
from limit.jobs import (
    ENDED,
    hold,
    is_paused,
    list_jobs,
    move,
    pause,
    resume,
    schedule,
    show,
    status,
    stop,
    tail,
)
from limit.jobs.cluster import choose_cluster, cluster_of, problem_of
from limit.settings import Workspace, workspace

FOLLOW_S = 0.5


def add_parser(verbs: Verbs) -> None:
    """Add the verb and its commands."""
    parser = verbs.add_parser("jobs", help="list, show, follow, stop and resume jobs")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    listing = command(commands, "list", run_list, "what runs, waits and has ended", text=list_text)
    listing.add_argument("--state", help="only jobs in this state")
    listing.add_argument("--kind", help="only jobs of this kind")
    _add(commands, "show", run_show, "one job's status and request", show_text)
    following = _add(commands, "tail", run_tail, "the last lines of a job's log", "\n".join)
    following.add_argument("--lines", type=int, default=30, help="how many lines (default 30)")
    following.add_argument("--follow", action="store_true", help="go on until the job ends")
    stopping = _add(commands, "stop", run_stop, "ask a job to save and end", state_text)
    stopping.add_argument("--discard", action="store_true", help="end it at once and remove what it made")
    _add(commands, "resume", run_resume, "go on with a stopped, failed or lost job", state_text)
    _add(commands, "hold", run_hold, "keep a queued job from starting", state_text)
    _add(commands, "release", run_release, "let a held job start", state_text)
    moving = _add(commands, "move", run_move, "change a queued job's turn", state_text)
    moving.add_argument("place", choices=("top", "up", "down", "bottom"))
    command(commands, "pause", run_pause, "start nothing new; what runs goes on", text=queue_text)
    command(commands, "unpause", run_unpause, "let the queue go on", text=queue_text)
    where = command(
        commands, "cluster", run_cluster, "see or choose the Ray cluster that jobs go to", text=cluster_text
    )
    where.add_argument("address", nargs="?", help="address of its dashboard, such as http://head:8265")
    where.add_argument("--python", help="the Python that its machines run workers with (default: python)")
    where.add_argument("--off", action="store_true", help="run jobs on this machine again")


def _add(
    commands: Verbs,
    name: str,
    run: Callable[[argparse.Namespace], Any],
    help: str,
    text: Callable[[Any], str],
) -> argparse.ArgumentParser:
    parser = command(commands, name, run, help, text=text)
    parser.add_argument("id", metavar="ID", help="id of the job")
    return parser


def run_list(options: argparse.Namespace) -> list[Json]:
    """All jobs, the active ones first; jobs whose supervisor is gone are settled on the way."""
    ws = workspace()
    _keep_going(ws)
    return [
        job
        for job in list_jobs(ws)
        if options.state in (None, job["status"]["state"]) and options.kind in (None, job["kind"])
    ]


def _keep_going(ws: Workspace) -> None:
    """Who only looks is not kept from it by a workspace that cannot be written."""
    try:
        schedule(ws)
    except LimitError as error:
        print(f"the queue does not go on: {error}", file=sys.stderr)


def list_text(jobs: list[Json]) -> str:
    """One line per job."""
    return "\n".join(_line(job) for job in jobs) or "no jobs yet"


def _line(job: Json) -> str:
    now = job["status"]
    words = [f"{job['job_id']:<26}", f"{now['state']:<9}", job["title"]]
    if now["step"] is not None:
        words.append(f"{now['step']}/{now['total'] or '?'}")
    if now["eta_s"] is not None:
        words.append(f"{duration(now['eta_s'])} left")
    if now["state"] == "queued":
        words.append(f"waits for {now['waits_for']}" if now["waits_for"].startswith("a ") else now["waits_for"])
    if now["reason"]:
        words.append(f"({now['reason']})")
    return "  ".join(words)


def run_show(options: argparse.Namespace) -> Json:
    """The fields of status.json and job.json in one object."""
    ws = workspace()
    _keep_going(ws)
    job = show(ws, options.id)
    return {**{key: value for key, value in job.items() if key != "status"}, **job["status"]}


def show_text(job: Json) -> str:
    """One field a line."""
    return "\n".join(f"{key:<22} {value}" for key, value in job.items() if value not in (None, [], {}, ""))


def run_tail(options: argparse.Namespace) -> list[str]:
    """The end of the log; with `--follow` new lines go to stderr until the job has ended."""
    ws = workspace()
    lines = tail(ws, options.id, options.lines)
    if not options.follow:
        return lines
    print("\n".join(lines), file=sys.stderr)
    with (ws.job(options.id) / "log.txt").open(encoding="utf-8", errors="replace") as log:
        log.seek(0, 2)
        while True:
            ended = status(ws, options.id)["state"] in ENDED
            sys.stderr.write(log.read())
            if ended:
                return tail(ws, options.id, options.lines)
            time.sleep(FOLLOW_S)


def _state(job_id: str) -> Json:
    now = status(workspace(), job_id)
    return {"job_id": job_id, "state": now["state"], "reason": now["reason"], "held": now["held"]}


def state_text(value: Json) -> str:
    """One line."""
    rest = f" ({value['reason']})" if value["reason"] else " (held)" if value["held"] else ""
    return f"{value['job_id']} is {value['state']}{rest}"


def run_stop(options: argparse.Namespace) -> Json:
    """Stop a job."""
    stop(workspace(), options.id, discard=options.discard)
    return _state(options.id)


def run_resume(options: argparse.Namespace) -> Json:
    """Resume a job."""
    resume(workspace(), options.id)
    return _state(options.id)


def run_hold(options: argparse.Namespace) -> Json:
    """Hold a queued job."""
    hold(workspace(), options.id)
    return _state(options.id)


def run_release(options: argparse.Namespace) -> Json:
    """Release a held job."""
    hold(workspace(), options.id, held=False)
    return _state(options.id)


def run_move(options: argparse.Namespace) -> Json:
    """Move a queued job."""
    move(workspace(), options.id, options.place)
    return _state(options.id)


def run_pause(options: argparse.Namespace) -> Json:
    """Pause the queue."""
    pause(workspace().make())
    return {"paused": is_paused(workspace())}


def run_unpause(options: argparse.Namespace) -> Json:
    """Let the queue go on."""
    pause(workspace().make(), paused=False)
    return {"paused": is_paused(workspace())}


def run_cluster(options: argparse.Namespace) -> Json:
    """Where jobs go, after a choice if one was made, and whether that answers."""
    if options.address or options.off:
        choose_cluster(workspace().make(), None if options.off else options.address, options.python)
    cluster = cluster_of(workspace())
    if cluster is None:
        return {"address": None, "python": None, "problem": None}
    return {"address": cluster.address, "python": cluster.python, "problem": problem_of(cluster)}


def cluster_text(value: Json) -> str:
    """One line."""
    if value["address"] is None:
        return "jobs run on this machine"
    problem = f", but {value['problem']}" if value["problem"] else ""
    return f"jobs that need a GPU go to the Ray cluster at {value['address']}{problem}"


def queue_text(value: Json) -> str:
    """One line."""
    return "the queue is paused" if value["paused"] else "the queue goes on"
