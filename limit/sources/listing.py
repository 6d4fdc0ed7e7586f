"""Which sources the workspace holds, and what is known of each."""

from __future__ import annotations

import difflib
import itertools
import json
from pathlib import Path

from limit.core import Json, LimitError, explained, read_json
from limit.settings import Workspace

INDEX_NAME = "words.sqlite"
# What every reader of a source counts on.
NEEDED: dict[str, type] = {
    "source": str, "rows": int, "rejected": int, "subsets": dict, "files": list, "content_sha256": str, "created": str,
}  # fmt: skip


def list_sources(ws: Workspace) -> list[Json]:
    """`source.json` of every complete source in name order, each with `path` and `indexed`, without damaged ones."""
    return _looked_at(ws)[0]


def broken_sources(ws: Workspace) -> dict[str, str]:
    """The sources that `list_sources` leaves out, by folder, each with what is wrong and what to do."""
    return _looked_at(ws)[1]


def _looked_at(ws: Workspace) -> tuple[list[Json], dict[str, str]]:
    found: list[Json] = []
    broken: dict[str, str] = {}
    for folder in sorted(ws.sources.iterdir()) if ws.sources.is_dir() else []:
        if folder.name.startswith("."):
            continue
        try:
            info = source_info_at(folder)
        except LimitError as error:
            broken[folder.name] = f"source {folder.name!r} is left out: {error}; remove its folder and add it again"
            continue
        found += [] if info is None else [info]
    return found, broken


def source_info(ws: Workspace, name: str) -> Json:
    """One source's facts. Raises LimitError naming the closest known sources when it does not exist."""
    info = source_info_at(ws.source(name))
    if info is None:
        known = [source["source"] for source in list_sources(ws)]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known[:20]) or 'none yet'}"
        raise LimitError(f"source {name!r} does not exist; {hint}; add it with `sources add` or `sources fetch`")
    return info


def source_info_at(folder: Path) -> Json | None:
    """The facts in a source's folder, or None where there is no complete source. Raises LimitError for damaged ones."""
    if not (folder / "source.json").is_file():
        return None
    info = read_json(folder / "source.json")
    lacking = [name for name, kind in NEEDED.items() if not isinstance(info.get(name), kind)]
    if lacking:
        raise LimitError(f"{folder / 'source.json'} has no usable {', '.join(lacking)}")
    return {**info, "path": str(folder), "indexed": (folder / INDEX_NAME).is_file()}


def rejected_rows(folder: Path, most: int = 100) -> list[Json]:
    """The first rows that could not be used, of the source in `folder`: {line, reason, text, file, record}.

    `line` is where a row starts in its file, `text` its beginning. Empty where no file of them is kept.
    """
    path = folder / "rejects.jsonl"
    if not path.is_file():
        return []
    with explained(path), path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in itertools.islice(file, most)]


def sample_files(info: Json) -> list[Path]:
    """The Parquet files of a source in row order. Raises LimitError when one is missing."""
    files = [Path(info["path"]) / file["name"] for file in info["files"]]
    for file in files:
        if not file.is_file():
            raise LimitError(f"{file} is missing; add source {info['source']!r} again")
    return files
