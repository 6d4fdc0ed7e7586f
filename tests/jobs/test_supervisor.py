"""One attempt from launch to last status: exit codes, groups, floods, full disks, silence, notifications."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import RawIOBase
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from limit import jobs
from limit.core import read_json
from limit.jobs import processes
from limit.jobs.locks import is_locked
from limit.jobs.supervisor import LOG_KEPT, LOG_LIMIT, Supervisor, shorten_log
from limit.settings import PROJECT, Workspace
from tests.jobs.conftest import Ask, out, until


def test_the_workers_own_sentence_is_the_reason(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--code", "2", "--say", "limit: mix 'x' is empty; add a part"))
    status = jobs.wait(ws, job_id)
    assert (status["state"], status["exit_code"], status["reason"]) == ("failed", 2, "mix 'x' is empty; add a part")


def test_a_crash_names_its_signal(ws: Workspace, ask: Ask) -> None:
    status = jobs.wait(ws, jobs.start(ws, ask("a", "--signal", str(int(signal.SIGSEGV)))))
    assert (status["exit_code"], status["cause"]) == (-11, "crashed")


def test_a_reason_is_taken_from_the_last_attempt_only(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--say", "limit: first", "--code", "2"))
    jobs.wait(ws, job_id)
    job = read_json(ws.job(job_id) / "job.json")
    job["arguments"][1:] = ["--code", "3"]
    (ws.job(job_id) / "job.json").write_text(json.dumps(job))
    jobs.resume(ws, job_id)
    assert jobs.wait(ws, job_id)["reason"] == "ended with exit code 3 and said nothing"


@pytest.mark.parametrize("code", ["0", "1"])
def test_children_in_other_sessions_end_with_the_job(ws: Workspace, ask: Ask, code: str) -> None:
    jobs.wait(ws, jobs.start(ws, ask("a", "--children", "2", "--code", code)))
    children = [int(pid) for pid in (out(ws, "a") / "children.txt").read_text().split()]
    assert len(children) == 2
    assert [pid for pid in children if processes.alive(pid, processes.create_time(pid))] == []


def test_children_end_when_worker_and_supervisor_were_killed(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--children", "1", "--steps", "5000"))
    processes.wait_until((out(ws, "a") / "checkpoint.json").exists, 20)
    status = until(ws, job_id, "running")
    child = int((out(ws, "a") / "children.txt").read_text())
    for pid in (status["supervisor_pid"], status["pid"]):
        psutil.Process(pid).kill()
    jobs.wait(ws, job_id)
    jobs.resume(ws, job_id)
    until(ws, job_id, "running")
    assert not processes.alive(child, processes.create_time(child))


def test_a_flood_of_output_neither_blocks_nor_fills_the_disk(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--flood", "200", "--steps", "5", "--pause", "0.3"))
    status = jobs.wait(ws, job_id)
    assert status["state"] == "finished"
    assert (ws.job(job_id) / "log.txt").stat().st_size < 2 * LOG_LIMIT
    assert len(jobs.tail(ws, job_id, 30)) == 30


def test_a_long_log_keeps_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"".join(b"line %d\n" % n for n in range(300_000)))
    shorten_log(log)
    lines = log.read_text().splitlines()
    assert lines[0].startswith("--- the log was longer") and lines[-1] == "line 299999"
    assert log.stat().st_size < LOG_KEPT + 200


def test_a_full_disk_delays_the_last_status_but_does_not_lose_it(
    ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.pause(ws)
    job_id = jobs.start(ws, ask("a"))
    supervisor = Supervisor(ws.job(job_id), [])
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) < 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("limit.core.os.fsync", full)
    monkeypatch.setattr("limit.jobs.supervisor.TICK_S", 0.01)
    supervisor.finish(0)
    assert len(calls) >= 3
    assert read_json(ws.job(job_id) / "status.json")["state"] == "finished"
    assert not [path for path in ws.job(job_id).iterdir() if path.suffix == ".tmp"]


def fill(ballast: RawIOBase, seconds: float) -> None:
    """Take every page that comes free."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            ballast.write(b"x" * 4096)
        except OSError:
            time.sleep(0.01)


