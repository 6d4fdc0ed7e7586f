"""The job that judges one comparison: pair the answers, estimate the cost, ask, summarise."""

from __future__ import annotations

from dataclasses import replace

from limit.core import Json, LimitError, utc_now
from limit.jobs.context import JobContext
from limit.judge.backends import Backend, Question, build_backend
from limit.judge.budget import Budget, worst_tokens
from limit.judge.estimate import estimate, estimate_words
from limit.judge.grading import Grader, GradingBackend
from limit.judge.judgments import (
    Comparison,
    Journal,
    flipped,
    list_comparisons,
    load_comparison,
    locked,
    read_judgments,
    save_comparison,
)
from limit.judge.pairing import pair_runs
from limit.judge.prices import check_budget, price_of
from limit.judge.prompts import cut_middle
from limit.judge.requests import JudgeRequest, request_comparison
from limit.judge.runner import Item, Pair, Retry, Runner, is_identical, plan_items, question_calls
from limit.judge.summary import summarise
from limit.settings import Workspace
from limit.specs.judge import JudgeSpec


def judge_request(
    ws: Workspace,
    request: JudgeRequest,
    context: JobContext,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
) -> Json:
    """Judge two runs' answers; returns the summary with cost and counts. Raises LimitError."""
    comparison = request_comparison(ws, request)
    pairs, sets = pair_answers(ws, request)
    unpaired = sets.pop("unpaired")
    if unpaired:
        context.event("note", text=f"{unpaired:,} prompts were answered by one run only and are left out")
    comparison = replace(comparison, origin={**comparison.origin, "response_sets": sets})
    result = judge_pairs(ws, comparison, pairs, request.judge, context, budget_usd, budget_tokens)
    return {**result, "unpaired": unpaired}


def pair_answers(ws: Workspace, request: JudgeRequest) -> tuple[list[Pair], Json]:
    """What `pair_runs` finds for a request. Raises LimitError."""
    runs = (request.baseline_run, request.candidate_run, request.prompts)
    return pair_runs(ws, *runs, request.baseline_set, request.candidate_set)


def judge_pairs(
    ws: Workspace,
    comparison: Comparison,
    pairs: list[Pair],
    spec: JudgeSpec,
    context: JobContext,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    *,
    backend: Backend | None = None,
    retry: Retry | None = None,
) -> Json:
    """Judge pairs into a comparison's journal, taking over rows that exist anywhere; returns its summary.

    One process at a time works on a comparison. Raises LimitError when another does, when the answers changed
    since it began, or when the judge cannot go on.
    """
    check_budget(ws, spec, budget_usd, budget_tokens)
    folder = ws.comparison(comparison.comparison_id)
    busy = f"comparison {comparison.comparison_id} is being judged by another process; wait for it or stop it"
    with locked(folder / ".lock", busy):
        comparison = _settled(ws, comparison)
        items = plan_items(pairs, spec)
        budget = Budget(folder / "spend.jsonl", price_of(ws, spec), budget_usd, budget_tokens)
        context.event("note", text=estimate_words(estimate(ws, spec, pairs)))
        journal = Journal(folder)
        reused = _borrow(ws, comparison, journal, items)
        left = [item for item in items if item.key not in journal.rows or _is_open(journal.rows[item.key])]
        if left:
            _check_room(budget, spec, left)
            judge = backend or _backend(ws, spec, context)
            outcome = Runner(comparison.comparison_id, journal, judge, spec, budget, context, retry).run(items)
        else:
            outcome = {"total": len(items), "stopped": False}
        rows = list(journal.rows.values())
    return {
        **summarise(comparison, rows),
        "path": str(folder),
        "judgments": len(rows),
        "refused": sum(row["status"] == "refused" for row in rows),
        "errors": sum(row["status"] == "error" for row in rows),
        "skipped_budget": sum(row["status"] == "skipped_budget" for row in rows),
        "reused": reused,
        "spent_usd": round(budget.spent_usd, 6),
        "spent_tokens": budget.spent_tokens,
        **outcome,
    }


def _check_room(budget: Budget, spec: JudgeSpec, left: list[Item]) -> None:
    """Raise LimitError before anything is asked when the budget does not cover the smallest question left."""
    asked = [item.pair for item in left if not is_identical(item.pair)]
    if asked:
        pair = min(asked, key=lambda pair: len(pair.prompt) + len(pair.text_1) + len(pair.text_2))
        prompt, one, two = (cut_middle(t, spec.max_answer_chars) for t in (pair.prompt, pair.text_1, pair.text_2))
        question = Question(prompt, one, two, pair.prompt_id, "")
        budget.check_room(*worst_tokens(spec, question, question_calls(spec)))


def _is_open(row: Json) -> bool:
    return row.get("status") in ("error", "skipped_budget")


def _backend(ws: Workspace, spec: JudgeSpec, context: JobContext) -> Backend:
    backend = build_backend(ws, spec, lambda text: context.event("note", text=text))
    if spec.protocol == "pairwise":
        return backend
    if not isinstance(backend, Grader):
        raise LimitError(f"a {spec.backend} judge cannot grade single answers; choose protocol=pairwise")
    return GradingBackend(backend)


def _settled(ws: Workspace, comparison: Comparison) -> Comparison:
    """Write comparison.json, or keep the one that exists. Raises LimitError when its answers were others."""
    if not (ws.comparison(comparison.comparison_id) / "comparison.json").is_file():
        comparison = replace(comparison, created=utc_now())
        save_comparison(ws, comparison)
        return comparison
    known = load_comparison(ws, comparison.comparison_id)
    if known.origin.get("response_sets") != comparison.origin.get("response_sets"):
        raise LimitError(
            f"comparison {comparison.comparison_id} was begun with other answers; "
            "name the response sets with --baseline-set and --candidate-set to start a new one"
        )
    return known


def _borrow(ws: Workspace, comparison: Comparison, journal: Journal, items: list[Item]) -> int:
    """Take over judgments of the same texts by the same judge from other comparisons, in this one's frame."""
    wanted = {item.key: item for item in items if item.key not in journal.rows}
    found: dict[str, Json] = {}
    for other in list_comparisons(ws) if wanted else []:
        same_judge = other.origin.get("judge_id") == comparison.origin.get("judge_id")
        if other.comparison_id == comparison.comparison_id or not same_judge or "judge_id" not in other.origin:
            continue
        for row in read_judgments(ws, other.comparison_id):
            item = wanted.get(row["judgement_key"])
            if item is None or row.get("status") not in ("ok", "tie_identical"):
                continue
            row = row if row["text_1"] == item.pair.text_1 else flipped(row)
            own = {"comparison_id": comparison.comparison_id, "seed": item.pair.seed, "cost_usd": 0.0}
            found.setdefault(item.key, {**row, **own})
    journal.add(found.values())
    return len(found)
