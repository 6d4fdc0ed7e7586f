"""Start a finetune in the background: the one function behind the command line and the Launch page."""

from __future__ import annotations

from collections.abc import Sequence

from limit import jobs
from limit.access import require
from limit.core import Json, LimitError
from limit.finetune import restarts
from limit.finetune.metrics import require_loggers
from limit.jobs.cluster import cluster_of
from limit.models import require_at_hand, resolve_model
from limit.runs import ensure_run, load_run
from limit.settings import Workspace
from limit.specs.run import RunSpec


def launch_finetune(
    ws: Workspace,
    spec: RunSpec,
    *,
    name: str | None = None,
    gpus: int | None = None,
    after: Sequence[str] = (),
    loggers: Sequence[str] = (),
) -> Json:
    """Freeze the run and enqueue its finetune; the same request gives the same run and no second job.

    A run that was stopped or failed goes on from its last checkpoint. Returns {job_id, run_id, state}. `after` are
    job ids that must finish first. Raises LimitError when the model, the mix, the recipe or a logger cannot be used.
    """
    require("operator", "start a finetune")
    if spec.mix_id is None or spec.recipe is None:
        raise LimitError("a finetune needs a mix and a recipe; give --mix and --recipe")
    require_at_hand(resolve_model(ws, spec.model))
    if cluster_of(ws) is None:  # a cluster's machines have packages of their own
        require_loggers(loggers)
    run_id = ensure_run(ws, spec, name)
    run = load_run(ws, run_id)
    request = jobs.JobRequest(
        kind="finetune",
        title=f"Finetune {run['name']}",
        arguments=["finetune", "--run", run_id, *(word for logger in loggers for word in ("--log-to", logger))],
        subject={"run_id": run_id, "mix_id": spec.mix_id},
        gpus=gpus,
        after=tuple(after),
        environment=restarts.ENVIRONMENT if gpus and gpus > 1 and spec.recipe.method == "full" else {},
        request_id=f"finetune-{run_id}",
    )
    job_id = jobs.start(ws, request)
    return {"job_id": job_id, "run_id": run_id, "state": jobs.status(ws, job_id)["state"]}
