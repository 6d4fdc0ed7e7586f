"""Faults of the place where jobs run: odd paths, removed folders, no more processes, senseless settings."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from limit import jobs
from limit.cli import main
from limit.core import LimitError, read_json
from limit.jobs import processes, queue, supervisor, view
from limit.jobs.locks import is_locked
from limit.jobs.rundir import stored_status, tail_log, write_status
from limit.settings import Workspace
from tests.jobs.conftest import Ask, end_everything, out, until


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace whose path holds everything that a path may hold."""
    root = tmp_path / "a folder, 'quoted' \"twice\" – ü 空 $HOME ;*"
    monkeypatch.setenv("LIMIT_HOME", str(root))
    yield (odd := Workspace(root).make())
    end_everything(odd)


def request(ws: Workspace, name: str, *options: str) -> jobs.JobRequest:
    return jobs.JobRequest("finetune", name, [str(out(ws, name)), *options], module="tests.jobs.fake_worker")


def test_a_workspace_with_spaces_and_quotes_in_its_path(odd: Workspace) -> None:
    job_id = jobs.start(odd, request(odd, "a", "--steps", "200", "--pause", "0.02"))
    status = until(odd, job_id, "running")
    psutil.Process(status["supervisor_pid"]).kill()
    assert processes.wait_until(lambda: jobs.schedule(odd) == [] and jobs.counts(odd)["unwatched"] == 0, 10)
    jobs.stop(odd, job_id)
    assert jobs.wait(odd, job_id)["state"] == "stopped"
    jobs.resume(odd, job_id)
    assert jobs.wait(odd, job_id)["state"] == "finished"
    assert len((out(odd, "a") / "starts.txt").read_text().split()) == 2


def test_a_removed_job_folder_ends_its_job_and_frees_the_slot(
    ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "5000"))
    status = until(ws, job_id, "running")
    shutil.rmtree(ws.job(job_id), ignore_errors=True)
    gone = lambda: not processes.alive(status["supervisor_pid"], status["supervisor_create_time"])  # noqa: E731
    assert processes.wait_until(gone, supervisor.ABANDONED_S + 30)
    assert not processes.alive(status["pid"], status["create_time"], status["token"])
    assert not is_locked(ws.jobs / ".slots" / "cpu-0.lock")
    assert jobs.list_jobs(ws) == [] and not ws.job(job_id).exists()
    assert jobs.wait(ws, jobs.start(ws, ask("b")))["state"] == "finished"


def test_a_folder_that_comes_back_costs_nothing(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "100", "--pause", "0.05"))
    until(ws, job_id, "running")
    away = ws.root / "away"
    ws.job(job_id).rename(away)
    time.sleep(1)
    shutil.rmtree(ws.job(job_id), ignore_errors=True)
    away.rename(ws.job(job_id))
    assert jobs.wait(ws, job_id)["state"] == "finished"


