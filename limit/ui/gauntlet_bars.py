"""Rows of the Gauntlet page's bars: the paper's and one's own, by each rule, told apart where they look alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from limit import charts
from limit.store import Store
from limit.store.queries_gauntlet import evals, gauntlet_rows, task_rows
from limit.store.queries_published import paper_gauntlet
from limit.store.schema import Row
from limit.ui.gauntlet_items import eval_records

AVERAGE = charts.PANELS[0]


def bar_rows(store: Store, chosen: Sequence[str], column: str | None, with_paper: bool) -> list[Row]:
    """Rows of the panels: the paper's first, then one's own; `column` holds another rule's accuracy."""
    own = gauntlet_rows(store, chosen) if column is None else _rule_rows(store, chosen, column)
    models = {row["eval_id"]: str(row["model"] or "") for row in evals(store)}
    paper = [{**row, "label": f"{row['label']} (paper)" if own else row["label"]} for row in paper_gauntlet(store)]
    return [*(paper if with_paper else []), *told_apart(own, models)]


def told_apart(rows: Sequence[Row], models: Mapping[str, str]) -> list[Row]:
    """Rows whose bars would be taken for one another, made different.

    Model folders of one name get more of their path, evaluations of one run get what their protocols differ in, and
    bars of one colour in one group become paler one after the other (`shade`). `models` maps eval_id to the model.
    """
    firsts = {row["key"]: row for row in rows}
    names = {key: row["group"] for key, row in firsts.items()}
    for key, name in list(names.items()):
        if len({models[other] for other in firsts if firsts[other]["group"] == name}) > 1:
            names[key] = "/".join(Path(models[key]).parts[-2:])
    labels = {key: _label(row, firsts.values(), names) for key, row in firsts.items()}
    shades = _shades(firsts, names)
    return [
        {**row, "group": names[row["key"]], "label": labels[row["key"]], "shade": shades[row["key"]]} for row in rows
    ]


def dot_rows(rows: Sequence[Row], bars: Sequence[Row]) -> list[Row]:
    """Task rows under the names of their evaluations' bars; the base model stands in the name where that is needed.

    Dots are not grouped by base model, so all of one colour and name become paler one after the other.
    """
    heads = {row["key"]: row for row in bars if row.get("key")}
    alike: dict[str, list[str]] = {}
    for key, head in heads.items():
        alike.setdefault(head["label"], []).append(key)
    shades: dict[str, list[str]] = {}
    for row in rows:
        keys = shades.setdefault(row["series"] if row["series"] == "base" else f"{row['series']} {row['run_id']}", [])
        keys.extend([row["key"]] if row["key"] not in keys else [])
    found = []
    for row in rows:
        head = heads.get(row["key"], {"label": row["label"], "group": ""})
        name = f"{head['label']} · {head['group']}" if len(alike.get(head["label"], [])) > 1 else head["label"]
        shade = next(keys.index(row["key"]) for keys in shades.values() if row["key"] in keys)
        found.append({**row, "label": name, "shade": shade})
    return found


def _label(row: Row, others: Iterable[Row], names: Mapping[str, str]) -> str:
    """The row's label, with what of its protocol others of that label do not have, or the evaluation's id."""
    place = (row["label"], names[row["key"]])
    rivals = [r for r in others if r["key"] != row["key"] and (r["label"], names[r["key"]]) == place]
    if not rivals:
        return str(row["label"])
    notes = [r["note"] for r in rivals]
    own = [word for word in row["note"].split(", ") if not all(word in note.split(", ") for note in notes)]
    unique = own and row["note"] not in notes
    return f"{row['label']} ({', '.join(own) if unique else row['key']})"


def _shades(firsts: Mapping[str, Row], names: Mapping[str, str]) -> dict[str, int]:
    """How many bars of the same colour stand before one in its group; seeds of a mix stay alike."""
    places: dict[tuple[str, str], list[str]] = {}
    for key, row in firsts.items():
        mark = "" if row["series"] == "base" else str(row["run_id"])
        places.setdefault((names[key], f"{row['series']} {mark}"), []).append(key)
    return {key: number for keys in places.values() for number, key in enumerate(keys)}


def _rule_rows(store: Store, chosen: Sequence[str], column: str) -> list[Row]:
    """Category means by another rule than the Gauntlet's; tasks that have no such rule keep their own accuracy."""
    counted = _counted(store, chosen)
    values: dict[tuple[str, str], list[float]] = {}
    for row in task_rows(store, chosen):
        if (row["key"], row["task"], row["num_fewshot"]) in counted:
            score = score_by(row, column)
            if score is not None:
                values.setdefault((row["eval_id"], row["category"]), []).append(score)
    heads = {(row["eval_id"], row["category"]): row for row in gauntlet_rows(store, chosen)}
    means = {key: sum(each) / len(each) for key, each in values.items()}
    found = []
    for (eval_id, category), head in heads.items():
        if category == AVERAGE:
            parts = [means[eval_id, panel] for panel in charts.PANELS[1:] if (eval_id, panel) in means]
            score = sum(parts) / len(parts) if parts else None
        else:
            score = means.get((eval_id, category))
        found.append({**head, "score": score, "low": None, "high": None})
    return found


def score_by(row: Row, column: str) -> float | None:
    """A task's score above chance by another rule; None where it has no accuracy, or chance is always right."""
    value = row["accuracy"] if row[column] is None else row[column]
    chance = row["baseline"] or 0.0
    return None if value is None or chance == 1 else float((value - chance) / (1 - chance))


def _counted(store: Store, chosen: Sequence[str]) -> set[tuple[str, str, int]]:
    """(eval_id, task, shots) of what categories are made of; a version may run a task at further shot counts."""
    heads = zip(chosen, eval_records(store, chosen), strict=True)
    return {(k, t["task"], t["num_fewshot"]) for k, head in heads for t in head["tasks"] if t.get("counted", 1)}
