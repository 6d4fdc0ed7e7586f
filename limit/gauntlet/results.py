"""Reading evaluations back, and what is really different between two of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError, read_json
from limit.gauntlet.rows import read_items
from limit.settings import Workspace
from limit.specs.gauntlet import questions_of

# Not the tokenizer: two models have their own, and that is part of what is compared.
PROTOCOL_KEYS = ("shots", "draws", "max_seq_len", "dtype", "data", "settings", "limit")


def read_eval(path: Path) -> Json:
    """eval.json of an evaluation's folder. Raises LimitError when it is missing or is no evaluation."""
    value = read_json(path / "eval.json" if path.is_dir() or not path.suffix else path)
    for key in ("eval_id", "version", "protocol", "tasks", "categories", "averages"):
        if key not in value:
            raise LimitError(f"{path} holds no evaluation: {key!r} is missing")
    return value


def list_evals(ws: Workspace, run_id: str | None = None) -> Iterator[Path]:
    """Folders of complete evaluations, of one run or of all."""
    pattern = f"{run_id or '*'}/gauntlet/*/eval.json"
    yield from sorted(path.parent for path in ws.runs.glob(pattern))


def find_eval(ws: Workspace, name: str) -> Path:
    """The folder of an evaluation by id (or its unambiguous beginning) or by path. Raises LimitError."""
    if (Path(name) / "eval.json").is_file():
        return Path(name).resolve()
    found = [path for path in list_evals(ws) if path.name.startswith(name)] if name.isalnum() else []
    if len(found) == 1:
        return found[0]
    if found:
        raise LimitError(f"{name!r} fits {len(found)} evaluations: {', '.join(path.name for path in found)}")
    raise LimitError(f"there is no evaluation {name!r} in {ws.runs}; give an id or a folder with eval.json")


def scores_of(value: Json) -> Json:
    """{averages, categories, tasks}: each score by name; None where a category is partial or an average empty."""
    return {
        "averages": {row["name"]: row["score"] if row["categories"] else None for row in value["averages"]},
        "categories": {row["category"]: row["score"] for row in value["categories"]},
        "tasks": {task_label(row): row["score"] for row in value["tasks"]},
    }


def task_label(row: Json) -> str:
    """A task's name, with its shots where the version does not count them."""
    return row["task"] if row.get("counted", True) else f"{row['task']} ({row['num_fewshot']}-shot)"


def protocol_differences(a: Json, b: Json) -> dict[str, tuple[Any, Any]]:
    """What keeps two evaluations from standing in one chart without a word: {name: (of a, of b)}."""
    found = {"version": (a["version"], b["version"])} if a["version"] != b["version"] else {}
    for key in PROTOCOL_KEYS:
        one, other = a["protocol"].get(key), b["protocol"].get(key)
        if one != other:
            found[key] = (one, other)
    return found


def paired_items(a: Path, b: Path, task: str | None = None) -> dict[tuple[str, int, str, int], tuple[int, int]]:
    """{(task, shots, sub-category, record): (right in a, right in b)} of the records that both scored.

    A task whose file or settings were changed in between is left out. Raises LimitError when the evaluations are of
    different versions or shot protocols, whose records do not pair, or have nothing in common.
    """
    first, second = read_eval(a), read_eval(b)
    clash = _clash(first, second)
    if clash:
        raise LimitError(
            f"evaluations {first['eval_id']} and {second['eval_id']} differ in {', '.join(clash)}, so their items do "
            f"not pair; evaluate both with the same settings"
        )
    ours, theirs = _correct(a, task), _correct(b, task)
    pairs = {key: (ours[key], theirs[key]) for key in ours.keys() & theirs.keys()}
    changed = {name for name in {key[:2] for key in pairs} if _is_changed(first, second, *name)}
    found = {key: pairs[key] for key in ours if key in pairs and key[:2] not in changed}
    if not found:
        words = ", ".join(sorted(name for name, _ in changed))
        raise LimitError(
            f"evaluations {first['eval_id']} and {second['eval_id']} have no items in common"
            + (f": the files or settings of {words} were changed in between" if words else "")
            + "; evaluate both on the same tasks"
        )
    return found


