"""What one comparison came to, computed by `limit.judge.summary` when its journal is read, so that pages need not."""

from __future__ import annotations

from collections.abc import Sequence

from limit.judge.judgments import Comparison
from limit.judge.summary import summarise
from limit.store.schema import Row


def preference_row(comparison_id: str, rows: Sequence[Row]) -> Row:
    """Counts, the rate by the paper's rule with its interval, the rate of each seed, and how often length won."""
    frame = Comparison(comparison_id, kind="judged", baseline="", candidate="", prompt_set="", judge="")
    summary = summarise(frame, rows)
    seeds = sorted({int(row.get("seed") or 0) for row in rows})
    per_seed = [{"seed": s, "preference_pct": p} for s, p in zip(seeds, summary["per_seed_pct"], strict=False)]
    return {**summary, "comparison_id": comparison_id, "per_seed": per_seed, "longer_wins_pct": longer_wins_pct(rows)}


def longer_wins_pct(rows: Sequence[Row]) -> float | None:
    """Share of decided verdicts, in per cent, that went to the longer answer (characters); equal lengths are out."""
    outcomes = []
    for row in rows:
        one, two = row.get("n_chars_1"), row.get("n_chars_2")
        if row.get("verdict") in ("1", "2") and isinstance(one, int) and isinstance(two, int) and one != two:
            outcomes.append((two > one) == (row["verdict"] == "2"))
    return 100 * sum(outcomes) / len(outcomes) if outcomes else None
