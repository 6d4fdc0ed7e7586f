"""`limit finetune` on the command line: the request it makes, and one sentence for each thing that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limit import jobs
from limit.cli import main
from limit.core import LimitError
from limit.finetune.launch import launch_finetune
from limit.recipes import load_recipe
from limit.responses.prompt_sets import save_prompt_set
from limit.runs import ensure_run, load_run
from limit.settings import Workspace
from limit.specs.gauntlet import GauntletSpec
from limit.specs.judge import RespondSpec
from limit.specs.run import RunSpec
from limit.studies.chain import FollowUps, command_of, launch_chain


@pytest.fixture
def queue_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs stay in the queue."""
    monkeypatch.setattr("limit.jobs.queue.schedule", lambda ws: None)


def test_the_answer_names_job_and_run(
    ws: Workspace, mix_id: str, tiny_llama: Path, queue_only: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", "--model", str(tiny_llama), "--mix", mix_id, "--set", "epochs=2", "--seed", "5", "--json"]
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer.keys() == {"job_id", "run_id", "state"}
    run = load_run(ws, answer["run_id"])
    assert (run["recipe_name"], run["recipe"]["epochs"], run["seed"]) == ("full", 2.0, 5)
    assert run["recipe_changes"] == {"epochs": [3.0, 2.0]}


def test_the_same_request_is_the_same_job(ws: Workspace, make_spec: Any, queue_only: None) -> None:
    assert launch_finetune(ws, make_spec()) == launch_finetune(ws, make_spec())
    assert len(jobs.list_jobs(ws)) == 1


def test_the_command_to_copy_makes_the_same_request(
    ws: Workspace, make_spec: Any, queue_only: None, capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    spec = make_spec("save_every_epochs=0.5", "packing=false", seed=3)
    words = shlex.split(command_of(spec))[3:]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == ensure_run(ws, spec)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--mix", "MIX"], "--model"),
        (["--model", "./nowhere", "--mix", "MIX"], "./nowhere"),
        (["--model", "MODEL", "--mix", "000000000000"], "000000000000"),
        (["--model", "MODEL", "--mix", "../../etc"], "../../etc"),
        (["--model", "MODEL", "--mix", "MIX", "--recipe", "lor"], "did you mean 'lora'"),
        (["--model", "MODEL", "--mix", "MIX", "--set", "epoch=2"], "did you mean 'epochs'"),
        (["--model", "MODEL", "--mix", "MIX", "--set", "epochs"], "not KEY=VALUE"),
        (["--model", "MODEL", "--mix", "MIX", "--set", "learning_rate=nan"], "finite"),
        (["--model", "MODEL", "--mix", "MIX", "--set", "learning_rate=-1"], "more than 0"),
        (["--model", "MODEL", "--mix", "MIX", "--seed", "-1"], "at least 0"),
        (["--model", "MODEL", "--mix", "MIX", "--after", "no-such-job"], "no-such-job"),
        (["--run", "abcdefabcdef", "--merge", "out"], "abcdefabcdef"),
        (["--merge", "out"], "--run"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    words: list[str], named: str, ws: Workspace, mix_id: str, tiny_llama: Path, queue_only: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    filled = [{"MIX": mix_id, "MODEL": str(tiny_llama)}.get(word, word) for word in words]
    assert main(["finetune", *filled]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert named in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_a_logger_that_is_not_installed_is_refused_before_a_job_is_made(
    ws: Workspace, mix_id: str, tiny_llama: Path, queue_only: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("limit.finetune.metrics.find_spec", lambda name: None)
    assert main(["finetune", "--model", str(tiny_llama), "--mix", mix_id, "--log-to", "wandb"]) == 2
    assert "`pip install wandb`" in capsys.readouterr().err
    assert not jobs.list_jobs(ws)


def test_the_estimate_is_json(ws: Workspace, mix_id: str, tiny_llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "--model", str(tiny_llama), "--mix", mix_id, "--estimate", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["fits"] == "fits"
    assert answer["steps"] == 3


def test_waiting_returns_the_finished_run(
    ws: Workspace, mix_id: str, tiny_llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way through a supervisor and a worker of their own."""
    small = ["--set", "template=plain", "--set", "max_seq_len=128", "--set", "max_steps=2"]
    words = ["finetune", "--model", str(tiny_llama), "--mix", mix_id, "--recipe", "tiny", *small, "--wait", "--json"]
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["state"], answer["steps"]) == ("finished", 2)
    assert (ws.run(answer["run_id"]) / "model" / "model.safetensors").exists()


def test_a_chain_waits_for_its_parts(
    ws: Workspace, make_spec: Any, tiny_llama: Path, queue_only: None, tmp_path: Path
) -> None:
    task = tmp_path / "data" / "commonsense_reasoning"
    task.mkdir(parents=True)
    (task / "copa.jsonl").write_text('{"query": "a", "choices": ["b", "c"], "gold": 0}\n' * 20)
    save_prompt_set(ws, "open", ["tell me", "what is"])
    baseline = ensure_run(ws, RunSpec(model=str(tiny_llama)))
    follow = FollowUps(
        gauntlet=GauntletSpec(version="v0", tasks=("copa",), data=str(tmp_path / "data")),
        respond=RespondSpec(prompts="open"),
        judge="rubric",
        baseline=baseline,
    )
    made = launch_chain(ws, make_spec(), follow)["jobs"]
    after = {job["job_id"]: job["after"] for job in jobs.list_jobs(ws)}
    assert after[made["gauntlet"]] == after[made["respond"]] == [made["finetune"]]
    assert made["respond"] in after[made["judge"]]


def test_a_judge_needs_answers_and_a_baseline(ws: Workspace, make_spec: Any) -> None:
    with pytest.raises(LimitError, match="prompt set"):
        launch_chain(ws, make_spec(), FollowUps(judge="rubric"))
    with pytest.raises(LimitError, match="baseline"):
        launch_chain(ws, make_spec(), FollowUps(judge="rubric", respond=RespondSpec(prompts="x")))
    assert not jobs.list_jobs(ws)


def test_qlora_is_refused_without_a_gpu(ws: Workspace, make_spec: Any) -> None:
    from limit.finetune.train import finetune
    from limit.jobs.context import JobContext

    with pytest.raises(LimitError, match="lora"):
        finetune(ws, ensure_run(ws, make_spec(recipe="qlora")), JobContext(None))


def test_recipes_hold_the_papers_numbers() -> None:
    seven, thirty = load_recipe("mpt-7b-paper"), load_recipe("mpt-30b-paper")
    assert (seven.optimizer, seven.learning_rate, seven.beta2, seven.global_batch_size) == (
        "decoupled_adamw", 5e-6, 0.99, 48,
    )  # fmt: skip
    assert (thirty.optimizer, thirty.learning_rate, thirty.beta2, thirty.global_batch_size) == (
        "decoupled_lionw", 1e-6, 0.95, 72,
    )  # fmt: skip
    for recipe, length in ((seven, 2048), (thirty, 8192)):
        assert (recipe.epochs, recipe.warmup_steps, recipe.schedule, recipe.weight_decay) == (10, 50, "linear", 0)
        assert (recipe.max_seq_len, recipe.grad_clip_norm, recipe.drop_last) == (length, 1.0, True)
