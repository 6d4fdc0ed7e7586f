"""What becomes of jobs whose supervisor, worker, machine, clock or status file is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from limit import jobs
from limit.core import Json, read_json
from limit.jobs import processes, queue, rundir
from limit.jobs.locks import is_locked, try_lock
from limit.jobs.rundir import new_status, stored_status, write_status
from limit.settings import PROJECT, Workspace
from tests.jobs.conftest import Ask, out, until


def running(ws: Workspace, ask: Ask, name: str = "a", steps: int = 40) -> tuple[str, Json]:
    job_id = jobs.start(ws, ask(name, "--steps", str(steps), "--pause", "0.05"))
    processes.wait_until(lambda: (out(ws, name) / "checkpoint.json").exists(), 20)
    return job_id, until(ws, job_id, "running")


def kill(pid: int) -> None:
    psutil.Process(pid).kill()


def test_a_killed_supervisor_is_replaced_and_the_worker_goes_on(ws: Workspace, ask: Ask) -> None:
    job_id, status = running(ws, ask)
    kill(status["supervisor_pid"])
    processes.wait_until(lambda: not psutil.pid_exists(status["supervisor_pid"]) or jobs.schedule(ws) == [], 2)
    final = jobs.wait(ws, job_id)
    assert final["state"] == "finished"
    assert final["pid"] == status["pid"] and final["supervisor_pid"] != status["supervisor_pid"]
    assert len((out(ws, "a") / "starts.txt").read_text().split()) == 1


def test_the_slot_stays_taken_while_an_orphaned_worker_runs(ws: Workspace, ask: Ask) -> None:
    _, status = running(ws, ask)
    kill(status["supervisor_pid"])
    time.sleep(0.1)
    assert is_locked(ws.jobs / ".slots" / "cpu-0.lock")
    kill(status["pid"])
    assert processes.wait_until(lambda: not is_locked(ws.jobs / ".slots" / "cpu-0.lock"), 5)


def test_killed_supervisor_and_worker_make_a_lost_job_that_resumes(ws: Workspace, ask: Ask) -> None:
    job_id, status = running(ws, ask)
    kill(status["supervisor_pid"])
    kill(status["pid"])
    assert jobs.wait(ws, job_id)["state"] == "lost"
    jobs.resume(ws, job_id)
    final = jobs.wait(ws, job_id)
    assert (final["state"], final["step"], final["attempt"]) == ("finished", 40, 2)


def test_a_worker_that_finished_unseen_is_finished(ws: Workspace, ask: Ask) -> None:
    job_id, status = running(ws, ask, steps=12)
    kill(status["supervisor_pid"])
    processes.wait_until(lambda: not processes.alive(status["pid"], status["create_time"], status["token"]), 20)
    final = jobs.wait(ws, job_id)
    assert final["state"] == "finished" and final["exit_code"] is None


def test_a_killed_worker_is_a_failed_job_with_its_exit_code(ws: Workspace, ask: Ask) -> None:
    job_id, status = running(ws, ask)
    kill(status["pid"])
    final = jobs.wait(ws, job_id)
    assert (final["state"], final["exit_code"], final["cause"]) == ("failed", -9, "killed")


def written(ws: Workspace, ask: Ask, **changes: object) -> str:
    """A job whose status says that it runs although nothing does."""
    jobs.pause(ws)
    job_id = jobs.start(ws, ask("a"))
    base = {
        **new_status(1, 0.0), "state": "running", "pid": 2**22 - 1, "create_time": 1.0, "token": "t0",
        "supervisor_pid": 2**22 - 2, "supervisor_create_time": 1.0, "host": processes.host(),
        "boot_id": processes.boot_id(), "launched": True,
    }  # fmt: skip
    write_status(ws.job(job_id), {**base, **changes})
    return job_id


def test_a_recycled_pid_is_not_our_process(ws: Workspace, ask: Ask) -> None:
    me = os.getpid()
    job_id = written(ws, ask, pid=me, supervisor_pid=me)
    assert jobs.status(ws, job_id)["state"] == "lost"
    jobs.schedule(ws)
    assert read_json(ws.job(job_id) / "status.json")["state"] == "lost"
    assert processes.create_time(me) is not None


def test_a_reboot_ends_every_job(ws: Workspace, ask: Ask) -> None:
    me, began = os.getpid(), processes.create_time(os.getpid())
    job_id = written(ws, ask, pid=me, create_time=began, supervisor_pid=me, supervisor_create_time=began, boot_id="old")
    jobs.schedule(ws)
    status = read_json(ws.job(job_id) / "status.json")
    assert (status["state"], status["reason"]) == ("lost", "the machine was restarted")


def test_a_clock_set_back_does_not_lose_a_live_job(ws: Workspace, ask: Ask) -> None:
    job_id, _ = running(ws, ask, steps=200)
    status = stored_status(ws.job(job_id))
    shifted = {**status, "create_time": status["create_time"] + 3600, "heartbeat": "2100-01-01T00:00:00.000Z"}
    shifted["supervisor_create_time"] = status["supervisor_create_time"] + 3600
    write_status(ws.job(job_id), shifted)
    assert jobs.status(ws, job_id)["state"] == "running"
    jobs.schedule(ws)
    assert jobs.status(ws, job_id)["state"] == "running"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"state": "dancing"}', "\x00\x00", '{"state": null}', '{"state": "running", "slots": 1}'],
)
def test_an_unreadable_status_is_a_lost_job_that_resumes(ws: Workspace, ask: Ask, content: str) -> None:
    job_id = jobs.start(ws, ask("a"))
    jobs.wait(ws, job_id)
    (ws.job(job_id) / "status.json").write_text(content)
    assert jobs.list_jobs(ws)[0]["status"]["state"] == "lost"
    jobs.resume(ws, job_id)
    assert jobs.wait(ws, job_id)["state"] == "finished"


def test_an_unreadable_status_of_a_live_job_is_written_anew_by_its_supervisor(ws: Workspace, ask: Ask) -> None:
    job_id, _ = running(ws, ask)
    (ws.job(job_id) / "status.json").write_text("{")
    assert jobs.wait(ws, job_id)["state"] == "finished"
    assert len((out(ws, "a") / "starts.txt").read_text().split()) == 1


def test_a_start_that_died_before_the_launch_goes_back_to_the_queue(ws: Workspace, ask: Ask) -> None:
    job_id = written(ws, ask, state="starting", launched=False, pid=None, supervisor_pid=None)
    jobs.pause(ws, paused=False)
    assert jobs.wait(ws, job_id)["attempt"] == 1
    assert len((out(ws, "a") / "starts.txt").read_text().split()) == 1


def test_a_job_on_another_machine_is_left_alone_while_it_reports(ws: Workspace, ask: Ask) -> None:
    job_id = written(ws, ask, host="elsewhere")
    jobs.schedule(ws)
    assert jobs.status(ws, job_id)["state"] == "running"
    old = time.time() - 3600
    os.utime(ws.job(job_id) / "status.json", (old, old))
    jobs.schedule(ws)
    assert read_json(ws.job(job_id) / "status.json")["state"] == "lost"


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from limit.jobs.locks import try_lock\n"
    code += "try_lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "x.lock")], cwd=PROJECT, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    assert try_lock(tmp_path / "x.lock") is None
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    descriptor = try_lock(tmp_path / "x.lock")
    assert descriptor is not None
    os.close(descriptor)


def test_an_unreadable_status_never_leads_to_a_second_worker(ws: Workspace, ask: Ask) -> None:
    job_id, status = running(ws, ask, steps=60)
    kill(status["supervisor_pid"])
    (ws.job(job_id) / "status.json").write_text("{")
    jobs.schedule(ws)
    assert jobs.status(ws, job_id)["reason"] == "its status file is missing or cannot be read"
    jobs.resume(ws, job_id)
    assert jobs.status(ws, job_id)["state"] == "queued"  # its worker still holds the slot
    assert jobs.wait(ws, job_id)["state"] == "finished"
    assert not (out(ws, "a") / "TWICE").exists()


def test_a_job_that_ends_while_the_queue_looks_keeps_its_reason(
    ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = _running_on_paper(ws, ask)
    _end_during(monkeypatch, ws.job(job_id), queue, "is_locked")
    jobs.schedule(ws)
    assert stored_status(ws.job(job_id))["state"] == "failed"
    assert stored_status(ws.job(job_id))["reason"] == "no such file"


def test_a_job_that_ends_while_a_reader_looks_is_never_shown_as_lost(
    ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = _running_on_paper(ws, ask)
    _end_during(monkeypatch, ws.job(job_id), rundir, "supervisor_alive")
    assert jobs.status(ws, job_id)["state"] == "failed"


def _running_on_paper(ws: Workspace, ask: Ask) -> str:
    """A job whose file says running while no process of it is there any more."""
    jobs.pause(ws.make())
    job_id = jobs.start(ws, ask("short"))
    gone = {"state": "running", "launched": True, "supervisor_pid": 2**22 + 1, "supervisor_create_time": 1.0}
    write_status(ws.job(job_id), {**stored_status(ws.job(job_id)), **gone})
    return job_id


def _end_during(monkeypatch: pytest.MonkeyPatch, folder: Path, module: object, name: str) -> None:
    """Let the supervisor write its last word just before the named look at the processes."""
    look = getattr(module, name)

    def look_late(*arguments: object) -> object:
        write_status(folder, {**stored_status(folder), "state": "failed", "reason": "no such file"})
        return look(*arguments)

    monkeypatch.setattr(module, name, look_late)
