"""The YAML of tasks and versions: read, laid over each other, and checked setting by setting.

Notable: a setting that is unknown may be a remark of its file's author; one that nearly has the name of a known one is
a slip of the pen, and would be silently without effect.
"""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path
from typing import Any

import yaml

from limit.core import Json, LimitError

_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "type": (str, "text"),
    "category": (str, "text"),
    "file": (str, "a file name"),
    "prompt_string": (str, "text"),
    "example_delimiter": (str, "text"),
    "continuation_delimiter": (str, "text"),
    "prelimiter": (str, "text"),
    "question_prelimiter": (str, "text"),
    "cot_delimiter": (str, "text"),
    "random_baseline": ((int, float), "a number"),
    "fewshot_random_seed": (int, "a whole number"),
    "records_in_source": (int, "a whole number"),
    "bytes_in_source": (int, "a whole number"),
    "has_categories": (bool, "true or false"),
    "do_normalization": (bool, "true or false"),
    "early_stopping_criteria": (list, "a list of texts"),
    "overrides": (dict, "settings by version"),
}
_MERGE = "tag:yaml.org,2002:merge"
_RULES: dict[str, type] = {"weighting": str, "subtract_random_baseline": bool, "rescale_accuracy": bool}
_FLAGS = ("has_categories", "do_normalization")
_KNOWN = (*_KINDS, "num_fewshot")
_NAME = re.compile(r"[\w.+-]*\w[\w.+-]*")


def read_definitions(folder: Path) -> tuple[Json, Json]:
    """(settings by task, {aggregation, versions}) of a folder's `tasks.yaml` and `gauntlet.yaml`, empty where none is.

    Who asks shares the answer with all others who ask for the same text, and changes nothing in it.

    Raises LimitError on files that are no YAML, and on names and settings that cannot be used.
    """
    path, other = folder / "tasks.yaml", folder / "gauntlet.yaml"
    return _definitions(path, _read(path), other, _read(other))


@functools.lru_cache(maxsize=32)
def _definitions(path: Path, text: str, other: Path, other_text: str) -> tuple[Json, Json]:
    tasks, gauntlet = _parsed(path, text), _parsed(other, other_text)
    entries = _mapping(path, "tasks", tasks.get("tasks"), "each task's name to its settings")
    defaults = _mapping(path, "defaults", tasks.get("defaults"), "settings to their values", nested=False)
    versions = _mapping(other, "versions", gauntlet.get("versions"), "each version's name to its categories")
    rules = _mapping(other, "aggregation", gauntlet.get("aggregation"), "rules to their values", nested=False)
    for rule, value in rules.items():
        _check_rule(other, rule, value)
    for version in versions.values():
        _mapping(other, "categories", version.get("categories"), "categories to lists of tasks", nested=False)
        _check_averages(other, version.get("averages"))
    merged = {name: {**defaults, **entry} for name, entry in entries.items()}
    for name, settings in merged.items():
        _check(path, name, settings)
    return merged, {**gauntlet, "versions": versions, **({"aggregation": rules} if rules else {})}


def merged_tasks(base: Json, own: Json) -> Json:
    """Own settings over shipped ones; a null in the folder's file leaves the shipped value."""
    merged = dict(base)
    for name, entry in own.items():
        merged[name] = {**base.get(name, {}), **{key: value for key, value in entry.items() if value is not None}}
    return merged


class _Loader(yaml.SafeLoader):
    """Plain data only, and no name twice: of two settings of one name YAML would keep the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            line = node.start_mark.line + 1
            raise LimitError(f"{twice!r} stands twice in the block that begins in line {line}; keep one")
        return super().construct_mapping(node, deep)


def _read(path: Path) -> str:
    """The file's text, empty where there is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise _no_yaml(path, error) from error


def _parsed(path: Path, text: str) -> Json:
    try:
        value = yaml.load(text, _Loader)
    except LimitError as error:
        raise LimitError(f"{path}: {error}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise _no_yaml(path, error) from error
    if value is not None and not isinstance(value, dict):
        raise LimitError(f"{path} holds a YAML {type(value).__name__}, expected a mapping")
    return value or {}


def _no_yaml(path: Path, error: Exception) -> LimitError:
    return LimitError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}")


def _mapping(path: Path, key: str, value: Any, meaning: str, *, nested: bool = True) -> Json:
    """A mapping with text keys, whose values are mappings themselves where `nested`."""
    value = {} if value is None else value
    if not isinstance(value, dict) or (nested and not all(isinstance(entry, dict) for entry in value.values())):
        raise LimitError(f"{path}: `{key}` must map {meaning}")
    return {str(name): entry for name, entry in value.items()}


def _check_rule(path: Path, rule: str, value: Any) -> None:
    """As with a task's settings, what is unknown may be a remark, and what is nearly known is a slip."""
    close = difflib.get_close_matches(rule, _RULES, 1, 0.85)
    if rule not in _RULES and close:
        raise LimitError(f"{path}: aggregation has an unknown rule {rule!r}; did you mean {close[0]!r}?")
    if not isinstance(value, _RULES.get(rule, object)):
        raise LimitError(
            f"{path}: aggregation has {rule} {value!r}; give {'text' if rule == 'weighting' else 'true or false'}"
        )


def _check_averages(path: Path, averages: Any) -> None:
    lists = averages.values() if isinstance(averages, dict) else []
    fits = all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists)
    if averages is not None and not (isinstance(averages, dict) and fits):
        raise LimitError(f"{path}: `averages` must map each average's name to a list of categories")


def _check(path: Path, name: str, settings: Json) -> None:
    """Raise LimitError on a name or a setting of a task that cannot be used."""
    if not _NAME.fullmatch(name):
        raise LimitError(f"{path}: the task name {name!r} cannot be used; take letters, digits, `_`, `-`, `.` and `+`")
    overrides = settings.get("overrides") or {}
    _check_kinds(path, name, settings)
    for version, changes in overrides.items():
        if not isinstance(changes, dict):
            raise LimitError(f"{path}: overrides of task {name!r} for {version} must map settings to their values")
        _check_kinds(path, name, changes)


def _check_kinds(path: Path, name: str, settings: Json) -> None:
    for key, value in settings.items():
        kind, words = _KINDS.get(key, (object, ""))
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and _no_flag(key))):
            raise LimitError(f"{path}: task {name!r} has {key} {value!r}; give {words}")
        close = [] if key in _KNOWN else difflib.get_close_matches(str(key), _KNOWN, 1, 0.85)
        if close:
            raise LimitError(f"{path}: task {name!r} has an unknown setting {key!r}; did you mean {close[0]!r}?")
    stops = settings.get("early_stopping_criteria") or []
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise LimitError(f"{path}: task {name!r} has early_stopping_criteria {stops!r}; give texts that are not empty")


def _no_flag(key: str) -> bool:
    return key in _KINDS and key not in _FLAGS
