"""Checking a judge before it is believed: run it on pairs that GPT-4 or people have judged, and compare.

The sample is drawn by hash, so a larger one holds the smaller one. With two repeats the judge is also compared with
itself, which is the most that agreement with anybody else can be expected to reach.
"""

from __future__ import annotations

from limit import jobs
from limit.access import require
from limit.core import Json, LimitError, content_id
from limit.jobs.context import JobContext
from limit.judge.agreement import leanings
from limit.judge.judgments import Comparison, load_comparison, read_judgments
from limit.judge.prices import check_budget
from limit.judge.prompts import prompt_text
from limit.judge.quality import agree
from limit.judge.requests import setting_words
from limit.judge.runner import Pair, is_identical, pair_rank, pairs_of
from limit.judge.worker import judge_pairs
from limit.settings import Workspace
from limit.specs.judge import JudgeSpec

DEFAULT_PAIRS = 100


def sample_pairs(ws: Workspace, comparison_id: str, limit: int) -> list[Pair]:
    """The first `limit` pairs of a comparison by hash that have a verdict and differ.

    Raises LimitError when there is no such comparison or its answers are not at hand.
    """
    comparison = load_comparison(ws, comparison_id)
    judged = [row for row in read_judgments(ws, comparison_id) if row.get("verdict") is not None]
    pairs = sorted((pair for pair in pairs_of(judged) if not is_identical(pair)), key=pair_rank)
    if not pairs:
        raise LimitError(
            f"{comparison.label()} has no judged pair whose answers are at hand; choose another comparison"
        )
    return pairs[:limit]


def check_comparison(source: Comparison, spec: JudgeSpec, limit: int) -> Comparison:
    """The comparison that holds a judge's verdicts on a sample of another comparison's pairs."""
    judge_id = spec.judge_id(prompt_text(spec.protocol))
    identity = {"kind": "check", "of": source.comparison_id, "judge_id": judge_id, "order": spec.order, "limit": limit}
    return Comparison(
        comparison_id=content_id({**identity, "repeats": spec.repeats}),
        kind="judged",
        baseline=source.baseline,
        candidate=source.candidate,
        baseline_run=source.baseline_run,
        candidate_run=source.candidate_run,
        prompt_set=source.prompt_set,
        judge=spec.label(),
        order=spec.order,
        seeds=source.seeds,
        origin={"judge_id": judge_id, "settings": spec.to_dict(), "check_of": source.comparison_id, "limit": limit},
    )


def run_check(
    ws: Workspace,
    comparison_id: str,
    spec: JudgeSpec,
    limit: int,
    context: JobContext,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
) -> Json:
    """Judge the sample; returns the summary with `agreement` and `leanings`. Raises LimitError."""
    source = load_comparison(ws, comparison_id)
    comparison = check_comparison(source, spec, limit)
    pairs = sample_pairs(ws, comparison_id, limit)
    result = judge_pairs(ws, comparison, pairs, spec, context, budget_usd, budget_tokens)
    found = agree(ws, comparison.comparison_id, comparison_id)
    return {**result, "agreement": found, "leanings": leanings(read_judgments(ws, comparison.comparison_id))}


def launch_check(
    ws: Workspace,
    comparison_id: str,
    spec: JudgeSpec,
    limit: int = DEFAULT_PAIRS,
    *,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
) -> Json:
    """Enqueue a check; returns {job_id, comparison, state}. Raises LimitError."""
    require("operator", "run a judge")
    check_budget(ws, spec, budget_usd, budget_tokens)
    sample_pairs(ws, comparison_id, limit)
    comparison = check_comparison(load_comparison(ws, comparison_id), spec, limit)
    words = ["judge", "check", comparison_id, "--limit", str(limit), *setting_words(spec)]
    words += [] if budget_usd is None else ["--budget", str(budget_usd)]
    words += [] if budget_tokens is None else ["--budget-tokens", str(budget_tokens)]
    request = jobs.JobRequest(
        kind="judge",
        title=f"Check {spec.label()} on {comparison.label()}",
        arguments=words,
        subject={"comparison_id": comparison.comparison_id},
        gpus=None if spec.backend == "local" else 0,
        request_id=f"check-{comparison.comparison_id}-{budget_usd}-{budget_tokens}",
    )
    job_id = jobs.start(ws, request)
    return {"job_id": job_id, "comparison": comparison.comparison_id, "state": jobs.status(ws, job_id)["state"]}
