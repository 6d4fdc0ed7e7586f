"""A judge grades training samples from 1 to 10 (the idea of AlpaGasus, arXiv 2307.08701); low grades are flagged.

Grades lie beside the source, one row a sample whatever crashes, and a flag set here is the flag that people set on the
Samples page: `mix build` can leave flagged samples out, so the grades filter a mix.
"""

from __future__ import annotations

from pathlib import Path

from limit import jobs
from limit.access import require
from limit.core import Json, LimitError, content_id, read_jsonl
from limit.jobs.context import JobContext
from limit.judge.backends import build_backend
from limit.judge.backends.protocol import Backend, Opinion, Question
from limit.judge.budget import Budget
from limit.judge.grading import Grader
from limit.judge.judgments import Journal, locked, unique_rows
from limit.judge.prices import check_budget, price_of
from limit.judge.prompts import fence_code, prompt_text
from limit.judge.requests import setting_words
from limit.judge.runner import Pair, Retry, Runner, plan_items
from limit.settings import Workspace
from limit.sources.browsing import random_samples
from limit.sources.listing import source_info
from limit.sources.marks import mark, read_marks
from limit.specs.judge import JudgeSpec

DRAW_SEED = 17


class SampleGrader:
    """Grades the first answer of a question; lets the runner of comparisons grade samples too."""

    def __init__(self, grader: Grader) -> None:
        self.grader = grader
        self.concurrency = grader.concurrency

    def judge(self, question: Question) -> Opinion:
        """The grade as the reply's text; raises what the grader raises."""
        grade, reply = self.grader.grade(question.prompt, question.first, fence_code(question.prompt, question.first))
        facts = {**reply.__dict__, "raw_text": None if grade is None else str(grade), "extraction": "grades"}
        return Opinion(**{**facts, "choice": None if grade is None else "tie"})


def grades_folder(ws: Workspace, source: str, spec: JudgeSpec) -> Path:
    """Where one judge's grades of a source lie."""
    return Path(source_info(ws, source)["path"]) / "grades" / spec.judge_id(prompt_text("single"))


def grade_samples(
    ws: Workspace,
    source: str,
    spec: JudgeSpec,
    limit: int,
    context: JobContext,
    *,
    flag_below: int | None = None,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    backend: Backend | None = None,
    retry: Retry | None = None,
) -> Json:
    """Grade up to `limit` random samples; returns {source, judge, graded, invalid, mean, histogram, flagged, ...}.

    With `flag_below`, samples graded lower are flagged and those flagged by an earlier, stricter call of the same
    judge no more. Raises LimitError.
    """
    spec = spec.replace(protocol="single")
    check_budget(ws, spec, budget_usd, budget_tokens)
    folder = grades_folder(ws, source, spec)
    samples = random_samples(ws, source, limit, seed=DRAW_SEED)
    pairs = [Pair(row["sample_id"], row["prompt"], row["response"], "") for row in samples if row["response"].strip()]
    with locked(folder / ".lock", f"source {source!r} is being graded by this judge already; wait for it or stop it"):
        budget = Budget(folder / "spend.jsonl", price_of(ws, spec), budget_usd, budget_tokens)
        judge = backend or build_backend(ws, spec, lambda text: context.event("note", text=text))
        if not isinstance(judge, Grader):
            raise LimitError(f"a {spec.backend} judge cannot grade samples; take a chat model (backend=openai)")
        journal = Journal(folder)
        runner = Runner(f"grades-{source}", journal, SampleGrader(judge), spec, budget, context, retry)
        outcome = runner.run(plan_items(pairs, spec))
    grades = read_grades(ws, source, spec)
    flagged = 0 if flag_below is None else flag_low(ws, source, spec, grades, flag_below)
    values = list(grades.values())
    return {
        "source": source,
        "judge": spec.label(),
        "graded": len(values),
        "invalid": len(journal.rows) - len(values),
        "mean": sum(values) / len(values) if values else None,
        "histogram": {str(grade): values.count(grade) for grade in range(1, 11)},
        "flagged": flagged,
        "spent_usd": round(budget.spent_usd, 6),
        **outcome,
    }


def read_grades(ws: Workspace, source: str, spec: JudgeSpec) -> dict[str, int]:
    """One judge's grades by sample id."""
    rows = unique_rows(read_jsonl(grades_folder(ws, source, spec.replace(protocol="single")) / "judgments.jsonl"))
    return {row["prompt_id"]: int(row["raw_text"]) for row in rows if row.get("status") == "ok"}


def flag_low(ws: Workspace, source: str, spec: JudgeSpec, grades: dict[str, int], below: int) -> int:
    """Flag samples graded lower than `below`, take back this judge's other flags; returns how many are flagged."""
    by = f"judge {spec.label()}"
    low = {sample_id for sample_id, grade in grades.items() if grade < below}
    marks = read_marks(ws, source)
    own = {line["sample_id"] for line in _flag_lines(ws, source) if line.get("by") == by}
    lifted = [i for i in sorted(own - low) if marks.get(i, {}).get("flag")]
    fresh = [i for i in sorted(low) if not marks.get(i, {}).get("flag")]
    mark(ws, source, lifted, "flag", False, by)
    mark(ws, source, fresh, "flag", True, by)
    return len(low)


def _flag_lines(ws: Workspace, source: str) -> list[Json]:
    """The line that holds for each sample's flag."""
    path = Path(source_info(ws, source)["path"]) / "marks.jsonl"
    return list({line.get("sample_id"): line for line in read_jsonl(path) if line.get("kind") == "flag"}.values())


def launch_grading(
    ws: Workspace,
    source: str,
    spec: JudgeSpec,
    limit: int,
    *,
    flag_below: int | None = None,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
) -> Json:
    """Enqueue the grading of a source; returns {job_id, source, state}. Raises LimitError."""
    require("operator", "run a judge")
    spec = spec.replace(protocol="single")
    check_budget(ws, spec, budget_usd, budget_tokens)
    source_info(ws, source)
    words = ["judge", "samples", source, "--limit", str(limit), *setting_words(spec)]
    options = {"--flag-below": flag_below, "--budget": budget_usd, "--budget-tokens": budget_tokens}
    words += [word for flag, value in options.items() if value is not None for word in (flag, str(value))]
    request = jobs.JobRequest(
        kind="judge",
        title=f"Grade {limit:,} samples of {source}",
        arguments=words,
        subject={"source": source},
        gpus=None if spec.backend == "local" else 0,
        request_id=f"grade-{content_id(words)}",
    )
    job_id = jobs.start(ws, request)
    return {"job_id": job_id, "source": source, "state": jobs.status(ws, job_id)["state"]}
