"""Several slots for one job: torchrun under the supervisor, one rank a slot, the group living and dying as one."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from limit import jobs
from limit.jobs import processes
from limit.settings import Workspace
from tests.jobs.conftest import Ask, out, until


@pytest.fixture
def two_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_GPU_SLOTS", "2")
    monkeypatch.setenv("LIMIT_STOP_GRACE_S", "0.5")


def request(ws: Workspace, *options: str) -> jobs.JobRequest:
    arguments = [str(ws.root / "out" / "ranks"), *options]
    return jobs.JobRequest("finetune", "ranks", arguments, gpus=2, module="tests.jobs.fake_ranks")


def rank_pids(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in sorted(folder.glob("rank-*"))]


@pytest.mark.slow
def test_two_ranks_work_together(ws: Workspace, ask: Ask, two_slots: None) -> None:
    job_id = jobs.start(ws, request(ws))
    status = jobs.wait(ws, job_id)
    assert status["state"] == "finished", jobs.tail(ws, job_id)
    assert jobs.result(ws, job_id) == {"total": 3.0, "ranks": 2}
    assert status["slots"] == ["cpu-0", "cpu-1"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "fail"])
def test_the_group_ends_as_one(ws: Workspace, ask: Ask, two_slots: None, how: str) -> None:
    job_id = jobs.start(ws, request(ws, "--hang", *(["--fail", "1"] if how == "fail" else [])))
    folder = out(ws, "ranks")
    assert processes.wait_until(lambda: len(rank_pids(folder)) == 2 and all(rank_pids(folder)), 60)
    if how == "kill":
        psutil.Process(until(ws, job_id, "running")["pid"]).kill()
    status = jobs.wait(ws, job_id)
    assert status["state"] == "failed"
    if how == "fail":
        assert "rank 1 found a bad row" in status["reason"]
    assert [pid for pid in rank_pids(folder) if processes.alive(pid, processes.create_time(pid))] == []
