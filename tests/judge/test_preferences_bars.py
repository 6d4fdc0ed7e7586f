"""Seeds of one pair of mixes share a bar; what has no common rate keeps a bar of its own."""

from __future__ import annotations

from typing import Any

from limit.ui.preferences_bars import pooled_bars


def comparison(name: str, run: str | None, rate: float | None, **changes: Any) -> dict[str, Any]:
    row = {
        "comparison_id": name,
        "key": name,
        "label": f"{run} vs base run",
        "candidate_run": run,
        "baseline_run": "base run",
        "baseline": "base run",
        "baseline_series": "lima",
        "preference_pct": rate,
        "wins": 6,
        "losses": 3,
        "ties": 1,
        "invalid": 0,
        "n_prompts": 10,
        "note": "judge j",
        "origin": "workspace",
    }
    return {**row, **changes}


def model(label: str, runs: list[str], comparisons: list[str], y: float | None = 60.0) -> dict[str, Any]:
    scores = {"y": y, "y_low": 50.0, "y_high": 70.0}
    return {
        "key": f"m-{label}",
        "label": label,
        "series": "mix",
        "run_ids": runs,
        "comparison_ids": comparisons,
        **scores,
    }


BASE = model("LIMA only", ["base run"], [], None)


def test_seeds_become_one_bar_with_a_tick_each() -> None:
    rows = [comparison("c1", "r1", 55.0), comparison("c2", "r2", 65.0, wins=None, invalid=2)]
    (bar,) = pooled_bars(rows, [BASE, model("Mix", ["r1", "r2"], ["c1", "c2"])])
    assert bar["label"] == "Mix vs LIMA only" and bar["seeds"] == [55.0, 65.0]
    assert (bar["preference_pct"], bar["low"], bar["high"]) == (60.0, 50.0, 70.0)
    assert (bar["wins"], bar["losses"], bar["ties"], bar["invalid"], bar["n_prompts"]) == (6, 6, 2, 2, 10)


def test_one_seed_imported_verdicts_and_other_judges_stay_as_they_are() -> None:
    rows = [
        comparison("c1", "r1", 55.0),
        comparison("imported", None, 40.0),
        comparison("other judge", "r1", 20.0),
    ]
    assert pooled_bars(rows, [BASE, model("Mix", ["r1"], ["c1"])]) == rows


def test_what_ships_is_told_apart_from_ones_own() -> None:
    rows = [comparison("mine", "r1", 55.0), comparison("theirs", "r2", 60.0, origin="shipped")]
    assert [bar["label"] for bar in pooled_bars(rows, [])] == ["r1 vs base run", "r2 vs base run · shipped"]
    assert [bar["label"] for bar in pooled_bars(rows[1:], [])] == ["r2 vs base run"]


def test_bars_of_one_name_say_their_prompts_and_then_their_judges() -> None:
    asked = [("lima", "gpt"), ("instruct-v3", "gpt"), ("instruct-v3", "llama"), (None, "gpt")]
    rows = [comparison(str(n), "r1", 50.0, prompt_set=p, judge=j) for n, (p, j) in enumerate(asked)]
    rows.append(comparison("other", "r2", 50.0, prompt_set="lima", judge="gpt"))
    assert [bar["label"].removeprefix("r1 vs base run") for bar in pooled_bars(rows, [])] == [
        " · lima", " · instruct-v3 · gpt", " · instruct-v3 · llama", " · unnamed", "r2 vs base run",
    ]  # fmt: skip


def test_a_filter_that_leaves_some_of_the_seeds_shows_them_one_by_one() -> None:
    rows = [comparison("c1", "r1", 55.0), comparison("c2", "r2", 65.0)]
    assert pooled_bars(rows, [BASE, model("Mix", ["r1", "r2", "r3"], ["c1", "c2", "c3"])]) == rows
    assert pooled_bars([], []) == []
