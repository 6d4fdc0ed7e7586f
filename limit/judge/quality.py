"""Everything that a page or a report says about one comparison, and whether its judge has earned trust."""

from __future__ import annotations

import math
from collections.abc import Sequence

from limit.core import Json
from limit.judge.agreement import agreement, leanings, verdicts_by_pair
from limit.judge.judgments import Comparison, list_comparisons, load_comparison, read_judgments
from limit.judge.length import LengthControl, by_length_ratio, length_controlled
from limit.judge.ranking import sign_tests
from limit.judge.summary import resolve_orders, summarise
from limit.settings import Workspace
from limit.statistics import seed_interval

MIN_SHARED = 30


def report(comparison: Comparison, rows: Sequence[Json]) -> Json:
    """The summary with bounds for missing verdicts, the seed interval, sign test, length control and leanings."""
    summary = summarise(comparison, rows)
    resolved = resolve_orders(rows)
    spread = seed_interval([pct for pct in summary["per_seed_pct"] if pct is not None])
    scored = [row for row in resolved if row.get("verdict") is not None]
    shares = [_share(row) for row in scored]
    lengths = [(len(row.get("text_1") or ""), len(row.get("text_2") or "")) for row in scored]
    one, two = [a for a, _ in lengths], [b for _, b in lengths]
    control = length_controlled(shares, one, two, [row["prompt_id"] for row in scored]) if len(scored) > 1 else _NONE
    return {
        **summary,
        **bounds(summary),
        "seed_low": None if math.isnan(spread.low) else spread.low,
        "seed_high": None if math.isnan(spread.high) else spread.high,
        "length_control": control,
        "length_thirds": by_length_ratio(shares, one, two),
        "sign_test": sign_tests([rows])[0],
        "leanings": leanings(rows),
        "median_chars": (_median(one), _median(two)),
    }


_NONE = LengthControl(None, reason="no verdicts")


def _share(row: Json) -> float:
    """The candidate's share of one pair; a row without a score of its own is counted by its verdict."""
    score = row.get("score")
    usable = isinstance(score, (int, float)) and 0 <= score <= 1
    return float(score) if usable and score is not None else {"2": 1.0, "1": 0.0}.get(row["verdict"], 0.5)


def bounds(summary: Json) -> Json:
    """The rate if every pair without a verdict had been lost, and if every one had been won (per cent of rows)."""
    decided = summary["wins"] + summary["losses"] + summary["invalid"]
    if not decided:
        return {"all_lost_pct": None, "all_won_pct": None}
    return {
        "all_lost_pct": 100 * summary["wins"] / decided,
        "all_won_pct": 100 * (summary["wins"] + summary["invalid"]) / decided,
    }


def _median(values: Sequence[int]) -> int | None:
    return sorted(values)[len(values) // 2] if values else None


def check_judge(ws: Workspace, comparison: Comparison, rows: Sequence[Json]) -> list[Json]:
    """Agreement with every other judge (or people) that judged some of the same pairs, most shared pairs first.

    Each entry: {comparison, judge, kind, **agreement}.
    """
    mine = verdicts_by_pair(rows)
    found = []
    for other in list_comparisons(ws):
        if other.comparison_id == comparison.comparison_id or other.judge == comparison.judge:
            continue
        entry = agreement(mine, verdicts_by_pair(read_judgments(ws, other.comparison_id)))
        if entry["n"]:
            names = {"comparison": other.comparison_id, "judge": other.judge, "kind": other.kind}
            found.append({**names, **entry})
    return sorted(found, key=lambda entry: -entry["n"])


def is_checked(comparison: Comparison, checks: Sequence[Json]) -> bool:
    """Whether a judge may be read as preference: people, imported verdicts, or 30 pairs compared with either."""
    if comparison.kind != "judged":
        return True
    return any(entry["kind"] != "judged" and entry["n"] >= MIN_SHARED for entry in checks)


def agree(ws: Workspace, first: str, second: str) -> Json:
    """Agreement of two comparisons' judges on the pairs that both judged. Raises LimitError for an unknown id."""
    a, b = load_comparison(ws, first), load_comparison(ws, second)
    rows = [read_judgments(ws, c.comparison_id) for c in (a, b)]
    entry = agreement(verdicts_by_pair(rows[0]), verdicts_by_pair(rows[1]))
    return {"first": first, "second": second, "judges": [a.judge, b.judge], **entry}
