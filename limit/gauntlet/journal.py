"""What an unfinished evaluation has done so far, pack by pack, so that it can go on after it was killed.

One line per pack in `journal.jsonl`; the first line says which plan the packs belong to. A journal of another plan
(another device, another library's sharing) is set aside, since its packs are not these packs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limit.core import Json, append_jsonl, explained, read_jsonl

NAME = "journal.jsonl"
FORM = 2  # of the lines; a journal of another form is set aside too


class Journal:
    """The packs of one evaluation that are done; `plan` is whatever decides what the packs are."""

    def __init__(self, folder: Path, plan: Json) -> None:
        self.path = folder / NAME
        plan = {"form": FORM, **plan}
        rows = list(read_jsonl(self.path))
        if not rows or rows[0].get("plan") != plan:
            self.clear()
            append_jsonl(self.path, [{"plan": plan}])
            rows = []
        self._done: dict[tuple[str, int, int], Json] = {
            (row["task"], row["chunk"], row["pack"]): row for row in rows[1:] if "pack" in row
        }
        self.resumed = len(self._done)

    def get(self, task: str, chunk: int, pack: int) -> Json | None:
        """What was recorded of a pack."""
        return self._done.get((task, chunk, pack))

    def add(self, task: str, chunk: int, pack: int, **values: Any) -> Json:
        """Record one pack."""
        row = {"task": task, "chunk": chunk, "pack": pack, **values}
        append_jsonl(self.path, [row], sync=False)
        return row

    def clear(self) -> None:
        """Forget everything."""
        with explained(self.path):
            self.path.unlink(missing_ok=True)
