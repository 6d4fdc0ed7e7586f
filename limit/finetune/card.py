"""The model card: what a finetuned model is made of, by what licence, and how it scored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from limit.core import Json, LimitError, read_json, write_atomic
from limit.runs import load_run
from limit.settings import Workspace

MOST_SUBSETS = 20


def write_card(ws: Workspace, run_id: str, folder: Path) -> None:
    """Write README.md into a model folder from the run, its mix and the evaluations that exist by now."""
    run = load_run(ws, run_id)
    write_atomic(folder / "README.md", render_card(run, _mix(ws, run), _scores(ws, run_id)))


def render_card(run: Json, mix: Json, scores: list[Json]) -> str:
    """The text of the card, with the hub's YAML header."""
    header: Json = {
        "library_name": "peft" if run["recipe"]["method"] != "full" else "transformers",
        "base_model": run["model"],
        "license": "other",
        "tags": ["limit", "instruction-finetuned"],
    }
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---",
        f"# {run['name']}",
        f"`{run['model']}` finetuned on a mix of {mix.get('rows', '?')} samples with the recipe "
        f"`{run['recipe_name']}`, seed {run['seed']}. Run `{run['run_id']}`, mix `{run['mix_id']}`, {run['created']}.",
        "## Data\n\n" + _table(("source", "subset", "samples"), _counts(mix)),
        f"Licence of the data: {_licence(mix)}. The base model's own licence holds as well.",
        "## Recipe\n\n" + _table(("setting", "value"), [(key, value) for key, value in run["recipe"].items()]),
        "## Scores\n\n" + (_table(("evaluation", "average", "score"), _score_rows(scores)) if scores else "None yet."),
        "Trained on response tokens only; every sample attends to itself alone.",
    ]
    return "\n\n".join(parts) + "\n"


def _counts(mix: Json) -> list[tuple[Any, ...]]:
    """Rows by subset, or by source alone where the subsets are too many to read."""
    counts = mix.get("counts", [])
    if len(counts) <= MOST_SUBSETS:
        return [(row.get("source"), row.get("subset") or "", row.get("rows")) for row in counts]
    rows: Counter[str] = Counter()
    for row in counts:
        rows[str(row.get("source"))] += int(row.get("rows") or 0)
    return [(source, "all", count) for source, count in rows.items()]


def _licence(mix: Json) -> str:
    words = str(mix.get("licence") or "not stated")
    return words + (" (non-commercial use only)" if mix.get("non_commercial") else "")


def _score_rows(scores: list[Json]) -> list[tuple[Any, ...]]:
    return [
        (f"Eval Gauntlet {score.get('version')}", average.get("name"), average.get("score"))
        for score in scores
        for average in score.get("averages", [])
        if average.get("score") is not None
    ]


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _mix(ws: Workspace, run: Json) -> Json:
    path = ws.mix(run["mix_id"]) / "mix.json"
    return read_json(path) if path.exists() else {}


def _scores(ws: Workspace, run_id: str) -> list[Json]:
    found = []
    for path in sorted(ws.run(run_id).glob("gauntlet/*/eval.json")):
        try:
            found.append(read_json(path))
        except LimitError:
            continue
    return found
