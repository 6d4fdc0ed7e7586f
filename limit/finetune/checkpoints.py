"""Checkpoints that are whole or absent: written aside, synced, renamed, pruned; and found again.

Room for the finished model is held from the start, so that a disk that fills up meanwhile does not cost the run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError, explain_os_error, explained, read_json, sync_folder, write_json
from limit.formats import size

STATE = "limit.json"
_NUMBERED = re.compile(r"checkpoint-(\d+)")
_FULL_DISK_WORDS = ("No space left", "Disk quota", "disk full", "enforce fail at inline_container", "file write failed")


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; on success it replaces `target` by rename, on failure it is removed."""
    staging = target.parent / f".{target.name}.saving"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with explained(target):
            staging.mkdir(parents=True)
        yield staging
        with explained(target):
            _sync_files(staging)
            shutil.rmtree(target, ignore_errors=True)
            staging.rename(target)
            sync_folder(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sync_files(folder: Path) -> None:
    for path in files_of(folder):
        path.chmod(0o644)  # safetensors writes 0600, which no other account of a shared machine could read
        sync_folder(path)
    sync_folder(folder)


def resume_points(train: Path) -> list[Path]:
    """Complete checkpoints, newest first; one that lacks a file, or part of one, is passed over."""
    found = []
    for path in train.glob("checkpoint-*"):
        numbered = _NUMBERED.fullmatch(path.name)
        if numbered and _readable(path):
            found.append((int(numbered[1]), path))
    return [path for _, path in sorted(found, reverse=True)]


def step_of(checkpoint: Path) -> int:
    """The step after which a resume checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def _readable(checkpoint: Path) -> bool:
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        sizes = read_json(checkpoint / STATE).get("files", {})
        whole = all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, LimitError):
        return False
    return whole and isinstance(state, dict) and "global_step" in state


def write_state(checkpoint: Path, state: Json) -> None:
    """What our trainer needs to go on exactly, beside what transformers keeps, and the sizes of all that is there."""
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in files_of(checkpoint)}
    write_json(checkpoint / STATE, {**state, "files": sizes})


@contextlib.contextmanager
def reading(checkpoint: str | None) -> Iterator[None]:
    """Say what to do about a checkpoint whose files are all there and yet cannot be read."""
    try:
        yield
    except (MemoryError, LimitError):
        raise
    except Exception as error:  # torch, pickle and safetensors each raise what they like
        if checkpoint is None or "out of memory" in str(error):
            raise
        words = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise LimitError(
            f"{checkpoint} cannot be read ({words}); delete that folder and resume the run: "
            "it goes on from an older checkpoint, or from the start"
        ) from error


def prune(train: Path, keep: int) -> None:
    """Delete all but the newest `keep` resume checkpoints, and what a killed process left half-written."""
    for path in resume_points(train)[keep:]:
        shutil.rmtree(path, ignore_errors=True)
    for path in train.glob(".*.saving"):
        shutil.rmtree(path, ignore_errors=True)


class Room:
    """Disk space held by a file without a name: the system takes it back with the process, however that ends."""

    def __init__(self, file: Any = None) -> None:
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@contextlib.contextmanager
def held_room(folder: Path, wanted: int) -> Iterator[Room]:
    """Hold `wanted` bytes on the disk of `folder` within the block, or until they are released.

    Raises LimitError when they are not free. File systems that cannot hold space only promise what is free now.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    if free < wanted:
        raise no_room(folder, wanted, free)
    room = Room()
    if wanted:
        try:
            room = Room(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - closed by `release`
            os.posix_fallocate(room._file.fileno(), 0, wanted)
        except OSError as error:
            room.release()
            if is_disk_full(error):
                raise no_room(folder, wanted, free) from error
    try:
        yield room
    finally:
        room.release()


def no_room(folder: Path, wanted: int, free: int) -> LimitError:
    """The sentence for a model that would not fit."""
    return LimitError(
        f"the finished model takes {size(wanted)} and only {size(free)} are free in {folder}; "
        f"free {size(max(wanted - free, 1))} more, or move the workspace with LIMIT_HOME"
    )


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in files_of(folder))


def files_of(folder: Path) -> list[Path]:
    """All files in a folder and those below."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def is_disk_full(error: BaseException) -> bool:
    """True for the many shapes in which libraries report that nothing more fits on the disk."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(word in str(seen) for word in _FULL_DISK_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def disk_full_error(path: Path) -> LimitError:
    """The sentence for a disk that is full."""
    return explain_os_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path)
