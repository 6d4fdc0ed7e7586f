"""Start a run's answers to a prompt set in the background: the one function behind the command line and the pages."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from limit import jobs
from limit.access import require
from limit.core import Json, LimitError, content_id
from limit.responses.prompt_sets import ensure_prompt_set, prompt_set_facts
from limit.runs import load_run
from limit.settings import Workspace
from limit.specs.judge import RespondSpec


def launch_respond(
    ws: Workspace, run_id: str, spec: RespondSpec, *, gpus: int | None = None, after: Sequence[str] = ()
) -> Json:
    """Enqueue one run's answers; the same request is the same response set and no second job.

    Returns {job_id, run_id, prompt_set, set_id, state}. `after` are job ids that must finish first, such as the
    run's finetune. Raises LimitError when the run or the prompts cannot be found.
    """
    require("operator", "answer prompts")
    run = load_run(ws, run_id)
    spec = spec.replace(prompts=ensure_prompt_set(ws, spec.prompts))
    set_id = response_set_id(ws, run_id, spec)
    settings = [f"--set={name}={value}" for name, value in changed_settings(spec).items()]
    request = jobs.JobRequest(
        kind="respond",
        title=f"Answers of {run['name']} to {spec.prompts}",
        arguments=["respond", "--run", run_id, "--prompts", spec.prompts, *settings],
        subject={"run_id": run_id},
        gpus=gpus,
        after=tuple(after),
        request_id=f"respond-{set_id}",
    )
    job_id = jobs.start(ws, request)
    state = jobs.status(ws, job_id)["state"]
    return {"job_id": job_id, "run_id": run_id, "prompt_set": spec.prompts, "set_id": set_id, "state": state}


def response_set_id(ws: Workspace, run_id: str, spec: RespondSpec) -> str:
    """12 hex over the run, the prompts' contents and the generation settings."""
    facts = prompt_set_facts(ws, spec.prompts)
    return content_id({"run_id": run_id, "prompts": facts["prompt_set_id"], **spec.to_dict()})


def changed_settings(spec: RespondSpec) -> Json:
    """The settings other than the prompts that differ from their defaults."""
    default = RespondSpec(prompts=spec.prompts)
    return {name: mine for name, (mine, _) in spec.differences(default).items()}


def wait_for_result(ws: Workspace, started: Json) -> Json:
    """Block until the job has ended; returns what was started, the job's state and its result.

    Raises LimitError with the job's reason when it did not finish.
    """
    job_id = started["job_id"]
    status = jobs.wait(ws, job_id, _show_progress if sys.stderr.isatty() else None)
    if status["state"] != "finished":
        reason = status.get("reason") or "no reason was recorded"
        raise LimitError(f"job {job_id} is {status['state']}: {reason}; see `limit jobs tail {job_id}`")
    return {**started, "state": status["state"], **(jobs.result(ws, job_id) or {})}


def _show_progress(status: Json) -> None:
    total = status.get("total")
    end = "\n" if total and status.get("step") == total else ""
    print(f"\r{status['state']} {status.get('step') or 0}/{total or '?'}  ", end=end, file=sys.stderr, flush=True)
