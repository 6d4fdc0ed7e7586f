"""A harness that kills the app, supervisors and workers at seeded random moments and looks for damage.

    python -m tests.jobs.faults --kills 120 --seed 17

Each round starts a chain of jobs from an app process, sends SIGKILL to one kind of process at a random moment of one
phase, then lets a fresh process bring everything to its end (resuming what was lost, as a person would) and checks:
every job is there and finished, every step was made exactly once by one worker at a time, each file can be read, no
slot and no process is left over, and the index that was open all along equals one made anew from the files.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psutil

from limit import jobs
from limit.core import Json, LimitError, read_json
from limit.jobs import processes
from limit.jobs.locks import is_locked
from limit.jobs.rundir import ENDED, RESUMABLE, job_folders, stored_status
from limit.settings import PROJECT, Workspace
from limit.store import Store
from limit.store.schema import TABLES, ddl

PHASES = ("queued", "starting", "running", "checkpoint", "status-write", "hand-over", "stopping")
TARGETS = ("app", "supervisor", "worker", "both", "all")
STEPS = 12
CHAIN = 3
TRIES = 5
APP = (
    "import sys, time; from limit import jobs; from limit.settings import workspace\n"
    "before = []\n"
    "for name in ('a', 'b', 'c'):\n"
    "    words = [sys.argv[1] + '/' + name, '--steps', '12', '--pause', '0.03', '--children', '1']\n"
    "    request = jobs.JobRequest('finetune', name, words, after=before, module='tests.jobs.fake_worker')\n"
    "    before = [jobs.start(workspace(), request)]\n"
    "print('started', flush=True)\n"
    "while True: jobs.schedule(workspace()); time.sleep(0.05)\n"
)


class Damage(AssertionError):
    """What a round broke."""


def play(root: Path, seed: int) -> str:
    """One kill in a workspace of its own. Returns what was killed when; raises Damage.

    Where the jobs had ended before the blow fell, the round is checked like any other and played again, sooner.
    """
    dice = random.Random(seed)
    phase, target = PHASES[seed % len(PHASES)], TARGETS[seed // len(PHASES) % len(TARGETS)]
    for again in range(TRIES):
        hit = _round(root / str(again), phase, target, dice, longest_s=0.3 / 2**again)
        if hit:
            return f"seed {seed}: {phase}/{target}, {hit} killed"
    raise Damage(f"nothing to kill in {phase}/{target}")


def _round(root: Path, phase: str, target: str, dice: random.Random, longest_s: float) -> int:
    """Start, strike, settle, check. Returns how many processes were killed."""
    ws = Workspace(root / "ws").make()
    environment = {**os.environ, "LIMIT_HOME": str(ws.root), "LIMIT_STOP_GRACE_S": "3", "LIMIT_KILL_GRACE_S": "1"}
    app = subprocess.Popen(
        [sys.executable, "-c", APP, str(root / "out")], cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        await_phase(ws, root, phase, dice, longest_s)
        hit = 0
        until = time.monotonic() + 10
        while not hit and not is_over(ws) and time.monotonic() < until:  # its process may not be there at this moment
            hit = kill(ws, app, target)
    finally:
        app.kill()
        app.wait()
    with Store.open(ws, shipped=ws.root / "none", published=ws.root / "none") as index:  # as the app's, it sees it all
        settle(ws)
        check(ws, root)
        check_index(index, ws)
    return hit


def is_over(ws: Workspace) -> bool:
    """Whether the whole chain has ended, so that only the app is left."""
    found = states(ws)
    return len(found) == CHAIN and all(state in ENDED for state in found)


def await_phase(ws: Workspace, root: Path, phase: str, dice: random.Random, longest_s: float) -> None:
    """Return at a random moment inside the phase, at most `longest_s` after its beginning."""
    victim = dice.choice("ab")
    moments = {
        "queued": lambda: any(True for _ in job_folders(ws)),
        "starting": lambda: "starting" in states(ws),
        "running": lambda: "running" in states(ws),
        "checkpoint": lambda: any((root / "out" / victim).glob(".checkpoint.json*.tmp")),
        "status-write": lambda: any(ws.jobs.glob("*/.status.json*.tmp")),
        "hand-over": lambda: "finished" in states(ws),
        "stopping": lambda: "running" in states(ws),
    }
    processes.wait_until(moments[phase], 15, 0.0005)
    if phase == "stopping":
        for folder in job_folders(ws):
            if stored_status(folder)["state"] == "running":
                jobs.stop(ws, folder.name)
    time.sleep(dice.random() * (0.004 if phase in ("checkpoint", "status-write") else longest_s))


def states(ws: Workspace) -> list[str]:
    return [stored_status(folder)["state"] for folder in job_folders(ws)]


def kill(ws: Workspace, app: subprocess.Popen[bytes], target: str) -> int:
    """SIGKILL to every process of the chosen kind. Returns how many were hit."""
    hit = 0
    for process in list(victims(ws, app, target)):
        try:
            process.kill()
            hit += 1
        except psutil.Error:
            continue
    return hit


def victims(ws: Workspace, app: subprocess.Popen[bytes], target: str) -> Iterator[psutil.Process]:
    if target in ("app", "all"):
        yield psutil.Process(app.pid)
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        ours = str(ws.root) in " ".join(words)
        if ours and "limit.jobs.supervisor" in words and target in ("supervisor", "both", "all"):
            yield process
        if ours and "tests.jobs.fake_worker" in words and target in ("worker", "both", "all"):
            yield process


def settle(ws: Workspace) -> None:
    """What a person does afterwards: look, resume what was lost, failed or stopped, until all is finished."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        jobs.schedule(ws)
        listed = jobs.list_jobs(ws)
        if all(job["status"]["state"] == "finished" for job in listed):
            return  # also when the app was killed before its first job was whole
        for job in listed:
            if job["status"]["state"] in RESUMABLE and job["status"]["cause"] != "skipped":
                try:
                    jobs.resume(ws, job["job_id"])
                except LimitError:
                    continue  # it moved on between the look and the click
        time.sleep(0.05)
    raise Damage(f"not finished: {[(job['title'], job['status']) for job in jobs.list_jobs(ws)]}")


