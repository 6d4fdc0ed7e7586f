"""The verbs `sources` and `mix`: JSON on stdout, one sentence and exit code 2 for what a user can fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limit.cli import main
from limit.settings import Workspace
from tests.mixes.conftest import long_rows, short_rows, write_rows


def run(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.count("\n") == 1
    return out.err


def test_the_whole_way(ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path / "rows.jsonl", short_rows())
    assert run(capsys, "sources", "add", "mine", str(path), "--preview")["form"] == "prompt-response"
    assert run(capsys, "sources", "add", "mine", str(path), "--licence", "MIT")["rows"] == 200
    assert [source["source"] for source in run(capsys, "sources", "list")] == ["mine"]
    assert run(capsys, "sources", "show", "mine")["response_chars"]["n"] == 200
    assert run(capsys, "sources", "show", "mine", "--row", "3")["row"] == 3
    assert len(run(capsys, "sources", "search", "mine", "even", "--limit", "4")["rows"]) == 4
    built = run(capsys, "mix", "build", "--part", "mine:20", "--part", "mine/task1:5", "--seed", "3", "--name", "m")
    assert {"mix_id", "rows", "tokens", "path"} <= built.keys()
    assert (built["rows"], built["name"], built["spec"]["seed"]) == (25, "m", 3)
    other = run(capsys, "mix", "build", "--part", "mine:30", "--exclude", "0" * 16)
    shown = run(capsys, "mix", "show", built["mix_id"])
    assert shown["rows"] == 25 and shown["steps_per_epoch"] == 1
    assert run(capsys, "mix", "diff", built["mix_id"], other["mix_id"])["rows"] == [25, 30]
    assert len(run(capsys, "mix", "list")) == 2
    assert run(capsys, "mix", "export", built["mix_id"], "--out", str(tmp_path / "out"))["rows"] == 25
    assert main(["mix", "show", built["mix_id"]]) == 0
    assert "25 rows" in capsys.readouterr().out


def test_checking_prints_what_was_found(ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sources", "add", "mine", str(write_rows(tmp_path / "rows.jsonl", short_rows(40))))
    mix_id = run(capsys, "mix", "build", "--part", "mine:all")["mix_id"]
    assert main(["mix", "check", mix_id]) == 0
    out = capsys.readouterr().out
    assert "duplicates:" in out and "licence:" in out
    smaller = run(capsys, "mix", "build", "--part", "mine:all", "--drop-duplicates")
    assert smaller["rows"] <= 40


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("sources", "add", "x", "/nowhere.json"), "does not exist"),
        (("sources", "show", "x"), "does not exist"),
        (("sources", "search", "x", "y"), "does not exist"),
        (("sources", "fetch", "no such thing"), "no catalogue id"),
        (("mix", "build"), "at least one part"),
        (("mix", "build", "--part", "x"), "is not SOURCE"),
        (("mix", "build", "--part", "x:10"), "does not exist"),
        (("mix", "build", "--preset", "7b-lima"), "does not exist"),
        (("mix", "build", "--part", "x:1", "--seed", "-1"), "seed"),
        (("mix", "show", "../../etc"), "cannot be used"),
        (("mix", "diff", "a", "b"), "does not exist"),
    ],
)
def test_faults_are_one_sentence(
    ws: Workspace, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in fails(capsys, *words)


def test_broken_json_names_its_line_on_the_command_line(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n{"prompt": \n')
    assert "line 2" in fails(capsys, "sources", "add", "bad", str(path))
    assert run(capsys, "sources", "add", "bad", str(path), "--skip-broken")["rejected"] == 1


def test_marked_samples_can_be_left_out(ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from limit.sources import sample
    from limit.sources.marks import mark

    run(capsys, "sources", "add", "mine", str(write_rows(tmp_path / "rows.jsonl", short_rows(40))))
    chosen = sample(ws, "mine", 5)["sample_id"]
    mark(ws, "mine", [chosen], "exclude", True)
    built = run(capsys, "mix", "build", "--part", "mine:all", "--exclude-marked")
    assert (built["rows"], built["spec"]["exclude"]) == (39, [chosen])
    flagged = sample(ws, "mine", 6)["sample_id"]
    mark(ws, "mine", [flagged], "flag", True)
    again = run(capsys, "mix", "build", "--part", "mine:all", "--exclude-marked")
    both = run(capsys, "mix", "build", "--part", "mine:all", "--exclude-flagged")
    assert (again["mix_id"], both["spec"]["exclude"]) == (built["mix_id"], sorted([chosen, flagged]))


def test_adding_works_as_a_job(ws: Workspace, tmp_path: Path) -> None:
    from limit.sources import source_info
    from limit.sources.launch import launch_add, wait_for

    path = write_rows(tmp_path / "rows.jsonl", short_rows(40))
    started = launch_add(ws, "mine", str(path), ["--licence=MIT"])
    result = wait_for(ws, started["job_id"])
    assert (result["rows"], result["state"]) == (40, "finished")
    assert source_info(ws, "mine")["licence"] == "MIT"


def test_a_check_runs_as_a_job(ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from limit.mixes.checks import kept_check
    from limit.mixes.launch import launch_check
    from limit.sources.launch import wait_for

    run(capsys, "sources", "add", "mine", str(write_rows(tmp_path / "rows.jsonl", short_rows(20))))
    mix_id = run(capsys, "mix", "build", "--part", "mine:all")["mix_id"]
    first = launch_check(ws, mix_id)
    assert wait_for(ws, first["job_id"])["rows"] == 20
    assert kept_check(ws, mix_id) is not None


@pytest.mark.parametrize(
    "words",
    [
        ("sources", "show", "tiny-instruct"),
        ("sources", "search", "tiny-lima", "the"),
        ("mix", "build", "--part", "tiny-lima:300"),
        ("sources", "list"),
    ],
)
def test_shipped_sources_are_put_in_place_when_named(
    ws: Workspace, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    found = run(capsys, *words)
    assert {"tiny-instruct", "tiny-lima"} <= {folder.name for folder in ws.sources.iterdir()}
    if words[1] == "list":
        assert [source["source"] for source in found] == ["tiny-instruct", "tiny-lima"]


def test_shipped_sources_do_not_join_sources_of_ones_own(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "sources", "add", "mine", str(write_rows(tmp_path / "rows.jsonl", short_rows(20))))
    assert [source["source"] for source in run(capsys, "sources", "list")] == ["mine"]


@pytest.mark.parametrize("kind", ["index", "topics"])
def test_indexes_and_topics_are_jobs(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    run(capsys, "sources", "add", "mine", str(write_rows(tmp_path / "rows.jsonl", long_rows(60))))
    made = run(capsys, "sources", kind, "mine", "--wait")
    assert (made["state"], made["source"]) == ("finished", "mine")


def test_shares_that_do_not_add_up_are_said(ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sources", "add", "mine", str(write_rows(tmp_path / "rows.jsonl", short_rows(60))))
    assert main(["mix", "build", "--part", "mine:60%", "--part", "mine:20%", "--total", "50"]) == 0
    assert "80.0% of the 50 asked for" in capsys.readouterr().out
    assert main(["mix", "build", "--part", "mine:60%", "--part", "mine:40%", "--total", "50"]) == 0
    assert "asked for" not in capsys.readouterr().out
