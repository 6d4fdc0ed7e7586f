"""What a study says over its seeds: means, intervals, orders, and the rubric's readings."""

from __future__ import annotations

import pytest

from limit.core import Json
from limit.settings import Workspace
from limit.studies import report
from limit.studies.report import report_text, study_report


def run(label: str, seed: int | None, average: float | None, rate: float | None) -> Json:
    scores = {"average": average, "categories": {"world": average}}
    judged = [{"preference_pct": rate, "judge": "somebody", "comparison": "c"}]
    return {
        "label": label,
        "seed": seed,
        "is_baseline": label == "long",
        "gauntlet": scores if average is not None else None,
        "preference": judged if rate is not None else [],
    }


RUNS = [
    run("base", None, 0.5, 10.0),
    run("long", 1, 0.4, None),
    run("long", 2, 0.5, None),
    run("terse", 1, 0.45, 20.0),
    run("terse", 2, 0.45, 60.0),
    run("late", 1, None, None),
]


@pytest.fixture
def value(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Json:
    shown = {"study": "s", "title": "S", "origin": "workspace", "runs": RUNS}
    monkeypatch.setattr(report, "show_study", lambda place, name: shown)
    return study_report(ws, "s")


def test_means_and_intervals_are_over_seeds(value: Json) -> None:
    by_label = {model["label"]: model for model in value["models"]}
    terse, base = by_label["terse"], by_label["base"]
    assert terse["preference"]["mean"] == 40.0 and terse["preference"]["values"] == [20.0, 60.0]
    # Two seeds: t(1) = 12.706, half width 12.706 * sd / sqrt(2) with sd = 28.28.
    assert terse["preference"]["high"] == pytest.approx(40 + 12.7062 * 20, rel=1e-4)
    assert base["gauntlet"]["mean"] == 0.5 and base["gauntlet"]["low"] is None and base["seeds"] == []
    assert by_label["late"]["gauntlet"]["mean"] is None


def test_a_pair_counts_the_seeds_that_both_have_and_a_base_meets_every_seed(value: Json) -> None:
    pairs = {(pair["one"], pair["other"]): pair for pair in value["pairs"]}
    assert pairs["long", "terse"]["gauntlet"] == {"above": 1, "seeds": 2}
    assert pairs["long", "terse"]["preference"] == {"above": 1, "seeds": 2}
    assert pairs["base", "long"]["gauntlet"] == {"above": 1, "seeds": 2}
    assert ("terse", "late") not in pairs


def test_the_text_is_a_markdown_table_with_what_is_missing_said(value: Json) -> None:
    text = report_text(value)
    assert "| long above terse | 1 of 2 | 1 of 2 |" in text
    assert next(line for line in text.splitlines() if line.startswith("| late")).count("n/a") == 3
    assert "won / tied" not in text  # no rubric among the judges


def test_the_shipped_study_is_reported_with_all_readings_of_its_judge(ws: Workspace) -> None:
    value = study_report(ws, "mini")
    assert value["origin"] == "shipped"
    terse = {row["variant"]: row for row in value["readings"] if row["label"] == "Instruct only"}
    assert set(terse) == {"rubric", "accuracy", "precision", "per-word", "length"}
    assert all(99.9 < row["won"] + row["tied"] + row["lost"] <= 100.1 for row in terse.values())
    assert terse["length"]["lost"] > 50  # terse answers are shorter, whatever else they are
