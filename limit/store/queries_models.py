"""Each model under both paradigms: one row for a mix on a base model, its seeds drawn together.

This is the row that Overview, Compare, claims and exports share. The paper's models have the same shape.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePath

from limit.core import canonical_json, content_id
from limit.statistics import seed_interval
from limit.store.index import Store
from limit.store.queries_gauntlet import best_evals, category_scores, evals, model_name, protocol_text
from limit.store.queries_preferences import comparisons
from limit.store.queries_published import SIZES, paper_gauntlet, paper_models, paper_preferences
from limit.store.queries_runs import runs, studies
from limit.store.schema import Row

PAPER = "the paper"
ORIGINS = ("workspace", "shipped")
COUNTS = ("n_prompts", "wins", "losses", "ties", "invalid")  # behind a preference rate
BETWEEN_PROTOCOLS = " / "
MOST_PARTS = 5  # of a path in the name of a base model
MOST_CHARS = 60  # of what is added to a label
MIN_SEEDS = 3  # a t interval over two seeds spans nearly everything


def paper_rows(store: Store, sizes: Sequence[str] = SIZES, prompt_set: str = "lima") -> list[Row]:
    """The paper's ten models; LIMA is the baseline of its size, so its preference is 50 % by definition."""
    return store.remember(f"paper {' '.join(sizes)} {prompt_set}", lambda: _paper_rows(store, sizes, prompt_set))


def _paper_rows(store: Store, sizes: Sequence[str], prompt_set: str) -> list[Row]:
    scores = {(r["group"], r["series"], r["category"]): r for r in paper_gauntlet(store, sizes)}
    rates = {(r["model_size"], r["series"]): r for r in paper_preferences(store, prompt_set, sizes)}
    out = []
    for model in paper_models(store):
        size, series = model["model_size"], model["series"]
        if size not in sizes:
            continue
        categories = {c: s for (group, key, c), s in scores.items() if (group, key) == (size, series)}
        average = categories.pop("average", {})
        rate = rates.get((size, series), {})
        out.append(
            {
                "key": f"paper:{size}:{series}",
                "label": model["name"],
                "layer": f"{PAPER}, {size}",
                "group": size,
                "series": series,
                "samples": model["samples"],
                "parts": [],
                "composition": _paper_composition(model),
                "x": average.get("score"),
                "x_low": average.get("low"),
                "x_high": average.get("high"),
                **_preference(rate, is_baseline=series == "lima"),
                "baseline": f"paper:{size}:lima",
                "categories": categories,
                "seeds": [],
                "n_seeds": len(rate.get("seeds") or []) or None,
                "prompt_set": prompt_set,
                "judge": rate.get("judge"),
                "protocol": "v0 by fit, digitised" if average.get("score") is not None else "not published",
                "origin": "published",
                "run_ids": [],
                "eval_ids": [],
                "comparison_ids": [],
                "mix_id": None,
                "mix_ids": [],
                "recipe_name": None,
                "recipe_id": "",
            }
        )
    return out


def _paper_composition(model: Row) -> str:
    return "no finetuning" if not model["samples"] else f"{model['samples']:,} samples of {model['dataset']}"


def _preference(rate: Row, is_baseline: bool) -> Row:
    if is_baseline:
        return {"y": 50.0, "y_low": None, "y_high": None, "is_baseline": True, **dict.fromkeys(COUNTS)}
    return {
        "y": rate.get("preference_pct"),
        "y_low": rate.get("low"),
        "y_high": rate.get("high"),
        "is_baseline": False,
        **{name: rate.get(name) for name in COUNTS},
    }


def own_rows(
    store: Store,
    version: str | None = None,
    judge: str | None = None,
    prompt_set: str | None = None,
    run_ids: Sequence[str] | None = None,
) -> list[Row]:
    """Your models, then the shipped study's, grouped by base model, mix contents and recipe; seeds are averaged.

    What ships is never averaged with your own: a run of yours counts what was measured here, and one that ships what
    ships of it.

    Without `version`, `judge` or `prompt_set` each base model's most frequent one is taken, so scores stay comparable.
    The baseline is the model that most comparisons of a base model name. Every row names its evaluations.
    """
    wanted = "all" if run_ids is None else " ".join(sorted(run_ids))
    key = f"models {version} {judge} {prompt_set} {wanted}"
    return store.remember(key, lambda: _own_rows(store, version, judge, prompt_set, run_ids))


