"""The Eval Gauntlet: tasks as data, the original's prompts and rules, and an engine that computes each token once.

    started = launch_gauntlet(ws, GauntletSpec(version="v0", tasks=("copa",)), model="tiny")
    read_eval(Path(started["path"]))["tasks"]

`evaluate` is the same without a job, on a model that is already loaded.
"""

from limit.gauntlet.evaluate import Subject, evaluate
from limit.gauntlet.launch import launch_gauntlet
from limit.gauntlet.records import load_records
from limit.gauntlet.results import compare, disagreements, find_eval, list_evals, read_eval, scores_of
from limit.gauntlet.tasks import Task, Version, data_folder, load_version

__all__ = [
    "Subject",
    "Task",
    "Version",
    "compare",
    "data_folder",
    "disagreements",
    "evaluate",
    "find_eval",
    "launch_gauntlet",
    "list_evals",
    "load_records",
    "load_version",
    "read_eval",
    "scores_of",
]
