"""Tasks and versions of the Eval Gauntlet, read from data: what is scored, with which shots, in which category.

Notable: definitions ship in `data/gauntlet` (the embedded `mini` in `data/tiny/gauntlet`), the records do not. A folder
of task files may bring its own `tasks.yaml` and `gauntlet.yaml`; they are laid over the shipped ones, so a task of a
user's own is a JSONL file and a few lines of YAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from limit.core import Json, LimitError
from limit.gauntlet.definitions import merged_tasks, read_definitions
from limit.settings import SHIPPED, Workspace

TaskType = Literal["multiple_choice", "schema", "language_modeling", "generation_task_with_answers", "code_evaluation"]
Weighting = Literal["EQUAL", "SAMPLE_SZ", "LOG_SAMPLE_SZ"]

DEFINITIONS = SHIPPED / "gauntlet"
MINI = SHIPPED / "tiny" / "gauntlet"
_OLD_NAMES = {"question_answering": "generation_task_with_answers"}


@dataclass(frozen=True)
class Task:
    """One task at one shot count. `file` is relative to the data folder; `records_in_source` tells a cut file."""

    name: str
    type: TaskType
    category: str
    num_fewshot: int
    random_baseline: float
    file: str | None
    records_in_source: int | None = None
    bytes_in_source: int | None = None
    counted: bool = True
    prompt_string: str = ""
    example_delimiter: str = "\n"
    continuation_delimiter: str = " "
    prelimiter: str = ""
    cot_delimiter: str = ""
    fewshot_random_seed: int = 1234
    has_categories: bool = False
    do_normalization: bool = True
    early_stopping_criteria: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """`<task>/<k>-shot`, by which a version looks a result up."""
        return f"{self.name}/{self.num_fewshot}-shot"


@dataclass(frozen=True)
class Entry:
    """One task as a category counts it."""

    task: str
    num_fewshot: int
    random_baseline: float

    @property
    def key(self) -> str:
        return f"{self.task}/{self.num_fewshot}-shot"


@dataclass(frozen=True)
class Version:
    """A task list with its categories and averages; `folder` holds the task files.

    `left_out` are the tasks that are described, but run in other versions only.
    """

    name: str
    folder: Path
    tasks: tuple[Task, ...]
    categories: dict[str, tuple[Entry, ...]]
    averages: dict[str, tuple[str, ...]]
    weighting: Weighting = "EQUAL"
    subtract_random_baseline: bool = True
    rescale_accuracy: bool = True
    left_out: frozenset[str] = frozenset()

    def select(self, names: tuple[str, ...]) -> tuple[Task, ...]:
        """The tasks of these names in the version's order, all for no names. Raises LimitError on an unknown one."""
        known = {task.name for task in self.tasks}
        for name in names:
            if name in self.left_out:
                raise LimitError(
                    f"task {name!r} is not part of gauntlet {self.name}: its num_fewshot names no shots for it; choose "
                    f"another --version"
                )
            if name not in known:
                raise LimitError(f"gauntlet {self.name} has no task {name!r}; it has {', '.join(sorted(known))}")
        return tuple(task for task in self.tasks if not names or task.name in names)


def data_folder(ws: Workspace, version: str, data: str | None) -> Path:
    """Where the task files are: the folder that was named, the one that ships with `mini`, or what was fetched."""
    if data is not None:
        folder = Path(data).expanduser().resolve()
        if not folder.is_dir():
            raise LimitError(
                f"there is no folder of task files at {data!r}; name one laid out like the Gauntlet's data"
            )
        return folder
    return MINI if version == "mini" else fetched_folder(ws)


def fetched_folder(ws: Workspace) -> Path:
    """The folder that `gauntlet fetch` fills; it may hold a user's own tasks too."""
    return ws.root / "gauntlet"


