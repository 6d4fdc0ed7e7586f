"""Task files from llm-foundry's repository, one at a time, resumable, checked before they count as there.

Notable: a file arrives under `.part` and continues where it stopped; it is kept only if every line is a record, their
number and the file's size are those of the source, and its hash too where `data/gauntlet/checksums.json` has it;
`fetched.json` keeps each file's hash.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limit.access import require
from limit.core import Json, LimitError, explained, file_sha256, read_json, write_json
from limit.gauntlet.tasks import DEFINITIONS, Task, fetched_folder, load_version
from limit.settings import Workspace

COMMIT = "8c8dd48f72168c5d51e2f7b151595892a8fba43d"
SOURCE = f"https://raw.githubusercontent.com/mosaicml/llm-foundry/{COMMIT}/scripts/eval/local_data"
TIMEOUT_S = 30
BLOCK = 1 << 20
MANIFEST = "fetched.json"
CHECKSUMS = DEFINITIONS / "checksums.json"  # file: sha256 of the source's bytes without the final newline


class Incomplete(Exception):
    """A file did not arrive whole; the text says why."""


def fetch(ws: Workspace, version: str, tasks: tuple[str, ...] = (), *, source: str | None = None) -> Json:
    """Get the files of a version's tasks into `gauntlet/` of the workspace; those that are there and whole stay.

    Returns {path, files: [name], failed: {name: reason}}. Raises LimitError when none could be had.
    """
    require("operator", "fetch task files")
    folder = fetched_folder(ws)
    base = (source or SOURCE).rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise LimitError(f"{source!r} is no web address to fetch from; give one that begins with https://")
    wanted = {task.file: task for task in load_version(version, DEFINITIONS).select(tasks) if _runnable(task)}
    known = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else {}
    failed: dict[str, str] = {}
    files = []
    for name, task in wanted.items():
        assert name is not None
        path = folder / name
        try:
            if not (path.exists() and file_sha256(path) == known.get(name, {}).get("sha256")):
                known[name] = _get(f"{base}/{name}", path, task)
                write_json(folder / MANIFEST, known)
            files.append(name)
        except Incomplete as error:
            failed[name] = str(error)
    if not files:
        reason = next(iter(failed.values()), "no task of this name has a file")
        raise LimitError(
            f"no task file of {version} could be fetched: {reason}; check the network, name a mirror with --from, or "
            f"use a folder with --data"
        )
    return {"path": str(folder), "files": files, "failed": failed}


def _runnable(task: Task) -> bool:
    return task.file is not None and task.type != "code_evaluation"


def _get(url: str, path: Path, task: Task) -> Json:
    part = path.with_name(f"{path.name}.part")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        done = part.stat().st_size if part.exists() else 0
        try:
            for so_far, total in _download(url, part, done):
                _show(path.name, so_far, total)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
            raise Incomplete(_reason(error)) from error
        try:
            facts = _checked(part, task)
        except Incomplete:
            part.unlink(missing_ok=True)
            raise
        part.replace(path)
    return {**facts, "url": url, "sha256": file_sha256(path)}


def _download(url: str, part: Path, done: int) -> Iterator[tuple[int, int | None]]:
    """Append to `part` from byte `done`; yields (bytes so far, bytes in all if the server says)."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer: Any = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # the part is already all there is
            return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        done = file.tell()
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        while block := answer.read(BLOCK):
            file.write(block)
            done += len(block)
            yield done, total
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")


def _checked(part: Path, task: Task) -> Json:
    records = 0
    try:
        with part.open(encoding="utf-8") as file:
            for line in file:
                if line.strip():
                    json.loads(line)
                    records += 1
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Incomplete(f"what came is not the task's records ({error})") from error
    if task.records_in_source is not None and records != task.records_in_source:
        raise Incomplete(f"{records:,} records came, the source has {task.records_in_source:,}")
    size = part.stat().st_size
    if task.bytes_in_source is not None and abs(size - task.bytes_in_source) > 1:  # a final newline may be there or not
        raise Incomplete(f"{size:,} bytes came, the source has {task.bytes_in_source:,}")
    known = read_json(CHECKSUMS).get(task.file or "")
    if known not in (None, hashlib.sha256(part.read_bytes().rstrip(b"\n")).hexdigest()):
        raise Incomplete("what came has the source's size but another checksum; it is not kept, fetch it again")
    return {"records": records, "bytes": size}


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    return f"no connection ({reason})"


def _show(name: str, done: int, total: int | None) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{name} {done:,} of {total or 0:,} bytes", end=end, file=sys.stderr, flush=True)
