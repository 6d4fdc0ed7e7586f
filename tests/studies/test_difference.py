"""One's own run of a study beside the shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest

from limit.core import Json
from limit.settings import Workspace
from limit.studies import difference
from limit.studies.difference import against_shipped, difference_text


def run(label: str, seed: int | None, average: float | None, *rates: float) -> Json:
    return {
        "label": label,
        "seed": seed,
        "run_id": f"{label}-{seed}",
        "gauntlet": None if average is None else {"average": average},
        "preference": [{"preference_pct": rate} for rate in rates],
    }


@pytest.fixture
def two_studies(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The same study in the workspace and among what ships, with scores of our choice."""
    shipped = Workspace(tmp_path / "shipped")
    shows = {
        ws.root: [run("base", None, 0.5, 10.0, 20.0), run("long", 1, None), run("new", 9, 0.4)],
        shipped.root: [run("base", None, 0.48, 12.0, 12.0), run("long", 1, 0.3, 50.0)],
    }
    for place in (ws, shipped):
        (place.studies / "mini").mkdir(parents=True)
        (place.studies / "mini" / "study.json").write_text("{}")
    monkeypatch.setattr(difference, "SHIPPED_RESULTS", shipped.root)
    monkeypatch.setattr(difference, "show_study", lambda place, name: {"runs": shows[place.root]})
    return ws


def test_runs_meet_by_their_id_and_missing_scores_stay_missing(two_studies: Workspace) -> None:
    base, long = against_shipped(two_studies, "mini")
    assert base["gauntlet_difference"] == pytest.approx(0.02)
    assert (base["preference"], base["preference_shipped"]) == (15.0, 12.0)
    assert base["preference_difference"] == pytest.approx(3.0)
    assert long["gauntlet"] is None and long["gauntlet_shipped"] == 0.3
    assert long["gauntlet_difference"] is None and long["preference_difference"] is None


def test_the_line_names_how_many_runs_and_the_largest_differences(two_studies: Workspace) -> None:
    assert difference_text(against_shipped(two_studies, "mini")) == (
        "1 of 2 runs scored here too: Gauntlet averages differ by at most 0.020, preferences by at most 3.0 points."
    )
    assert "No run of yours" in difference_text([])


def test_a_study_that_does_not_ship_or_was_not_run_here_has_no_difference(two_studies: Workspace) -> None:
    assert against_shipped(two_studies, "other") == []
    (two_studies.studies / "mini" / "study.json").unlink()
    assert against_shipped(two_studies, "mini") == []
