"""Which files the index is made of, found with as few system calls as the layout allows.

Model weights, checkpoints and logs are never touched: the walk follows `LAYOUT` and looks at nothing else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limit.settings import SHIPPED, Workspace

# A name or `*`, and below it either a deeper level or the kind of the file; `*.x` are files by their ending.
LAYOUT: dict[str, Any] = {
    "sources": {"*": {"source.json": "source"}},
    "mixes": {"*": {"mix.json": "mix", "label.json": "mix_label"}},
    "runs": {
        "*": {
            "run.json": "run",
            "train": {"metrics.jsonl": "metrics", "summary.json": "train_summary"},
            "gauntlet": {"*": {"eval.json": "eval", "items.parquet": "items"}},
            "responses": {"*": {"*.json": "response_set", "*.parquet": "responses"}},
        }
    },
    "prompts": {"*": {"prompt_set.json": "prompt_set", "prompts.parquet": "prompts"}},
    "comparisons": {"*": {"comparison.json": "comparison", "judgments.jsonl": "judgments"}},
    "votes": {"*.jsonl": "votes"},
    "jobs": {"*": {"job.json": "job", "status.json": "job_status"}},
    "studies": {"*": {"study.json": "study"}},
}
PUBLISHED: dict[str, Any] = {"*.json": "published"}
RESULTS = SHIPPED / "tiny" / "results"


@dataclass(frozen=True, slots=True)
class Found:
    """One file: `name` is its key in the index (path below its root; shipped and published ones carry a prefix)."""

    name: str
    origin: str
    kind: str
    path: str
    size: int
    mtime_ns: int

    @property
    def parts(self) -> list[str]:
        """The path below its root, split; a kind's ids are read from it."""
        return self.name.partition(":")[2].split("/") if self.origin != "workspace" else self.name.split("/")


def scan(
    ws: Workspace, shipped: Path | None = None, published: Path | None = None
) -> tuple[dict[str, Found], list[str]]:
    """All files of the index by name, and the folders that could not be read.

    A shipped file is hidden by the workspace's file of the same path, so a study that is run again takes the place of
    its shipped result piece by piece.
    """
    unreadable: list[str] = []
    mine = {f.name: f for f in _walk(LAYOUT, str(ws.root), "", "workspace", unreadable)}
    shipped = RESULTS if shipped is None else shipped
    published = SHIPPED / "published" if published is None else published
    theirs = (f for f in _walk(LAYOUT, str(shipped), "shipped:", "shipped", unreadable))
    found = {f.name: f for f in theirs if f.name.removeprefix("shipped:") not in mine}
    found.update((f.name, f) for f in _walk(PUBLISHED, str(published), "published:", "published", unreadable))
    found.update(mine)
    return found, unreadable


def _walk(layout: dict[str, Any], folder: str, name: str, origin: str, unreadable: list[str]) -> Iterator[Found]:
    for key, below in layout.items():
        if key.startswith("*"):
            try:
                with os.scandir(folder) as entries:
                    names = sorted(entry.name for entry in entries)
            except (FileNotFoundError, NotADirectoryError):
                return
            except OSError as error:
                unreadable.append(f"{folder}: {error.strerror or error}")
                return
            matching = [n for n in names if n.endswith(key[1:]) and not n.startswith(".")]
        else:
            matching = [key]
        for part in matching:
            path = f"{folder}/{part}"
            if isinstance(below, dict):
                yield from _walk(below, path, f"{name}{part}/", origin, unreadable)
            elif (found := _look(path, f"{name}{part}", origin, below, unreadable)) is not None:
                yield found


def _look(path: str, name: str, origin: str, kind: str, unreadable: list[str]) -> Found | None:
    try:
        info = os.stat(path)  # noqa: PTH116 - a Path per file costs more than the call
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        unreadable.append(f"{path}: {error.strerror or error}")
        return None
    if not stat.S_ISREG(info.st_mode):
        return None
    return Found(_printable(name), origin, kind, path, info.st_size, info.st_mtime_ns)


def _printable(name: str) -> str:
    """A file name that is not UTF-8 in a form that can be stored."""
    return name.encode("utf-8", "backslashreplace").decode()
