"""How much data is enough: score by number of samples, and the smallest size that cannot be told from the full set."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from limit.claims.difference import compare_with
from limit.statistics import Interval, verdict_of
from limit.store import Store
from limit.store.schema import Row
from limit.store.series import PAPER_SERIES

MARGIN = {"preference": 5.0}  # points; a smaller gap is of no use to anybody
SCORE_MARGIN = 0.02
MOST_SIZES = 9  # compared with the full set


@dataclass(frozen=True)
class Sufficient:
    """From `at_least` on no size can be told from `reference`; from `shown_at` on the gap is shown to be small."""

    reference: int
    at_least: int | None
    shown_at: int | None
    sentence: str


def families(rows: Sequence[Row]) -> dict[str, str]:
    """For the key of each finetuned model the name of its curve: what its mix is made of, whatever the size.

    Models on another base model, or finetuned with another recipe, are on another curve. Where two mixes of one size
    would share a curve, the shares of their sources keep them apart. The name says no more than it needs to.
    """
    finetuned = [row for row in rows if row["samples"]]
    kinds = {row["key"]: _kind(row) for row in finetuned}
    sizes = Counter((kinds[row["key"]], row["samples"]) for row in finetuned)
    crowded = {kind for (kind, _), n in sizes.items() if n > 1}
    layers = {row["layer"] for row in finetuned}
    recipes = {row["recipe_name"] for row in finetuned}
    settings: dict[str | None, set[str]] = {}
    for row in finetuned:
        settings.setdefault(row["recipe_name"], set()).add(row["recipe_id"])
    names = {}
    for row in finetuned:
        words = [_sources(row)]
        if row["origin"] != "published":
            words += [_shares(row)] if kinds[row["key"]] in crowded else []
            words += [row["layer"]] if len(layers) > 1 else []
            words += [row["recipe_name"] or "no recipe"] if len(recipes) > 1 else []
            words += [f"settings {row['recipe_id'][:4]}"] if len(settings[row["recipe_name"]]) > 1 else []
        names[row["key"]] = " · ".join(word for word in words if word)
    return names


def _kind(row: Row) -> tuple[str, str, str]:
    return _sources(row), row["layer"], row["recipe_id"]


def _sources(row: Row) -> str:
    if row["origin"] == "published":
        return f"{row['layer']}"
    return " + ".join(dict.fromkeys(str(part["source"]) for part in row["parts"])) or "base"


def _shares(row: Row) -> str:
    """The shares of a mix's sources in per cent, as `90:10`; empty for a single source."""
    counts: dict[str, int] = {}
    for part in row["parts"]:
        counts[str(part["source"])] = counts.get(str(part["source"]), 0) + (part.get("rows") or 0)
    total = sum(counts.values())
    return ":".join(f"{100 * n / total:.0f}" for n in counts.values()) if total and len(counts) > 1 else ""


def family_series(rows: Sequence[Row]) -> dict[str, str]:
    """The colour key of each curve: that of the paper where one of its models has it, else its own name."""
    names = families(rows)
    found: dict[str, str] = {}
    for row in rows:
        if row["key"] in names and row["series"] in PAPER_SERIES:
            found.setdefault(names[row["key"]], row["series"])
    return {name: found.get(name, name) for name in names.values()}


def curve_rows(rows: Sequence[Row], measure: str) -> list[Row]:
    """Rows for `charts.limit_curve`; `measure` is average, a category, or preference."""
    colours, names = family_series(rows), families(rows)
    layers = len({row["layer"] for row in rows}) > 1
    out = []
    for row in rows:
        if row["samples"] is None:
            continue
        score, low, high = value_of(row, measure)
        published = row["origin"] == "published"
        is_base = row["samples"] == 0 and not published
        name = names.get(row["key"], _sources(row))
        base = f"base model · {row['layer']}" if layers else "base model"
        out.append(
            {
                "series": row["series"] if is_base else None if published else colours[name],
                "point_series": row["series"] if published else None,
                "label": base if is_base else row["label"] if published else name,
                "name": row["label"],
                "size": row["samples"],
                "score": score,
                "low": low,
                "high": high,
                "n_seeds": row["n_seeds"],
                "key": row["key"],
            }
        )
    return out


def value_of(row: Row, measure: str) -> tuple[float | None, float | None, float | None]:
    """Value, low and high of one measure of a model row."""
    if measure == "average":
        return row["x"], row["x_low"], row["x_high"]
    if measure == "preference":
        return row["y"], row["y_low"], row["y_high"]
    found = row["categories"].get(measure) or {}
    return found.get("score"), found.get("low"), found.get("high")


