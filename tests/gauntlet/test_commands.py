"""The verb, end to end: a job in a process of its own, its three files, and errors in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from limit.cli import main
from limit.gauntlet.launch import launch_gauntlet, spec_arguments
from limit.gauntlet.rows import read_choices
from limit.settings import PROJECT, Workspace
from limit.specs.gauntlet import GauntletSpec


def run(*words: str) -> tuple[int, Any, str]:
    done = subprocess.run(
        [sys.executable, "-m", "limit", "gauntlet", *words, "--json"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


@pytest.mark.slow
def test_a_bare_model_is_scored_into_a_folder(ws: Workspace, data: Path, tiny_llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["run", "--model", str(tiny_llama), "--version", "v0", "--tasks", "pick,next", "--limit", "3"]
    code, value, errors = run(*words, "--data", str(data), "--out", str(out), "--wait")
    assert (code, errors) == (0, "")
    assert value["path"] == str(out)
    assert set(value["scores"]["tasks"]) == {"pick", "next"}
    assert {row["idx"] for row in read_choices(out).to_pylist()} == {0, 1, 2}
    code, shown, _ = run("show", str(out))
    assert shown["eval_id"] == value["eval_id"]
    assert shown["run_id"] == value["run_id"]
    assert shown["protocol"]["limit"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--model", "/no/such/model"], "/no/such/model"),
        (["run", "--model", "MODEL", "--version", "v9", "--data", "DATA"], "'v9'"),
        (["run", "--model", "MODEL", "--tasks", "pick,nonsense", "--data", "DATA"], "nonsense"),
        (["run", "--model", "MODEL", "--data", "/no/such/folder"], "/no/such/folder"),
        (["run", "--model", "MODEL", "--tasks", "mmlu", "--data", "DATA"], "gauntlet fetch"),
        (["run", "--model", "MODEL", "--limit", "0", "--data", "DATA"], "limit"),
        (["run", "--data", "DATA"], "--model"),
        (["show", "0123456789ab"], "no evaluation '0123456789ab'"),
        (["show", "../../etc"], "no evaluation"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(
    ws: Workspace, data: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    named = {"MODEL": str(tiny_llama), "DATA": str(data)}
    code = main(["gauntlet", *(named.get(word, word) for word in words), "--json"])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_the_same_request_is_one_evaluation(
    ws: Workspace, data: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limit import jobs

    monkeypatch.setattr("limit.jobs.queue.schedule", lambda ws: None)
    spec = GauntletSpec(data=str(data), tasks=("pick",))
    first = launch_gauntlet(ws, spec, model=str(tiny_llama))
    again = launch_gauntlet(ws, spec, run_id=first["run_id"])
    other = launch_gauntlet(ws, spec.replace(limit=2), run_id=first["run_id"])
    assert first["job_id"] == again["job_id"]
    assert first["eval_id"] == again["eval_id"] != other["eval_id"]
    assert len(jobs.list_jobs(ws)) == 2


def test_a_worker_gets_the_whole_request(tmp_path: Path) -> None:
    from limit.gauntlet.commands import add_parser, spec_of

    spec = GauntletSpec(version="v0.2", tasks=("a", "b"), shots="fixed", draws=4, limit=7, max_seq_len=64, dtype="fp32")
    import argparse

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    options = parser.parse_args(["gauntlet", "run", "--run", "0" * 12, *spec_arguments(spec, tmp_path)])
    assert spec_of(options) == spec.replace(data=str(tmp_path))
