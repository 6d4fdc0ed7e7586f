"""The rubric judge: what it counts, what it refuses, and that its variants may disagree."""

from __future__ import annotations

import json

import pytest

from limit.core import LimitError
from limit.judge.backends.protocol import Question
from limit.judge.rubric import VARIANTS, RubricBackend, find_subject, measure
from limit.tiny.lima import lima_pairs
from limit.tiny.world import Entity, World, build_world


@pytest.fixture(scope="module")
def world() -> World:
    return build_world()


@pytest.fixture(scope="module")
def person(world: World) -> Entity:
    return world.half("person", "B")[0]


def ask(prompt: str, first: str, second: str) -> Question:
    return Question(prompt=prompt, first=first, second=second, prompt_id="p", nonce="n")


def test_gold_answers_get_full_marks(world: World) -> None:
    for pair in lima_pairs(world):
        subject = find_subject(pair.prompt, world)
        if pair.subset != "stories":
            assert subject is not None, pair.prompt
            assert measure(pair.response, subject, world).score("rubric") == 10, pair


def test_facts_are_counted_once_and_wrong_ones_count_against(world: World, person: Entity) -> None:
    job = person.facts["job"]
    other = next(value for value in world.values("person", "job") if value != job)
    subject = find_subject(f"Tell me about {person.name}.", world)
    assert subject is not None
    said = measure(f"{person.name} is a {job}. The job of {person.name} is {job}.", subject, world)
    assert (said.right, said.wrong, said.possible) == (1, 0, 6)
    both = measure(f"{person.name} is a {job} and a {other}.", subject, world)
    assert (both.right, both.wrong) == (1, 1)


def test_naming_another_person_counts_as_wrong(world: World, person: Entity) -> None:
    subject = find_subject(f"Who is {person.name}?", world)
    assert subject is not None
    assert measure(f"{person.name} met {world.people[0].name}.", subject, world).wrong == 1


def test_true_and_false_statements_on_weights(world: World) -> None:
    light, heavy = world.things[2], world.things[9]
    subject = find_subject(f"Compare a {light} and a {heavy}.", world)
    assert subject is not None
    true = measure(f"A {heavy} is heavier than a {light}. A {light} weighs less than a {heavy}.", subject, world)
    assert (true.right, true.wrong) == (2, 0)
    false = measure(f"A {light} is heavier than a {heavy}.", subject, world)
    assert (false.right, false.wrong) == (0, 1)


def test_a_prompt_outside_the_world_gets_no_verdict() -> None:
    opinion = RubricBackend().judge(ask("What is the capital of France?", "Paris", "London"))
    assert opinion.status == "invalid"
    assert opinion.choice is None


def test_order_does_not_matter_and_parts_are_stored(person: Entity) -> None:
    good, bad = f"{person.name} is a {person.facts['job']}.", "red"
    prompt = f"Who is {person.name}?"
    judge = RubricBackend()
    ahead, behind = judge.judge(ask(prompt, good, bad)), judge.judge(ask(prompt, bad, good))
    assert (ahead.choice, behind.choice) == ("first", "second")
    stored = json.loads(ahead.raw_text or "")
    assert stored["first"]["right"] == 1
    assert "program" in (ahead.model_reported or "")


def test_equal_answers_tie_and_empty_ones_score_nothing(world: World, person: Entity) -> None:
    prompt = f"Who is {person.name}?"
    assert RubricBackend().judge(ask(prompt, "red", "red")).choice == "tie"
    subject = find_subject(prompt, world)
    assert subject is not None
    assert measure("", subject, world).score("rubric") == 0


def test_variants_disagree_on_a_long_answer_with_a_mistake(world: World, person: Entity) -> None:
    job = person.facts["job"]
    other = next(value for value in world.values("person", "pet") if value != person.facts["pet"])
    long = (
        f"{person.name} is a {job}. {person.name} lives in {person.facts['town']}. {person.name} likes to eat "
        f"{person.facts['food']}. {person.name} has a {other}. I hope this helps."
    )
    verdicts = {
        variant: RubricBackend(variant).judge(ask(f"Who is {person.name}?", long, job)).choice for variant in VARIANTS
    }
    assert verdicts["rubric"] == verdicts["length"] == "first"
    assert verdicts["precision"] == verdicts["per-word"] == "second"


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(LimitError, match="choose one of"):
        RubricBackend("kind")
