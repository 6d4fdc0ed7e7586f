"""A study on the Launch page: its card, a clone with one change, its start, and who may do what."""

from __future__ import annotations

from typing import Any

import pytest

from limit import access, jobs
from limit.core import LimitError, write_json
from limit.settings import Workspace
from limit.studies import load_record, load_study, run_study
from limit.studies.clone import clone_study, parse_mix, planned_studies
from limit.studies.launch import job_ids
from limit.studies.show import _state
from tests.pages import open_page

SMALL = "LIMA only = tiny-lima:20\nx <b>$y$</b> = tiny-instruct:20"


def study_page(**query: str) -> Any:
    app = open_page("launch", what="a study", **query)
    assert [error.value for error in app.exception] == []
    return app


def metrics(app: Any) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_the_card_stands_beside_the_study(ws: Workspace) -> None:
    app = study_page(plan="mini")
    shown = metrics(app)
    assert int(shown["Runs"]) > 5 and "min" in shown["Time"] and shown["Judge at most"] == "free"


def test_a_study_whose_data_are_missing_says_what_is_not_known(ws: Workspace) -> None:
    app = study_page(plan="paper-7b")
    assert metrics(app)["Time"] == "not known" and metrics(app)["Judge at most"] == "not known"
    assert any("instruct-v1" in caption.value.replace("\\", "") for caption in app.caption)


def test_a_clone_is_planned_and_started_by_clicking(ws: Workspace) -> None:
    jobs.pause(ws)
    app = study_page(plan="mini")
    app.text_input(key="clone-name-mini").set_value("mine")
    app.text_input(key="clone-seeds-mini").set_value("3")
    app.text_area(key="clone-mixes-mini").set_value(SMALL).run()
    assert metrics(app)["Runs"] == "3"
    app.button(key="study-plan").click().run()
    assert [plan["study"] for plan in planned_studies(ws)] == ["mine"]
    assert app.selectbox(key="plan").value == "mine"
    _, spec = load_study(ws, "mine")
    assert spec.seeds == (3,) and [mix.label for mix in spec.mixes] == ["LIMA only", "x <b>$y$</b>"]
    app.button(key="study-start").click().run()
    assert [error.value for error in app.exception] == []
    assert [run["label"] for run in load_record(ws, "mine")["runs"]] == ["base", "LIMA only", "x <b>$y$</b>"]
    assert "study-stop" in [button.key for button in app.button]
    app.button(key="study-stop").click().run()
    ended = [jobs.status(ws, job)["state"] for run in load_record(ws, "mine")["runs"] for job in run["jobs"].values()]
    assert set(ended) == {"stopped"}


