"""A request for the stand-in worker, and a guarantee that no test leaves a process behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from limit import jobs
from limit.jobs import processes
from limit.jobs.rundir import job_folders, stored_status, supervisor_alive
from limit.settings import Workspace

Ask = Callable[..., jobs.JobRequest]


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One CPU slot, no cluster, no webhook, short timers, whatever the machine that runs the tests has set."""
    for name in ("LIMIT_RAY_ADDRESS", "LIMIT_WEBHOOK_URL", "LIMIT_STALL_S", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIMIT_GPU_SLOTS", "0")
    monkeypatch.setenv("LIMIT_STOP_GRACE_S", "5")


@pytest.fixture
def ask(ws: Workspace) -> Iterator[Ask]:
    """`ask("name", "--steps", "3", kind="gauntlet")`: a request whose worker writes to `<workspace>/out/name`."""

    def request(name: str, *options: str, kind: str = "finetune", **fields: Any) -> jobs.JobRequest:
        arguments = [str(ws.root / "out" / name), *options]
        return jobs.JobRequest(kind, name, arguments, module="tests.jobs.fake_worker", **fields)

    yield request
    end_everything(ws)


def end_everything(ws: Workspace) -> None:
    """Kill what is left of a workspace's jobs: first the supervisors, then whatever carries their tokens."""
    jobs.pause(ws)
    statuses = [stored_status(folder) for folder in job_folders(ws)]
    for status in statuses:
        if supervisor_alive(status) and status["supervisor_pid"] != os.getpid():
            psutil.Process(status["supervisor_pid"]).kill()
    for status in statuses:
        if status["token"]:
            processes.kill_all(status["token"])
            processes.kill_all(f"{status['token']}-s")


def out(ws: Workspace, name: str) -> Path:
    """Where the stand-in worker of `ask(name)` writes."""
    return ws.root / "out" / name


def until(ws: Workspace, job_id: str, *states: str, timeout_s: float = 30.0) -> dict[str, Any]:
    """Wait for a job to reach a state; fails with the status it stood in instead."""
    assert processes.wait_until(lambda: jobs.status(ws, job_id)["state"] in states, timeout_s), jobs.status(ws, job_id)
    return jobs.status(ws, job_id)
