"""Starting, stopping, resuming and ordering jobs."""

from __future__ import annotations

import threading
import time

import psutil
import pytest

from limit import access, jobs
from limit.core import LimitError, read_json
from limit.jobs import processes
from limit.settings import Workspace
from tests.jobs.conftest import Ask, out, until


def test_a_started_job_runs_to_its_end(ws: Workspace, ask: Ask) -> None:
    seen: list[str] = []
    job_id = jobs.start(ws, ask("a", "--steps", "4"))
    status = jobs.wait(ws, job_id, lambda now: seen.append(now["state"]))
    assert (status["state"], status["exit_code"], status["step"], status["total"]) == ("finished", 0, 4, 4)
    assert jobs.result(ws, job_id) == {"steps": 4}
    assert seen[-1] == "finished"
    assert status["slots"] == ["cpu-0"]


def test_the_same_request_from_many_threads_is_one_job(ws: Workspace, ask: Ask) -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(jobs.start(ws, ask("a")))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1 and len(ids) == 8
    jobs.wait(ws, ids[0])
    assert len((out(ws, "a") / "starts.txt").read_text().split()) == 1
    assert [job["job_id"] for job in jobs.list_jobs(ws)] == [ids[0]]


def test_a_repeated_request_id_is_one_job_whatever_it_asks(ws: Workspace, ask: Ask) -> None:
    first = jobs.start(ws, ask("a", request_id="click-1"))
    assert jobs.start(ws, ask("b", request_id="click-1")) == first
    assert jobs.start(ws, ask("a", request_id="click-2")) != first


