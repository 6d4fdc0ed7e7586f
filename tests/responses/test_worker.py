"""Answering prompts with a tiny model: what is recorded, greedy and sampled, resume, and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from limit.cli import main
from limit.core import LimitError, append_jsonl
from limit.jobs.context import JobContext
from limit.responses import worker
from limit.responses.launch import changed_settings, launch_respond, response_set_id
from limit.responses.prompt_sets import TURN_MARK, ensure_prompt_set, load_prompts, save_prompt_set
from limit.responses.response_sets import find_responses, list_response_sets, read_responses, response_path
from limit.responses.worker import respond
from limit.runs import ensure_run
from limit.settings import Workspace
from limit.specs import RespondSpec, RunSpec

TEXTS = [f"Question {n}: which town is the home of the baker{'?' * n}" for n in range(20)] + ["Question 1 again?"] * 2


@pytest.fixture
def run_id(ws: Workspace, tiny_llama: Path) -> str:
    save_prompt_set(ws, "test", TEXTS)
    return ensure_run(ws, RunSpec(model=str(tiny_llama)))


def spec(**changes: object) -> RespondSpec:
    return RespondSpec(prompts="test", max_new_tokens=8).replace(**changes)


def answers(ws: Workspace, run_id: str, wanted: RespondSpec) -> list[dict[str, object]]:
    return read_responses(respond(ws, run_id, wanted, JobContext(None))["path"])


def test_every_distinct_prompt_is_answered_once_with_its_facts(ws: Workspace, run_id: str) -> None:
    rows = answers(ws, run_id, spec())
    assert [row["prompt"] for row in rows] == [prompt.text for prompt in load_prompts(ws, "test")] and len(rows) == 21
    for row in rows:
        assert row["n_chars"] == len(str(row["text"])) and row["finish_reason"] in ("stop", "length")
    facts = find_responses(ws, run_id, "test")
    assert facts["config"]["template"] == "alpaca" and facts["config"]["do_sample"] is False and facts["n"] == 21
    assert list(Path(facts["path"]).parent.glob(".*")) == []


def test_greedy_answers_do_not_depend_on_the_batch(ws: Workspace, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    together = answers(ws, run_id, spec())
    monkeypatch.setattr(worker, "BATCH_SIZE", 1)
    alone = answers(ws, run_id, spec(max_new_tokens=9))
    assert all(str(b["text"]).startswith(str(a["text"])) for a, b in zip(together, alone, strict=True))


def test_sampling_is_seeded(ws: Workspace, run_id: str) -> None:
    wanted = spec(do_sample=True, temperature=1.5, limit=4)
    first = [row["text"] for row in answers(ws, run_id, wanted)]
    Path(find_responses(ws, run_id, "test")["path"]).unlink()
    assert [row["text"] for row in answers(ws, run_id, wanted)] == first
    assert [row["text"] for row in answers(ws, run_id, wanted.replace(seed=1))] != first


def test_a_cut_short_job_goes_on_where_it_stopped(ws: Workspace, run_id: str) -> None:
    whole = answers(ws, run_id, spec())
    wanted = spec(template="plain")
    expected = answers(ws, run_id, wanted)
    set_id = response_set_id(ws, run_id, wanted)
    path = response_path(ws, run_id, "test", set_id)
    path.unlink()
    by_length = sorted(expected, key=lambda row: (len(str(row["prompt"])), row["prompt_id"]))
    journal = path.with_name(f".{set_id}.partial.jsonl")
    append_jsonl(journal, [{**row, "text": f"kept {row['text']}"} for row in by_length[:16]])
    with journal.open("a") as file:
        file.write('{"prompt_id": "torn')
    rows = answers(ws, run_id, wanted)
    assert sum(str(row["text"]).startswith("kept ") for row in rows) == 16 and len(rows) == len(whole)


def test_a_stop_request_keeps_what_is_answered(ws: Workspace, run_id: str, tmp_path: Path) -> None:
    (tmp_path / "cancel").touch()
    with pytest.raises(LimitError, match="stopped after 0 of 21 answers; resume"):
        respond(ws, run_id, spec(), JobContext(tmp_path))
    assert list_response_sets(ws) == []


def test_prompts_beyond_the_model_are_said_to_be(ws: Workspace, tiny_llama: Path) -> None:
    save_prompt_set(ws, "long", ["short?", "very long " * 3000])
    run_id = ensure_run(ws, RunSpec(model=str(tiny_llama)))
    rows = answers(ws, run_id, RespondSpec(prompts="long", max_new_tokens=4))
    assert [row["finish_reason"] == "prompt_too_long" for row in rows] == [False, True] and rows[1]["text"] == ""


def test_a_prompt_near_the_limit_does_not_cut_the_others(ws: Workspace, tiny_llama: Path) -> None:
    save_prompt_set(ws, "mixed", ["short?", "long " * 1000])
    run_id = ensure_run(ws, RunSpec(model=str(tiny_llama)))
    alone = answers(ws, run_id, RespondSpec(prompts="mixed", max_new_tokens=60, limit=1))
    both = answers(ws, run_id, RespondSpec(prompts="mixed", max_new_tokens=60))
    assert both[0]["text"] == alone[0]["text"]


def test_two_turns_are_answered_one_after_the_other(ws: Workspace, tiny_llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "mt.jsonl"
    lines = [{"question_id": 1, "turns": ["Name a town.", "And a river?"]}, {"question_id": 2, "turns": ["Only one."]}]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    name = ensure_prompt_set(ws, str(path))
    run_id = ensure_run(ws, RunSpec(model=str(tiny_llama)))
    two, one = answers(ws, run_id, RespondSpec(prompts=name, max_new_tokens=6))
    first = answers(ws, run_id, RespondSpec(prompts=save_prompt_set(ws, "one", ["Name a town."]), max_new_tokens=6))
    assert str(two["text"]).split(TURN_MARK)[0] == first[0]["text"] and str(two["text"]).count(TURN_MARK) == 1
    assert TURN_MARK not in str(one["text"]) and two["prompt"] == TURN_MARK.join(["Name a town.", "And a river?"])


def test_the_same_request_is_the_same_set(ws: Workspace, run_id: str) -> None:
    assert response_set_id(ws, run_id, spec()) == response_set_id(ws, run_id, spec())
    assert response_set_id(ws, run_id, spec()) != response_set_id(ws, run_id, spec(seed=3))
    assert changed_settings(spec(top_k=5)) == {"max_new_tokens": 8, "top_k": 5}


def test_unknown_runs_and_prompts_are_named(ws: Workspace, run_id: str) -> None:
    with pytest.raises(LimitError, match="no run 'abcdefabcdef'"):
        launch_respond(ws, "abcdefabcdef", spec())
    with pytest.raises(LimitError, match="no prompt set 'nothing'"):
        launch_respond(ws, run_id, spec(prompts="nothing"))
    with pytest.raises(LimitError, match="has no answers to 'test' yet; make them with `limit respond"):
        find_responses(ws, run_id, "test")


def test_command_line_answers_in_a_job(
    ws: Workspace, run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two.txt").write_text("Who?\nWhere?\n")
    words = ["respond", "--run", run_id, "--prompts", str(tmp_path / "two.txt"), "--set", "max_new_tokens=3"]
    assert main([*words, "--wait", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["n"] == 2 and value["prompt_set"] == "two" and Path(value["path"]).is_file()
    assert main([*words[:-1], "max_new_tokens=none"]) == 2
    assert "max_new_tokens" in capsys.readouterr().err
