"""A finetune and what follows it: Gauntlet, answers, judge, each a job that waits for the one before."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from limit.core import Json, LimitError
from limit.finetune.launch import launch_finetune
from limit.recipes import load_recipe
from limit.settings import Workspace
from limit.specs.gauntlet import GauntletSpec
from limit.specs.judge import RespondSpec
from limit.specs.run import RunSpec


@dataclass(frozen=True)
class FollowUps:
    """What to do with each finished model; None leaves a step out.

    `judge` is a judge in the command line's words and needs `respond` and a `baseline` run that answers the same
    prompts; `budget_usd` caps what it may spend.
    """

    gauntlet: GauntletSpec | None = None
    respond: RespondSpec | None = None
    judge: str | None = None
    baseline: str | None = None
    budget_usd: float | None = None

    def check(self) -> None:
        """Raise LimitError for a judge without answers or without a baseline."""
        if self.judge and not self.respond:
            raise LimitError("a judge compares answers; choose a prompt set too")
        if self.judge and not self.baseline:
            raise LimitError("a judge needs a baseline run to compare with; choose one")


def launch_chain(
    ws: Workspace, spec: RunSpec, follow: FollowUps, *, name: str | None = None, gpus: int | None = None
) -> Json:
    """Enqueue a finetune and its follow-ups; the same request makes no second job.

    Returns {run_id, jobs: {finetune, gauntlet?, respond?, judge?}}. Raises LimitError as the single launches do; what
    was enqueued before stays in the queue.
    """
    follow.check()
    started = launch_finetune(ws, spec, name=name, gpus=gpus)
    run_id, first = started["run_id"], started["job_id"]
    made = {"finetune": first}
    if follow.gauntlet:
        from limit.gauntlet.launch import launch_gauntlet

        made["gauntlet"] = launch_gauntlet(ws, follow.gauntlet, run_id=run_id, after=[first])["job_id"]
    if follow.respond:
        made |= _answers(ws, run_id, follow, first)
    return {"run_id": run_id, "jobs": made}


def _answers(ws: Workspace, run_id: str, follow: FollowUps, first: str) -> Json:
    from limit.responses.launch import launch_respond

    if follow.respond is None:
        return {}
    made = {"respond": launch_respond(ws, run_id, follow.respond, after=[first])["job_id"]}
    if follow.judge and follow.baseline:
        from limit.judge.requests import launch_judge, parse_judge

        theirs = launch_respond(ws, follow.baseline, follow.respond)
        judged = launch_judge(
            ws,
            follow.baseline,
            run_id,
            theirs["prompt_set"],
            parse_judge(follow.judge, []),
            budget_usd=follow.budget_usd,
            after=[made["respond"], theirs["job_id"]],
        )
        made["judge"] = judged["job_id"]
    return made


def command_of(spec: RunSpec, gpus: int | None = None) -> str:
    """The command that starts the same finetune from a shell."""
    words = ["python", "-m", "limit", "finetune", "--model", spec.model, "--mix", str(spec.mix_id)]
    words += ["--recipe", spec.recipe_name]
    if spec.recipe is not None:
        changed = spec.recipe.differences(load_recipe(spec.recipe_name))
        words += [word for key, (value, _) in changed.items() for word in ("--set", f"{key}={_text(value)}")]
    words += ["--seed", str(spec.seed)]
    words += ["--gpus", str(gpus)] if gpus else []
    words += ["--trust-remote-code"] if spec.trust_remote_code else []
    return shlex.join(words)


def _text(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
