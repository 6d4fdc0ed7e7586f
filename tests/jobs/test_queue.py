"""Who starts when: slots, order, chains, broken requests, several apps."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from limit import jobs
from limit.core import read_json, write_json
from limit.jobs import processes
from limit.jobs.rundir import stored_status, write_status
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


def test_equal_turns_after_a_clock_jump_can_still_be_reordered(ws: Workspace, ask: Ask) -> None:
    jobs.pause(ws)
    ids = [jobs.start(ws, ask(name)) for name in "abc"]
    for job_id in ids:
        write_status(ws.job(job_id), {**stored_status(ws.job(job_id)), "order": 5.0})
    last = jobs.list_jobs(ws)[-1]["job_id"]
    jobs.move(ws, last, "top")
    assert jobs.list_jobs(ws)[0]["job_id"] == last


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
    assert jobs.counts(ws) == {"running": 0, "queued": 0, "failed": 1, "ended": 2, "unwatched": 0}


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


def test_the_folder_is_whole_or_absent(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("limit.core.os.fsync", full)
    with pytest.raises(Exception, match="disk full"):
        jobs.start(ws, ask("a"))
    assert [path.name for path in ws.jobs.iterdir()] == []
    monkeypatch.undo()
    write_json(ws.root / "works.json", {})
