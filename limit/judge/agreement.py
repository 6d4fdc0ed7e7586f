"""How far a judge can be trusted: agreement with others and with itself, and its leanings to seat and length."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from limit.core import Json
from limit.judge.length import longer_wins
from limit.statistics import Interval, bootstrap_mean

MIN_FOR_KAPPA = 30
MAX_CLASS_SHARE = 0.95


def pair_key(row: Json) -> tuple[Any, Any, Any]:
    """What two judges must share to have judged the same pair, whichever stands first."""
    return row["prompt_id"], *sorted((row.get("text_1") or "", row.get("text_2") or ""))


def verdicts_by_pair(rows: Sequence[Json]) -> dict[tuple[Any, Any, Any], str]:
    """One verdict for each pair of answers, in the frame of the sorted texts: 'a', 'b' or 'tie'; invalid left out."""
    found: dict[tuple[Any, Any, Any], list[str]] = {}
    for row in rows:
        if row.get("verdict") is None:
            continue
        key = pair_key(row)
        sides = {"1": "a", "2": "b"} if row.get("text_1") == key[1] else {"1": "b", "2": "a"}
        found.setdefault(key, []).append(sides.get(row["verdict"], "tie"))
    return {key: _only(verdicts) for key, verdicts in found.items()}


def turned_pairs(rows: Sequence[Json]) -> frozenset[tuple[Any, Any, Any]]:
    """The pairs whose baseline's answer comes second in the frame of the sorted texts."""
    return frozenset(key for row in rows if "prompt_id" in row and row.get("text_1") != (key := pair_key(row))[1])


def _only(verdicts: list[str]) -> str:
    """The verdict that all rows of a pair share, else a tie: both orders must agree."""
    return verdicts[0] if len(set(verdicts)) == 1 else "tie"


def agreement(first: Mapping[Any, str], second: Mapping[Any, str], turned: Collection[Any] = ()) -> Json:
    """Agreement of two raters on the items that both rated, with kappa and intervals over prompts.

    Chance agreement depends on what the classes are: with the first comparison's `turned_pairs` they are baseline,
    candidate and tie, as in everybody else's kappa, and not which text sorts first.
    {n, agree_pct, ci_low, ci_high, kappa, kappa_low, kappa_high, kappa_no_ties, n_no_ties, why}: kappa is None below
    30 items or where one verdict takes more than 95 %, and `why` says so.
    """
    shared = [key for key in first if key in second]
    other = {"a": "b", "b": "a"}
    raw = [(first[key], second[key], key in turned) for key in shared]
    pairs = [(other.get(a, a), other.get(b, b)) if turn else (a, b) for a, b, turn in raw]
    decided = [pair for pair in pairs if "tie" not in pair]
    prompts = [key[0] if isinstance(key, tuple) else key for key in shared]
    equal = [float(a == b) for a, b in pairs]
    interval = bootstrap_mean(equal, clusters=prompts)
    why = _why_no_kappa(pairs)
    spread = kappa_interval(pairs, prompts) if why is None else Interval(math.nan, math.nan)
    return {
        "n": len(pairs),
        "agree_pct": 100 * sum(equal) / len(equal) if equal else None,
        "ci_low": _known(100 * interval.low),
        "ci_high": _known(100 * interval.high),
        "kappa": cohen_kappa(pairs) if why is None else None,
        "kappa_low": _known(spread.low),
        "kappa_high": _known(spread.high),
        "kappa_no_ties": cohen_kappa(decided) if _why_no_kappa(decided) is None else None,
        "n_no_ties": len(decided),
        "why": why,
    }


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two raters; None when chance agreement is complete or there is nothing to compare."""
    n = len(pairs)
    if n == 0:
        return None
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(left[name] * right[name] for name in left) / n**2
    observed = sum(a == b for a, b in pairs) / n
    return None if expected >= 1 else (observed - expected) / (1 - expected)


def kappa_interval(pairs: Sequence[tuple[str, str]], clusters: Sequence[Hashable], draws: int = 500) -> Interval:
    """Percentile interval of kappa, resampling clusters."""
    groups: dict[Hashable, list[tuple[str, str]]] = {}
    for pair, cluster in zip(pairs, clusters, strict=True):
        groups.setdefault(cluster, []).append(pair)
    listed, rng = list(groups.values()), np.random.default_rng(17)
    kappas = []
    for _ in range(draws):
        picks = rng.integers(0, len(listed), len(listed))
        kappa = cohen_kappa([pair for pick in picks for pair in listed[pick]])
        if kappa is not None:
            kappas.append(kappa)
    if not kappas:
        return Interval(math.nan, math.nan)
    low, high = np.quantile(kappas, [0.025, 0.975])
    return Interval(float(low), float(high))


def fleiss_kappa(ratings: Sequence[Sequence[str]]) -> float | None:
    """Fleiss' kappa over items with at least two ratings each, in its form for unequal numbers of raters."""
    items = [Counter(item) for item in ratings if len(item) >= 2]
    total = sum(sum(item.values()) for item in items)
    if not items:
        return None
    shares = sum(items, Counter())
    expected = sum((count / total) ** 2 for count in shares.values())
    observed = sum(sum(c * (c - 1) for c in i.values()) / (i.total() * (i.total() - 1)) for i in items) / len(items)
    return None if expected >= 1 else (observed - expected) / (1 - expected)


