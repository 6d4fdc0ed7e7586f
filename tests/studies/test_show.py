"""The published study: the paper's numbers in the rows of a study."""

from __future__ import annotations

import json

import pytest

from limit.cli import main
from limit.core import LimitError, write_json
from limit.settings import Workspace
from limit.studies.show import list_studies, published_study, show_study, study_text


def test_the_published_rates_are_pooled_as_in_the_paper() -> None:
    rows = {run["label"]: run for run in published_study()["runs"]}
    rates = {r["prompt_set"]: r["preference_pct"] for r in rows["MPT-7B Instruct subset + LIMA"]["preference"]}
    assert rates["lima"] == pytest.approx(65.1, abs=0.05)
    assert rows["MPT-7B LIMA"]["is_baseline"]


def test_what_the_paper_did_not_publish_is_none() -> None:
    base = next(run for run in published_study()["runs"] if run["label"] == "MPT-7B")
    assert base["gauntlet"] is None
    assert base["preference"] == []
    assert "n/a" in study_text(published_study())


def test_the_command_line_shows_the_paper(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "show", "paper", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 10
    assert main(["study", "list", "--json"]) == 0
    assert "mini" in json.loads(capsys.readouterr().out)["presets"]
    assert main(["study", "plan", "mini", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finetunes"] == 3 * 3 + 4


def test_bad_seeds_are_a_sentence(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "run", "mini", "--seeds", "a,b"]) == 2
    assert "whole numbers" in capsys.readouterr().err


def test_the_shipped_results_are_shown_until_the_study_is_run_here(ws: Workspace) -> None:
    shown = show_study(ws, "mini")
    assert shown["origin"] == "shipped"
    finished = [run for run in shown["runs"] if run["state"] == "finished"]
    assert {"base", "LIMA only", "Instruct only", "Instruct + LIMA"} <= {run["label"] for run in finished}
    for run in finished:
        assert len(run["gauntlet"]["categories"]) == 5
        assert run["is_baseline"] or all(rate["n_prompts"] == 120 for rate in run["preference"])


@pytest.mark.parametrize(
    "broken", [{}, {"runs": [None]}, {"runs": [{"run_id": "x", "jobs": []}]}, {"spec": None}, {"title": 7}]
)
def test_a_damaged_study_hides_no_other_and_is_named(ws: Workspace, broken: dict[str, object]) -> None:
    whole = {"study": "mine", "title": "Mine", "created": "2026-01-01", "command": "x", "spec": {}, "runs": []}
    write_json(ws.studies / "good" / "study.json", {**whole, "study": "good"})
    write_json(ws.studies / "mine" / "study.json", {**whole, **broken} if broken else {})
    assert [study["study"] for study in list_studies(ws)] == ["good"]
    with pytest.raises(LimitError, match=r"mine/study\.json is not a whole study record"):
        show_study(ws, "mine")
