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

Setting = tuple[str | None, str]  # a judge and the prompt set whose answers it compared


def study_report(ws: Workspace, name: str) -> Json:
    """{study, title, origin, settings, models, pairs, readings} of a study that was run here, or of one that ships.

    `settings`: each judge on each prompt set as {judge, prompt_set}, the study's own order; rates of two settings are
    two scales and are never drawn together. `models`: {label, is_baseline, seeds, gauntlet, categories, preference,
    preferences}, scores as {mean, low, high, values}, one preference for each setting and the first one again; the
    interval is None with one seed. `pairs`: {one, other, gauntlet, preference}, each {above, tied, seeds}: in how many
    of the seeds that both have `one` is above `other`, and level with it, preference in the first setting; pairs
    without a common seed are left out. `readings`: {label, variant, won, tied, lost} in per cent of all pairs against
    the baseline, for the rubric only. Raises LimitError when there is no such study.
    """
    shown = show_study(ws, name)
    place = Workspace(SHIPPED_RESULTS) if shown["origin"] == "shipped" else ws
    settings = list(dict.fromkeys(_setting(rate) for run in shown["runs"] for rate in run["preference"]))
    groups = _groups(shown["runs"])
    alike = [two for two in combinations(groups, 2) if _model_of(groups[two[0]]) == _model_of(groups[two[1]])]
    return {
        "study": shown["study"],
        "title": shown["title"],
        "origin": shown["origin"],
        "settings": [{"judge": judge, "prompt_set": prompts} for judge, prompts in settings],
        "models": [_model(label, runs, settings) for label, runs in groups.items()],
        "pairs": [pair for two in alike if (pair := _pair(*two, groups, settings))["gauntlet"]["seeds"]],
        "readings": [reading for label, runs in groups.items() for reading in _readings(place, label, runs)],
    }


def _setting(rate: Json) -> Setting:
    return rate["judge"], rate["prompt_set"]


def _groups(runs: Sequence[Json]) -> dict[str, list[Json]]:
    """Runs that differ in their seed alone, by their label; where two base models share labels, with the model."""
    models: dict[str, set[str]] = {}
    for run in runs:
        models.setdefault(run["label"], set()).add(run["model"])
    groups: dict[str, list[Json]] = {}
    for run in runs:
        label = run["label"] if len(models[run["label"]]) == 1 else f"{run['label']} ({run['model']})"
        groups.setdefault(label, []).append(run)
    return groups


def _model_of(runs: Sequence[Json]) -> str:
    return str(runs[0]["model"])


def _model(label: str, runs: Sequence[Json], settings: Sequence[Setting]) -> Json:
    scored = [run["gauntlet"] for run in runs if run["gauntlet"]]
    names = dict.fromkeys(name for score in scored for name in score["categories"])
    rates = [_spread(_rates(runs, setting), least=0.0, most=100.0) for setting in settings]
    return {
        "label": label,
        "is_baseline": runs[0]["is_baseline"],
        "seeds": [run["seed"] for run in runs if run["seed"] is not None],
        "gauntlet": _spread(score["average"] for score in scored),
        "categories": {name: _spread(score["categories"].get(name) for score in scored) for name in names},
        "preference": rates[0] if rates else _spread([]),
        "preferences": rates,
    }


def _rates(runs: Sequence[Json], setting: Setting) -> list[float | None]:
    return [rate["preference_pct"] for run in runs for rate in run["preference"] if _setting(rate) == setting]


def _spread(values: Iterable[float | None], least: float = -math.inf, most: float = 1.0) -> Json:
    """Mean and interval over seeds of values that have bounds; a score knows no lower one, since it is above chance."""
    known = [value for value in values if value is not None]
    interval = seed_interval(known)
    several = not math.isnan(interval.low)
    return {
        "mean": sum(known) / len(known) if known else None,
        "low": max(least, interval.low) if several else None,
        "high": min(most, interval.high) if several else None,
        "values": known,
    }


def _pair(one: str, other: str, groups: dict[str, list[Json]], settings: Sequence[Setting]) -> Json:
    """Seeds in which one mix is above the other; a model without a seed meets every seed of the other."""
    sides = [{run["seed"]: run for run in groups[label]} for label in (one, other)]
    seeds = sorted({seed for side in sides for seed in side if seed is not None})
    pairs = [tuple(side.get(seed, side.get(None)) for side in sides) for seed in seeds]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    scores = [(_average(a), _average(b)) for a, b in both]
    rates = [(_rate(a, settings[:1]), _rate(b, settings[:1])) for a, b in both]
    return {"one": one, "other": other, "gauntlet": _above(scores), "preference": _above(rates)}


def _average(run: Json) -> float | None:
    return run["gauntlet"]["average"] if run["gauntlet"] else None


def _rate(run: Json, settings: Sequence[Setting]) -> float | None:
    """Preference against the study's baseline; the baseline itself stands at one half."""
    if run["is_baseline"]:
        return 50.0
    rates = [rate for setting in settings for rate in _rates([run], setting) if rate is not None]
    return sum(rates) / len(rates) if rates else None


def _above(pairs: Sequence[tuple[float | None, float | None]]) -> Json:
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    tied = sum(a == b for a, b in known)
    return {"above": sum(a > b for a, b in known), "tied": tied, "seeds": len(known)}


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
    names = list(dict.fromkeys(name for model in report["models"] for name in model["categories"]))
    several = len(report["settings"]) > 1
    heads = [f"preferred by {s['judge']} on {s['prompt_set']}" if several else "preferred" for s in report["settings"]]
    heads = ["model", "seeds", "Gauntlet", *(name.replace("_", " ") for name in names), *(heads or ["preferred"])]
    lines = _table(heads)
    for model in report["models"]:
        cells = [_cell(model["label"]), str(len(model["seeds"]) or "one model"), _score(model["gauntlet"])]
        cells += [_score(model["categories"][name]) if name in model["categories"] else "n/a" for name in names]
        lines.append(f"| {' | '.join([*cells, *_preferred(model)])} |")
    if report["pairs"]:
        lines += ["", *_table(["in how many seeds", "on the Gauntlet", "on preference"])]
    for pair in report["pairs"]:
        counts = [_seeds_above(pair[key]) for key in ("gauntlet", "preference")]
        lines.append(f"| {_cell(pair['one'])} above {_cell(pair['other'])} | {' | '.join(counts)} |")
    if report["readings"]:
        lines += ["", *_table(["won / tied / lost, %", *VARIANTS])]
        for label in dict.fromkeys(row["label"] for row in report["readings"]):
            cells = [
                f"{r['won']:.0f} / {r['tied']:.0f} / {r['lost']:.0f}" for r in report["readings"] if r["label"] == label
            ]
            lines.append(f"| {_cell(label)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(heads: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(map(_cell, heads))} |", "| --- " * len(heads) + "|"]


def _cell(text: str) -> str:
    """Text that stays in one cell of a Markdown table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


def _seeds_above(counts: Json) -> str:
    tied = f", {counts['tied']} tied" if counts["tied"] else ""
    return f"{counts['above']} of {counts['seeds']}{tied}"


def _score(spread: Json) -> str:
    return accuracy_interval(spread["mean"], spread["low"], spread["high"])


def _preferred(model: Json) -> list[str]:
    rates = model["preferences"] or [model["preference"]]
    if model["is_baseline"]:
        return ["baseline"] * len(rates)
    return [percent_interval(spread["mean"], spread["low"], spread["high"]) for spread in rates]
