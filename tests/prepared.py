"""What the app makes of the shipped content at its first start, made once for all tests of a process."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from limit.settings import Workspace
from limit.store import Store
from limit.tiny import ensure_sources


def put_sources(ws: Workspace) -> None:
    """The two small sources and their prompts."""
    if not ws.source("tiny-lima").exists():
        made = _made()
        for folder in (made.sources, made.prompts):
            shutil.copytree(folder, ws.root / folder.name, dirs_exist_ok=True)


def put_index(ws: Workspace) -> None:
    """An index that holds what ships, so that opening the store reads only what a test has written."""
    if not ws.index.exists():
        shutil.copyfile(_made().index, ws.index)


def folder_for_all() -> Path:
    """An empty folder that lasts as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="limit-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _made() -> Workspace:
    made = Workspace(folder_for_all()).make()
    ensure_sources(made)
    Store.open(made).close()
    return made
