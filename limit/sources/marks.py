"""What people say of samples: flags, exclusions and notes, appended to `sources/<source>/marks.jsonl`.

The file is made by hand, so nothing is ever rewritten: the last line of a sample and a kind of mark holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from limit.access import require
from limit.core import Json, LimitError, append_jsonl, read_jsonl, utc_now
from limit.settings import Workspace
from limit.sources.listing import source_info

Kind = Literal["flag", "exclude", "note"]
KINDS: tuple[Kind, ...] = ("flag", "exclude", "note")


def mark(ws: Workspace, source: str, sample_ids: list[str], kind: Kind, value: bool | str, by: str = "") -> None:
    """Set a flag or an exclusion (True or False) or a note (text, empty to remove) on samples. Raises LimitError."""
    require("analyst", "mark samples")
    if kind not in KINDS:
        raise LimitError(f"mark {kind!r} is not known; choose one of {', '.join(KINDS)}")
    path = Path(source_info(ws, source)["path"]) / "marks.jsonl"
    now = utc_now()
    append_jsonl(path, [{"sample_id": i, "kind": kind, "value": value, "by": by, "time": now} for i in sample_ids])


def read_marks(ws: Workspace, source: str) -> dict[str, Json]:
    """Present marks by sample id: {sample_id: {"flag": True, "note": "..."}}; unset ones are absent."""
    marks: dict[str, Json] = {}
    for line in read_jsonl(Path(source_info(ws, source)["path"]) / "marks.jsonl"):
        if isinstance(line.get("sample_id"), str) and line.get("kind") in KINDS:
            marks.setdefault(line["sample_id"], {})[line["kind"]] = line.get("value")
    held = {key: {kind: value for kind, value in mark.items() if value} for key, mark in marks.items()}
    return {key: mark for key, mark in held.items() if mark}


def excluded_ids(ws: Workspace, sources: list[str], flagged_too: bool = False) -> list[str]:
    """Sample ids that people excluded (or also flagged) in these sources, sorted."""
    kinds = ("exclude", "flag") if flagged_too else ("exclude",)
    found = {
        sample_id
        for source in set(sources)
        for sample_id, marks in read_marks(ws, source).items()
        if any(marks.get(kind) for kind in kinds)
    }
    return sorted(found)
