"""Jobs on a real Ray cluster on this machine: one that finishes, one that is stopped, one that fails.

Needs the optional package `ray[default]`; `make test-ray` installs and runs it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from limit import jobs
from limit.core import LimitError
from limit.jobs import processes
from limit.jobs.cluster import choose_cluster
from limit.jobs.rundir import write_status
from limit.settings import PROJECT, Workspace
from tests.jobs.conftest import Ask, out, until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


def test_without_the_package_the_reason_says_what_to_install(
    ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limit.jobs import ray as launcher

    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    with pytest.raises(LimitError, match=r"pip install 'ray\[default\]'"):
        launcher.connect("http://127.0.0.1:9")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a head node with one pretended GPU, on loopback."""
    pytest.importorskip("ray.job_submission", reason="the optional package ray[default] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = Path(sys.executable).with_name("ray")
    folder = tmp_path_factory.mktemp("r")
    command = [
        str(ray), "start", "--head", "--block", "--port=0", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={port}", "--num-cpus=2", "--num-gpus=1", f"--temp-dir={folder}", "--disable-usage-stats",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        await_cluster(address)
        yield address
    finally:
        family = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
        for process in family:
            process.kill()
        head.wait()


def await_cluster(address: str) -> None:
    import urllib.request

    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=2).read()
            return
        except OSError:
            time.sleep(1)
    pytest.fail("the Ray head did not come up in four minutes")


@pytest.fixture
def on_ray(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_RAY_ADDRESS", cluster)
    monkeypatch.setenv("LIMIT_RAY_PYTHON", sys.executable)


def test_a_job_finishes_on_the_cluster(ws: Workspace, ask: Ask, on_ray: None) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "5", "--say", "hello from the cluster"))
    status = jobs.wait(ws, job_id)
    assert (status["state"], status["exit_code"], status["slots"]) == ("finished", 0, ["ray-0"]), status
    assert jobs.result(ws, job_id) == {"steps": 5}
    assert "hello from the cluster" in jobs.tail(ws, job_id)


def test_a_job_on_the_cluster_can_be_stopped_and_resumed(ws: Workspace, ask: Ask, on_ray: None) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "200", "--pause", "0.1"))
    assert processes.wait_until((out(ws, "a") / "checkpoint.json").exists, 120), jobs.tail(ws, job_id)
    jobs.stop(ws, job_id)
    assert jobs.wait(ws, job_id)["state"] == "stopped"
    jobs.resume(ws, job_id)
    assert processes.wait_until(lambda: len((out(ws, "a") / "starts.txt").read_text().split()) == 2, 120)
    jobs.stop(ws, job_id, discard=True)
    assert jobs.wait(ws, job_id)["state"] == "stopped"


def test_a_failure_on_the_cluster_has_its_reason(ws: Workspace, ask: Ask, on_ray: None) -> None:
    job_id = jobs.start(ws, ask("a", "--code", "2", "--say", "limit: the mix is empty"))
    status = jobs.wait(ws, job_id)
    assert (status["state"], status["exit_code"], status["reason"]) == ("failed", 2, "the mix is empty")


def test_a_real_finetune_on_the_cluster(ws: Workspace, ask: Ask, on_ray: None, tiny_llama: Path) -> None:
    from limit.finetune.launch import launch_finetune
    from limit.mixes import build_mix
    from limit.recipes import load_recipe
    from limit.sources import add_source
    from limit.specs import MixPart, MixSpec, RunSpec

    rows = [{"prompt": f"What is {n} plus {n}?", "response": f"It is {2 * n}."} for n in range(40)]
    source = ws.root / "sums.jsonl"
    source.write_text("\n".join(json.dumps(row) for row in rows))
    add_source(ws, "sums", source)
    mix = build_mix(ws, MixSpec(parts=(MixPart(source="sums"),)), name="sums")
    recipe = load_recipe("tiny").with_settings(["epochs=1", "held_out_per_part=0"])
    spec = RunSpec(model=str(tiny_llama), mix_id=mix["mix_id"], recipe_name="tiny", recipe=recipe)
    launched = launch_finetune(ws, spec)
    status = jobs.wait(ws, launched["job_id"])
    assert status["state"] == "finished", jobs.tail(ws, launched["job_id"])
    assert (ws.run(launched["run_id"]) / "model").is_dir()


def test_another_supervisor_goes_on_watching(ws: Workspace, ask: Ask, on_ray: None) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "60", "--pause", "0.1"))
    assert processes.wait_until((out(ws, "a") / "checkpoint.json").exists, 120), jobs.tail(ws, job_id)
    status = until(ws, job_id, "running")
    psutil.Process(status["supervisor_pid"]).kill()
    assert jobs.wait(ws, job_id)["state"] == "finished"
    assert len((out(ws, "a") / "starts.txt").read_text().split()) == 1


def test_a_cluster_chosen_for_the_workspace_is_used(
    ws: Workspace, ask: Ask, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_cluster(ws, cluster, sys.executable)
    status = jobs.wait(ws, jobs.start(ws, ask("a", "--steps", "3")))
    assert (status["state"], status["slots"], status["ray"]["address"]) == ("finished", ["ray-0"], cluster)


def test_an_attempt_that_nobody_saw_end_does_not_run_beside_the_next(ws: Workspace, ask: Ask, on_ray: None) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "3000", "--pause", "0.1"))
    assert processes.wait_until((out(ws, "a") / "checkpoint.json").exists, 120), jobs.tail(ws, job_id)
    status = until(ws, job_id, "running")
    jobs.pause(ws)
    psutil.Process(status["supervisor_pid"]).kill()
    write_status(ws.job(job_id), {**status, "state": "failed", "exit_code": None})  # as after two minutes of silence
    jobs.resume(ws, job_id)
    jobs.pause(ws, paused=False)
    assert processes.wait_until(lambda: len((out(ws, "a") / "starts.txt").read_text().split()) == 2, 180)
    assert not (out(ws, "a") / "TWICE").exists()
    jobs.stop(ws, job_id, discard=True)
    assert jobs.wait(ws, job_id)["state"] == "stopped"


def test_a_cluster_that_does_not_answer_is_a_reason(ws: Workspace, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.job_submission", reason="the optional package ray[default] is not installed")
    monkeypatch.setenv("LIMIT_RAY_ADDRESS", "http://127.0.0.1:9")
    status = jobs.wait(ws, jobs.start(ws, ask("a")))
    assert status["state"] == "failed" and "does not answer" in status["reason"]
