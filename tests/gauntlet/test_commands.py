"""The verb, end to end: a job in a process of its own, its three files, and errors in one line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from limit.cli import main
from limit.gauntlet.launch import launch_gauntlet, spec_arguments
from limit.gauntlet.rows import read_choices, read_items
from limit.gauntlet.worker import score_run
from limit.jobs.context import JobContext
from limit.runs import ensure_run
from limit.settings import PROJECT, Workspace
from limit.specs.gauntlet import GauntletSpec
from limit.specs.run import RunSpec
from tests.gauntlet.conftest import make_records, write_data


def run(*words: str) -> tuple[int, Any, str]:
    done = subprocess.run(
        [sys.executable, "-m", "limit", "gauntlet", *words, "--json"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


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


BROKEN = [
    ("pick", 2, '{"query": "a", "choices": ["b"', "line 2: broken JSON"),
    ("pick", 3, '{"query": "a", "choices": ["b", "c"]}', "line 3: `gold` is missing"),
    ("pick", 4, '{"query": "a", "gold": 0}', "line 4: `choices` must be a list"),
    ("pick", 1, '{"query": "a", "choices": ["b", "c"], "gold": 2}', "line 1: `gold` is 2"),
    ("pick", 5, '{"query": "a", "choices": ["b", "c"], "gold": -1}', "line 5: `gold` is -1"),
    ("pick", 1, '["a list"]', "line 1: a list, expected a JSON object"),
    ("next", 2, '{"context": "a", "continuation": "b"}', "line 2: `category` is missing"),
    ("sums", 2, '{"context": "a"}', "line 2: `answer` is missing"),
]


@pytest.mark.parametrize(("task", "line", "text", "said"), BROKEN)
def test_a_record_that_cannot_be_used_is_named_before_anything_starts(
    ws: Workspace,
    data: Path,
    tiny_llama: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task: str,
    line: int,
    text: str,
    said: str,
) -> None:
    path = data / f"{task}.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[: line - 1], text, *lines[line:]]) + "\n")
    message = refused(data, tiny_llama, tmp_path / "out", capsys)
    assert f"{task}.jsonl, {said}" in message
    assert not ws.jobs.exists() or not list(ws.jobs.glob("*/job.json"))


def test_a_file_without_records_is_named(
    ws: Workspace, data: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "who.jsonl").write_text("\n\n")
    assert "who.jsonl holds no records" in refused(data, tiny_llama, tmp_path / "out", capsys)


def refused(data: Path, model: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused request prints; nothing may be left in its folder."""
    words = ["gauntlet", "run", "--model", str(model), "--version", "v0", "--data", str(data), "--out", str(out)]
    code = main([*words, "--wait", "--json"])
    captured = capsys.readouterr()
    assert (code, captured.out, captured.err.count("\n")) == (2, "", 1)
    assert not out.exists() or not list(out.iterdir())
    return captured.err


