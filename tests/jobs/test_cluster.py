"""Which cluster jobs go to: by environment, by choice, by command and on the page."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from limit import access, jobs
from limit.cli import main
from limit.core import LimitError
from limit.jobs import cluster as module
from limit.jobs.cluster import Cluster, choose_cluster, cluster_of, problem_of, setting_file
from limit.settings import Workspace
from tests.jobs.conftest import Ask

HERE = "http://127.0.0.1:9"


def test_without_a_choice_jobs_run_here(ws: Workspace) -> None:
    assert cluster_of(ws) is None


def test_the_environment_comes_first(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_cluster(ws, HERE)
    monkeypatch.setenv("LIMIT_RAY_ADDRESS", "http://head:8265")
    monkeypatch.setenv("LIMIT_RAY_PYTHON", "/opt/python")
    assert cluster_of(ws) == Cluster("http://head:8265", "/opt/python")
    with pytest.raises(LimitError, match="LIMIT_RAY_ADDRESS decides"):
        choose_cluster(ws, None)


def test_a_choice_holds_for_the_workspace_until_it_is_taken_back(ws: Workspace) -> None:
    choose_cluster(ws, f" {HERE} ", "/opt/python")
    assert cluster_of(Workspace(ws.root)) == Cluster(HERE, "/opt/python")
    choose_cluster(ws, None)
    assert cluster_of(ws) is None


@pytest.mark.parametrize(
    "address", ["head:8265", "ftp://head", "http://", "http://a b", "http://user:pw@head:8265", "x"]
)
def test_what_is_no_address_is_refused(ws: Workspace, address: str) -> None:
    with pytest.raises(LimitError, match="is no address of a Ray cluster"):
        choose_cluster(ws, address)
    assert cluster_of(ws) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"address": 5}'])
def test_a_broken_choice_is_a_sentence_and_starts_nothing(ws: Workspace, ask: Ask, content: str) -> None:
    jobs.pause(ws)
    job_id = jobs.start(ws, ask("a"))
    setting_file(ws).write_text(content)
    jobs.pause(ws, paused=False)
    with pytest.raises(LimitError, match="cluster"):
        jobs.schedule(ws)
    assert jobs.status(ws, job_id)["state"] == "queued"
    choose_cluster(ws, None)
    assert jobs.wait(ws, job_id)["state"] == "finished"


def test_a_viewer_may_not_choose(ws: Workspace) -> None:
    access.set_role_provider(lambda: "viewer")
    try:
        with pytest.raises(LimitError, match="a viewer may not"):
            choose_cluster(ws, HERE)
    finally:
        access.set_role_provider(None)


@pytest.fixture
def head() -> Iterator[HTTPServer]:
    """Something that answers with the status that its `code` says."""

    class Head(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(self.server.code)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Head)
    server.code = 200  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.mark.parametrize(
    ("code", "problem"), [(200, None), (401, "asks for a token"), (500, "answers with an error: 500")]
)
def test_the_cluster_is_asked_whether_it_is_there(
    head: HTTPServer, monkeypatch: pytest.MonkeyPatch, code: int, problem: str | None
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    head.code = code  # type: ignore[attr-defined]
    said = problem_of(Cluster(f"http://127.0.0.1:{head.server_port}"))
    assert said is None if problem is None else problem in str(said)


def test_a_silent_cluster_and_a_missing_package_have_their_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert "pip install 'ray[default]'" in str(problem_of(Cluster(HERE)))
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    assert "does not answer" in str(problem_of(Cluster(HERE)))


def test_the_verb_shows_and_chooses(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "cluster", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["address"] is None
    assert main(["jobs", "cluster", HERE, "--python", "/opt/python", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["address"], said["python"]) == (HERE, "/opt/python") and said["problem"]
    assert main(["jobs", "cluster", "nonsense"]) == 2
    assert main(["jobs", "cluster", "--off"]) == 0
    assert cluster_of(ws) is None