def test_removed_events_are_begun_anew(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "150", "--pause", "0.02"))
    assert processes.wait_until(lambda: (jobs.status(ws, job_id)["step"] or 0) > 50, 30)
    (ws.job(job_id) / "events.jsonl").unlink()
    assert jobs.wait(ws, job_id)["step"] == 150


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", ""])
def test_a_senseless_span_of_time_costs_no_work(
    ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name in ("LIMIT_STOP_GRACE_S", "LIMIT_KILL_GRACE_S", "LIMIT_STALL_S"):
        monkeypatch.setenv(name, value)
    assert (supervisor.stop_grace_s(), supervisor.kill_grace_s(), supervisor.stall_s()) == (60.0, 10.0, 300.0)


def test_a_job_runs_although_a_setting_is_senseless(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_STALL_S", "soon")
    assert jobs.wait(ws, jobs.start(ws, ask("a")))["state"] == "finished"


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EAGAIN, "may have no more processes"), (errno.ENOMEM, "no memory left")]
)
def test_without_a_process_to_be_had_the_job_waits_in_the_queue(
    ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def none_left(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as limited:
        limited.setattr(queue.subprocess, "Popen", none_left)
        job_id = jobs.start(ws, ask("a"))
        assert stored_status(ws.job(job_id))["state"] == "queued"
        with pytest.raises(LimitError, match=words):
            jobs.schedule(ws)
        assert not is_locked(ws.jobs / ".slots" / "cpu-0.lock")
    assert jobs.wait(ws, job_id)["state"] == "finished"


def test_one_unusable_folder_does_not_keep_the_others_waiting(ws: Workspace, ask: Ask) -> None:
    jobs.pause(ws)
    bad, good = jobs.start(ws, ask("bad")), jobs.start(ws, ask("good"))
    (ws.job(bad) / ".lock").mkdir()
    jobs.pause(ws, paused=False)
    assert processes.wait_until(lambda: jobs.status(ws, good)["state"] == "finished", 30)
    with pytest.raises(LimitError, match=r"\.lock"):
        jobs.schedule(ws)
    assert jobs.status(ws, bad)["state"] == "queued"


def test_a_job_that_has_become_too_large_says_so_and_lets_others_by(
    ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT_GPU_SLOTS", "2")
    jobs.pause(ws)
    large, small = jobs.start(ws, ask("large", gpus=2)), jobs.start(ws, ask("small"))
    monkeypatch.setenv("LIMIT_GPU_SLOTS", "1")
    jobs.pause(ws, paused=False)
    assert jobs.wait(ws, small)["state"] == "finished"
    (waiting,) = [job for job in jobs.list_jobs(ws) if job["job_id"] == large]
    assert waiting["status"]["waits_for"] == "asks for 2 GPUs but this machine has 1 slot"


def test_a_number_of_slots_beyond_all_reason_is_refused(
    ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT_GPU_SLOTS", "99999999999")
    with pytest.raises(LimitError, match="asks for 99999999999 slots"):
        jobs.start(ws, ask("a"))


def test_waiting_for_one_job_is_not_ended_by_the_trouble_of_another(
    ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "SCHEDULE_EVERY_S", 0.2)
    jobs.pause(ws)
    bad, good = jobs.start(ws, ask("bad")), jobs.start(ws, ask("good"))
    (ws.job(bad) / ".lock").mkdir()
    jobs.pause(ws, paused=False)
    assert jobs.wait(ws, good)["state"] == "finished"
    monkeypatch.setattr(view, "PATIENCE_S", 0.5)
    with pytest.raises(LimitError, match=r"\.lock"):
        jobs.wait(ws, bad)


def test_a_workspace_that_cannot_be_written_can_be_looked_at(
    ws: Workspace, ask: Ask, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = jobs.start(ws, ask("a"))
    jobs.wait(ws, job_id)

    def read_only(ws: Workspace) -> None:
        raise LimitError("the workspace is on a read-only file system")

    monkeypatch.setattr("limit.jobs.commands.schedule", read_only)
    for words in (["list"], ["show", job_id]):
        assert main(["jobs", *words]) == 0
        said = capsys.readouterr()
        assert "finished" in said.out and "the queue does not go on: the workspace is on a read-only" in said.err


def test_a_supervisor_that_is_a_zombie_counts_as_gone(ws: Workspace, ask: Ask) -> None:
    jobs.pause(ws)
    job_id = jobs.start(ws, ask("a"))
    dead = subprocess.Popen(["true"])
    zombie = psutil.Process(dead.pid)
    assert processes.wait_until(lambda: zombie.status() == psutil.STATUS_ZOMBIE, 10)
    named = {"supervisor_pid": dead.pid, "supervisor_create_time": zombie.create_time(), "pid": dead.pid}
    known = {**named, "create_time": zombie.create_time(), "host": processes.host(), "boot_id": processes.boot_id()}
    write_status(ws.job(job_id), {**stored_status(ws.job(job_id)), **known, "state": "running", "launched": True})
    assert jobs.counts(ws)["unwatched"] == 1
    jobs.schedule(ws)
    assert read_json(ws.job(job_id) / "status.json")["state"] == "lost"
    dead.wait()


def test_a_log_of_colours_bars_and_rubbish_has_readable_last_lines(tmp_path: Path) -> None:
    colours = b"\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07\n"
    bars = b"".join(b"\r%3d%%" % n for n in range(101)) + b"\n"
    (tmp_path / "log.txt").write_bytes(b"y" * 500_000 + b"\n" + colours + bars + b"\xff\xfe\x00end\n\n")
    assert tail_log(tmp_path, 3) == ["red link", "100%", "\ufffd\ufffd\x00end"]


def test_very_long_names_are_cut_and_very_long_commands_refused(ws: Workspace, ask: Ask) -> None:
    long = jobs.start(ws, ask("a", subject={"note": "n" * 10_000}, request_id="r" * 10_000))
    assert jobs.wait(ws, long)["state"] == "finished"
    jobs.pause(ws)
    title = jobs.start(ws, jobs.JobRequest("finetune", "title " * 10_000, ["x"], module="tests.jobs.fake_worker"))
    assert len(jobs.show(ws, title)["title"]) == 300
    jobs.stop(ws, title)
    jobs.pause(ws, paused=False)
    status = jobs.wait(ws, jobs.start(ws, ask("b", "--say", "w" * 3_000_000)))
    assert (status["state"], status["cause"]) == ("failed", "start")
    assert status["reason"].endswith("its command is longer than the system allows")


def test_a_request_cut_short_while_it_runs_does_not_stop_the_work(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "40", "--pause", "0.05"))
    until(ws, job_id, "running")
    content = (ws.job(job_id) / "job.json").read_text()
    (ws.job(job_id) / "job.json").write_text(content[: len(content) // 2])
    assert jobs.wait(ws, job_id)["state"] == "finished"
    assert jobs.list_jobs(ws)[0]["broken"]
    jobs.remove(ws, job_id)
    assert jobs.list_jobs(ws) == []


def test_a_second_click_on_resume_changes_nothing(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "30", "--pause", "0.05"))
    until(ws, job_id, "running")
    jobs.stop(ws, job_id)
    jobs.wait(ws, job_id)
    jobs.resume(ws, job_id)
    jobs.resume(ws, job_id)
    until(ws, job_id, "running", "finished")
    jobs.resume(ws, job_id) if jobs.status(ws, job_id)["state"] == "running" else None
    status = jobs.wait(ws, job_id)
    assert (status["state"], status["attempt"]) == ("finished", 2)
    assert len((out(ws, "a") / "starts.txt").read_text().split()) == 2


@pytest.mark.parametrize("field", [{"environment": ["x"]}, {"arguments": [1, 2]}, {"module": 5}, {"gpus": -3}])
def test_a_request_of_the_wrong_kind_ends_with_a_reason_or_waits(
    ws: Workspace, ask: Ask, field: dict[str, object]
) -> None:
    jobs.pause(ws)
    job_id = jobs.start(ws, ask("a"))
    path = ws.job(job_id) / "job.json"
    path.write_text(json.dumps({**read_json(path), **field}))
    jobs.pause(ws, paused=False)
    good = jobs.start(ws, ask("good"))
    assert jobs.wait(ws, good)["state"] == "finished"
    status = jobs.status(ws, job_id)
    assert status["state"] == "queued" or (status["state"] == "failed" and status["reason"])
