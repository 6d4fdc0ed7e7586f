"""The Launch page: choices become the same request as the command line's, and its cost is shown before the click."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limit import jobs
from limit.runs import ensure_run, list_runs
from limit.settings import Workspace
from limit.specs.run import RunSpec
from tests.finetune.conftest import write_mix
from tests.pages import open_page


def texts(app: Any) -> str:
    return " ".join(str(block.value) for block in [*app.caption, *app.markdown, *app.metric, *app.error, *app.info])


@pytest.fixture(autouse=True)
def without_the_tiny_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page offers the shipped model first where there is one; these tests choose their own."""
    monkeypatch.setattr("limit.ui.launch.TINY_MODEL", tmp_path / "nothing")


@pytest.fixture
def no_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs stay in the queue."""
    monkeypatch.setattr("limit.jobs.queue.schedule", lambda ws: None)
    monkeypatch.setattr("limit.jobs.schedule", lambda ws: None)


def test_without_a_mix_the_page_says_what_to_do_first(ws: Workspace) -> None:
    app = open_page("launch")
    assert not app.exception
    assert "no mix" in texts(app)


def test_a_click_makes_the_run_that_the_command_line_makes(
    ws: Workspace, mix_id: str, tiny_llama: Path, no_supervisor: None, make_spec: Callable[..., RunSpec]
) -> None:
    ensure_run(ws, RunSpec(model=str(tiny_llama)))
    app = open_page("launch", mix=mix_id)
    app.text_input(key="launch-full-epochs").set_value("2").run()
    assert "differs from the recipe" in texts(app)
    assert [box.label for box in app.expander][:1] == ["All settings"], "with a new label it would close"
    app.button(key="launch-go").click().run()
    assert not app.exception
    (run,) = [run for run in list_runs(ws) if run["kind"] == "finetune"]
    assert run["recipe_changes"] == {"epochs": [3.0, 2.0]}
    assert run["model"] == str(tiny_llama)
    (job,) = jobs.list_jobs(ws)
    assert job["arguments"] == ["finetune", "--run", run["run_id"]]


def test_seeds_and_mixes_multiply(ws: Workspace, mix_id: str, tiny_llama: Path, no_supervisor: None) -> None:
    other = write_mix(ws, "fedcba987654")
    ensure_run(ws, RunSpec(model=str(tiny_llama)))
    app = open_page("launch")
    app.multiselect(key="launch-mixes").set_value([mix_id, other]).run()
    app.text_input(key="launch-seeds").set_value("17, 18,17").run()
    assert app.button(key="launch-go").label == "Launch 4 runs"
    app.button(key="launch-go").click().run()
    found = {(run["mix_id"], run["seed"]) for run in list_runs(ws) if run["kind"] == "finetune"}
    assert found == {(mix, seed) for mix in (mix_id, other) for seed in (17, 18)}


def test_many_runs_ask_first(ws: Workspace, mix_id: str, tiny_llama: Path, no_supervisor: None) -> None:
    ensure_run(ws, RunSpec(model=str(tiny_llama)))
    app = open_page("launch")
    app.text_input(key="launch-seeds").set_value("1,2,3,4,5,6,7").run()
    app.button(key="launch-go").click().run()
    assert not [run for run in list_runs(ws) if run["kind"] == "finetune"]


def test_a_clone_starts_from_its_run(ws: Workspace, make_spec: Callable[..., RunSpec], no_supervisor: None) -> None:
    run_id = ensure_run(ws, make_spec("epochs=7", seed=5))
    app = open_page("launch", clone=run_id)
    assert app.text_input(key="launch-tiny-epochs").value == "7"
    assert app.text_input(key="launch-seeds").value == "5"


def test_a_clone_changes_no_digit(ws: Workspace, make_spec: Callable[..., RunSpec], no_supervisor: None) -> None:
    run_id = ensure_run(ws, make_spec("learning_rate=0.000123456789"))
    app = open_page("launch", clone=run_id)
    assert app.text_input(key="launch-tiny-learning_rate").value == "0.000123456789"
    app.button(key="launch-go").click().run()
    assert [run["run_id"] for run in list_runs(ws)] == [run_id]


@pytest.mark.parametrize("seeds", ["x", "-1", "1.5", "99999999999"])
def test_a_wrong_seed_is_said_in_words(seeds: str, ws: Workspace, mix_id: str, tiny_llama: Path) -> None:
    ensure_run(ws, RunSpec(model=str(tiny_llama)))
    app = open_page("launch")
    app.text_input(key="launch-seeds").set_value(seeds).run()
    assert not app.exception
    assert "whole number" in texts(app)
    assert app.button(key="launch-go").disabled


def test_a_wrong_setting_keeps_the_recipe_and_says_why(ws: Workspace, mix_id: str, tiny_llama: Path) -> None:
    ensure_run(ws, RunSpec(model=str(tiny_llama)))
    app = open_page("launch")
    app.text_input(key="launch-full-learning_rate").set_value("-3").run()
    assert not app.exception
    assert "more than 0" in texts(app).replace("\\", "")


def test_an_unknown_model_is_said_in_words(ws: Workspace, mix_id: str) -> None:
    ensure_run(ws, RunSpec(model="nobody/nothing-7b"))
    app = open_page("launch")
    assert not app.exception
    assert "not in the hub cache" in texts(app)
