"""Answers in and out as AlpacaEval's model_outputs.json, and votes on two runs that nobody has judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limit.cli import main
from limit.core import LimitError
from limit.judge.judgments import list_comparisons
from limit.judge.pairing import pair_runs
from limit.judge.votes import ballot_of_runs, cast, next_turn
from limit.responses.outputs import import_outputs, read_outputs, write_outputs
from limit.responses.prompt_sets import save_prompt_set
from limit.responses.response_sets import list_response_sets
from limit.runs import ensure_run, load_run
from limit.settings import Workspace
from limit.specs import RunSpec

PROMPTS = ["Say hi.", "Count to two.", "Name a river."]


def file_of(folder: Path, answers: dict[str, str], name: str = "outputs.json", **more: Any) -> Path:
    rows = [{"instruction": prompt, "output": text, **more} for prompt, text in answers.items()]
    path = folder / name
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.fixture
def runs(ws: Workspace) -> list[str]:
    save_prompt_set(ws, "open", PROMPTS)
    return [ensure_run(ws, RunSpec(model="tiny", seed=seed), name=f"model {seed}") for seed in (1, 2)]


def test_answers_come_in_by_file_and_go_out_unchanged(
    ws: Workspace, runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {PROMPTS[0]: " hi\n", PROMPTS[2]: "尼罗河", "Something else?": "no"}
    path = file_of(tmp_path, answers, generator="elsewhere")
    words = ["respond", "--run", runs[0], "--prompts", "open"]
    assert main([*words, "--import", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["unanswered"], found["unknown"], found["generator"]) == (2, 1, 1, "elsewhere")
    assert main([*words, "--import", str(path)]) == 0
    said = capsys.readouterr().out
    assert "1 prompts have none" in said and len(list_response_sets(ws, runs[0], "open")) == 1
    assert main([*words, "--export", str(tmp_path / "out.json")]) == 0
    generator, outputs = read_outputs(tmp_path / "out.json")
    assert generator == "elsewhere" and outputs == {PROMPTS[0]: " hi\n", PROMPTS[2]: "尼罗河"}


def test_every_field_of_an_imported_row_goes_out_again(ws: Workspace, runs: list[str], tmp_path: Path) -> None:
    more = {"generator": "m", "dataset": "koala", "datasplit": "eval", "latency": 1.5, "meta": {"a": [1, None, "ü"]}}
    path = file_of(tmp_path, {PROMPTS[1]: "one, two", PROMPTS[0]: "hi"}, **more)
    import_outputs(ws, runs[0], "open", path)
    write_outputs(ws, runs[0], "open", tmp_path / "out.json")
    came_in, went_out = (json.loads(file.read_text()) for file in (path, tmp_path / "out.json"))
    assert sorted(came_in, key=str) == sorted(went_out, key=str)


def test_answers_of_a_model_that_ran_elsewhere_make_a_run_of_that_name(ws: Workspace, tmp_path: Path) -> None:
    save_prompt_set(ws, "open", PROMPTS)
    path = file_of(tmp_path, {PROMPTS[0]: "hi"})
    made = import_outputs(ws, "gpt-x", "open", path)["run_id"]
    assert load_run(ws, made)["name"] == "gpt-x"
    assert (
        import_outputs(ws, "gpt-x", "open", path)["run_id"] == made == import_outputs(ws, made, "open", path)["run_id"]
    )


def test_files_that_do_not_fit_are_named(
    ws: Workspace, runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LimitError, match="answers none of the 3 prompts"):
        import_outputs(ws, runs[0], "open", file_of(tmp_path, {"Other?": "x"}))
    with pytest.raises(LimitError, match="row 1 needs 'instruction' and 'output'"):
        import_outputs(ws, runs[0], "open", file_of(tmp_path, {"Other?": "x"}, output=3))
    with pytest.raises(LimitError, match="no run"):
        import_outputs(ws, "0" * 12, "open", file_of(tmp_path, {PROMPTS[0]: "x"}))
    assert main(["respond", "--run", runs[0], "--prompts", "open", "--import", "a", "--export", "b"]) == 2
    assert "cannot be given together" in capsys.readouterr().err and list_response_sets(ws, runs[0]) == []


def test_sets_of_different_prompts_share_what_both_answered(ws: Workspace, runs: list[str], tmp_path: Path) -> None:
    import_outputs(ws, runs[0], "open", file_of(tmp_path, {PROMPTS[0]: "a", PROMPTS[1]: "b"}))
    with pytest.raises(LimitError, match="has no answers to 'open' yet"):
        pair_runs(ws, runs[0], runs[1], "open")
    import_outputs(ws, runs[1], "open", file_of(tmp_path, {PROMPTS[1]: "B", PROMPTS[2]: "C"}))
    pairs, found = pair_runs(ws, runs[0], runs[1], "open")
    assert [(pair.text_1, pair.text_2) for pair in pairs] == [("b", "B")] and found["unpaired"] == 2


def test_people_vote_on_two_runs_that_no_judge_has_seen(ws: Workspace, runs: list[str], tmp_path: Path) -> None:
    for number, run_id in enumerate(runs):
        import_outputs(ws, run_id, "open", file_of(tmp_path, {prompt: f"{prompt} {number}" for prompt in PROMPTS}))
    ballot = ballot_of_runs(ws, runs[0], runs[1], "open")
    while (turn := next_turn(ws, ballot, "Ada")) is not None:
        cast(ws, ballot, "Ada", turn.pair, "left" if turn.first == 2 else "right")
    (comparison,) = list_comparisons(ws)
    assert (comparison.kind, comparison.baseline, comparison.candidate) == ("votes", "model 1", "model 2")
    assert main(["judge", "summary"]) == 0
