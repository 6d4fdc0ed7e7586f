"""Grading training samples: one row a sample, resumed, and low grades flagged for mixes to leave out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from limit.core import LimitError
from limit.jobs.context import JobContext
from limit.judge.runner import Retry
from limit.judge.sample_grades import grade_samples, launch_grading, read_grades
from limit.settings import Workspace
from limit.sources import add_source
from limit.sources.marks import excluded_ids, mark
from limit.specs.judge import JudgeSpec
from tests.judge.server import Behaviour, JudgeServer, TinyJudge

FAST = Retry(base_s=0.01, cap_s=0.05)


@pytest.fixture
def source(ws: Workspace, tmp_path: Path) -> str:
    rows = [{"prompt": f"Question {n}?", "response": f"Answer {n} " * (1 + n % 3)} for n in range(30)]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    add_source(ws, "mine", path)
    return "mine"


def grade(ws: Workspace, server: JudgeServer, **options: int | None) -> dict[str, object]:
    spec = JudgeSpec(model="tiny", base_url=server.url, max_tokens=40)
    return grade_samples(ws, "mine", spec, 20, JobContext(None), retry=FAST, **options)  # type: ignore[arg-type]


def test_grades_are_kept_and_not_asked_for_twice(ws: Workspace, source: str, tiny_judge: TinyJudge) -> None:
    with JudgeServer(tiny_judge, Behaviour(faults=("500", "not-json", "garbage"), fault_rate=0.2)) as server:
        first = grade(ws, server)
        asked = len(server.requests)
        again = grade(ws, server)
        spec = JudgeSpec(model="tiny", base_url=server.url, max_tokens=40)
        assert len(server.requests) == asked
    assert first["total"] == 20 and again["graded"] == first["graded"] == len(read_grades(ws, source, spec))
    assert sum(first["histogram"].values()) == first["graded"] and first["graded"] + first["invalid"] == 20  # type: ignore[attr-defined,operator]


def test_low_grades_are_flagged_and_the_flags_follow_the_limit(
    ws: Workspace, source: str, tiny_judge: TinyJudge
) -> None:
    with JudgeServer(tiny_judge) as server:
        grade(ws, server)
        grades = read_grades(ws, source, JudgeSpec(model="tiny", base_url=server.url, max_tokens=40))
        hand = next(sample_id for sample_id, value in grades.items() if value >= 8)
        mark(ws, source, [hand], "flag", True, "Ada")
        for below in (8, 4):
            low = {sample_id for sample_id, value in grades.items() if value < below}
            assert grade(ws, server, flag_below=below)["flagged"] == len(low)
            assert set(excluded_ids(ws, [source], flagged_too=True)) == low | {hand}


def test_judges_that_cannot_grade_and_unknown_sources_are_named(ws: Workspace, source: str) -> None:
    with pytest.raises(LimitError, match="cannot grade samples"):
        grade_samples(ws, source, JudgeSpec(backend="rubric"), 5, JobContext(None))
    with pytest.raises(LimitError, match="source 'nope' does not exist"):
        launch_grading(ws, "nope", JudgeSpec(backend="rubric"), 5)
    with pytest.raises(LimitError, match="costs money"):
        launch_grading(ws, source, JudgeSpec(model="gpt-4o"), 5)
