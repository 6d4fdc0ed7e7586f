"""Send a worker to a Ray cluster that the user already runs, through Ray's own job submission client.

Nothing of ours installs or starts Ray: `limit.jobs.cluster` says which cluster, the package `ray[default]` is an
optional extra, and token authentication is Ray's own (`RAY_AUTH_MODE=token`, `RAY_AUTH_TOKEN`). The workspace and this
checkout must be at the same path on every node: the run folder stays the truth, so the pages and the files are the
same as for a local job. The supervisor here polls the cluster and copies the log.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError
from limit.jobs.cluster import Cluster
from limit.jobs.launch import worker_command
from limit.jobs.slots import gpus_needed
from limit.settings import PROJECT

POLL_S = 1.0
STOP_WAIT_S = 30.0
SILENT_S = 120.0
SUBMIT_WAIT_S = 90.0
RETRY_S = 2.0
_FORWARDED = ("HF_HOME", "HF_HUB_OFFLINE", "HF_TOKEN", "OMP_NUM_THREADS")
_GOES_ON = ("PENDING", "RUNNING")
UNKNOWN = "UNKNOWN"  # a head that was started anew has forgotten its jobs, and they ended with it
_FOR_GOOD = re.compile(r"status code 4\d\d|[Aa]uthenti|[Tt]oken")


def connect(address: str, patience_s: float = 0.0) -> Any:
    """A job submission client. Raises LimitError when ray is missing or the cluster stays silent for `patience_s`."""
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise LimitError(
            "a Ray cluster is chosen but the package ray is not installed; run pip install 'ray[default]'"
        ) from error
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return JobSubmissionClient(address)
        except Exception as error:  # ray raises ConnectionError, RuntimeError or its own kinds for one and the same
            if time.monotonic() >= deadline or _FOR_GOOD.search(str(error)):
                raise LimitError(f"the Ray cluster at {address} does not answer: {_first_line(error)}") from error
        time.sleep(RETRY_S)


def handle_for(folder: Path, status: Json, cluster: Cluster) -> Json:
    """Where an attempt will go; written down before it is submitted, so that it is found again whatever happens."""
    submission_id = f"{folder.name}-{status['token']}-{status['attempt']}"
    return {"address": cluster.address, "python": cluster.python, "submission_id": submission_id}


def end_earlier(handle: Json) -> None:
    """Stop what may still run of an attempt whose end nobody saw. Raises LimitError when that cannot be made sure."""
    where = f"an earlier attempt may still run on the Ray cluster at {handle['address']}"
    try:
        earlier = RayAttempt(None, handle)
    except LimitError as error:
        raise LimitError(f"{where}; {error}") from error
    if not earlier.end():
        raise LimitError(f"{where} and does not stop; stop {handle['submission_id']} there, then resume")


class RayAttempt:
    """One submitted job; its id stands in the status, so that another supervisor can go on watching it."""

    pid: int | None = None
    created: float | None = None

    def __init__(self, folder: Path | None, handle: Json, patience_s: float = 0.0) -> None:
        """Connect; `folder` None copies no log. Raises LimitError when the cluster stays silent for `patience_s`."""
        self.folder = folder
        self.handle = handle
        self._client = connect(handle["address"], patience_s)
        self._log_chars = int(handle.get("log_chars") or 0)
        self._answered = time.monotonic()
        self._last_poll = 0.0

    @classmethod
    def submit(cls, job: Json, folder: Path, settings: Mapping[str, str], handle: Json) -> RayAttempt:
        """Submit under the id in `handle`, again while a busy cluster fails to take it. Raises LimitError."""
        attempt = cls(folder, handle)
        command = shlex.join(worker_command(job, folder, handle.get("python") or "python"))
        forwarded = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
        wanted = {
            "entrypoint": f"cd {shlex.quote(str(PROJECT))} && exec {command}",
            "submission_id": handle["submission_id"],
            "entrypoint_num_gpus": gpus_needed(job),
            "runtime_env": {"env_vars": {**forwarded, **settings}},
            "metadata": {"limit_job": folder.name},
        }
        deadline = time.monotonic() + SUBMIT_WAIT_S
        while True:
            try:
                attempt._client.submit_job(**wanted)
                return attempt
            except Exception as error:  # as in `connect`
                if attempt._now() not in (None, UNKNOWN):
                    return attempt  # it was taken, only the answer got lost
                if time.monotonic() >= deadline or _FOR_GOOD.search(str(error)):
                    raise LimitError(f"the Ray cluster refused the job: {_first_line(error)}") from error
            time.sleep(RETRY_S)

    def wait(self, seconds: float) -> bool:
        """True once Ray says that the job ended. Raises LimitError when the cluster is silent for two minutes."""
        deadline = time.monotonic() + seconds
        while True:
            if time.monotonic() - self._last_poll >= POLL_S:
                self._last_poll = time.monotonic()
                if self._state() in ("SUCCEEDED", "FAILED", "STOPPED", UNKNOWN):
                    return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(min(0.2, seconds))

    def signal(self, number: signal.Signals) -> None:
        """Ray knows one way to end a job: terminate, then kill, on its own timer."""
        self._ask("stop_job", self.handle["submission_id"])

    def end(self) -> bool:
        """Stop it if it still goes on; False when it goes on all the same."""
        if self._now() in _GOES_ON:
            self.signal(signal.SIGTERM)
            deadline = time.monotonic() + STOP_WAIT_S
            while self._now() in _GOES_ON and time.monotonic() < deadline:
                time.sleep(POLL_S)
        return self._now() not in _GOES_ON

    def close(self) -> int | None:
        """Copy the rest of the log; the exit code is Ray's."""
        self.end()
        self._copy_log()
        info = self._ask("get_job_info", self.handle["submission_id"])
        code = getattr(info, "driver_exit_code", None)
        if code is not None:
            return int(code)
        return {"SUCCEEDED": 0, "FAILED": 1, "STOPPED": -int(signal.SIGTERM)}.get(self._now() or "")

    def _now(self) -> str | None:
        """Ray's word for where the job stands; UNKNOWN when its head has no record of it, None without an answer."""
        try:
            answer = self._client.get_job_status(self.handle["submission_id"])
        except Exception as error:  # as in `connect`
            return UNKNOWN if "status code 404" in str(error) else None
        return str(getattr(answer, "value", answer))

    def _state(self) -> str | None:
        state = self._now()
        if state is not None:
            self._answered = time.monotonic()
            self._copy_log()
        elif time.monotonic() - self._answered > SILENT_S:
            raise LimitError(f"the Ray cluster at {self.handle['address']} has not answered for {SILENT_S:.0f} s")
        return state

    def _copy_log(self) -> None:
        """Append what is new of Ray's log to ours, where the page and the reasons look."""
        text = self._ask("get_job_logs", self.handle["submission_id"]) if self.folder is not None else None
        if self.folder is not None and isinstance(text, str) and len(text) > self._log_chars:
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