def load_version(name: str, folder: Path) -> Version:
    """Read a version's tasks, categories and averages, with a data folder's own definitions laid over them.

    Raises LimitError on an unknown version and on definitions that cannot be used.
    """
    base = MINI if name == "mini" else DEFINITIONS
    tasks, gauntlet = read_definitions(base)
    if folder != base and folder.is_dir():
        own_tasks, own_gauntlet = read_definitions(folder)
        tasks = merged_tasks(tasks, own_tasks)
        gauntlet = {**gauntlet, **own_gauntlet, "versions": {**gauntlet["versions"], **own_gauntlet["versions"]}}
    if name not in gauntlet["versions"]:
        raise LimitError(f"there is no gauntlet version {name!r}; choose one of {', '.join(gauntlet['versions'])}")
    return _version(name, folder, tasks, gauntlet)


def own_settings(version: Version, tasks: Sequence[Task]) -> Json:
    """What the data folder's own definitions say otherwise than the shipped ones: by task key, and by name of a rule.

    Two evaluations of one request on the same records are only the same where this is the same too.
    """
    shipped = load_version(version.name, MINI if version.name == "mini" else DEFINITIONS)
    keys = {task.key for task in tasks}
    known = {_sizeless(task) for task in shipped.tasks}
    rules = ("weighting", "subtract_random_baseline", "rescale_accuracy", "averages")
    changed = {
        label: [asdict(entry) for entry in version.categories.get(label, ())]
        for label in sorted({*version.categories, *shipped.categories})
        if version.categories.get(label) != shipped.categories.get(label)
    }
    # A category of one's own counts where a task of it is scored.
    categories = {
        f"category {label}": entries
        for label, entries in changed.items()
        if label in shipped.categories or any(entry.key in keys for entry in version.categories[label])
    }
    return {
        **{task.key: asdict(_sizeless(task)) for task in tasks if _sizeless(task) not in known},
        **categories,
        **{name: getattr(version, name) for name in rules if getattr(version, name) != getattr(shipped, name)},
    }


def _sizeless(task: Task) -> Task:
    """How large the source's file is changes no score."""
    return replace(task, records_in_source=None, bytes_in_source=None)


def _version(name: str, folder: Path, tasks: Json, gauntlet: Json) -> Version:
    raw = gauntlet["versions"][name]
    rules = gauntlet.get("aggregation") or {}
    categories = {label: _entries(label, entries) for label, entries in (raw.get("categories") or {}).items()}
    averages = {label: tuple(members) for label, members in (raw.get("averages") or {}).items()}
    counted = {entry.key: entry for entries in categories.values() for entry in entries}
    shared = frozenset(categories)
    found = tuple(t for label, entry in tasks.items() for t in _tasks(label, entry, name, counted, shared))
    for task in found:
        if task.counted and task.key not in counted:
            own = Entry(task.name, task.num_fewshot, task.random_baseline)
            categories[task.category] = (*categories.get(task.category, ()), own)
    for label in averages:
        if label in categories:
            raise LimitError(f"gauntlet {name}: {label!r} names both a category and an average; rename one")
    version = Version(
        name=name,
        folder=folder,
        tasks=found,
        categories=categories,
        averages=averages,
        weighting=rules.get("weighting", "EQUAL"),
        subtract_random_baseline=rules.get("subtract_random_baseline", True),
        rescale_accuracy=rules.get("rescale_accuracy", True),
        left_out=frozenset(tasks) - {task.name for task in found},
    )
    if version.weighting not in get_args(Weighting):
        raise LimitError(f"gauntlet weighting {version.weighting!r} is not one of {', '.join(get_args(Weighting))}")
    if version.rescale_accuracy and not version.subtract_random_baseline:
        raise LimitError("gauntlet: rescale_accuracy needs subtract_random_baseline; set both or neither")
    return version


