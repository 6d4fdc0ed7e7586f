"""One bar for each pair of mixes: comparisons that differ only in their seed stand together, seeds as ticks."""

from __future__ import annotations

from collections.abc import Sequence

from limit.store.schema import Row


def pooled_bars(comparisons: Sequence[Row], models: Sequence[Row]) -> list[Row]:
    """Rows for `charts.preference_bars`, in the order of the first comparison of each.

    `comparisons` are rows of `queries_preferences`, `models` rows of `queries_models.own_rows`, which average seeds and
    have the interval over seeds and prompts. Comparisons of one model row with one judge and prompt set become one bar;
    those that no model row holds (imported verdicts, another judge, another baseline) keep a bar of their own.
    """
    homes = {comparison: model for model in models for comparison in model["comparison_ids"]}
    names = {run: model["label"] for model in models for run in model["run_ids"]}
    groups: dict[str, list[Row]] = {}
    for row in comparisons:
        home = homes.get(row["comparison_id"])
        groups.setdefault(home["key"] if home else row["comparison_id"], []).append(row)
    bars = [row for key, rows in groups.items() for row in _bars(rows, homes.get(rows[0]["comparison_id"]), names, key)]
    if len({row["origin"] for row in bars}) > 1:
        bars = [{**row, "label": f"{row['label']} · shipped"} if row["origin"] == "shipped" else row for row in bars]
    return _told_apart(_told_apart(bars, "prompt_set"), "judge")


def _told_apart(bars: list[Row], by: str) -> list[Row]:
    """Bars of one name that differ in prompt set or judge say so behind their name."""
    values: dict[str, set[object]] = {}
    for row in bars:
        values.setdefault(row["label"], set()).add(row.get(by))
    return [
        {**row, "label": f"{row['label']} · {row.get(by) or 'unnamed'}"} if len(values[row["label"]]) > 1 else row
        for row in bars
    ]


def _bars(rows: list[Row], model: Row | None, names: dict[str, str], key: str) -> list[Row]:
    """One bar for all, or the rows as they are where the model's rate is not theirs."""
    if model is None or len(rows) < 2 or {row["comparison_id"] for row in rows} != set(model["comparison_ids"]):
        return rows
    baselines = {names.get(row["baseline_run"] or "", row["baseline"]) for row in rows}
    bar: Row = {
        "key": key,
        "label": f"{model['label']} vs {' and '.join(sorted(str(name) for name in baselines))}",
        "candidate_series": model["series"],
        "baseline_series": rows[0]["baseline_series"],
        "preference_pct": model["y"],
        "low": model["y_low"],
        "high": model["y_high"],
        "seeds": [row["preference_pct"] for row in rows if row["preference_pct"] is not None],
        "n_prompts": max((row["n_prompts"] or 0 for row in rows), default=0),
        "note": rows[0]["note"],
        "origin": rows[0]["origin"],
        "prompt_set": rows[0].get("prompt_set"),
        "judge": rows[0].get("judge"),
    }
    return [bar | {name: sum(row[name] or 0 for row in rows) for name in ("wins", "losses", "ties", "invalid")}]