def leanings(rows: Sequence[Json]) -> Json:
    """Seat and length effects of one judge's rows.

    {consistency_pct (pairs with one verdict in both orders), n_pairs, first_seat_pct with ci_low, ci_high,
    n_decided, longer_pct, n_longer, flip_pct (repeats of one question that disagree), n_repeated}; None where nothing
    can be measured, as the order of imported verdicts is not known.
    """
    orders: dict[Any, dict[str, str]] = {}
    repeats: dict[Any, list[str]] = {}
    seats, prompts = [], []
    for row in rows:
        if row.get("verdict") is None or row.get("status") == "tie_identical" or row.get("order") is None:
            continue
        unit = (row.get("seed"), pair_key(row), row.get("voter"))
        orders.setdefault((unit, row.get("replicate")), {})[row["order"]] = row["verdict"]
        repeats.setdefault((unit, row["order"]), []).append(row["verdict"])
        if row["verdict"] != "tie" and row.get("first_response") is not None:
            seats.append(float(row["verdict"] == str(row["first_response"])))
            prompts.append(row["prompt_id"])
    both = [found for found in orders.values() if len(found) == 2]
    again = [verdicts for verdicts in repeats.values() if len(verdicts) > 1]
    seat = bootstrap_mean(seats, clusters=prompts)
    won, decided = longer_wins(rows)
    return {
        "consistency_pct": _share([found["ab"] == found["ba"] for found in both]),
        "n_pairs": len(both),
        "first_seat_pct": _share(seats),
        "first_seat_low": _known(100 * seat.low),
        "first_seat_high": _known(100 * seat.high),
        "n_decided": len(seats),
        "longer_pct": 100 * won / decided if decided else None,
        "n_longer": decided,
        "flip_pct": _share([len(set(verdicts)) > 1 for verdicts in again]),
        "n_repeated": len(again),
    }


def _why_no_kappa(pairs: Sequence[tuple[str, str]]) -> str | None:
    if len(pairs) < MIN_FOR_KAPPA:
        return f"kappa needs {MIN_FOR_KAPPA} shared verdicts"
    for side in (0, 1):
        if max(Counter(pair[side] for pair in pairs).values()) > MAX_CLASS_SHARE * len(pairs):
            return "one verdict takes more than 95 %"
    return None


def _share(values: Sequence[float | bool]) -> float | None:
    return 100 * sum(values) / len(values) if values else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