def test_a_workspace_on_a_full_disk_recovers_when_there_is_space(tmp_path: Path, ask: Ask) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        small = Workspace(disk / "ws").make()
        job_id = jobs.start(small, ask("a", "--steps", "150", "--pause", "0.05"))
        until(small, job_id, "running")
        with (disk / "ballast").open("wb", buffering=0) as ballast:
            fill(ballast, 3.0)
        frozen = read_json(small.job(job_id) / "status.json")
        assert frozen["state"] == "running"
        time.sleep(1.2)
        assert read_json(small.job(job_id) / "status.json")["heartbeat"] == frozen["heartbeat"]
        (disk / "ballast").unlink()
        assert jobs.wait(small, job_id)["state"] == "finished"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_silent_worker_is_stalled(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_STALL_S", "0.5")
    job_id = jobs.start(ws, ask("a", "--steps", "2", "--pause", "60"))
    assert processes.wait_until(lambda: jobs.status(ws, job_id)["stalled"], 20)
    assert jobs.status(ws, job_id)["state"] == "running"


def test_the_worker_gets_its_settings_and_no_gpu_that_is_not_its_own(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "500", kind="export", environment={"MY_SETTING": "1"}))
    worker = psutil.Process(until(ws, job_id, "running")["pid"])
    processes.wait_until(lambda: "MY_SETTING" in worker.environ(), 5)
    seen = worker.environ()
    assert (seen["MY_SETTING"], seen["LIMIT_HOME"], seen["CUDA_VISIBLE_DEVICES"]) == ("1", str(ws.root), "")


def test_a_terminated_supervisor_lets_the_worker_save(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "5000"))
    status = until(ws, job_id, "running")
    processes.wait_until((out(ws, "a") / "checkpoint.json").exists, 20)
    os.kill(status["supervisor_pid"], signal.SIGTERM)
    final = jobs.wait(ws, job_id)
    assert (final["state"], final["stopping"]["sent"]) == ("stopped", [])


def test_a_closed_terminal_does_not_reach_the_job(ws: Workspace, ask: Ask) -> None:
    code = (
        "import sys, time; from limit import jobs; from limit.settings import workspace\n"
        "out = sys.argv[1]\n"
        "print(jobs.start(workspace(), jobs.JobRequest('finetune', 'a', [out, '--steps', '60', '--pause', '0.05'],"
        " module='tests.jobs.fake_worker')), flush=True)\n"
        "time.sleep(600)"
    )
    app = subprocess.Popen(
        [sys.executable, "-c", code, str(out(ws, "a"))], cwd=PROJECT, stdout=subprocess.PIPE, start_new_session=True
    )
    assert app.stdout is not None
    job_id = app.stdout.readline().decode().strip()
    until(ws, job_id, "running")
    os.killpg(app.pid, signal.SIGKILL)
    app.wait()
    assert jobs.wait(ws, job_id)["state"] == "finished"


def test_supervisor_and_slot_are_gone_afterwards(ws: Workspace, ask: Ask) -> None:
    job_id = jobs.start(ws, ask("a"))
    status = jobs.wait(ws, job_id)
    gone = lambda: not processes.alive(status["supervisor_pid"], status["supervisor_create_time"])  # noqa: E731
    assert processes.wait_until(gone, 5)
    assert not is_locked(ws.jobs / ".slots" / "cpu-0.lock")
    jobs.schedule(ws)
    assert not psutil.pid_exists(status["supervisor_pid"])


class Receiver(BaseHTTPRequestHandler):
    got: ClassVar[list[dict[str, object]]] = []

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


def test_a_webhook_hears_of_the_end(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    Receiver.got.clear()
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("LIMIT_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/hook")
    job_id = jobs.start(ws, ask("a", "--code", "2", "--say", "limit: no such mix"))
    jobs.wait(ws, job_id)
    assert processes.wait_until(lambda: bool(Receiver.got), 10)
    server.shutdown()
    (message,) = Receiver.got
    assert (message["text"], message["job_id"]) == ("a: failed (no such mix)", job_id)


def test_a_webhook_that_does_not_answer_harms_nothing(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_WEBHOOK_URL", "http://127.0.0.1:9/hook")
    job_id = jobs.start(ws, ask("a"))
    assert jobs.wait(ws, job_id)["state"] == "finished"
    told = lambda: any("notification not sent" in line for line in jobs.tail(ws, job_id))  # noqa: E731
    assert processes.wait_until(told, 10)