def _own_rows(
    store: Store, version: str | None, judge: str | None, prompt_set: str | None, run_ids: Sequence[str] | None
) -> list[Row]:
    out: list[Row] = []
    for origin in ORIGINS:
        chosen = best_evals(store, version, origin)
        out += _of_origin(store, origin, chosen, comparisons(store, prompt_set, judge), run_ids)
    return _named_apart(out)


def study_rows(store: Store, study: str) -> list[Row]:
    """The models of a named study as that study measured them: its evaluations, its comparisons, its baseline.

    The same runs may belong to several studies, each with a baseline, a judge and a Gauntlet of its own, so the rows
    have keys of their own beside those of `own_rows`. One's own study comes before a shipped one of its name; no rows
    for a name that no study has.
    """
    return store.remember(f"study {study}", lambda: _study_rows(store, study))


def _study_rows(store: Store, study: str) -> list[Row]:
    known = [row for row in studies(store) if row["study"] == study]
    plan = next((row for row in known if row["origin"] == "workspace"), known[0] if known else None)
    if plan is None:
        return []
    run_ids, eval_ids, judged = (set(plan[name]) for name in ("run_ids", "eval_ids", "comparison_ids"))
    chosen = best_evals(store, origin=plan["origin"])
    if eval_ids:
        chosen = {e["run_id"]: e for e in evals(store) if e["eval_id"] in eval_ids and e["origin"] == plan["origin"]}
    pairs = [c for c in comparisons(store) if not judged or c["comparison_id"] in judged]
    rows = _of_origin(store, plan["origin"], chosen, pairs, run_ids)
    return [{**row, **{name: _key_in(study, row[name]) for name in ("key", "baseline")}} for row in rows]


def _key_in(study: str, key: str | None) -> str | None:
    return None if key is None else content_id([study, key])


def _of_origin(
    store: Store, origin: str, chosen: dict[str, Row], pairs: Sequence[Row], run_ids: Collection[str] | None
) -> list[Row]:
    """Rows of one origin from the evaluation chosen for each run and some comparisons; with `run_ids` only of those."""
    wanted = {run_id: e for run_id, e in chosen.items() if run_ids is None or run_id in run_ids}
    judged = [c for c in pairs if c["candidate_run"] and c["baseline_run"] and c["origin"] == origin]
    measured = wanted.keys() | {c[side] for c in judged for side in ("candidate_run", "baseline_run")}
    table = [run for run in runs(store) if run["origin"] == origin or run["run_id"] in measured]
    table = [run for run in table if run_ids is None or run["run_id"] in run_ids]
    out: list[Row] = []
    for model, name in _layer_names(dict.fromkeys(run["model"] for run in table)).items():
        members = [{**run, "origin": origin} for run in table if run["model"] == model]
        out += _layer(store, name, members, judged, wanted)
    return _labels_apart(out)


def _layer_names(models: Iterable[str]) -> dict[str, str]:
    """Each base model's name; those that would be called alike have as much of their path as tells them apart."""
    names = {model: model_name(model) for model in models}
    for name, alike in _by_value(names).items():
        parts = 1
        while len(alike) > 1 and len({names[model] for model in alike}) < len(alike) and parts < MOST_PARTS:
            parts += 1
            names |= {model: "/".join(PurePath(model or name).parts[-parts:]) for model in alike}
    return names


def _by_value(names: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, name in names.items():
        found.setdefault(name, []).append(key)
    return found


def _labels_apart(rows: list[Row]) -> list[Row]:
    """Rows whose labels differ: those of one label also name base model, recipe or key, whichever tells them apart."""
    for qualifier, chars in (("layer", MOST_CHARS), ("recipe_name", MOST_CHARS), ("key", 6)):
        told: dict[str, set[str | None]] = {}
        for row in rows:
            told.setdefault(row["label"], set()).add(row[qualifier])
        rows = [
            {**row, "label": f"{row['label']} · {row[qualifier][:chars]}"}
            if len(told[row["label"]]) > 1 and row[qualifier]
            else row
            for row in rows
        ]
    return rows


def _named_apart(rows: list[Row]) -> list[Row]:
    """Rows with a key of their own: of one model in two origins the one with results keeps it, one's own first."""
    holders: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["x"] is None and not row["comparison_ids"]):
        holders.setdefault(row["key"], row)
    return [
        row if holders[row["key"]] is row else {**row, "key": content_id([row["key"], row["origin"]])} for row in rows
    ]


