"""Two runs' answers side by side: which prompts both answered, and in which response sets."""

from __future__ import annotations

from limit.core import Json, LimitError
from limit.judge.runner import Pair
from limit.responses.response_sets import find_responses, read_responses
from limit.runs import load_run
from limit.settings import Workspace


def pair_runs(
    ws: Workspace,
    baseline_run: str,
    candidate_run: str,
    prompts: str,
    baseline_set: str | None = None,
    candidate_set: str | None = None,
) -> tuple[list[Pair], Json]:
    """Pairs of answers to the prompts that both runs answered, in the candidate's order; and the ids of the two
    response sets with {unpaired}: how many prompts only one of them answered.

    Raises LimitError when a run has no answers or they have no prompt in common.
    """
    baseline = find_responses(ws, baseline_run, prompts, baseline_set)
    candidate = find_responses(ws, candidate_run, prompts, candidate_set)
    seed = int(load_run(ws, candidate_run).get("seed") or 0)
    theirs = {row["prompt_id"]: row for row in read_responses(baseline["path"])}
    mine = read_responses(candidate["path"])
    pairs = [
        Pair(row["prompt_id"], row["prompt"], theirs[row["prompt_id"]]["text"], row["text"], seed)
        for row in mine
        if row["prompt_id"] in theirs
    ]
    if not pairs:
        raise LimitError(f"the answers of both runs to {prompts!r} share no prompt; answer the same prompts")
    unpaired = len(theirs) + len(mine) - 2 * len(pairs)
    return pairs, {"baseline": baseline["set_id"], "candidate": candidate["set_id"], "unpaired": unpaired}