def test_the_job_of_a_copied_workspace_writes_into_the_copy(
    ws: Workspace, data: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("limit.jobs.start", lambda _, request: asked.append(request) or "job")
    monkeypatch.setattr("limit.jobs.status", lambda *_: {"state": "queued"})
    spec = GauntletSpec.from_dict({"version": "v0", "tasks": ["pick"], "data": str(data), "limit": 2})
    path = Path(launch_gauntlet(ws, spec, model=str(tiny_llama))["path"])
    copy = tmp_path / "copy"
    shutil.copytree(ws.root, copy)
    (copy / "jobs" / "job").mkdir(parents=True)
    (copy / "jobs" / "job" / "job.json").write_text(json.dumps({"subject": asked[0].subject}))
    monkeypatch.setenv("LIMIT_HOME", str(copy))
    assert main([*asked[0].arguments, "--job", str(copy / "jobs" / "job")]) == 0
    assert (copy / path.relative_to(ws.root) / "eval.json").is_file()
    assert not path.exists()


@pytest.mark.slow
def test_a_killed_evaluation_of_a_bare_model_goes_on_from_the_same_words(
    ws: Workspace, data: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    records = make_records()
    write_data(data, {**records, "pick": records["pick"] * 30})
    words = ["run", "--model", str(tiny_llama), "--version", "v0", "--tasks", "pick,next", "--data", str(data)]
    words += ["--limit", "500", "--wait"]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "limit", "gauntlet", *words, "--out", str(out), "--json"]
    first = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    done_before = killed_in_the_middle(ws, out)
    _, errors = first.communicate(timeout=120)
    assert (first.returncode, errors.count("\n")) == (2, 1), errors
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == ["journal.jsonl"]

    code, value, errors = run(*words, "--out", str(out))
    assert (code, errors) == (0, "")
    events = (next(ws.jobs.glob("*/job.json")).parent / "events.jsonl").read_text()
    resumed = re.search(r"going on after (\d+) packs", events)
    assert resumed and int(resumed[1]) >= done_before
    assert sorted(path.name for path in out.iterdir()) == ["choices.parquet", "eval.json", "items.parquet"]
    spec = GauntletSpec(version="v0", tasks=("pick", "next"), data=str(data), limit=500)
    whole = score_run(ws, ensure_run(ws, RunSpec(model=str(tiny_llama))), spec, tmp_path / "whole", JobContext(None))
    assert read_items(out).equals(read_items(tmp_path / "whole"))
    assert read_choices(out).equals(read_choices(tmp_path / "whole"))
    assert value["scores"] == whole["scores"]
    assert value["path"] == str(out) and set(value["scores"]["tasks"]) == {"pick", "next"}
    code, shown, _ = run("show", str(out))
    assert (shown["eval_id"], shown["run_id"]) == (value["eval_id"], value["run_id"])
    assert shown["protocol"]["limit"] == 500
    assert {row["idx"] for row in read_items(out).to_pylist() if row["task"] == "pick"} == set(range(500))


def killed_in_the_middle(ws: Workspace, out: Path) -> int:
    """Kill the worker once it has done a few packs; returns how many those were."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        done = (out / "journal.jsonl").read_text().count('"pack"') if (out / "journal.jsonl").exists() else 0
        if done > 3:
            pid = next(json.loads(p.read_text())["pid"] for p in ws.jobs.glob("*/status.json"))
            os.kill(pid, signal.SIGKILL)
            return done
        time.sleep(0.05)
    raise AssertionError("the evaluation never started")


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


def test_own_settings_are_part_of_what_an_evaluation_is(
    ws: Workspace, data: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limit.jobs.queue.schedule", lambda ws: None)

    def asked(tasks: str = "pick") -> str:
        found = launch_gauntlet(ws, GauntletSpec(data=str(data), tasks=(tasks,)), model=str(tiny_llama))
        return str(found["eval_id"])

    def changed(name: str, old: str, new: str) -> str:
        (data / name).write_text((data / name).read_text().replace(old, new))
        return asked()

    found = [
        asked(),
        changed("gauntlet.yaml", "{task: pick, num_fewshot: 3, random_baseline: 0.25}",
                "{task: pick, num_fewshot: 3, random_baseline: 0.125}"),
        changed("tasks.yaml", "file: pick.jsonl,", 'file: pick.jsonl, prelimiter: "Q: ",'),
        changed("gauntlet.yaml", "versions:", "aggregation: {weighting: LOG_SAMPLE_SZ}\nversions:"),
    ]  # fmt: skip
    assert len(set(found)) == len(found)
    assert changed("tasks.yaml", "random_baseline: 0.5", "random_baseline: 0.75") == found[-1]  # of another task


def test_own_settings_that_change_nothing_are_the_same_evaluation(tmp_path: Path) -> None:
    from limit.gauntlet.tasks import DEFINITIONS, load_version, own_settings

    for name in ("tasks.yaml", "gauntlet.yaml"):
        (tmp_path / name).write_text((DEFINITIONS / name).read_text().replace("records_in_source: 1", "#"))
    copied = load_version("v0.3", tmp_path)
    assert own_settings(copied, copied.tasks) == {}


def test_only_what_has_a_score_is_told_line_by_line() -> None:
    from limit.gauntlet.commands import run_text

    scores = {"averages": {"core_average": None}, "categories": {"a": None, "mine": 0.5}, "tasks": {"capitals": 0.5}}
    assert run_text({"scores": scores, "eval_id": "e", "path": "p"}).splitlines() == [
        f"{'capitals':44s} 0.500", f"{'mine':44s} 0.500", "no score, since tasks are missing: core_average, a",
        "evaluation e in p",
    ]  # fmt: skip


def test_a_worker_gets_the_whole_request(tmp_path: Path) -> None:
    from limit.gauntlet.commands import add_parser, spec_of

    spec = GauntletSpec(version="v0.2", tasks=("a", "b"), shots="fixed", draws=4, limit=7, max_seq_len=64, dtype="fp32")
    import argparse

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    options = parser.parse_args(["gauntlet", "run", "--run", "0" * 12, *spec_arguments(spec, tmp_path)])
    assert spec_of(options) == spec.replace(data=str(tmp_path))


def test_data_that_changed_after_the_request_stops_the_job(ws: Workspace, data: Path, tiny_llama: Path) -> None:
    """A job's folder is named by the data's contents; other contents must not land in it."""
    from limit.core import LimitError, read_json
    from limit.jobs.control import pause

    spec = GauntletSpec(version="v0", tasks=("pick",), data=str(data))
    pause(ws)
    started = launch_gauntlet(ws, spec, model=str(tiny_llama))
    job = ws.jobs / started["job_id"]
    assert read_json(job / "job.json")["subject"]["eval_id"] == started["eval_id"]
    (data / "pick.jsonl").write_text((data / "pick.jsonl").read_text().replace("river", "rivers"))
    with pytest.raises(LimitError, match="have changed since"):
        score_run(ws, started["run_id"], spec, Path(started["path"]), JobContext(job))
    assert not Path(started["path"]).exists() or not list(Path(started["path"]).iterdir())
