"""What one comparison came to, computed by `limit.judge.summary` when its journal is read, so that pages need not."""

from __future__ import annotations

from collections.abc import Sequence

from limit.judge.judgments import Comparison
from limit.judge.summary import summarise
from limit.store.schema import Row, as_text

SCORES = {"1": 0.0, "2": 1.0}  # of the second answer, the candidate's


def preference_row(comparison_id: str, rows: Sequence[Row]) -> Row:
    """Counts, the rate by the paper's rule with its interval, the rate of each seed, and how often length won."""
    frame = Comparison(comparison_id, kind="judged", baseline="", candidate="", prompt_set="", judge="")
    summary = summarise(frame, rows)
    seeds = sorted({int(row.get("seed") or 0) for row in rows})
    per_seed = [{"seed": s, "preference_pct": p} for s, p in zip(seeds, summary["per_seed_pct"], strict=False)]
    own = {"per_seed": per_seed, "by_prompt": score_sums(rows), "longer_wins_pct": longer_wins_pct(rows)}
    return {**summary, "comparison_id": comparison_id, **own}


def score_sums(rows: Sequence[Row]) -> dict[str, tuple[float, int]]:
    """The candidate's scores by prompt (win 1, tie one half, loss 0): their sum and how many verdicts there are."""
    sums: dict[str, tuple[float, int]] = {}
    for row in rows:
        prompt, verdict = as_text(row.get("prompt_id")), as_text(row.get("verdict"))
        if prompt is not None and verdict is not None:
            total, n = sums.get(prompt, (0.0, 0))
            sums[prompt] = total + SCORES.get(verdict, 0.5), n + 1
    return sums


def longer_wins_pct(rows: Sequence[Row]) -> float | None:
    """Share of decided verdicts, in per cent, that went to the longer answer (characters); equal lengths are out."""
    outcomes = []
    for row in rows:
        one, two = row.get("n_chars_1"), row.get("n_chars_2")
        if row.get("verdict") in ("1", "2") and isinstance(one, int) and isinstance(two, int) and one != two:
            outcomes.append((two > one) == (row["verdict"] == "2"))
    return 100 * sum(outcomes) / len(outcomes) if outcomes else None