def smallest_sufficient(store: Store, rows: Sequence[Row], measure: str) -> Sufficient | None:
    """The answer for models of one family (any order); None without two sizes that have the measure."""
    known = sorted(
        (r for r in rows if r["samples"] and value_of(r, measure)[0] is not None), key=lambda r: r["samples"]
    )
    if len({row["samples"] for row in known}) < 2:
        return None
    full, sizes, known = known[-1], len(known), _spread(known)
    lines = _lines(store, known[:-1], full, measure)
    margin = MARGIN.get(measure, SCORE_MARGIN)
    enough = _from_here_on(known, lambda row: lines[row["key"]]["verdict"] != "worse")
    worse = [row for row in known[:-1] if lines[row["key"]]["verdict"] == "worse"]
    shown = _from_here_on(known, lambda row: _low(lines[row["key"]]) > -margin)
    if full["origin"] == "published":
        return Sufficient(full["samples"], enough, None, _published_sentence(full, enough, measure))
    last_worse = worse[-1] if worse and len(worse) < len(known) - 1 else None
    words = _sentence(full, last_worse, enough, shown, margin, measure)
    if len(known) < sizes:
        words += f" Of {sizes:,} sizes {len(known)} were compared, evenly on the log axis."
    return Sufficient(full["samples"], enough, shown, words)


def _spread(known: Sequence[Row]) -> list[Row]:
    """All of a few sizes; of many at most `MOST_SIZES`, evenly on the log axis, the smallest and the full one too.

    Each size that is compared with the full set makes the test of every other one stricter.
    """
    if len(known) <= MOST_SIZES:
        return list(known)
    first, last = (math.log(row["samples"]) for row in (known[0], known[-1]))
    wanted = [first + (last - first) * step / (MOST_SIZES - 1) for step in range(MOST_SIZES)]
    places = {min(range(len(known)), key=lambda i: abs(math.log(known[i]["samples"]) - at)) for at in wanted}
    return [known[i] for i in sorted(places | {0, len(known) - 1})]


def _lines(store: Store, rows: Sequence[Row], full: Row, measure: str) -> dict[str, Row]:
    """Each size against the full set by key; p-values are multiplied by the number of sizes (Bonferroni)."""
    lines = compare_with(store, rows, full, measure)
    for line in lines:
        if line["basis"] == "paired":
            interval = Interval(line["low"], line["high"])
            line["verdict"] = verdict_of(interval, min(1.0, line["p_value"] * len(rows)))
    return {row["key"]: line for row, line in zip(rows, lines, strict=True)}


def _low(line: Row) -> float:
    return -math.inf if line["low"] is None or math.isnan(line["low"]) else float(line["low"])


def _from_here_on(known: Sequence[Row], holds: Callable[[Row], bool]) -> int | None:
    """The smallest size from which on the condition holds for all models of every size, the full one left out."""
    best = None
    for size, members in itertools.groupby(reversed(known[:-1]), key=lambda row: row["samples"]):
        if not all(holds(row) for row in members):
            break
        best = size
    return best


def _published_sentence(full: Row, enough: int | None, measure: str) -> str:
    """What published numbers read like; they differ in what they hold, too, and nothing was tested."""
    limits = "the released verdicts' intervals allow" if measure == "preference" else "the figure can be misread"
    whole = f"the full {full['samples']:,} samples"
    if enough is None:
        words = f"Each smaller set is published below {whole} by more than {limits}."
    else:
        words = f"From {enough:,} samples on, no published set lies below {whole} by more than {limits}."
    if measure == "preference":
        return words
    return f"{words} How far scores would move with other items or seeds was not published, so nothing was tested."


def _sentence(
    full: Row, last_worse: Row | None, enough: int | None, shown: int | None, margin: float, measure: str
) -> str:
    """The answer in words; `last_worse` is the largest model that is worse where others are not."""
    unit = "points" if measure == "preference" else "of score"
    if enough is None and last_worse is not None:
        return (
            f"{last_worse['samples']:,} samples are worse than the full {full['samples']:,}, so no smaller size is "
            "named, although some cannot be told from it; more items would settle it."
        )
    if enough is None:
        words = f"Every smaller size is worse than the full {full['samples']:,} samples"
        return (
            f"{words}: less is not enough here."
            if shown is None
            else f"{words}, but from {shown:,} on by less than {margin:g} {unit}."
        )
    words = f"From {enough:,} samples on, no size can be told from the full {full['samples']:,}."
    if shown is None:
        return f"{words} No smaller size is yet shown to be within {margin:g} {unit} of it; more items would settle it."
    return f"{words} From {shown:,} on it is shown to be within {margin:g} {unit}."