def _is_changed(a: Json, b: Json, task: str, num_fewshot: int) -> bool:
    """Whether two evaluations had other records or other settings for a task of one name."""
    one, other = (questions_of(value["protocol"], _task_row(value, task, num_fewshot)) for value in (a, b))
    return one != other and None not in (one, other)


def _task_row(value: Json, task: str, num_fewshot: int) -> Json:
    return next((row for row in value["tasks"] if (row["task"], row["num_fewshot"]) == (task, num_fewshot)), {})


def _clash(a: Json, b: Json) -> list[str]:
    """In what two evaluations differ that keeps their items from being the same questions."""
    return [key for key in protocol_differences(a, b) if key in ("version", "shots", "max_seq_len")]


def _correct(folder: Path, task: str | None) -> dict[tuple[str, int, str, int], int]:
    columns = ["task", "num_fewshot", "subcategory", "idx", "correct"]
    table = read_items(folder, columns, {"task": task} if task else None)
    rows = zip(*(table.column(name).to_pylist() for name in columns), strict=True)
    return {(name, shots, sub, idx): correct for name, shots, sub, idx, correct in rows}


def compare(a: Path, b: Path) -> list[Json]:
    """Per task, whether `a` or `b` is better on the same records: paired test, Holm over the tasks, items needed.

    Returns [{task, num_fewshot, n, a, b, difference, ci_low, ci_high, p_value, p_holm, verdict, only_a, only_b,
    needed_n}], differences as a - b in accuracy. Raises LimitError as `paired_items`.
    """
    pairs: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for (task, shots, _, _), both in paired_items(a, b).items():
        pairs.setdefault((task, shots), []).append(both)
    return _adjusted(
        [{"task": task, "num_fewshot": shots, **_difference(values)} for (task, shots), values in pairs.items()]
    )


def compare_pairs(folders: Sequence[Path], task: str, num_fewshot: int) -> list[Json]:
    """Every pair of evaluations on the records of one task that both scored, Holm over the pairs.

    Returns rows as `compare`, with `first` and `second`, their places in `folders`; pairs whose items are not the same
    questions are left out. Raises LimitError when a file cannot be read.
    """
    heads = [read_eval(folder) for folder in folders]
    right = [{key: value for key, value in _correct(f, task).items() if key[1] == num_fewshot} for f in folders]
    rows = []
    for first, second in itertools.combinations(range(len(folders)), 2):
        values = [(value, right[second][key]) for key, value in right[first].items() if key in right[second]]
        one, other = heads[first], heads[second]
        if values and not _clash(one, other) and not _is_changed(one, other, task, num_fewshot):
            rows.append({"first": first, "second": second, **_difference(values)})
    return _adjusted(rows)


def _difference(values: Sequence[tuple[int, int]]) -> Json:
    """What is really different between two columns of right (1) and wrong (0) answers."""
    from limit.statistics import paired_difference

    ours, theirs = [v[0] for v in values], [v[1] for v in values]
    found = paired_difference(ours, theirs)
    return {
        "n": len(values),
        "a": sum(ours) / len(ours),
        "b": sum(theirs) / len(theirs),
        "difference": found.estimate,
        "ci_low": found.low,
        "ci_high": found.high,
        "p_value": found.p_value,
        "only_a": sum(x > y for x, y in values),
        "only_b": sum(x < y for x, y in values),
        "needed_n": found.needed_n,
        "verdict": found.verdict,
    }


def _adjusted(rows: list[Json]) -> list[Json]:
    """The rows with Holm's p over all of them, which a verdict must pass too."""
    from limit.statistics import holm

    for row, adjusted in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
        if not adjusted < 0.05:
            row["verdict"] = "cannot tell"
    return rows


def disagreements(a: Path, b: Path, task: str) -> Sequence[tuple[str, int, str, int]]:
    """Keys of the records of a task that exactly one of two evaluations got right."""
    return [key for key, (x, y) in paired_items(a, b, task).items() if x != y]