def test_a_finished_job_is_not_run_again(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a"))
    jobs.wait(ws, job_id)
    assert jobs.start(ws, ask("a")) == job_id
    assert jobs.status(ws, job_id)["state"] == "finished"


def test_starting_a_failed_job_again_resumes_it(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--code", "1"))
    assert jobs.wait(ws, job_id)["state"] == "failed"
    assert jobs.start(ws, ask("a", "--code", "1")) == job_id
    assert jobs.wait(ws, job_id)["attempt"] == 2


def test_stop_keeps_what_was_made_and_resume_goes_on_from_there(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "60", "--pause", "0.05"))
    processes.wait_until(lambda: (jobs.status(ws, job_id)["step"] or 0) > 3, 20)
    jobs.stop(ws, job_id)
    status = jobs.wait(ws, job_id)
    kept = read_json(out(ws, "a") / "checkpoint.json")["step"]
    assert (status["state"], status["exit_code"]) == ("stopped", 0)
    assert 3 < kept < 60
    jobs.resume(ws, job_id)
    status = jobs.wait(ws, job_id)
    assert (status["state"], status["attempt"], status["step"]) == ("finished", 2, 60)
    assert len((out(ws, "a") / "starts.txt").read_text().split()) == 2


def test_a_deaf_worker_is_terminated_and_then_killed(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_STOP_GRACE_S", "0.3")
    monkeypatch.setenv("LIMIT_KILL_GRACE_S", "0.5")
    job_id = jobs.start(ws, ask("a", "--steps", "5000", "--deaf"))
    until(ws, job_id, "running")
    processes.wait_until((out(ws, "a") / "checkpoint.json").exists, 20)
    jobs.stop(ws, job_id)
    plan = until(ws, job_id, "stopping")["stopping"]
    assert (plan["terminate_after_s"], plan["kill_after_s"]) == (0.3, 0.8)
    status = jobs.wait(ws, job_id)
    assert (status["state"], status["exit_code"], status["stopping"]["sent"]) == ("stopped", -9, ["terminate", "kill"])


def test_discard_removes_what_a_finetune_made_and_nothing_else(ws: Workspace, ask: Ask) -> None:
    run = ws.run("0123456789ab")
    for name in ("train", "model", "gauntlet"):
        (run / name).mkdir(parents=True)
    job_id = jobs.start(ws, ask("a", "--steps", "5000", subject={"run_id": "0123456789ab"}))
    until(ws, job_id, "running")
    jobs.stop(ws, job_id, discard=True)
    assert jobs.wait(ws, job_id)["reason"] == "what it had made was discarded"
    assert sorted(path.name for path in run.iterdir()) == ["gauntlet"]


@pytest.mark.parametrize("run_id", ["../../x", "/etc", "..", ""])
def test_discard_never_leaves_the_workspace(ws: Workspace, ask: Ask, run_id: str) -> None:
    outside = ws.root.parent / "x" / "train"
    outside.mkdir(parents=True)
    job_id = jobs.start(ws, ask("a", subject={"run_id": run_id}))
    jobs.wait(ws, job_id)
    if run_id:
        with pytest.raises(LimitError):
            jobs.stop(ws, job_id, discard=True)
    assert outside.is_dir()


def test_a_queued_job_can_be_taken_out(ws: Workspace, ask: Ask) -> None:
    jobs.pause(ws)
    job_id = jobs.start(ws, ask("a"))
    jobs.stop(ws, job_id)
    jobs.pause(ws, paused=False)
    assert jobs.status(ws, job_id)["state"] == "stopped"
    assert not out(ws, "a").exists()


def test_held_jobs_wait_until_they_are_released(ws: Workspace, ask: Ask) -> None:
    jobs.pause(ws)
    first, second = jobs.start(ws, ask("a")), jobs.start(ws, ask("b"))
    jobs.hold(ws, first)
    jobs.pause(ws, paused=False)
    assert jobs.wait(ws, second)["state"] == "finished"
    assert jobs.status(ws, first)["state"] == "queued"
    jobs.hold(ws, first, held=False)
    assert jobs.wait(ws, first)["state"] == "finished"


@pytest.mark.parametrize(("place", "expected"), [("top", "cabd"), ("up", "acbd"), ("down", "abdc"), ("bottom", "abdc")])
def test_order_can_be_changed(ws: Workspace, ask: Ask, place: jobs.Place, expected: str) -> None:
    jobs.pause(ws)
    ids = {name: jobs.start(ws, ask(name)) for name in "abcd"}
    jobs.move(ws, ids["c"], place)
    assert "".join(job["title"] for job in jobs.list_jobs(ws)) == expected


def test_only_queued_jobs_can_be_held_or_moved(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a"))
    jobs.wait(ws, job_id)
    with pytest.raises(LimitError, match="is finished; only a queued job"):
        jobs.hold(ws, job_id)
    with pytest.raises(LimitError, match="is finished; only a queued job"):
        jobs.move(ws, job_id, "top")
    with pytest.raises(LimitError, match="is finished; only a stopped"):
        jobs.resume(ws, job_id)


def test_unknown_and_dangerous_ids_are_refused(ws: Workspace) -> None:
    for job_id in ("nothing", "../../etc", "", "a/b"):
        for action in (jobs.stop, jobs.resume, jobs.status, jobs.tail, jobs.remove, jobs.hold):
            with pytest.raises(LimitError):
                action(ws, job_id)  # type: ignore[operator]


def test_a_request_for_more_slots_than_there_are_is_refused(ws: Workspace, ask: Ask) -> None:
    with pytest.raises(LimitError, match=r"asks for 3 GPUs but this machine has 1 slot;"):
        jobs.start(ws, ask("a", gpus=3))
    assert jobs.list_jobs(ws) == []


def test_a_job_after_an_unknown_one_is_refused(ws: Workspace, ask: Ask) -> None:
    with pytest.raises(LimitError, match="there is no job 'nothing'"):
        jobs.start(ws, ask("a", after=["nothing"]))


def test_a_viewer_may_not_start_or_stop(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a"))
    access.set_role_provider(lambda: "viewer")
    try:
        for action in (lambda: jobs.start(ws, ask("b")), lambda: jobs.stop(ws, job_id), lambda: jobs.pause(ws)):
            with pytest.raises(LimitError, match="a viewer may not"):
                action()
    finally:
        access.set_role_provider(None)


def test_removing_a_job_takes_it_out_of_the_history_only(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a"))
    jobs.wait(ws, job_id)
    jobs.remove(ws, job_id)
    assert jobs.list_jobs(ws) == []
    assert (out(ws, "a") / "checkpoint.json").exists()


def test_an_active_job_cannot_be_removed(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "5000"))
    with pytest.raises(LimitError, match="stop it before"):
        jobs.remove(ws, job_id)


def test_secrets_are_not_written_to_disk() -> None:
    with pytest.raises(LimitError, match="OPENAI_API_KEY looks like a secret"):
        jobs.JobRequest("judge", "t", [], environment={"OPENAI_API_KEY": "x"})


def test_a_stop_in_the_middle_of_the_start_is_obeyed(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "5000", "--pause", "0.01"))
    jobs.stop(ws, job_id)
    assert jobs.wait(ws, job_id)["state"] == "stopped"


def test_starting_takes_no_longer_than_a_second(ws: Workspace, ask: Ask) -> None:
    began = time.monotonic()
    job_id = jobs.start(ws, ask("a", "--steps", "500"))
    # Generous on a busy machine; the figures proper are in tests/bench/bench_jobs.py.
    assert processes.wait_until(lambda: jobs.status(ws, job_id)["state"] == "running", 20)
    assert time.monotonic() - began < 20


def test_counts_tell_a_job_that_has_lost_its_supervisor(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("long", "--steps", "5000"))
    status = until(ws, job_id, "running")
    assert jobs.counts(ws) == {"running": 1, "queued": 0, "failed": 0, "ended": 0, "unwatched": 0}
    psutil.Process(status["supervisor_pid"]).kill()
    assert processes.wait_until(lambda: jobs.counts(ws)["unwatched"] == 1, 10)
    jobs.schedule(ws)
    assert processes.wait_until(lambda: jobs.counts(ws)["unwatched"] == 0, 10)
    assert jobs.counts(ws)["running"] == 1
