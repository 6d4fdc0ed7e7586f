"""One process per job: starts the worker, writes its status, stops it when asked, and never leaves anything behind.

Started by `limit.jobs.queue` with the job's lock and its slots already held. It is the only writer of `status.json`
while it lives. If it is killed, the worker goes on and the next `schedule` gives it another supervisor (`--orphan`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from limit.core import Json, LimitError, utc_now, write_json
from limit.jobs import processes, reasons
from limit.jobs.cluster import cluster_of
from limit.jobs.control import discard_outputs, read_cancel
from limit.jobs.launch import (
    Attempt,
    LocalAttempt,
    OrphanAttempt,
    find_orphan,
    gpu_environment,
    log_mark,
    worker_command,
    worker_environment,
)
from limit.jobs.locks import try_lock
from limit.jobs.notify import notify
from limit.jobs.queue import attempt_lock, schedule
from limit.jobs.rundir import EventTail, load_job, result_of, stored_status, tail_log, write_status
from limit.jobs.slots import gpus_needed, on_ray
from limit.settings import Workspace

TICK_S = 0.2
PROGRESS_S = 1.0
HEARTBEAT_S = 5.0
LOG_LIMIT = 64 * 2**20
LOG_KEPT = 2**20
FINAL_WRITE_S = 3600.0
ABANDONED_S = 10.0


def stop_grace_s() -> float:
    """How long a worker may take to save and end after it was asked, before it is terminated."""
    return _seconds("LIMIT_STOP_GRACE_S", 60.0)


def kill_grace_s() -> float:
    """How long a terminated worker may take before it is killed."""
    return _seconds("LIMIT_KILL_GRACE_S", 10.0)


def stall_s() -> float:
    """Silence, without an event or a log line, after which a live job is called stalled."""
    return _seconds("LIMIT_STALL_S", 300.0)


def _seconds(name: str, usual: float) -> float:
    """A span from the environment; what is none must not cost the work of hours, so the usual one stands in for it."""
    try:
        value = float(os.environ.get(name) or usual)
    except ValueError:
        return usual
    return value if 0 <= value < float("inf") else usual


class Supervisor:
    """The life of one attempt, from its launch to its last status."""

    def __init__(self, folder: Path, slots: list[int]) -> None:
        self.ws = Workspace(folder.parent.parent)
        self.folder = folder
        self.slots = slots
        self.job = load_job(folder)
        self.status = stored_status(folder)
        self.status.update(supervisor_pid=os.getpid(), supervisor_create_time=processes.create_time(os.getpid()))
        self.events = EventTail(folder / "events.jsonl", self.status["events_offset"])
        self.kills_before = reasons.kernel_kills()
        self.terminated = False
        self._written = 0.0
        self._dirty = True
        self._active = (0, 0)
        self._active_at = time.monotonic()
        self._missing_since: float | None = None

    def launch(self) -> Attempt:
        """Start the worker. Raises LimitError when it cannot be started."""
        with contextlib.suppress(FileNotFoundError):
            self.events.offset = (self.folder / "events.jsonl").stat().st_size
        self.status.update(launched=True, events_offset=self.events.offset, started=utc_now())
        log_mark(self.folder, f"attempt {self.status['attempt']}")
        own = self._own_attempt()
        self._plan_ray()
        self.save()
        try:
            attempt = self._start([own, *self.slots])
        finally:
            os.close(own)
        self.status.update(state="running", pid=attempt.pid, create_time=attempt.created, pgid=attempt.pid)
        self.save()
        return attempt

    def _start(self, held: list[int]) -> Attempt:
        token, heavy = self.status["token"], gpus_needed(self.job) > 0
        settings = worker_environment(self.ws, self.job, token, self.status["attempt"])
        if on_ray(self.status):
            from limit.jobs.ray import RayAttempt

            return RayAttempt.submit(self.job, self.folder, settings, self.status["ray"])
        settings |= gpu_environment(self.status["gpus"], heavy)
        return LocalAttempt(worker_command(self.job, self.folder), settings, self.folder, held)

    def _plan_ray(self) -> None:
        """End an attempt that a cluster may still run, and say where this one goes, before it is sent there."""
        cluster, earlier = cluster_of(self.ws), self.status.get("earlier_ray")
        if earlier and cluster is not None and cluster.address == earlier["address"]:
            from limit.jobs.ray import end_earlier

            end_earlier(earlier)
        if on_ray(self.status):
            from limit.jobs.ray import handle_for

            if cluster is None:
                raise LimitError("the Ray cluster was given up while this job started; resume it to run it here")
            self.status["ray"] = handle_for(self.folder, self.status, cluster)

    def _own_attempt(self) -> int:
        """The lock that the worker will hold; what is left of an earlier attempt is ended first."""
        token = self.status["token"]
        for _ in range(3):
            own = try_lock(attempt_lock(self.folder))
            if own is not None:
                return own
            processes.kill_all(token)
            time.sleep(0.3)
        raise LimitError(f"a process of an earlier attempt of {self.folder.name} still runs; end it, then resume")

    def take_over(self) -> Attempt:
        """Watch the worker of a supervisor that was killed."""
        log_mark(self.folder, "its supervisor was gone; another one took over")
        if self.status.get("ray"):
            from limit.jobs.ray import SILENT_S, RayAttempt

            return RayAttempt(self.folder, self.status["ray"], SILENT_S)
        token = self.status["token"]
        pid, created = self.status["pid"], self.status["create_time"]
        if pid is None:
            pid, created = find_orphan(token, self.folder)
        self.status.update(state="running", pid=pid, create_time=created, pgid=pid)
        self.save()
        return OrphanAttempt(pid, created, token)

    def watch(self, attempt: Attempt) -> None:
        """Until the worker ends: progress into the status, the heartbeat, the stop timer, the size of the log."""
        beat = time.monotonic()
        while not attempt.wait(TICK_S):
            if self.is_abandoned():
                attempt.signal(signal.SIGTERM)
                attempt.wait(kill_grace_s())
                return
            self.read_progress()
            self.obey_cancel(attempt)
            self.watch_log()
            now = time.monotonic()
            if now - beat >= HEARTBEAT_S:
                beat = now
                self._dirty = True
                with contextlib.suppress(LimitError):
                    schedule(self.ws)
            if self._dirty and now - self._written >= PROGRESS_S:
                self.save()

    def is_abandoned(self) -> bool:
        """Whether somebody removed the job's folder, and it did not come back as that of a mount does."""
        try:
            (self.folder / "job.json").stat()
        except FileNotFoundError:
            self._missing_since = self._missing_since or time.monotonic()
            return time.monotonic() - self._missing_since > ABANDONED_S
        except OSError:
            return False
        self._missing_since = None
        return False

    def read_progress(self) -> None:
        """Take over what the worker has reported since the last look."""
        for event in self.events.new():
            if event.get("kind") == "progress":
                rest = {k: v for k, v in event.items() if k not in ("kind", "time", "step", "total", "eta_s")}
                self.status.update(step=event.get("step"), total=event.get("total"), eta_s=event.get("eta_s"))
                self.status["progress"] = rest
                self._dirty = True

    def obey_cancel(self, attempt: Attempt) -> None:
        """Ask (the flag itself), then terminate, then kill, each when its time has come."""
        wish = read_cancel(self.folder)
        if self.terminated and wish is None:
            wish = {"discard": False}
            with contextlib.suppress(LimitError):
                write_json(self.folder / "cancel", {**wish, "time": utc_now()})
        if wish is None:
            return
        plan = self.status["stopping"]
        if plan is None or plan["discard"] != wish["discard"]:
            plan = self._plan_stop(bool(wish["discard"]))
        now = time.monotonic()
        for phase, number in (("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)):
            if now >= self._stop_at[phase] and phase not in plan["sent"]:
                plan["sent"].append(phase)
                attempt.signal(number)
                self.save()

    def _plan_stop(self, discard: bool) -> Json:
        grace = 0.0 if discard else stop_grace_s()
        last, now = grace + kill_grace_s(), time.monotonic()
        self._stop_at = {"terminate": now + grace, "kill": now + last}
        plan = {
            "discard": discard,
            "asked": utc_now(),
            "terminate_after_s": grace,
            "kill_after_s": last,
            "sent": [],
        }
        self.status.update(state="stopping", stopping=plan)
        self.save()
        return plan

    def watch_log(self) -> None:
        """Notice silence, and keep a flood of output from filling the disk."""
        log = self.folder / "log.txt"
        size = log.stat().st_size if log.exists() else 0
        now, seen = time.monotonic(), (size, self.events.offset)
        if seen != self._active:
            self._active, self._active_at = seen, now
        stalled = now - self._active_at > stall_s()
        if stalled != self.status["stalled"]:
            self.status["stalled"] = stalled
            self._dirty = True
        if size > LOG_LIMIT:
            with contextlib.suppress(OSError):
                shorten_log(log)

    def save(self) -> None:
        """Write the status; a full disk costs this update, not the job."""
        self.status["heartbeat"] = utc_now()
        self._written = time.monotonic()
        self._dirty = self._missing_since is not None
        if self._dirty:
            return  # it would make the removed folder anew
        try:
            write_status(self.folder, self.status)
        except LimitError as error:
            self._dirty = True
            with contextlib.suppress(OSError):  # the log may lie on the same full disk
                print(f"status not written: {error}", file=sys.stderr, flush=True)

    def finish(self, exit_code: int | None) -> None:
        """Write the outcome, however long the disk stays full; free the places first."""
        self.read_progress()
        wish = read_cancel(self.folder)
        if wish is not None and self.status["stopping"] is None:  # the worker obeyed before we had looked
            self._plan_stop(bool(wish["discard"]))
        self.status.update(exit_code=exit_code, eta_s=None, stalled=False, ended=utc_now())
        self.status.update(self.outcome(exit_code))
        if self.status["state"] == "stopped" and (self.status["stopping"] or {}).get("discard"):
            discard_outputs(self.ws, self.job)
        for descriptor in self.slots:
            os.close(descriptor)
        deadline = time.monotonic() + FINAL_WRITE_S
        self.save()
        while self._dirty and time.monotonic() < deadline:
            time.sleep(TICK_S * 5)
            self.save()

    def outcome(self, exit_code: int | None) -> Json:
        """State, cause, reason and advice of an attempt that has ended."""
        done = self.status["total"] is not None and self.status["step"] == self.status["total"]
        ended_well = exit_code == 0 or (exit_code is None and result_of(self.folder, self.status) is not None)
        stop = self.status["stopping"]
        if ended_well and (stop is None or (done and not stop["discard"])):
            return {"state": "finished", "cause": None, "reason": None, "what_to_do": None}
        if stop is not None:
            kept = "what it had made was discarded" if stop["discard"] else "what it had made so far is kept"
            how = f"stopped by {stop['sent'][-1]}; " if stop["sent"] and not stop["discard"] else ""
            return {"state": "stopped", "cause": "stopped", "reason": how + kept, "what_to_do": "resume it to go on"}
        if exit_code is None:
            again = "resume it; it goes on from its last checkpoint"
            unseen = reasons.Reason("vanished", "it ended while its supervisor was gone, without a result", again)
            return {"state": "lost", **unseen.fields()}
        reason = reasons.explain(self._log(), exit_code, reasons.kernel_kills() > self.kills_before)
        return {"state": "failed", **reason.fields()}

    def _log(self) -> list[str]:
        lines = tail_log(self.folder, reasons.LAST_LINES)
        starts = [n for n, line in enumerate(lines) if line.startswith("--- attempt ")]
        return lines[starts[-1] + 1 :] if starts else lines

    def fail(self, error: Exception) -> None:
        """The worker could not be started, or this supervisor broke."""
        text = str(error) if isinstance(error, LimitError) else f"supervisor: {type(error).__name__}: {error}"
        self.status.update(state="failed", cause="start", reason=text, what_to_do="see the log, then resume")
        self.status.update(ended=utc_now(), eta_s=None, stalled=False)
        self.save()


def shorten_log(log: Path) -> None:
    """Keep the last part of a log in place; the worker appends, so it goes on at the new end."""
    with log.open("rb+") as file:
        file.seek(-LOG_KEPT, os.SEEK_END)
        kept = file.read().partition(b"\n")[2]
        file.truncate(0)
    with log.open("ab") as file:
        file.write(b"--- the log was longer than 64 MB; its older part was dropped\n" + kept)


def run(folder: Path, held: list[int], orphan: bool) -> None:
    """Supervise one attempt; `held` are the descriptors of the job's lock and of its slots."""
    for descriptor in held:
        os.set_inheritable(descriptor, False)
    supervisor = Supervisor(folder, held[1:])

    def told_to_end(number: int, frame: FrameType | None) -> None:
        supervisor.terminated = True

    signal.signal(signal.SIGTERM, told_to_end)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    attempt: Attempt | None = None
    try:
        attempt = supervisor.take_over() if orphan else supervisor.launch()
        supervisor.watch(attempt)
        exit_code = attempt.close()
        if supervisor.is_abandoned():
            shutil.rmtree(folder, ignore_errors=True)  # what a worker wrote there after it was removed
        else:
            supervisor.finish(exit_code)
    except Exception as error:
        if attempt is not None:
            attempt.signal(signal.SIGKILL)
            attempt.close()
        supervisor.fail(error)
        if not isinstance(error, LimitError):
            raise
    finally:
        os.close(held[0])
        leave(supervisor)


def leave(supervisor: Supervisor) -> None:
    """Let the queue go on, and tell whoever asked to be told."""
    try:
        schedule(supervisor.ws)
    except LimitError as error:
        print(f"the queue did not go on: {error}", file=sys.stderr, flush=True)
    said = notify(supervisor.job, supervisor.status)
    if said is not None:
        with contextlib.suppress(LimitError):
            log_mark(supervisor.folder, f"notification {said}")


def main(arguments: list[str] | None = None) -> None:
    """Entry of `python -m limit.jobs.supervisor`."""
    parser = argparse.ArgumentParser(prog="limit.jobs.supervisor", description="Used by the queue; not by hand.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hold", required=True, help="descriptors of the locks that were handed over")
    parser.add_argument("--orphan", action="store_true", help="the worker runs already")
    options = parser.parse_args(arguments)
    run(options.folder, [int(number) for number in options.hold.split(",")], options.orphan)


if __name__ == "__main__":
    main()
