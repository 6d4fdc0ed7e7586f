"""Two small sources: one of short answers with subsets, one of long ones with dialogues."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from limit.settings import Workspace
from limit.sources import add_source


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def short_rows(n: int = 200) -> list[dict[str, object]]:
    return [
        {
            "prompt": f"Is {i} even? Answer yes or no.",
            "response": "yes" if i % 2 == 0 else "no",
            "source": f"task{i % 4}",
        }
        for i in range(n)
    ]


def long_rows(n: int = 100) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {
            "instruction": f"Explain the number {i} to a friend.",
            "input": "",
            "output": f"Number {i} is special. " * (i % 9 + 1),
        }
        for i in range(n)
    ]
    for row in rows[:10]:
        row["history"] = [["Hello", "Hi, what would you like to know?"]]
    return rows


@pytest.fixture
def stocked(ws: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with `short` (200 rows, 4 subsets, MIT) and `long` (100 rows, 10 dialogues, no licence)."""
    add_source(ws, "short", write_rows(tmp_path / "short.jsonl", short_rows()), licence="MIT")
    add_source(ws, "long", write_rows(tmp_path / "long.jsonl", long_rows()))
    return ws
