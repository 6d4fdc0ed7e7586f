"""The rubric's verdicts in other readings: recomputed from the answers, and free to disagree."""

from __future__ import annotations

from typing import Any, get_args

from limit.judge.judgments import Comparison
from limit.judge.readings import is_rubric, read_as, readings
from limit.judge.rubric import RubricBackend, Variant
from limit.tiny.world import build_world
from limit.ui.preferences_rubric import agreement
from tests.judge.test_rubric import ask

PERSON = build_world().half("person", "B")[0]
PROMPT = f"Tell me about {PERSON.name}."
TERSE = PERSON.facts["job"]
LONG = (
    f"I know {PERSON.name}. {PERSON.name} is a {PERSON.facts['job']}. {PERSON.name} has a {PERSON.facts['pet']}. "
    f"{PERSON.name} lives in {PERSON.facts['town']}. That is all I know about {PERSON.name}."
)


def row(one: str, two: str, prompt: str = PROMPT, n: int = 0) -> dict[str, Any]:
    return {"prompt_id": f"p{n}", "prompt": prompt, "text_1": one, "text_2": two, "order": "ab", "seed": 17}


def verdict(one: str, two: str, variant: Variant) -> Any:
    return read_as([row(one, two)], variant)[0]["verdict"]


def test_long_and_true_wins_by_facts_and_loses_by_the_word() -> None:
    assert verdict(TERSE, LONG, "rubric") == "2"
    assert verdict(TERSE, LONG, "length") == "2"
    assert verdict(TERSE, LONG, "precision") == "tie"
    assert verdict(TERSE, LONG, "per-word") == "1"


def test_every_reading_is_what_the_judge_of_that_name_says() -> None:
    for variant in get_args(Variant):
        for one, two in ((TERSE, LONG), (LONG, TERSE), (LONG, LONG), ("", LONG)):
            said = RubricBackend(variant).judge(ask(PROMPT, one, two)).choice
            assert verdict(one, two, variant) == {"first": "1", "second": "2", "tie": "tie"}[str(said)], variant


def test_a_prompt_about_nothing_in_the_world_has_no_verdict() -> None:
    assert read_as([row(TERSE, LONG, "What is love?")], "accuracy")[0]["verdict"] is None


def test_one_summary_per_reading_over_the_same_rows() -> None:
    comparison = Comparison("c", "judged", "terse", "long", "open", "rubric")
    found = readings(comparison, [row(TERSE, LONG, n=n) for n in range(4)])
    assert [reading["variant"] for reading in found] == list(get_args(Variant))
    rates = {reading["variant"]: reading["preference_pct"] for reading in found}
    assert rates["rubric"] == 100 and rates["per-word"] == 0 and rates["precision"] is None
    assert all(reading["n_prompts"] == 4 for reading in found)


def test_only_the_rubric_has_readings() -> None:
    assert is_rubric("rubric") and is_rubric("rubric:length")
    assert not is_rubric("gpt-4") and not is_rubric(None)


def test_the_sentence_says_who_prefers_whom_also_at_the_ends_of_the_scale() -> None:
    intervals = {"rubric": (0.0, 0.0), "accuracy": (10.0, 40.0), "precision": (40.0, 60.0), "length": (100.0, 100.0)}
    found = [{"variant": name, "ci_low": low, "ci_high": high} for name, (low, high) in intervals.items()]
    assert agreement(found) == (
        "The readings do not agree: length only prefers the candidate; rubric and accuracy only prefer the baseline; "
        "precision only prefers neither."
    )
    assert agreement(found[:2]) == "All readings agree: each prefers the baseline."
    assert "neither" in agreement([{"variant": "per-word", "ci_low": None, "ci_high": None}])
