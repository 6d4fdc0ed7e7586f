"""Start a run's answers to a prompt set in the background: the one function behind the command line and the pages."""

from __future__ import annotations

from collections.abc import Sequence

from limit import jobs
from limit.core import Json, content_id
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
