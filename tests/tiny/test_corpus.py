"""What the pretraining text may and may not hold: the held-out rules that make the study's questions fair."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from limit.tiny import corpus, puzzles
from limit.tiny.tokenizer import HELPER, USER
from limit.tiny.world import World, build_world, held_out

DRAWS = 400
ASKING: list[corpus.Writer] = [corpus.questions, corpus.story_with_questions, corpus.letters]


@pytest.fixture(scope="module")
def world() -> World:
    return build_world()


@pytest.fixture(scope="module")
def pretraining_text(world: World) -> list[str]:
    return list(corpus.documents(world, seed=6, count=4000))


def names_of(world: World, half: str) -> set[str]:
    return {e.name for e in (*world.people, *world.towns, *world.tools) if e.half == half}


def words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]+", text))


@pytest.mark.parametrize("writer", ASKING, ids=lambda writer: writer.__name__)
def test_text_with_questions_never_names_half_b(world: World, writer: corpus.Writer) -> None:
    rng = random.Random(3)
    forbidden = names_of(world, "B")
    for _ in range(DRAWS):
        assert not words(writer(rng, world)) & forbidden


def test_every_question_mark_of_the_corpus_is_in_a_text_without_half_b(
    world: World, pretraining_text: list[str]
) -> None:
    forbidden = names_of(world, "B")
    asked = [text for text in pretraining_text if "?" in text]
    assert len(asked) > 200
    assert not any(words(text) & forbidden for text in asked)


def test_half_b_is_told_about_as_often_as_half_a(world: World, pretraining_text: list[str]) -> None:
    told = [words(text) for text in pretraining_text if "?" not in text and not text.startswith("Dear")]
    counts = {half: sum(bool(w & names_of(world, half)) for w in told) for half in "AB"}
    assert 0.8 < counts["B"] / counts["A"] < 1.25


def test_the_finetuning_template_is_not_in_the_pretraining_text(pretraining_text: list[str]) -> None:
    assert not any(marker in text for text in pretraining_text for marker in (USER, HELPER))


def test_held_out_sums_never_occur(pretraining_text: list[str]) -> None:
    lines = [
        line for text in pretraining_text for line in text.split("\n") if re.fullmatch(r"\d+ [+-] \d+ = \d+", line)
    ]
    assert len(lines) > 500
    for line in lines:
        a, sign, b, _, result = line.split()
        assert eval(f"{a} {sign} {b}") == int(result)
        assert not held_out(("sum" if sign == "+" else "difference", int(a), int(b)))


def test_held_out_pairs_of_things_are_never_compared(world: World, pretraining_text: list[str]) -> None:
    pattern = re.compile(r"A (\w+) (?:is heavier|is lighter|weighs more|weighs less) than a (\w+)\.")
    pairs = [match for text in pretraining_text for match in pattern.findall(text)]
    assert len(pairs) > 300
    assert not any(held_out(("weight", *sorted(pair))) for pair in pairs)


@pytest.mark.parametrize(
    "make",
    [
        lambda rng, world, fresh: ("sum", puzzles.sum_line(rng, fresh)),
        lambda rng, world, fresh: ("list", tuple(puzzles.word_list(rng, world.things, 2, fresh))),
        lambda rng, world, fresh: ("pair", tuple(sorted(puzzles.weight_pair(rng, world, fresh)))),
        lambda rng, world, fresh: ("row", puzzles.number_row(rng, fresh)),
    ],
)
def test_test_items_and_training_items_never_meet(
    world: World, make: Callable[[random.Random, World, bool], tuple[object, ...]]
) -> None:
    training = {make(random.Random(1), world, False) for _ in range(1)}
    rng = random.Random(2)
    training |= {make(rng, world, False) for _ in range(2000)}
    tests = {make(rng, world, True) for _ in range(2000)}
    assert tests
    assert not training & tests


def test_the_same_seed_gives_the_same_text(world: World) -> None:
    assert list(corpus.documents(world, 9, 50)) == list(corpus.documents(build_world(), 9, 50))
    assert list(corpus.documents(world, 9, 50)) != list(corpus.documents(world, 10, 50))


def test_the_verb_agrees_with_the_head_of_the_phrase() -> None:
    rng = random.Random(4)
    heads = {True: ("Some of", "Both of", "Many of"), False: ("One of", "Each of")}
    plurals = {*puzzles.PLURALS, *puzzles.ODD_PLURALS}
    for fresh in (True, False):
        for _ in range(DRAWS):
            phrase, verb, _ = puzzles.agreement(rng, rng.randint(0, 4), fresh)
            words = phrase.split()
            if words[1] == "of":
                plural = " ".join(words[:2]) in heads[True]
                assert plural or " ".join(words[:2]) in heads[False]
            else:
                plural = words[1] in plurals or words[2:3] == ["and"]
            assert verb == ("are" if plural else "is"), phrase


def test_every_tier_is_as_frequent_in_both_halves(world: World) -> None:
    for kind in ("person", "town", "tool"):
        tiers = [sorted(entity.weight for entity in world.half(kind, half)) for half in "AB"]
        assert tiers[0] == tiers[1] and len(set(tiers[0])) >= 3
