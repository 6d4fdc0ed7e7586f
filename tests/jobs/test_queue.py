"""Who starts when, and what becomes of jobs whose supervisor is gone."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from limit import jobs
from limit.core import Json, read_json, write_json
from limit.jobs import processes, queue, rundir
from limit.jobs.locks import is_locked, try_lock
from limit.jobs.rundir import new_status, stored_status, write_status
from limit.settings import PROJECT, Workspace
from tests.jobs.conftest import Ask, out, until


def test_one_slot_runs_one_heavy_job_at_a_time_in_order(ws: Workspace, ask: Ask) -> None:
    ids = [jobs.start(ws, ask(name, "--steps", "2")) for name in "abc"]
    ended = [jobs.wait(ws, job_id) for job_id in ids]
    assert [status["state"] for status in ended] == ["finished"] * 3
    for before, after in itertools.pairwise(ended):
        assert before["ended"] <= after["started"]


def test_light_jobs_do_not_wait_for_the_slot(ws: Workspace, ask: Ask) -> None:
    heavy = jobs.start(ws, ask("heavy", "--steps", "5000"))
    light = jobs.start(ws, ask("light", kind="export"))
    assert jobs.wait(ws, light)["slots"] == ["light-0"]
    assert jobs.status(ws, heavy)["state"] == "running"


def test_more_slots_run_more_jobs(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_GPU_SLOTS", "2")
    ids = [jobs.start(ws, ask(name, "--steps", "5000")) for name in "abc"]
    until(ws, ids[1], "running")
    assert [jobs.status(ws, job_id)["state"] for job_id in ids].count("queued") == 1


def test_a_large_job_at_the_head_is_not_overtaken(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_GPU_SLOTS", "2")
    first = jobs.start(ws, ask("a", "--steps", "5000"))
    jobs.start(ws, ask("large", gpus=2))
    small = jobs.start(ws, ask("small"))
    until(ws, first, "running")
    assert jobs.status(ws, small)["state"] == "queued"


def test_a_failure_does_not_stop_what_is_behind_it(ws: Workspace, ask: Ask) -> None:
    bad, good = jobs.start(ws, ask("bad", "--code", "1")), jobs.start(ws, ask("good"))
    assert jobs.wait(ws, bad)["state"] == "failed"
    assert jobs.wait(ws, good)["state"] == "finished"


def test_the_queue_goes_on_with_nobody_watching(ws: Workspace, ask: Ask) -> None:
    ids = [jobs.start(ws, ask(name)) for name in "abcd"]
    path = ws.job(ids[-1]) / "status.json"
    assert processes.wait_until(lambda: read_json(path)["state"] == "finished", 30), read_json(path)


def test_fifty_jobs_at_once_all_run_once(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_GPU_SLOTS", "4")
    jobs.pause(ws)
    ids = [jobs.start(ws, ask(f"n{n}", "--steps", "1", "--pause", "0")) for n in range(50)]
    jobs.pause(ws, paused=False)
    assert {jobs.wait(ws, job_id)["state"] for job_id in ids} == {"finished"}
    starts = [(out(ws, f"n{n}") / "starts.txt").read_text().split() for n in range(50)]
    assert {len(one) for one in starts} == {1}


def test_a_chain_runs_in_order(ws: Workspace, ask: Ask) -> None:
    first = jobs.start(ws, ask("a"))
    second = jobs.start(ws, ask("b", kind="judge", after=[first]))
    third = jobs.start(ws, ask("c", kind="export", after=[first, second]))
    ended = [jobs.wait(ws, job_id) for job_id in (first, second, third)]
    assert [status["state"] for status in ended] == ["finished"] * 3
    assert ended[0]["ended"] <= ended[1]["started"] and ended[1]["ended"] <= ended[2]["started"]


def test_a_failed_link_explains_what_was_skipped_and_its_resume_brings_it_back(ws: Workspace, ask: Ask) -> None:
    jobs.pause(ws)
    first = jobs.start(ws, ask("a", "--say", "limit: no such model", "--code", "2"))
    second = jobs.start(ws, ask("b", after=[first]))
    third = jobs.start(ws, ask("c", after=[second]))
    jobs.pause(ws, paused=False)
    assert jobs.wait(ws, first)["state"] == "failed"
    assert jobs.wait(ws, third)["state"] == "stopped"
    assert jobs.status(ws, second)["reason"] == "skipped: 'a' failed (no such model)"
    assert jobs.status(ws, third)["reason"].startswith("skipped: 'b' stopped (skipped: 'a' failed")
    jobs.pause(ws)
    jobs.resume(ws, first)
    assert [jobs.status(ws, job_id)["state"] for job_id in (first, second, third)] == ["queued"] * 3


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


def test_equal_turns_after_a_clock_jump_can_still_be_reordered(ws: Workspace, ask: Ask) -> None:
    jobs.pause(ws)
    ids = [jobs.start(ws, ask(name)) for name in "abc"]
    for job_id in ids:
        write_status(ws.job(job_id), {**stored_status(ws.job(job_id)), "order": 5.0})
    last = jobs.list_jobs(ws)[-1]["job_id"]
    jobs.move(ws, last, "top")
    assert jobs.list_jobs(ws)[0]["job_id"] == last


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


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"job_id": 5}', '{"arguments": [], "after": 3}'])
def test_a_broken_request_is_listed_and_never_started(ws: Workspace, ask: Ask, content: str) -> None:
    jobs.pause(ws)
    job_id = jobs.start(ws, ask("a"))
    (ws.job(job_id) / "job.json").write_text(content)
    jobs.pause(ws, paused=False)
    (listed,) = jobs.list_jobs(ws)
    assert listed["broken"] and listed["status"]["state"] == "queued"
    jobs.stop(ws, job_id)
    assert jobs.status(ws, job_id)["state"] == "stopped"


def test_foreign_files_in_the_jobs_folder_do_no_harm(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a"))
    (ws.jobs / "notes.txt").write_text("x")
    (ws.jobs / "empty").mkdir()
    assert jobs.wait(ws, job_id)["state"] == "finished"
    assert jobs.counts(ws) == {"running": 0, "queued": 0, "failed": 1, "unwatched": 0}


def test_a_start_that_died_before_the_launch_goes_back_to_the_queue(ws: Workspace, ask: Ask) -> None:
    job_id = written(ws, ask, state="starting", launched=False, pid=None, supervisor_pid=None)
    jobs.pause(ws, paused=False)
    assert jobs.wait(ws, job_id)["attempt"] == 1
    assert len((out(ws, "a") / "starts.txt").read_text().split()) == 1


def test_two_apps_on_one_workspace_start_each_job_once(ws: Workspace, ask: Ask) -> None:
    jobs.pause(ws)
    ids = [jobs.start(ws, ask(f"n{n}", "--steps", "1", "--pause", "0")) for n in range(12)]
    (ws.jobs / ".paused").unlink()
    code = (
        "import time; from limit import jobs; from limit.settings import workspace\n"
        "end = time.monotonic() + 20\n"
        "while time.monotonic() < end and jobs.counts(workspace())['queued']: jobs.schedule(workspace())"
    )
    apps = [subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT) for _ in range(2)]
    assert {jobs.wait(ws, job_id)["state"] for job_id in ids} == {"finished"}
    assert [app.wait() for app in apps] == [0, 0]
    for n in range(12):
        assert len((out(ws, f"n{n}") / "starts.txt").read_text().split()) == 1


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


def test_the_folder_is_whole_or_absent(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("limit.core.os.fsync", full)
    with pytest.raises(Exception, match="disk full"):
        jobs.start(ws, ask("a"))
    assert [path.name for path in ws.jobs.iterdir()] == []
    monkeypatch.undo()
    write_json(ws.root / "works.json", {})


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
