"""What a study says over its seeds: means, intervals, orders, and the rubric's readings."""

from __future__ import annotations

import pytest

from limit.core import Json
from limit.settings import Workspace
from limit.studies import report
from limit.studies.report import report_text, study_report


def run(label: str, seed: int | None, average: float | None, rate: float | None) -> Json:
    scores = {"average": average, "categories": {"world": average}}
    judged = [{"preference_pct": rate, "judge": "somebody", "prompt_set": "open", "comparison": "c"}]
    return {
        "label": label,
        "model": "tiny",
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
    # Two seeds: t(1) = 12.706, half width 12.706 * sd / sqrt(2); of rates cut at what a rate can be.
    assert (terse["preference"]["low"], terse["preference"]["high"]) == (0.0, 100.0)
    long = by_label["long"]["gauntlet"]
    assert (long["low"], long["high"]) == (pytest.approx(0.45 - 12.7062 * 0.05, rel=1e-4), 1.0)
    assert base["gauntlet"]["mean"] == 0.5 and base["gauntlet"]["low"] is None and base["seeds"] == []
    assert by_label["late"]["gauntlet"]["mean"] is None


def test_a_pair_counts_the_seeds_that_both_have_and_a_base_meets_every_seed(value: Json) -> None:
    pairs = {(pair["one"], pair["other"]): pair for pair in value["pairs"]}
    assert pairs["long", "terse"]["gauntlet"] == {"above": 1, "tied": 0, "seeds": 2}
    assert pairs["long", "terse"]["preference"] == {"above": 1, "tied": 0, "seeds": 2}
    assert pairs["base", "long"]["gauntlet"] == {"above": 1, "tied": 1, "seeds": 2}
    assert ("terse", "late") not in pairs


def test_rates_of_two_judges_or_prompt_sets_are_columns_of_their_own(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = run("terse", 1, 0.4, 20.0)
    rate["preference"] = [
        {**rate["preference"][0], "judge": judge, "prompt_set": prompts, "preference_pct": pct}
        for judge, prompts, pct in (("somebody", "open", 20.0), ("somebody", "facts", 90.0), ("another", "open", 60.0))
    ]
    shown = {"study": "s", "title": "S", "origin": "workspace", "runs": [run("long", 1, 0.5, None), rate]}
    monkeypatch.setattr(report, "show_study", lambda place, name: shown)
    value = study_report(ws, "s")
    terse = value["models"][1]
    assert [spread["values"] for spread in terse["preferences"]] == [[20.0], [90.0], [60.0]]
    assert terse["preference"]["values"] == [20.0]
    assert value["pairs"][0]["preference"] == {
        "above": 1,
        "tied": 0,
        "seeds": 1,
    }  # 50 against 20, not against the mean of three
    assert "preferred by another on open" in report_text(value)


def test_mixes_of_two_base_models_are_not_seeds_of_one(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [{**run("long", seed, score, None), "model": model} for seed, score, model in
            ((1, 0.1, "small"), (2, 0.2, "small"), (1, 0.5, "large"), (2, 0.6, "large"))]  # fmt: skip
    shown = {"study": "s", "title": "S", "origin": "workspace", "runs": runs}
    monkeypatch.setattr(report, "show_study", lambda place, name: shown)
    value = study_report(ws, "s")
    assert [(model["label"], model["gauntlet"]["values"]) for model in value["models"]] == [
        ("long (small)", [0.1, 0.2]),
        ("long (large)", [0.5, 0.6]),
    ]
    assert value["pairs"] == []


def test_the_text_is_a_markdown_table_with_what_is_missing_said(value: Json) -> None:
    text = report_text(value)
    assert "| long above terse | 1 of 2 | 1 of 2 |" in text
    assert "| base above long | 1 of 2, 1 tied | 0 of 2 |" in text
    assert next(line for line in text.splitlines() if line.startswith("| late")).count("n/a") == 3
    assert "won / tied" not in text  # no rubric among the judges


def test_a_bar_in_a_label_or_a_judge_stays_in_its_cell(value: Json) -> None:
    for model in value["models"]:
        model["label"] = "a | b"
    settings = [{"judge": "one|two", "prompt_set": "open"}] * 2
    lines = report_text({**value, "settings": settings, "pairs": []}).splitlines()
    assert r"| a \| b |" in lines[2] and r"one\|two" in lines[0]


def test_the_shipped_study_is_reported_with_all_readings_of_its_judge(ws: Workspace) -> None:
    value = study_report(ws, "mini")
    assert value["origin"] == "shipped"
    terse = {row["variant"]: row for row in value["readings"] if row["label"] == "Instruct only"}
    assert set(terse) == {"rubric", "accuracy", "precision", "per-word", "length"}
    assert all(99.9 < row["won"] + row["tied"] + row["lost"] <= 100.1 for row in terse.values())
    assert terse["length"]["lost"] > 50  # terse answers are shorter, whatever else they are
