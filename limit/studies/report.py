"""What a study says over its seeds: means with intervals for each mix, and how often one mix is above another.

Notable: intervals are over finetuning seeds (Student's t), so they hold for the recipe, not for one lucky run. Counts
of seeds are given beside them, because five seeds make wide intervals. The rubric's readings pool the seeds' verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

from limit.core import Json
from limit.formats import accuracy_interval, percent_interval
from limit.judge.judgments import read_judgments
from limit.judge.readings import is_rubric, read_as
from limit.judge.rubric import VARIANTS
from limit.judge.summary import resolve_orders
from limit.settings import Workspace
from limit.statistics import seed_interval
from limit.studies.show import show_study
from limit.studies.spec import SHIPPED_RESULTS


def study_report(ws: Workspace, name: str) -> Json:
    """{study, title, origin, models, pairs, readings} of a study that was run here, or of one that ships.

    `models`: {label, is_baseline, seeds, gauntlet, categories, preference}, scores as {mean, low, high, values}; the
    interval is None with one seed. `pairs`: {one, other, gauntlet, preference}, each {above, seeds}: in how many of the
    seeds that both have `one` is above `other`; pairs without a common seed are left out. `readings`: {label, variant,
    won, tied, lost} in per cent of all pairs against the baseline, for the rubric only.
    Raises LimitError when there is no such study.
    """
    shown = show_study(ws, name)
    place = Workspace(SHIPPED_RESULTS) if shown["origin"] == "shipped" else ws
    labels = list(dict.fromkeys(run["label"] for run in shown["runs"]))
    groups = {label: [run for run in shown["runs"] if run["label"] == label] for label in labels}
    return {
        "study": shown["study"],
        "title": shown["title"],
        "origin": shown["origin"],
        "models": [_model(label, runs) for label, runs in groups.items()],
        "pairs": [pair for two in combinations(labels, 2) if (pair := _pair(*two, groups))["gauntlet"]["seeds"]],
        "readings": [reading for label, runs in groups.items() for reading in _readings(place, label, runs)],
    }


def _model(label: str, runs: Sequence[Json]) -> Json:
    scored = [run["gauntlet"] for run in runs if run["gauntlet"]]
    names = dict.fromkeys(name for score in scored for name in score["categories"])
    return {
        "label": label,
        "is_baseline": runs[0]["is_baseline"],
        "seeds": [run["seed"] for run in runs if run["seed"] is not None],
        "gauntlet": _spread(score["average"] for score in scored),
        "categories": {name: _spread(score["categories"].get(name) for score in scored) for name in names},
        "preference": _spread(rate["preference_pct"] for run in runs for rate in run["preference"]),
    }


def _spread(values: Iterable[float | None]) -> Json:
    known = [value for value in values if value is not None]
    interval = seed_interval(known)
    several = not math.isnan(interval.low)
    return {
        "mean": sum(known) / len(known) if known else None,
        "low": interval.low if several else None,
        "high": interval.high if several else None,
        "values": known,
    }


def _pair(one: str, other: str, groups: dict[str, list[Json]]) -> Json:
    """Seeds in which one mix is above the other; a model without a seed meets every seed of the other."""
    sides = [{run["seed"]: run for run in groups[label]} for label in (one, other)]
    seeds = sorted({seed for side in sides for seed in side if seed is not None})
    pairs = [tuple(side.get(seed, side.get(None)) for side in sides) for seed in seeds]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    scores = [(_average(a), _average(b)) for a, b in both]
    rates = [(_rate(a), _rate(b)) for a, b in both]
    return {"one": one, "other": other, "gauntlet": _above(scores), "preference": _above(rates)}


def _average(run: Json) -> float | None:
    return run["gauntlet"]["average"] if run["gauntlet"] else None


def _rate(run: Json) -> float | None:
    """Preference against the study's baseline; the baseline itself stands at one half."""
    if run["is_baseline"]:
        return 50.0
    rates = [rate["preference_pct"] for rate in run["preference"] if rate["preference_pct"] is not None]
    return sum(rates) / len(rates) if rates else None


def _above(pairs: Sequence[tuple[float | None, float | None]]) -> Json:
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return {"above": sum(a > b for a, b in known), "seeds": len(known)}


def _readings(ws: Workspace, label: str, runs: Sequence[Json]) -> list[Json]:
    judged = [rate for run in runs for rate in run["preference"] if is_rubric(rate["judge"])]
    rows = [row for rate in judged for row in read_judgments(ws, rate["comparison"])]
    if not rows:
        return []
    found = []
    for variant in VARIANTS:
        verdicts = [row["verdict"] for row in resolve_orders(read_as(rows, variant))]  # type: ignore[arg-type]
        shares = {name: 100 * verdicts.count(mark) / len(verdicts) for name, mark in _SIDES.items()}
        found.append({"label": label, "variant": variant, **shares})
    return found


_SIDES = {"won": "2", "tied": "tie", "lost": "1"}


def report_text(report: Json) -> str:
    """The report as Markdown: a table of models, one of pairs over seeds, one of the rubric's readings."""
    names = list(report["models"][0]["categories"]) if report["models"] else []
    lines = [f"| model | seeds | Gauntlet | {' | '.join(name.replace('_', ' ') for name in names)} | preferred |"]
    lines.append("| --- " * (len(names) + 4) + "|")
    for model in report["models"]:
        cells = [model["label"], str(len(model["seeds"]) or "one model"), _score(model["gauntlet"])]
        cells += [_score(model["categories"][name]) if name in model["categories"] else "n/a" for name in names]
        lines.append(f"| {' | '.join([*cells, _preferred(model)])} |")
    lines += ["", "| in how many seeds | on the Gauntlet | on preference |", "| --- | --- | --- |"]
    for pair in report["pairs"]:
        counts = [f"{pair[key]['above']} of {pair[key]['seeds']}" for key in ("gauntlet", "preference")]
        lines.append(f"| {pair['one']} above {pair['other']} | {' | '.join(counts)} |")
    if report["readings"]:
        lines += ["", "| won / tied / lost, % | " + " | ".join(VARIANTS) + " |", "| --- " * (len(VARIANTS) + 1) + "|"]
        for label in dict.fromkeys(row["label"] for row in report["readings"]):
            cells = [
                f"{r['won']:.0f} / {r['tied']:.0f} / {r['lost']:.0f}" for r in report["readings"] if r["label"] == label
            ]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _score(spread: Json) -> str:
    return accuracy_interval(spread["mean"], spread["low"], spread["high"])


def _preferred(model: Json) -> str:
    spread = model["preference"]
    return "baseline" if model["is_baseline"] else percent_interval(spread["mean"], spread["low"], spread["high"])
