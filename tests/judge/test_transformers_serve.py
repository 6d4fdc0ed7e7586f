"""`transformers serve` as a second real server: no log-probabilities, no JSON schema, silently (judge.md 3.8)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from limit.jobs.context import JobContext
from limit.judge.judgments import read_judgments
from limit.judge.runner import Retry
from limit.judge.worker import judge_pairs
from limit.settings import Workspace
from limit.specs.judge import JudgeSpec
from tests.judge.conftest import make_comparison, make_pairs

pytestmark = pytest.mark.slow

CHAT = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def chat_model(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template, which the server needs."""
    folder = tmp_path_factory.mktemp("models") / "tiny-chat"
    shutil.copytree(tiny_llama, folder)
    (folder / "chat_template.jinja").write_text(CHAT)
    return folder


@pytest.fixture(scope="module")
def served(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server around the tiny model."""
    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"transformers serve needs {', '.join(missing)} (the extra `transformers[serving]`)")
    cache = tmp_path_factory.mktemp("hf")
    (cache / "hub").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", start, "serve", str(chat_model), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache)}
    with (cache / "log.txt").open("w") as log:
        command += ["--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server, cache / "log.txt")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if server.poll() is not None:
            pytest.skip(f"transformers serve did not start: {log.read_text()[-300:]}")
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.skip("transformers serve was not up within two minutes")


def test_the_probe_finds_nothing_and_no_verdict_is_invented(ws: Workspace, served: str, chat_model: Path) -> None:
    spec = JudgeSpec(model=str(chat_model), base_url=served, max_tokens=24, concurrency=4)
    context = JobContext(ws.root)
    result = judge_pairs(ws, make_comparison(), make_pairs(4), spec, context, retry=Retry(attempts=3, base_s=0.05))
    rows = read_judgments(ws, "c0ffee")
    assert len(rows) == 8 == len({row["judgement_key"] for row in rows}) and result["errors"] == 0
    assert {row["extraction"] for row in rows} == {"regex"}
    for row in rows:  # a random model writes no verdict line; had it, it would have to be the line's own
        assert (row["verdict"] is None) == (row["status"] == "invalid") and row["prompt_tokens"] > 0
    notes = (ws.root / "events.jsonl").read_text()
    assert "gives no usable logprob" in notes and "gives no usable json" in notes


def test_log_probabilities_asked_for_but_not_given_are_invalid(ws: Workspace, served: str, chat_model: Path) -> None:
    spec = JudgeSpec(model=str(chat_model), base_url=served, extraction="logprob")
    judge_pairs(ws, make_comparison(), make_pairs(2), spec, JobContext(None))
    rows = read_judgments(ws, "c0ffee")
    assert {row["status"] for row in rows} == {"invalid"}, rows[0]["error_text"]