def test_a_clone_that_could_not_start_leaves_its_name_free(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise LimitError("no")

    monkeypatch.setattr("limit.ui.launch_study.run_study", refuse)
    app = study_page(plan="mini")
    app.text_input(key="clone-name-mini").set_value("mine")
    app.text_input(key="clone-seeds-mini").set_value("3").run()
    app.button(key="study-start").click().run()
    assert planned_studies(ws) == []


@pytest.mark.parametrize("mixes", ["no sign", "a = nothing", "a = tiny-lima:5\na = tiny-lima:6", "b = tiny-lima:0"])
def test_a_wrong_change_is_said_and_loses_nothing(ws: Workspace, mixes: str) -> None:
    app = study_page(plan="mini")
    app.text_area(key="clone-mixes-mini").set_value(mixes).run()
    assert len(app.error) == 1 and app.text_area(key="clone-mixes-mini").value == mixes
    assert "study-plan" not in [button.key for button in app.button]


@pytest.mark.parametrize(("role", "offered"), [("viewer", set()), ("analyst", {"study-plan"})])
def test_only_operators_start_studies(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, role: str, offered: set[str]
) -> None:
    monkeypatch.setattr("limit.ui.access.current_role", lambda: role)
    try:
        app = study_page(plan="mini")
        app.text_input(key="clone-seeds-mini").set_value("3").run()
        assert {button.key for button in app.button} & {"study-plan", "study-start"} == offered
    finally:
        access.set_role_provider(None)


def test_a_started_study_is_stopped_gone_on_with_and_given_another_seed(ws: Workspace) -> None:
    jobs.pause(ws)
    app = study_page(plan="mini")
    app.text_input(key="clone-name-mini").set_value("mine")
    app.text_input(key="clone-seeds-mini").set_value("3")
    app.text_area(key="clone-mixes-mini").set_value(SMALL).run()
    app.button(key="study-start").click().run()
    assert "study-start" not in [button.key for button in app.button], "what waits or runs is not started again"
    app.button(key="study-stop").click().run()
    app.run()
    assert app.button(key="study-start").label == "Go on with mine"
    app.button(key="study-start").click().run()
    states = {jobs.status(ws, job)["state"] for job in job_ids(load_record(ws, "mine"))}
    assert states == {"queued"}
    assert app.button(key="study-seed").disabled is False and app.number_input(key="seed-of-mine").value == 4
    app.button(key="study-seed").click().run()
    assert [error.value for error in app.exception] == []
    assert {run["seed"] for run in load_record(ws, "mine")["runs"]} == {None, 3, 4}


def test_a_seed_of_a_paid_study_is_added_within_a_budget_and_told_what_it_costs(ws: Workspace) -> None:
    jobs.pause(ws)
    mixes = [parse_mix(line) for line in SMALL.splitlines()]
    clone_study(ws, "mini", "mine", {"seeds": [3], "mixes": mixes, "judge": "openai:gpt-4-0613"})
    run_study(ws, "mine", budget_usd=1.0)
    app = study_page(plan="mine")
    assert app.button(key="study-seed").disabled
    told = " ".join(caption.value for caption in app.caption)
    assert "2 finetunes, 2 evaluations, 2 sets of answers, 2 comparisons" in told and "judge at most about USD" in told
    app.number_input(key="seed-budget-mine").set_value(2.0).run()
    app.button(key="study-seed").click().run()
    assert [error.value for error in (*app.exception, *app.error)] == []
    record = load_record(ws, "mine")
    assert record["spec"]["seeds"] == [3, 4] and record["command"].endswith("--budget 2")
    added = [run["jobs"] for run in record["runs"] if run["seed"] == 4]
    assert any("--budget" in jobs.show(ws, job)["arguments"] for named in added for job in named.values())


def test_a_paid_study_is_not_started_without_a_budget(ws: Workspace) -> None:
    clone_study(ws, "mini", "mine", {"judge": "openai:gpt-4-0613"})
    app = study_page(plan="mine")
    assert app.button(key="study-start").disabled
    app.number_input(key="study-budget").set_value(2.0).run()
    assert not app.button(key="study-start").disabled


def test_what_another_study_needs_too_goes_on_and_is_said(ws: Workspace) -> None:
    jobs.pause(ws)
    mixes = [parse_mix(line) for line in SMALL.splitlines()]
    for name in ("mine", "theirs"):
        clone_study(ws, "mini", name, {"seeds": [3], "mixes": mixes})
        run_study(ws, name)
    app = study_page(plan="mine")
    app.button(key="study-stop").click().run()
    assert any("what theirs needs too goes on" in caption.value for caption in app.caption)
    assert {jobs.status(ws, job)["state"] for job in job_ids(load_record(ws, "theirs"))} == {"queued"}


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({"done": 1, "running": 1, "failed": 2}, "running"),
        ({"done": 1, "failed": 2}, "queued"),
        ({"done": 2, "failed": 2}, "failed"),
        ({"done": 3, "stopped": 1}, "stopped"),
        ({"done": 4}, "finished"),
    ],
)
def test_a_study_that_goes_on_is_not_called_failed(counts: dict[str, int], state: str) -> None:
    assert _state({"running": 0, "failed": 0, "stopped": 0, "total": 4, **counts}) == state


def test_a_damaged_study_is_an_error_box_and_the_others_can_be_chosen(ws: Workspace) -> None:
    write_json(ws.studies / "mini" / "study.json", {"study": "mini", "runs": [None]})
    app = study_page(plan="mini")
    assert [error.value for error in app.exception] == []
    assert any("mini" in error.value for error in app.error)
    assert {"mini", "size-curve"} <= set(app.selectbox(key="plan").options)
