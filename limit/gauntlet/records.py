"""The records of a task file: read, checked and stripped as the original does, split into sub-categories.

Notable: every complaint names the file and the line; strings are stripped, strings inside lists are not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError
from limit.gauntlet.tasks import Task

Check = Callable[[Json], str | None]


def load_records(task: Task, folder: Path) -> dict[str, list[Json]]:
    """The records of a task by sub-category ("" for tasks without), in file order.

    Raises LimitError naming the line of a record that cannot be used, or a file without records.
    """
    path = task_path(task, folder)
    if path is None:
        raise LimitError(f"task {task.name!r} has no file in {folder}; fetch it with `limit gauntlet fetch`")
    groups: dict[str, list[Json]] = {}
    for number, record in _lines(path):
        problem = CHECKS[task.type](record)
        if problem is None and task.has_categories and not str(record.get("category") or "").strip():
            problem = "`category` is missing, but the task has sub-categories"
        if problem is None and task.has_categories and not isinstance(record["category"], str):
            problem = f"`category` is {record['category']!r}, expected text"
        if problem:
            raise LimitError(f"{path}, line {number}: {problem}")
        stripped = {key: value.strip() if isinstance(value, str) else value for key, value in record.items()}
        stripped["raw"] = record
        groups.setdefault(stripped["category"] if task.has_categories else "", []).append(stripped)
    if not groups:
        raise LimitError(f"{path} holds no records")
    return groups


def task_path(task: Task, folder: Path) -> Path | None:
    """The task's file, or None when the folder does not hold it. Raises LimitError when it leads out of the folder."""
    if task.file is None:
        return None
    path = folder / task.file
    try:
        if not path.is_file():
            return None
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise LimitError(f"task {task.name!r}: its file {path} cannot be opened: {error.strerror}") from error
    if not path.resolve().is_relative_to(folder.resolve()):
        raise LimitError(f"{path} is a link that leads out of the data folder; copy the file there instead")
    return path


def _lines(path: Path) -> list[tuple[int, Json]]:
    rows = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LimitError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise LimitError(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number that has no end
            raise LimitError(f"{path}, line {number}: broken JSON ({error})") from error
        if not isinstance(record, dict):
            raise LimitError(f"{path}, line {number}: a {type(record).__name__}, expected a JSON object")
        if "\\ud" in line.lower() and not _is_text(record):
            raise LimitError(
                f"{path}, line {number}: half of a character (\\ud800 to \\udfff) stands alone; correct it"
            )
        rows.append((number, record))
    return rows


def _is_text(record: Json) -> bool:
    """Whether UTF-8 can hold a record; JSON allows half of a pair of code units, which no tokenizer reads."""
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _needs_text(record: Json, *keys: str) -> str | None:
    for key in keys:
        if key not in record:
            return f"`{key}` is missing; the record has {', '.join(map(repr, record)) or 'no fields'}"
        if not isinstance(record[key], str):
            return f"`{key}` is {type(record[key]).__name__}, expected text"
    return None


def _needs_gold(record: Json, key: str) -> str | None:
    options: Any = record.get(key)
    if not isinstance(options, list) or not options or not all(isinstance(option, str) for option in options):
        return f"`{key}` must be a list of texts"
    if len(options) == 1:
        return f"`{key}` has one entry, which would always be right; give two at least"
    if "gold" not in record:
        return "`gold` is missing; it is the index of the right one"
    gold = record["gold"]
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(options):
        return f"`gold` is {gold!r}; it must be the index of one of the {len(options)} {key}"
    return None


def _check_choices(record: Json) -> str | None:
    empty = next((i for i, c in enumerate(record.get("choices") or []) if c == ""), None)
    problem = _needs_text(record, "query") or _needs_gold(record, "choices")
    return problem or (f"choice {empty} is empty" if empty is not None else None)


def _check_schema(record: Json) -> str | None:
    return _needs_text(record, "continuation") or _needs_gold(record, "context_options") or _not_blank(record)


def _check_language(record: Json) -> str | None:
    return _needs_text(record, "context", "continuation") or _not_blank(record)


def _not_blank(record: Json) -> str | None:
    return None if record["continuation"].strip() else "`continuation` is empty, so there is nothing to score"


def _check_generation(record: Json) -> str | None:
    aliases = record.get("aliases")
    if aliases is not None and not (isinstance(aliases, list) and all(isinstance(alias, str) for alias in aliases)):
        return "`aliases` must be a list of texts"
    if not isinstance(record.get("chain_of_thought", ""), str):
        return "`chain_of_thought` must be text"
    blank = None if str(record.get("answer", "x")).strip() else "`answer` is empty, so that every text would be right"
    return _needs_text(record, "context", "answer") or blank


def _check_code(record: Json) -> str | None:
    return "code tasks are listed but never run: they would execute what a model wrote"


CHECKS: dict[str, Check] = {
    "multiple_choice": _check_choices,
    "schema": _check_schema,
    "language_modeling": _check_language,
    "generation_task_with_answers": _check_generation,
    "code_evaluation": _check_code,
}