def _layer(store: Store, layer: str, members: list[Row], judged: list[Row], evals: dict[str, Row]) -> list[Row]:
    """All rows of one base model, under one Gauntlet version, one judge and one prompt set."""
    ids = {run["run_id"] for run in members}
    judged = _same_setting([c for c in judged if c["candidate_run"] in ids])
    chosen = _one_version({k: e for k, e in evals.items() if k in ids})
    scores: dict[str, dict[str, Row]] = {}
    for row in category_scores(store, [e["eval_id"] for e in chosen.values()]):
        scores.setdefault(row["eval_id"], {})[row["category"]] = row
    groups: dict[str, list[Row]] = {}
    for run in members:
        groups.setdefault(_group_key(run), []).append(run)
    baseline, judged = _against_one(judged, groups)
    rows = [_model_row(layer, key, group, chosen, scores, judged, baseline) for key, group in groups.items()]
    return sorted(rows, key=lambda row: (row["samples"] is None, row["samples"] or 0, row["label"]))


def _group_key(run: Row) -> str:
    """Runs that differ only in seeds are one model; another seed draws other counts of each subset."""
    parts = [[part["source"], part["subset"], part["rows"]] for part in run["parts"]]
    return canonical_json([run["model"], run["mix_request"] or parts or run["mix_id"], run["recipe"]])


def _same_setting(judged: list[Row]) -> list[Row]:
    """The comparisons of the most frequent (judge, prompt set); the oldest wins a draw."""
    counts = Counter((c["judge"], c["prompt_set"]) for c in judged)
    best = max(counts, key=lambda k: counts[k], default=None)
    return [c for c in judged if (c["judge"], c["prompt_set"]) == best]


def _one_version(chosen: dict[str, Row]) -> dict[str, Row]:
    """Evaluations of the version that most runs have."""
    counts = Counter(row["version"] for row in chosen.values())
    best = max(counts, key=lambda k: counts[k], default=None)
    return {run: row for run, row in chosen.items() if row["version"] == best}


def _against_one(judged: list[Row], groups: dict[str, list[Row]]) -> tuple[str | None, list[Row]]:
    """The model that most comparisons name as baseline, one's own before shipped ones, and the comparisons with it.

    Rates against different baselines are not one scale, so those known to be against another one are left out.
    """
    home = {run["run_id"]: key for key, members in groups.items() for run in members}
    known = [c for c in judged if c["baseline_run"] in home]
    counts = Counter(home[c["baseline_run"]] for c in [c for c in known if c["origin"] == "workspace"] or known)
    best = max(counts, key=lambda k: counts[k], default=None)
    return best, [c for c in judged if home.get(c["baseline_run"], best) == best]


