"""What a person asks of judging: which judge, which two runs, which prompts, how much it may cost.

A judge is named in one of three ways: a built-in name (`rubric`, `rubric:VARIANT`, `openai:MODEL`, `local:MODEL`,
`panel:A+B+C`), settings (`backend=openai,model=llama,base_url=http://127.0.0.1:8000/v1`), or a JSON file of settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from limit import jobs
from limit.access import require
from limit.core import Json, LimitError, content_id, read_json
from limit.judge.judgments import Comparison
from limit.judge.prices import check_budget
from limit.judge.prompts import prompt_text
from limit.responses.prompt_sets import ensure_prompt_set
from limit.responses.response_sets import list_response_sets
from limit.runs import load_run
from limit.settings import Workspace
from limit.specs.base import Spec, option
from limit.specs.judge import JudgeSpec

NAMES = "`rubric`, `openai:MODEL`, `local:PATH`, `panel:A+B`, KEY=VALUE settings, or a JSON file"


class JudgeRequest(Spec):
    """A candidate against a baseline on one prompt set by one judge."""

    baseline_run: str = option("run that the candidate is compared with")
    candidate_run: str = option("run to be judged")
    prompts: str = option("prompt set that both have answered")
    judge: JudgeSpec = option("who compares, and how")
    baseline_set: str | None = option("response set of the baseline; empty: its newest", default=None)
    candidate_set: str | None = option("response set of the candidate; empty: its newest", default=None)

    def check(self) -> None:
        if self.baseline_run == self.candidate_run and self.baseline_set == self.candidate_set:
            raise LimitError(f"run {self.baseline_run} cannot be compared with itself; choose two runs")

    def comparison_id(self) -> str:
        """12 hex over what is compared and by whom; neither price nor speed is part of it."""
        judge = {**self.judge.identity(), "order": self.judge.order, "repeats": self.judge.repeats}
        identity = {**self.to_dict(), "judge": judge, "prompt_text": prompt_text(self.judge.protocol)}
        return content_id({"kind": "judged", **identity})


def parse_judge(text: str, settings: Sequence[str] = ()) -> JudgeSpec:
    """Read a judge from a name, settings or a file, then apply `KEY=VALUE` settings. Raises LimitError."""
    path = Path(text).expanduser()
    if path.suffix == ".json":
        spec = JudgeSpec.from_dict(read_json(path))
    elif "=" in text.split(":", 1)[0]:
        spec = _from_settings([part.strip() for part in text.split(",") if part.strip()])
    else:
        spec = parse_name(text)
    return spec.with_settings(settings)


def _from_settings(settings: Sequence[str]) -> JudgeSpec:
    """Settings over the defaults; the backend and model come first, as the others are checked against them."""
    values = dict(setting.partition("=")[::2] for setting in settings)
    start: Json = {key: values[key] for key in ("backend", "model") if key in values}
    return JudgeSpec.from_dict(start).with_settings([s for s in settings if s.partition("=")[0] not in start])


def parse_name(text: str) -> JudgeSpec:
    """Read `rubric`, `rubric:VARIANT`, `openai:MODEL`, `local:MODEL` or `panel:A+B`. Raises LimitError."""
    backend, _, model = text.partition(":")
    if backend not in ("rubric", "openai", "local", "panel"):
        raise LimitError(f"there is no judge {text!r}; name it by {NAMES}")
    return JudgeSpec.from_dict({"backend": backend, "model": model})


def build_request(
    ws: Workspace,
    baseline_run: str,
    candidate_run: str,
    prompts: str,
    judge: JudgeSpec,
    baseline_set: str | None = None,
    candidate_set: str | None = None,
) -> JudgeRequest:
    """A checked request, its response sets pinned where they exist already. Raises LimitError."""
    load_run(ws, baseline_run)
    load_run(ws, candidate_run)
    prompts = ensure_prompt_set(ws, prompts)
    return JudgeRequest(
        baseline_run=baseline_run,
        candidate_run=candidate_run,
        prompts=prompts,
        judge=judge,
        baseline_set=baseline_set or _newest(ws, baseline_run, prompts),
        candidate_set=candidate_set or _newest(ws, candidate_run, prompts),
    )


def _newest(ws: Workspace, run_id: str, prompts: str) -> str | None:
    found = list_response_sets(ws, run_id, prompts)
    return str(found[-1]["set_id"]) if found else None


def request_comparison(ws: Workspace, request: JudgeRequest) -> Comparison:
    """The comparison that a request makes, with the runs' names for people."""
    baseline, candidate = load_run(ws, request.baseline_run), load_run(ws, request.candidate_run)
    return Comparison(
        comparison_id=request.comparison_id(),
        kind="judged",
        baseline=str(baseline["name"]),
        candidate=str(candidate["name"]),
        baseline_run=request.baseline_run,
        candidate_run=request.candidate_run,
        prompt_set=request.prompts,
        judge=request.judge.label(),
        order=request.judge.order,
        seeds=(int(candidate.get("seed") or 0),),
        origin={
            "judge_id": request.judge.judge_id(prompt_text(request.judge.protocol)),
            "settings": request.judge.to_dict(),
        },
    )


