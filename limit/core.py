"""Errors, content ids and crash-safe files: what every other module stands on.

Notable: a file is either complete or absent (`write_atomic`), a journal may end in a torn line and still be read
(`read_jsonl`), and an id is a hash of content, so the same request has the same id on any machine.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class LimitError(Exception):
    """A problem that the user can fix: one line that says what was wrong, which value, and what to do."""


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import large libraries inside the block: torch and transformers make a million objects that nobody drops.

    The garbage collector would look through all of them again and again, for a quarter of the time of the imports. It
    rests in the block, and what was made stays out of its sight afterwards.
    """
    was_on, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if was_on:
            gc.enable()


def canonical_json(value: Any) -> str:
    """Serialise with sorted keys and no spaces, so that equal values give equal text on any machine."""
    return _CANONICAL.encode(value)


def content_id(value: Any, length: int = 12) -> str:
    """First `length` hex digits of sha256 over the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def utc_now() -> str:
    """The present moment as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def explain_os_error(error: OSError, path: Path | str) -> LimitError:
    """Turn a file-system failure into a sentence with the next thing to do."""
    shown = error.filename2 or error.filename or str(path)  # the second is where a copy goes
    reasons = {
        errno.ENOSPC: f"disk full while writing {shown}; free some space and run it again",
        errno.EDQUOT: f"disk quota reached while writing {shown}; free some space and run it again",
        errno.EACCES: f"no permission to write {shown}; choose another folder with LIMIT_HOME or change its owner",
        errno.EPERM: f"no permission to write {shown}; choose another folder with LIMIT_HOME or change its owner",
        errno.EROFS: f"{shown} is on a read-only file system; choose another folder with LIMIT_HOME",
        errno.ENOTDIR: f"{shown} needs a folder where a file stands; move that file or set LIMIT_HOME elsewhere",
    }
    code = error.errno or 0
    return LimitError(reasons.get(code, f"cannot use {shown}: {error.strerror or error}"))


@contextlib.contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Raise `LimitError` instead of `OSError` for what happens to `path` inside the block."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path) from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed over it, on failure removed.

    Raises LimitError when the folder cannot be written or the disk is full; `path` is then as it was.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing. Raises LimitError as `atomic_path` does."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def read_json(path: Path) -> Json:
    """Read a JSON object. Raises LimitError naming the file when it is missing or is not a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LimitError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LimitError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise LimitError(f"{path} holds a JSON {type(value).__name__}, expected an object")
    return value


def read_each(root: Path, name: str) -> dict[str, Json]:
    """The JSON object in file `name` of each folder of `root` that has a readable one, by folder in name order.

    A file is read again only when it was replaced, so a thousand of them cost a thousand calls of stat. Folders whose
    name starts with a dot are not looked at. Nothing below the top level of an object is to be changed.
    """
    try:
        with os.scandir(root) as entries:
            folders = sorted((entry.name, entry.path) for entry in entries if not entry.name.startswith("."))
    except OSError:
        return {}
    found = {}
    for folder, path in folders:
        with contextlib.suppress(LimitError):
            value = read_kept(f"{path}/{name}")
            if value is not None:
                found[folder] = value
    return found


def read_kept(path: str) -> Json | None:
    """As `read_json`, with the rules of `read_each`: kept until the file is replaced, None where there is no file."""
    try:
        info = os.stat(path)  # noqa: PTH116 - a Path for each of a thousand files costs more than the call
    except (OSError, ValueError):
        return None
    mark = (info.st_ino, info.st_mtime_ns, info.st_size)
    kept = _kept.get(path)
    if kept is None or kept[0] != mark:
        kept = _kept[path] = (mark, read_json(Path(path)))
        while len(_kept) > MOST_KEPT:
            _kept.pop(next(iter(_kept)), None)
    return dict(kept[1])


MOST_KEPT = 20_000  # files
_kept: dict[str, tuple[tuple[int, int, int], Json]] = {}


def append_jsonl(path: Path, rows: Iterable[Json], sync: bool = True) -> None:
    """Append one line per row with a single write; a torn last line left by a crash is closed first.

    Raises LimitError when the disk is full or the folder cannot be written.
    """
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if not data:
        return
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.seek(0, os.SEEK_END) > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    data = b"\n" + data
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())


def read_jsonl(path: Path) -> Iterator[Json]:
    """Yield the objects of a journal of ours; a line that a crash cut short is skipped, a missing file is empty.

    Not for files that users bring: those are read by `limit.sources`, which reports each bad line.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                value = json.loads(line)
            except (UnicodeDecodeError, json.JSONDecodeError):
                continue
            if isinstance(value, dict):
                yield value
