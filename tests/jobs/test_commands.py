"""`limit jobs` on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from limit import jobs
from limit.cli import main
from limit.settings import Workspace
from tests.jobs.conftest import Ask


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert main(["jobs", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_whole_life_of_a_job(ws: Workspace, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "pause") == {"paused": True}
    job_id = jobs.start(ws, ask("a", "--say", "hello there"))
    assert answer(capsys, "list", "--state", "queued")[0]["job_id"] == job_id
    assert answer(capsys, "hold", job_id)["held"] is True
    assert answer(capsys, "release", job_id)["held"] is False
    assert answer(capsys, "move", job_id, "top")["state"] == "queued"
    assert answer(capsys, "stop", job_id)["state"] == "stopped"
    assert answer(capsys, "unpause") == {"paused": False}
    answer(capsys, "resume", job_id)
    assert jobs.wait(ws, job_id)["state"] == "finished"
    shown = answer(capsys, "show", job_id)
    assert (shown["state"], shown["exit_code"], shown["kind"], shown["step"]) == ("finished", 0, "finetune", 3)
    assert answer(capsys, "tail", job_id, "--lines", "1") == ["hello there"]
    assert answer(capsys, "tail", job_id, "--follow")[-1] == "hello there"


def test_words_for_people(ws: Workspace, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = jobs.start(ws, ask("a", "--code", "2", "--say", "limit: no such mix"))
    jobs.wait(ws, job_id)
    capsys.readouterr()
    assert main(["jobs", "list"]) == 0
    printed = capsys.readouterr().out
    assert "failed" in printed and "(no such mix)" in printed
    assert main(["jobs", "show", job_id]) == 0
    assert "no such mix" in capsys.readouterr().out


def test_kinds_can_be_filtered(ws: Workspace, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.wait(ws, jobs.start(ws, ask("a", kind="export")))
    assert answer(capsys, "list", "--kind", "judge") == []
    assert len(answer(capsys, "list", "--kind", "export")) == 1
