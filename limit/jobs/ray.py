"""Send a worker to a Ray cluster that the user already runs, through Ray's own job submission client.

Nothing of ours installs or starts Ray: `LIMIT_RAY_ADDRESS` (such as `http://head:8265`) names the cluster, the package
`ray[default]` is an optional extra, and token authentication is Ray's own (`RAY_AUTH_MODE=token`, `RAY_AUTH_TOKEN`).
The workspace and this checkout must be at the same path on every node: the run folder stays the truth, so the pages
and the files are the same as for a local job. The supervisor here polls the cluster and copies the log.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError
from limit.jobs.launch import worker_command
from limit.jobs.slots import gpus_needed
from limit.settings import PROJECT

POLL_S = 1.0
STOP_WAIT_S = 30.0
SILENT_S = 120.0
_FORWARDED = ("HF_HOME", "HF_HUB_OFFLINE", "HF_TOKEN", "OMP_NUM_THREADS")


def connect(address: str) -> Any:
    """A job submission client. Raises LimitError when ray is missing or the cluster does not answer."""
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise LimitError(
            "LIMIT_RAY_ADDRESS is set but the package ray is not installed; run pip install 'ray[default]'"
        ) from error
    try:
        return JobSubmissionClient(address)
    except Exception as error:  # ray raises ConnectionError, RuntimeError or its own kinds for one and the same thing
        raise LimitError(f"the Ray cluster at {address} does not answer: {_first_line(error)}") from error


def handle_for(folder: Path, status: Json) -> Json:
    """Where an attempt will go; written down before it is submitted, so that it is found again whatever happens."""
    submission_id = f"{folder.name}-{status['token']}-{status['attempt']}"
    return {"address": os.environ["LIMIT_RAY_ADDRESS"], "submission_id": submission_id}


class RayAttempt:
    """One submitted job; its id stands in the status, so that another supervisor can go on watching it."""

    pid: int | None = None
    created: float | None = None

    def __init__(self, folder: Path, handle: Json) -> None:
        self.folder = folder
        self.handle = handle
        self._client = connect(handle["address"])
        self._log_chars = int(handle.get("log_chars") or 0)
        self._answered = time.monotonic()
        self._last_poll = 0.0

    @classmethod
    def submit(cls, job: Json, folder: Path, settings: Mapping[str, str], handle: Json) -> RayAttempt:
        """Submit the worker under the id in `handle`. Raises LimitError."""
        attempt = cls(folder, handle)
        python = os.environ.get("LIMIT_RAY_PYTHON") or "python"
        command = shlex.join(worker_command(job, folder, python))
        forwarded = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
        try:
            attempt._client.submit_job(
                entrypoint=f"cd {shlex.quote(str(PROJECT))} && exec {command}",
                submission_id=handle["submission_id"],
                entrypoint_num_gpus=gpus_needed(job),
                runtime_env={"env_vars": {**forwarded, **settings}},
                metadata={"limit_job": folder.name},
            )
        except Exception as error:  # as in `connect`
            raise LimitError(f"the Ray cluster refused the job: {_first_line(error)}") from error
        return attempt

    def wait(self, seconds: float) -> bool:
        """True once Ray says that the job ended. Raises LimitError when the cluster is silent for two minutes."""
        deadline = time.monotonic() + seconds
        while True:
            if time.monotonic() - self._last_poll >= POLL_S:
                self._last_poll = time.monotonic()
                if self._state() in ("SUCCEEDED", "FAILED", "STOPPED"):
                    return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(min(0.2, seconds))

    def signal(self, number: signal.Signals) -> None:
        """Ray knows one way to end a job: terminate, then kill, on its own timer."""
        self._ask("stop_job", self.handle["submission_id"])

    def close(self) -> int | None:
        """Copy the rest of the log; the exit code is Ray's."""
        if self._state() in ("PENDING", "RUNNING"):
            self.signal(signal.SIGTERM)
            deadline = time.monotonic() + STOP_WAIT_S
            while self._state() in ("PENDING", "RUNNING") and time.monotonic() < deadline:
                time.sleep(POLL_S)
        self._copy_log()
        info = self._ask("get_job_info", self.handle["submission_id"])
        code = getattr(info, "driver_exit_code", None)
        if code is not None:
            return int(code)
        return {"SUCCEEDED": 0, "FAILED": 1, "STOPPED": -int(signal.SIGTERM)}.get(self._state() or "")

    def _state(self) -> str | None:
        answer = self._ask("get_job_status", self.handle["submission_id"])
        if answer is not None:
            self._answered = time.monotonic()
            self._copy_log()
        elif time.monotonic() - self._answered > SILENT_S:
            raise LimitError(f"the Ray cluster at {self.handle['address']} has not answered for {SILENT_S:.0f} s")
        return None if answer is None else str(getattr(answer, "value", answer))

    def _copy_log(self) -> None:
        """Append what is new of Ray's log to ours, where the page and the reasons look."""
        text = self._ask("get_job_logs", self.handle["submission_id"])
        if isinstance(text, str) and len(text) > self._log_chars:
            with (self.folder / "log.txt").open("a", encoding="utf-8", errors="replace") as log:
                log.write(text[self._log_chars :])
            self._log_chars = len(text)
            self.handle["log_chars"] = self._log_chars

    def _ask(self, name: str, *arguments: str) -> Any:
        """One call; a passing fault of the network is None."""
        try:
            return getattr(self._client, name)(*arguments)
        except Exception:  # as in `connect`; a cluster that stays silent is an error in `_state`
            return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
