"""The worker's command and environment, and how an orphan is told from what it left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from limit.jobs import processes
from limit.jobs.launch import find_orphan, gpu_environment, worker_command, worker_environment
from limit.jobs.slots import OUTER_GPUS
from limit.settings import Workspace

SLEEP = "import time; time.sleep(600)"


def sleeper(token: str, *words: str, session: bool = True) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SLEEP, *words]
    return subprocess.Popen(command, env={**os.environ, processes.TOKEN: token}, start_new_session=session)


def test_the_command_is_one_that_a_person_can_type(tmp_path: Path) -> None:
    job = {"kind": "finetune", "arguments": ["finetune", "--run", "x"], "gpus": None}
    assert worker_command(job, tmp_path, "python") == [
        "python", "-m", "limit", "finetune", "--run", "x", "--job", str(tmp_path),
    ]  # fmt: skip


def test_several_gpus_run_under_torchrun(tmp_path: Path) -> None:
    job = {"kind": "finetune", "arguments": ["finetune"], "gpus": 4}
    command = worker_command(job, tmp_path, "python")
    assert command[:6] == ["python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    assert command[6:] == ["-m", "--", "limit", "finetune", "--job", str(tmp_path)]


def test_waiting_threads_sleep_unless_somebody_says_otherwise(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    job: dict[str, object] = {"environment": {}}
    assert worker_environment(ws, job, "t", 1)["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert worker_environment(ws, job, "t", 1)["OMP_WAIT_POLICY"] == "ACTIVE"


def test_a_worker_sees_its_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    shown = {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b", OUTER_GPUS: "1,2"}
    assert gpu_environment(["GPU-a", "GPU-b"], heavy=True) == shown
    assert gpu_environment([], heavy=False)["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in gpu_environment([], heavy=True)


def test_an_orphan_is_the_session_leader_that_names_the_job(tmp_path: Path) -> None:
    child = sleeper("token-1")
    worker = sleeper("token-1", "--job", str(tmp_path))
    fork = sleeper("token-1", "--job", str(tmp_path), session=False)
    try:
        ready = lambda: len(processes.with_token("token-1")) == 3  # noqa: E731
        assert processes.wait_until(ready, 10)
        assert find_orphan("token-1", tmp_path)[0] == worker.pid
        worker.kill()
        worker.wait()
        assert find_orphan("token-1", tmp_path) == (None, None)
    finally:
        processes.kill_all("token-1")
        for process in (child, worker, fork):
            process.wait()


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    process = sleeper("token-2")
    created = processes.create_time(process.pid)
    assert processes.alive(process.pid, created)
    process.kill()
    assert processes.wait_until(lambda: not processes.alive(process.pid, created, "token-2"), 5)
    assert processes.create_time(process.pid) is not None
    process.wait()


def test_another_process_with_the_same_pid_is_not_ours() -> None:
    pid = os.getpid()
    created = processes.create_time(pid)
    assert created is not None
    assert processes.alive(pid, created)
    assert not processes.alive(pid, created - 60, "token-3")


@pytest.mark.parametrize("pid", [None, 0, -1, 2**40, "12", 1.5])
def test_nonsense_is_no_process(pid: object) -> None:
    assert not processes.alive(pid, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["", None])
def test_no_token_means_no_process(token: str | None) -> None:
    assert processes.with_token(token) == []  # type: ignore[arg-type]