def _model_row(
    layer: str,
    key: str,
    members: list[Row],
    chosen: dict[str, Row],
    scores: dict[str, dict[str, Row]],
    judged: list[Row],
    baseline: str | None,
) -> Row:
    evals = {run["run_id"]: chosen[run["run_id"]] for run in members if run["run_id"] in chosen}
    by_seed = {run_id: scores.get(e["eval_id"], {}) for run_id, e in evals.items()}
    ids = {run["run_id"] for run in members}
    pairs = [c for c in judged if c["candidate_run"] in ids]
    first = members[0]
    names = list(dict.fromkeys(category for found in by_seed.values() for category in found))
    categories = {name: _combined([found[name] for found in by_seed.values() if name in found]) for name in names}
    average = categories.pop("average", {})
    is_baseline = key == baseline
    rate = _combined_rate([c for c in pairs if c["preference_pct"] is not None])
    rates = {c["candidate_run"]: c["preference_pct"] for c in pairs}
    seeds = [
        {
            "run_id": run["run_id"],
            "seed": run["seed"],
            "x": by_seed.get(run["run_id"], {}).get("average", {}).get("score"),
            "y": rates.get(run["run_id"]),
        }
        for run in members
    ]
    return {
        "key": content_id(key),
        "label": first["mix_name"] or first["name"],
        "layer": layer,
        "group": layer,
        "series": first["series"],
        "samples": first["samples"],
        "parts": first["parts"],
        "composition": None,
        "x": average.get("score"),
        "x_low": average.get("low"),
        "x_high": average.get("high"),
        **_preference(rate, is_baseline),
        "baseline": content_id(baseline) if baseline else None,
        "categories": categories,
        "seeds": seeds,
        "n_seeds": sum(seed["x"] is not None or seed["y"] is not None for seed in seeds) or len(members),
        "prompt_set": pairs[0]["prompt_set"] if pairs else None,
        "judge": pairs[0]["judge"] if pairs else None,
        "protocol": BETWEEN_PROTOCOLS.join(dict.fromkeys(protocol_text(head) for head in evals.values())) or None,
        "origin": first["origin"],
        "run_ids": [run["run_id"] for run in members],
        "eval_ids": [e["eval_id"] for e in evals.values()],
        "comparison_ids": [c["comparison_id"] for c in pairs],
        "mix_id": first["mix_id"],
        "mix_ids": list(dict.fromkeys(run["mix_id"] for run in members if run["mix_id"])),
        "recipe_name": first["recipe_name"],
        "recipe_id": content_id(first["recipe"]) if first["recipe"] else "",
    }


def protocols(rows: Sequence[Row]) -> list[str]:
    """Every protocol behind the scores of some rows; more than one, and their bars do not measure quite the same."""
    found = (row["protocol"].split(BETWEEN_PROTOCOLS) for row in rows if row["x"] is not None and row["protocol"])
    return list(dict.fromkeys(name for names in found for name in names))


def _combined(rows: Sequence[Row]) -> Row:
    """Mean score over seeds with its interval; see `combine_intervals`."""
    known = [row for row in rows if row["score"] is not None]
    if not known:
        return {"score": None, "low": None, "high": None, "partial": False, "missing": [], "n": None}
    low, high = combine_intervals([(row["score"], row["low"], row["high"]) for row in known])
    return {
        "score": sum(row["score"] for row in known) / len(known),
        "low": low,
        "high": None if high is None else min(1.0, high),  # a t interval over seeds knows no bounds, a score has one
        "partial": any(row["partial"] for row in known),
        "missing": sorted({task for row in known for task in row["missing"]}),
        "n": known[0]["n"],
    }


def _combined_rate(pairs: Sequence[Row]) -> Row:
    if not pairs:
        return {}
    low, high = combine_intervals([(c["preference_pct"], c["low"], c["high"]) for c in pairs])
    return {
        "preference_pct": sum(c["preference_pct"] for c in pairs) / len(pairs),
        "low": None if low is None else max(0.0, low),  # a t interval over seeds knows no bounds, a rate has two
        "high": None if high is None else min(100.0, high),
        "n_prompts": max(c["n_prompts"] or 0 for c in pairs),
        **{name: sum(c[name] or 0 for c in pairs) for name in COUNTS[1:]},
    }


def combine_intervals(
    values: Sequence[tuple[float, float | None, float | None]],
) -> tuple[float | None, float | None]:
    """One interval for the mean of several (value, low, high): the wider of two views.

    From three seeds on a t interval over the seeds; in any case the mean of the single intervals, because the same
    items or prompts stand behind each of them.
    """
    points = [value for value, _, _ in values]
    mean = sum(points) / len(points)
    lows = [low for _, low, _ in values if low is not None]
    highs = [high for _, _, high in values if high is not None]
    low = sum(lows) / len(lows) if len(lows) == len(points) else None
    high = sum(highs) / len(highs) if len(highs) == len(points) else None
    if len(points) >= MIN_SEEDS:
        spread = seed_interval(points)
        if not math.isnan(spread.low):
            low = spread.low if low is None else min(low, spread.low)
            high = spread.high if high is None else max(high, spread.high)
    if low is None or high is None:
        return None, None
    return min(low, mean), max(high, mean)
