"""Everything that a page or a report says about one comparison, and whether its judge has earned trust."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limit.core import Json, read_jsonl
from limit.judge.agreement import agreement, leanings, turned_pairs, verdicts_by_pair
from limit.judge.judgments import JOURNAL, Comparison, list_comparisons, load_comparison, read_judgments, unique_rows
from limit.judge.length import LengthControl, by_length_ratio, length_controlled
from limit.judge.ranking import prompt_scores, sign_tests
from limit.judge.summary import nested_interval, resolve_orders, summarise, tally
from limit.settings import Workspace
from limit.statistics import bootstrap_mean, seed_interval

MIN_SHARED = 30
PairKey = tuple[Any, Any, Any]


def report(comparison: Comparison, rows: Sequence[Json]) -> Json:
    """The summary with all that qualifies it.

    Added are bounds for missing verdicts and their statuses; `score_pct` with `score_low`, `score_high` and
    `standard_error` (ties half, soft verdicts as they are, mean over prompts: AlpacaEval's win rate); the interval over
    seeds alone (t) and over seeds and prompts (nested bootstrap); sign test, length control, leanings, median lengths.
    """
    summary = summarise(comparison, rows)
    resolved = resolve_orders(rows)
    scored = [row for row in resolved if row.get("verdict") is not None]
    shares = [_share(row) for row in scored]
    lengths = [(len(row.get("text_1") or ""), len(row.get("text_2") or "")) for row in scored]
    one, two = [a for a, _ in lengths], [b for _, b in lengths]
    control = length_controlled(shares, one, two, [row["prompt_id"] for row in scored]) if len(scored) > 1 else _NONE
    return {
        **summary,
        **bounds(summary),
        **mean_score(scored, shares),
        **_over_seeds(summary, resolved),
        "missing": dict(Counter(str(row.get("status")) for row in resolved if row.get("verdict") is None)),
        "length_control": control,
        "length_thirds": by_length_ratio(shares, one, two),
        "sign_test": sign_tests([prompt_scores(rows)])[0],
        "leanings": leanings(rows),
        "median_chars": (_median(one), _median(two)),
    }


def mean_score(scored: Sequence[Json], shares: Sequence[float]) -> Json:
    """{score_pct, score_low, score_high, standard_error} in per cent: the candidate's mean score over prompts."""
    by_prompt: dict[str, list[float]] = {}
    for row, share in zip(scored, shares, strict=True):
        by_prompt.setdefault(row["prompt_id"], []).append(share)
    means = [100 * sum(values) / len(values) for values in by_prompt.values()]
    spread = bootstrap_mean(means)
    n = len(means)
    mean = sum(means) / n if n else None
    error = math.sqrt(sum((value - (mean or 0)) ** 2 for value in means) / (n - 1) / n) if n > 1 else None
    return {
        "score_pct": mean,
        "score_low": _known(spread.low),
        "score_high": _known(spread.high),
        "standard_error": error,
    }


def _over_seeds(summary: Json, resolved: Sequence[Json]) -> Json:
    alone = seed_interval([pct for pct in summary["per_seed_pct"] if pct is not None])
    both = nested_interval(*tally(resolved))
    return {
        "seed_low": _known(alone.low),
        "seed_high": _known(alone.high),
        "nested_low": _known(100 * both.low),
        "nested_high": _known(100 * both.high),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


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
    mine, turned = verdicts_by_pair(rows), turned_pairs(rows)
    found = []
    for other in list_comparisons(ws):
        if other.comparison_id == comparison.comparison_id or other.judge == comparison.judge:
            continue
        entry = agreement(mine, _verdicts(ws, other.comparison_id), turned)
        if entry["n"]:
            names = {"comparison": other.comparison_id, "judge": other.judge, "kind": other.kind}
            found.append({**names, **entry})
    return sorted(found, key=lambda entry: -entry["n"])


def unchecked_judges(ws: Workspace, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those judged comparisons that share fewer than 30 pairs with people or imported verdicts."""
    trusted = [_pairs(ws, c.comparison_id) for c in list_comparisons(ws) if c.kind != "judged"]
    judged = [comparison for comparison in comparisons if comparison.kind == "judged"]
    if not trusted:
        return judged
    return [c for c in judged if all(len(_pairs(ws, c.comparison_id) & pairs) < MIN_SHARED for pairs in trusted)]


def _pairs(ws: Workspace, comparison_id: str) -> frozenset[int]:
    """Hashes of the pairs that have a verdict."""
    path = ws.comparison(comparison_id) / JOURNAL
    try:
        facts = path.stat()
    except OSError:
        return frozenset()
    return _read_pairs(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=4096)
def _read_pairs(path: Path, changed_ns: int, size: int) -> frozenset[int]:
    """Read again only when the file changed; hashes, because the texts of hundreds of comparisons would not fit."""
    del changed_ns, size  # part of the cache key only
    return frozenset(map(hash, verdicts_by_pair(list(unique_rows(read_jsonl(path))))))


def _verdicts(ws: Workspace, comparison_id: str) -> Mapping[PairKey, str]:
    path = ws.comparison(comparison_id) / JOURNAL
    if not path.is_file():
        return {}
    facts = path.stat()
    return _read_verdicts(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=64)
def _read_verdicts(path: Path, changed_ns: int, size: int) -> Mapping[PairKey, str]:
    """Verdicts by pair of one journal, read again only when the file changed."""
    del changed_ns, size  # part of the cache key only
    return verdicts_by_pair(list(unique_rows(read_jsonl(path))))


def is_checked(comparison: Comparison, checks: Sequence[Json]) -> bool:
    """Whether a judge may be read as preference: people, imported verdicts, or 30 pairs compared with either."""
    if comparison.kind != "judged":
        return True
    return any(entry["kind"] != "judged" and entry["n"] >= MIN_SHARED for entry in checks)


def agree(ws: Workspace, first: str, second: str) -> Json:
    """Agreement of two comparisons' judges on the pairs that both judged. Raises LimitError for an unknown id."""
    a, b = load_comparison(ws, first), load_comparison(ws, second)
    rows = [read_judgments(ws, c.comparison_id) for c in (a, b)]
    entry = agreement(verdicts_by_pair(rows[0]), verdicts_by_pair(rows[1]), turned_pairs(rows[0]))
    return {"first": first, "second": second, "judges": [a.judge, b.judge], **entry}