def _entries(label: str, entries: Any) -> tuple[Entry, ...]:
    try:
        found = tuple(Entry(str(e["task"]), int(e["num_fewshot"]), float(e["random_baseline"])) for e in entries)
    except (KeyError, TypeError, ValueError) as error:
        raise LimitError(
            f"gauntlet category {label!r} needs `task`, `num_fewshot` and `random_baseline` for each task ({error!r})"
        ) from error
    keys = [entry.key for entry in found]
    for entry in found:
        if not 0 <= entry.random_baseline < 1:
            raise LimitError(
                f"gauntlet category {label!r} gives {entry.task!r} the random_baseline {entry.random_baseline}; give a "
                f"number from 0 to below 1"
            )
        if keys.count(entry.key) > 1:
            raise LimitError(f"gauntlet category {label!r} names {entry.key} twice; keep one")
    return found


def _tasks(name: str, entry: Json, version: str, counted: dict[str, Entry], categories: frozenset[str]) -> list[Task]:
    """The task at each shot count that the version runs.

    Shots given without a version make a task of the user's own, which runs in every version; it is counted in a
    category of its own, but never in one of the version's, whose score must stay comparable.
    """
    settings = {**entry, **((entry.get("overrides") or {}).get(version) or {})}
    shots = settings.get("num_fewshot", 0)
    own = not isinstance(shots, dict)
    if not own and version not in shots:
        return []
    counts = shots if own else shots[version]
    counts = counts if isinstance(counts, list) else [counts]
    made = []
    for count in counts:
        if counts.count(count) > 1:
            raise LimitError(f"task {name!r} has num_fewshot {count!r} twice; keep one")
        task = _task(name, settings, count)
        known = counted.get(task.key)
        if known is not None:
            task = replace(task, random_baseline=known.random_baseline)
        made.append(replace(task, counted=known is not None or (own and task.category not in categories)))
    return made


def _task(name: str, settings: Json, num_fewshot: Any) -> Task:
    kind: Any = _OLD_NAMES.get(settings.get("type", ""), settings.get("type"))
    if kind not in get_args(TaskType):
        raise LimitError(f"task {name!r} has type {kind!r}; choose one of {', '.join(get_args(TaskType))}")
    if not isinstance(num_fewshot, int) or isinstance(num_fewshot, bool) or num_fewshot < 0:
        raise LimitError(f"task {name!r} has num_fewshot {num_fewshot!r}; give a whole number of at least 0")
    baseline = settings.get("random_baseline", 0.0)
    if not isinstance(baseline, (int, float)) or isinstance(baseline, bool) or not 0 <= baseline < 1:
        raise LimitError(f"task {name!r} has random_baseline {baseline!r}; give a number from 0 to below 1")
    texts = ("prompt_string", "example_delimiter", "continuation_delimiter", "prelimiter", "cot_delimiter")
    prelimiter = settings.get("prelimiter") or settings.get("question_prelimiter") or ""
    return Task(
        name=name,
        type=kind,
        category=str(settings.get("category") or "my_tasks"),
        num_fewshot=num_fewshot,
        random_baseline=float(baseline),
        file=_inside(name, settings.get("file")),
        records_in_source=settings.get("records_in_source"),
        bytes_in_source=settings.get("bytes_in_source"),
        fewshot_random_seed=settings.get("fewshot_random_seed", 1234),
        has_categories=settings.get("has_categories", False),
        do_normalization=settings.get("do_normalization", True),
        early_stopping_criteria=tuple(settings.get("early_stopping_criteria") or ()),
        **{**{key: settings[key] for key in texts if settings.get(key) is not None}, "prelimiter": prelimiter},
    )


def _inside(name: str, file: Any) -> str | None:
    """A file name that stays inside the data folder. Raises LimitError on one that does not."""
    if file is None:
        return None
    path = Path(str(file))
    if path.is_absolute() or ".." in path.parts:
        raise LimitError(f"task {name!r} names the file {file!r}; give a path inside the data folder")
    return str(file)