def launch_judge(
    ws: Workspace,
    baseline_run: str,
    candidate_run: str,
    prompts: str,
    judge: JudgeSpec,
    *,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    baseline_set: str | None = None,
    candidate_set: str | None = None,
    after: Sequence[str] = (),
) -> Json:
    """Enqueue a comparison; the same request is the same comparison, and a higher budget resumes it.

    Returns {job_id, comparison, state}. `after` are job ids that must finish first, such as the two response jobs.
    Raises LimitError when a run, the prompts or the judge cannot be used, or money is at stake without a budget.
    """
    require("operator", "run a judge")
    job = judge_job(
        ws,
        baseline_run,
        candidate_run,
        prompts,
        judge,
        budget_usd=budget_usd,
        budget_tokens=budget_tokens,
        baseline_set=baseline_set,
        candidate_set=candidate_set,
        after=after,
    )
    job_id = jobs.start(ws, job)
    comparison = job.subject["comparison_id"]
    return {"job_id": job_id, "comparison": comparison, "state": jobs.status(ws, job_id)["state"]}


def judge_job(
    ws: Workspace,
    baseline_run: str,
    candidate_run: str,
    prompts: str,
    judge: JudgeSpec,
    *,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    baseline_set: str | None = None,
    candidate_set: str | None = None,
    after: Sequence[str] = (),
) -> jobs.JobRequest:
    """The job that `launch_judge` enqueues; its subject names the comparison. Raises LimitError as that does."""
    request = build_request(ws, baseline_run, candidate_run, prompts, judge, baseline_set, candidate_set)
    comparison = request_comparison(ws, request)
    check_budget(ws, judge, budget_usd, budget_tokens)
    return jobs.JobRequest(
        kind="judge",
        title=f"Judge {comparison.candidate} against {comparison.baseline}",
        arguments=_arguments(request, budget_usd, budget_tokens),
        subject={"comparison_id": comparison.comparison_id, "run_id": candidate_run},
        gpus=None if judge.backend == "local" else 0,
        after=tuple(after),
        request_id=f"judge-{comparison.comparison_id}-{budget_usd}-{budget_tokens}",
    )


def _arguments(request: JudgeRequest, usd: float | None, tokens: int | None) -> list[str]:
    words = ["judge", "run", "--baseline", request.baseline_run, "--candidate", request.candidate_run]
    words += ["--prompts", request.prompts, *setting_words(request.judge)]
    for flag, value in (
        ("--baseline-set", request.baseline_set),
        ("--candidate-set", request.candidate_set),
        ("--budget", usd),
        ("--budget-tokens", tokens),
    ):
        words += [] if value is None else [flag, str(value)]
    return words


def setting_words(judge: JudgeSpec) -> list[str]:
    """Command-line words that name a judge with all that differs from its bare name."""
    name = f"{judge.backend}:{judge.model}" if judge.model else judge.backend
    changed = judge.differences(parse_name(name))
    return ["--judge", name, *(f"--set={key}={'' if mine is None else mine}" for key, (mine, _) in changed.items())]
