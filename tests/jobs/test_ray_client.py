"""The launcher for Ray against a client that misbehaves, without a cluster."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from limit.core import LimitError
from limit.jobs import ray as launcher
from limit.jobs.ray import UNKNOWN, RayAttempt, end_earlier

HANDLE = {"address": "http://head:8265", "python": "python", "submission_id": "a-t-1"}
JOB = {"job_id": "a", "kind": "finetune", "gpus": 2, "arguments": ["x"], "module": "m"}


class Client:
    """Answers from lists: an exception is raised, anything else is returned; the last answer stays."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.calls: list[str] = []
        self.submitted: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **fields: Any) -> Any:
            self.calls.append(name)
            self.submitted = fields or self.submitted
            waiting = self.answers[name]
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RETRY_S", "POLL_S"):
        monkeypatch.setattr(launcher, name, 0.01)
    monkeypatch.setattr(launcher, "SUBMIT_WAIT_S", 0.3)
    monkeypatch.setattr(launcher, "STOP_WAIT_S", 0.2)


def use(monkeypatch: pytest.MonkeyPatch, **answers: list[Any]) -> Client:
    client = Client(**answers)
    monkeypatch.setattr(launcher, "connect", lambda address, patience_s=0.0: client)
    return client


GONE = RuntimeError("Request failed with status code 404: no such job")
BUSY = RuntimeError("Request failed with status code 500: no agent is there yet")


def test_a_busy_cluster_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = use(monkeypatch, submit_job=[BUSY, BUSY, "a-t-1"], get_job_status=[GONE])
    RayAttempt.submit(JOB, tmp_path, {}, dict(HANDLE))
    assert client.calls.count("submit_job") == 3
    assert client.submitted["entrypoint_num_gpus"] == 2 and client.submitted["submission_id"] == "a-t-1"


def test_a_lost_answer_does_not_submit_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = use(monkeypatch, submit_job=[TimeoutError("timed out")], get_job_status=["PENDING"])
    RayAttempt.submit(JOB, tmp_path, {}, dict(HANDLE))
    assert client.calls.count("submit_job") == 1


@pytest.mark.parametrize("error", [BUSY, RuntimeError("Request failed with status code 400: bad runtime_env")])
def test_a_refusal_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    client = use(monkeypatch, submit_job=[error], get_job_status=[GONE])
    with pytest.raises(LimitError, match="the Ray cluster refused the job: Request failed"):
        RayAttempt.submit(JOB, tmp_path, {}, dict(HANDLE))
    assert (client.calls.count("submit_job") == 1) == ("400" in str(error))


def test_a_head_that_forgot_its_jobs_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, get_job_status=["RUNNING", GONE], get_job_logs=["x\n"], get_job_info=[GONE])
    attempt = RayAttempt(tmp_path, dict(HANDLE))
    assert attempt.wait(5)
    assert attempt._now() == UNKNOWN and attempt.close() is None


def test_a_silent_cluster_is_an_error_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "SILENT_S", 0.05)
    use(monkeypatch, get_job_status=[ConnectionError("no route")], get_job_logs=[ConnectionError("no route")])
    attempt = RayAttempt(tmp_path, dict(HANDLE))
    with pytest.raises(LimitError, match="has not answered"):
        attempt.wait(2)


def test_the_exit_code_is_that_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = SimpleNamespace(driver_exit_code=7)
    use(monkeypatch, get_job_status=["FAILED"], get_job_logs=["one\n"], get_job_info=[info])
    assert RayAttempt(tmp_path, dict(HANDLE)).close() == 7
    assert (tmp_path / "log.txt").read_text() == "one\n"


def test_an_earlier_attempt_is_stopped_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    client = use(monkeypatch, get_job_status=["RUNNING", "RUNNING", "STOPPED"], stop_job=[True])
    end_earlier(dict(HANDLE))
    assert "stop_job" in client.calls


def test_an_earlier_attempt_that_goes_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, get_job_status=["RUNNING"], stop_job=[True])
    with pytest.raises(LimitError, match=r"an earlier attempt may still run .* does not stop; stop a-t-1 there"):
        end_earlier(dict(HANDLE))
