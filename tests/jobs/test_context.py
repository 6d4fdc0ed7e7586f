"""The worker's side of a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from limit.core import read_jsonl
from limit.jobs import context
from limit.jobs.context import JobContext, open_context


class Clock:
    """A monotonic clock that moves by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(context, "time", clock)
    return clock


def test_a_resumed_job_estimates_from_where_it_began(tmp_path: Path, clock: Clock) -> None:
    worker = JobContext(tmp_path)
    worker.progress(900, 1000)
    clock.now += 10
    worker.progress(910, 1000)
    assert [row["eta_s"] for row in read_jsonl(tmp_path / "events.jsonl")] == [None, 90.0]


def test_reports_that_come_too_fast_are_dropped_but_not_the_last(tmp_path: Path, clock: Clock) -> None:
    worker = JobContext(tmp_path)
    for step in range(1, 6):
        worker.progress(step, 5)
    assert [row["step"] for row in read_jsonl(tmp_path / "events.jsonl")] == [1, 5]


def test_a_full_disk_costs_a_report_and_not_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise context.LimitError("disk full")

    monkeypatch.setattr(context, "append_jsonl", full)
    worker = JobContext(tmp_path)
    worker.progress(1, 5)
    with pytest.raises(context.LimitError):
        worker.result({"a": 1})


def test_a_flag_asks_the_worker_to_stop(tmp_path: Path, clock: Clock) -> None:
    worker = open_context(tmp_path)
    assert not worker.stop_requested()
    (tmp_path / "cancel").touch()
    clock.now += 1
    assert worker.stop_requested()


def test_work_by_hand_has_no_folder_and_never_stops() -> None:
    worker = open_context(None)
    worker.progress(1, 2)
    worker.result({})
    assert not worker.stop_requested()