def check(ws: Workspace, root: Path) -> None:
    """Nothing lost, nothing twice, nothing unreadable, nothing left over."""
    for folder in job_folders(ws):
        for name in ("job.json", "status.json"):
            read_json(folder / name)
        job, status = read_json(folder / "job.json"), read_json(folder / "status.json")
        _check_work(root / "out" / job["title"], status)
        if not processes.wait_until(lambda token=status["token"]: not leftovers(token), 5):  # type: ignore[misc]
            raise Damage(f"{job['title']} left processes: {leftovers(status['token'])}")
    for lock in (ws.jobs / ".slots").glob("*.lock"):
        if not processes.wait_until(lambda lock=lock: not is_locked(lock), 5):  # type: ignore[misc]
            raise Damage(f"{lock.name} is still held")
    drafts = [path.name for path in ws.jobs.glob(".gone-*")]
    if drafts:
        raise Damage(f"left behind: {drafts}")


def check_index(index: Store, ws: Workspace) -> None:
    """The index, brought up to date, holds what an index of the same files in memory holds, and names no problem."""
    index.refresh()
    fresh = Store(ws, memory_index(), None, ws.root / "none", ws.root / "none")
    fresh.refresh()
    for table in (*TABLES, "files"):
        kept, made = (sorted(map(repr, store.rows(f"select * from {table}"))) for store in (index, fresh))
        if kept != made:
            raise Damage(f"table {table} of the index is not what the files say")
    if problems := index.rows("select file, problem from problems"):
        raise Damage(f"the index could not read {problems}")
    found = {row["job_id"]: row["state"] for row in index.rows("select job_id, state from job_status")}
    if found != {folder.name: "finished" for folder in job_folders(ws)}:
        raise Damage(f"the index knows {found}")


def memory_index() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute(ddl())
    return connection


def _check_work(out: Path, status: Json) -> None:
    if (out / "TWICE").exists():
        raise Damage(f"two workers of {out.name} ran at a time")
    if read_json(out / "checkpoint.json")["step"] != STEPS:
        raise Damage(f"{out.name} says finished but has not made all steps")
    starts = len((out / "starts.txt").read_text().split())
    if starts > status["attempt"]:
        raise Damage(f"{out.name} was started {starts} times in {status['attempt']} attempts")


def leftovers(token: str) -> list[int]:
    return [process.pid for mark in (token, f"{token}-s") for process in processes.with_token(mark)]


def play_all(kills: int, seed: int) -> list[str]:
    """Rounds `seed`, `seed + 1`, ... Returns the rounds that did damage."""
    damaged = []
    for number in range(seed, seed + kills):
        with tempfile.TemporaryDirectory(prefix="limit-faults-") as folder:
            os.environ["LIMIT_GPU_SLOTS"] = "1"
            try:
                print(play(Path(folder), number), flush=True)
            except (Damage, LimitError, OSError) as error:
                damaged.append(f"seed {number}: {error}")
                print("DAMAGE", damaged[-1], flush=True)
    return damaged


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill things at random moments and look for damage.")
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    damaged = play_all(options.kills, options.seed)
    print(f"{options.kills - len(damaged)} of {options.kills} kills survived")
    return 1 if damaged else 0


if __name__ == "__main__":
    sys.exit(main())
