"""Runs: the same request is the same run, frozen once."""

from __future__ import annotations

from pathlib import Path

import pytest

from limit.core import LimitError, write_json
from limit.recipes import load_recipe
from limit.runs import ensure_run, list_runs, load_run, run_spec
from limit.settings import Workspace
from limit.specs.run import RunSpec


@pytest.fixture
def spec(ws: Workspace, tiny_llama: Path) -> RunSpec:
    write_json(ws.mix("0123456789ab") / "mix.json", {"rows": 1, "chars": 1})
    write_json(ws.mix("0123456789ab") / "label.json", {"name": "lima 300"})
    recipe = load_recipe("tiny").replace(epochs=2.0)
    return RunSpec(model=str(tiny_llama), mix_id="0123456789ab", recipe_name="tiny", recipe=recipe)


def test_the_same_request_is_the_same_run(ws: Workspace, spec: RunSpec) -> None:
    first = ensure_run(ws, spec)
    before = (ws.run(first) / "run.json").read_bytes()
    assert ensure_run(ws, spec, "another name") == first == spec.id()
    assert (ws.run(first) / "run.json").read_bytes() == before


def test_another_seed_is_another_run(ws: Workspace, spec: RunSpec) -> None:
    assert ensure_run(ws, spec) != ensure_run(ws, spec.replace(seed=18))


def test_a_record_says_all_that_was_asked(ws: Workspace, spec: RunSpec, tiny_llama: Path) -> None:
    run = load_run(ws, ensure_run(ws, spec))
    assert run["name"] == f"{tiny_llama.name} · lima 300 · tiny · seed 17"
    assert run["kind"] == "finetune"
    assert run["recipe_changes"] == {"epochs": [3.0, 2.0]}
    assert run["versions"]["torch"]
    assert run_spec(run) == spec


def test_a_base_run_has_no_recipe(ws: Workspace, tiny_llama: Path) -> None:
    run = load_run(ws, ensure_run(ws, RunSpec(model=str(tiny_llama))))
    assert (run["kind"], run["recipe"], run["mix_id"]) == ("base", None, None)


def test_a_missing_mix_is_said_and_nothing_is_written(ws: Workspace, spec: RunSpec) -> None:
    with pytest.raises(LimitError, match="mix build"):
        ensure_run(ws, spec.replace(mix_id="ffffffffffff"))
    assert list_runs(ws) == []


def test_runs_are_listed_oldest_first_and_broken_ones_left_out(ws: Workspace, spec: RunSpec) -> None:
    ids = [ensure_run(ws, spec.replace(seed=seed)) for seed in (3, 1, 2)]
    (ws.runs / "broken").mkdir()
    (ws.runs / "broken" / "run.json").write_text("{")
    assert [run["run_id"] for run in list_runs(ws)] == ids


def test_an_unknown_run_is_said(ws: Workspace) -> None:
    with pytest.raises(LimitError, match="no run"):
        load_run(ws, "ffffffffffff")
    with pytest.raises(LimitError, match="cannot be used"):
        load_run(ws, "../../etc")
