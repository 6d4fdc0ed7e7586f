"""What mixes are compared with: the items of each Gauntlet category, and the open-ended test prompts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from limit.core import Json, LimitError, content_id
from limit.settings import EVERYDAY_PROMPTS, EVERYDAY_SET, SHIPPED, SMALL_PROMPTS, SMALL_SET, Workspace
from limit.sources.clean import strip_template
from limit.sources.readers import read_records

_LABELS = re.compile(r"\A\s*(?:Question|Q):|\s(?:Answer|A):\s*\Z")  # words of the form, which a copy may lack
SHIPPED_ITEMS = SHIPPED / "tiny" / "gauntlet"
SMALL_GAUNTLET = "the small Gauntlet that ships"


@dataclass(frozen=True)
class Reference:
    """One thing that a model will be tested on; `group` is a Gauntlet category or a prompt set."""

    kind: Literal["gauntlet", "prompts"]
    group: str
    task: str
    index: int
    question: str
    answer: str

    def asked(self) -> str:
        """The question alone, without a template or `Question:` and `Answer:` around it."""
        return _LABELS.sub("", strip_template(self.question)[0])


def load_references(ws: Workspace, data: str | Path | None = None) -> list[Reference]:
    """All Gauntlet items of a data folder and the prompts of every prompt set in the workspace.

    Where it has none but the embedded study's, questions that ship stand for open-ended prompts: the embedded study's
    own beside the small Gauntlet, everyday ones beside any other. Without `data` it is the folder that `gauntlet fetch`
    fills, else the small Gauntlet that ships with the project.
    Raises LimitError when the folder named is not there.
    """
    if data and not Path(data).expanduser().is_dir():
        raise LimitError(f"there is no folder of Gauntlet items at {str(data)!r}; name one with a folder per category")
    folder = _items_folder(ws, data)
    return [*_gauntlet(folder), *_prompt_sets(ws, small=folder == SHIPPED_ITEMS)]


def items_from(ws: Workspace, data: str | Path | None = None) -> str:
    """Whose items `load_references` gives, in words."""
    folder = _items_folder(ws, data)
    if folder == SHIPPED_ITEMS:
        return SMALL_GAUNTLET
    return f"the items in {folder.name}" if data else "the fetched Gauntlet"


def references_version(ws: Workspace, data: str | Path | None = None) -> str:
    """Changes when items are fetched or a prompt set is added, without reading them."""
    files = [*_items_folder(ws, data).glob("*/*.jsonl"), *ws.prompts.glob("*/prompts.parquet")]
    return content_id(sorted([str(file), file.stat().st_mtime_ns] for file in files))


def _items_folder(ws: Workspace, data: str | Path | None) -> Path:
    folder = Path(data).expanduser() if data else ws.root / "gauntlet"
    return folder if folder.is_dir() else SHIPPED_ITEMS


def reference_facts(references: list[Reference]) -> list[Json]:
    """How many references each group holds: [{kind, group, tasks, items}]."""
    groups: dict[tuple[str, str], list[Reference]] = {}
    for item in references:
        groups.setdefault((item.kind, item.group), []).append(item)
    return [
        {"kind": kind, "group": group, "tasks": len({item.task for item in items}), "items": len(items)}
        for (kind, group), items in groups.items()
    ]


def _gauntlet(folder: Path) -> list[Reference]:
    found = []
    for file in sorted(folder.glob("*/*.jsonl")):
        category = file.parent.name
        for number, record in enumerate(read_records(file, skip_broken=True)):
            if isinstance(record.value, dict) and (texts := _item_texts(record.value)):
                found.append(Reference("gauntlet", category, file.stem, number, *texts))
    return found


def _item_texts(record: Json) -> tuple[str, str] | None:
    """Question and right answer of an item of any Gauntlet task type."""
    gold = record.get("gold")
    options, choices = record.get("context_options"), record.get("choices")
    if isinstance(options, list) and options:
        return _picked(options, gold), str(record.get("continuation") or "")
    question = record.get("query") or record.get("context") or record.get("prompt")
    if not isinstance(question, str):
        return None
    if isinstance(choices, list) and choices:
        return question, _picked(choices, gold)
    return question, str(record.get("continuation") or record.get("answer") or record.get("canonical_solution") or "")


def _picked(options: list[Any], gold: Any) -> str:
    return str(options[gold] if isinstance(gold, int) and 0 <= gold < len(options) else options[0])


def _prompt_sets(ws: Workspace, small: bool) -> list[Reference]:
    sets = {}
    for file in sorted(ws.prompts.glob("*/prompts.parquet")):
        sets[file.parent.name] = pq.read_table(file, columns=["text"])["text"].to_pylist()
    if sets.keys() <= {SMALL_SET}:
        name, shipped = (SMALL_SET, SMALL_PROMPTS) if small else (EVERYDAY_SET, EVERYDAY_PROMPTS)
        sets[name] = shipped.read_text(encoding="utf-8").splitlines()
    return [Reference("prompts", name, name, n, text, "") for name, said in sets.items() for n, text in enumerate(said)]
