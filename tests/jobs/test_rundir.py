"""Reading a job's folder in whatever state it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from limit.core import LimitError
from limit.jobs import JobRequest
from limit.jobs.rundir import EventTail, tail_log


def test_a_job_id_depends_on_what_is_asked_and_not_on_its_title() -> None:
    first = JobRequest("finetune", "one", ["finetune", "--run", "x"]).job_id()
    assert JobRequest("finetune", "two", ("finetune", "--run", "x")).job_id() == first
    assert JobRequest("finetune", "one", ["finetune", "--run", "y"]).job_id() != first
    assert first.startswith("finetune-")


@pytest.mark.parametrize("kind", ["", "../x", "Fine Tune", "a" * 40, "x\n"])
def test_a_kind_must_be_a_plain_word(kind: str) -> None:
    with pytest.raises(LimitError, match="job kind"):
        JobRequest(kind, "t", [])


def test_an_argument_must_fit_on_a_command_line() -> None:
    with pytest.raises(LimitError, match="not text"):
        JobRequest("fetch", "t", ["a\0b"])


def test_the_tail_of_a_log_is_plain_text(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"first\n\x1b[31mred\x1b[0m\n 10%|#   |\r 99%|####|\r\n\xff\xfe bad\nlast\n\n")
    assert tail_log(tmp_path, 4) == ["red", " 99%|####|", "\ufffd\ufffd bad", "last"]


def test_the_tail_of_a_huge_line_is_short(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"x" * 10_000_000 + b"\nend")
    assert tail_log(tmp_path, 1) == ["end"]
    (tmp_path / "log.txt").write_bytes(b"x" * 10_000_000)
    assert len(tail_log(tmp_path, 5)[0]) <= 65536


def test_no_log_is_no_lines(tmp_path: Path) -> None:
    assert tail_log(tmp_path) == []


def test_a_torn_event_waits_for_its_end_and_rubbish_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.new() == []
    path.write_bytes(b'{"a": 1}\nrubbish\n[1]\n{"b": ')
    assert tail.new() == [{"a": 1}]
    with path.open("ab") as file:
        file.write(b"2}\n")
    assert tail.new() == [{"b": 2}]
    assert tail.new() == []
