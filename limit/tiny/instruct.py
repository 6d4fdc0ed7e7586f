"""The source `tiny-instruct`: short questions with answers of a word or a few, about half A of the world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import NamedTuple

from limit.tiny import puzzles
from limit.tiny.corpus import pick
from limit.tiny.wording import question, weight_question
from limit.tiny.world import World, held_out

INSTRUCT_SEED = 101
FRAMES = ("{q}", "{q}", "{q}", "Please answer: {q}", "Tell me, {q}", "{q} Answer in one word.", "A question: {q}")
Maker = Callable[[random.Random, World], tuple[str, str]]


class Pair(NamedTuple):
    """One training example of a source."""

    prompt: str
    response: str
    subset: str


def instruct_pairs(world: World) -> Iterator[Pair]:
    """All samples of tiny-instruct in a fixed order, every prompt once."""
    rng = random.Random(INSTRUCT_SEED)
    seen: set[str] = set()
    for subset, (maker, count) in SUBSETS.items():
        made = 0
        while made < count:
            prompt, answer = maker(rng, world)
            if prompt not in seen:
                seen.add(prompt)
                made += 1
                yield Pair(prompt, answer, subset)


def framed(rng: random.Random, asked: str) -> str:
    """A question with a few words around it, or bare."""
    frame = rng.choice(FRAMES)
    return frame.format(q=asked[0].lower() + asked[1:] if frame.startswith("Tell") else asked)


def _names(world: World) -> list[str]:
    return [person.name for person in world.half("person", "A")]


def _fact(kind: str) -> Maker:
    def make(rng: random.Random, world: World) -> tuple[str, str]:
        entity = pick(rng, world.half(kind, "A"))
        asked, answer = question(rng, entity, rng.choice(tuple(entity.facts)))
        return framed(rng, asked), answer

    return make


def _weights(rng: random.Random, world: World) -> tuple[str, str]:
    asked, answer = weight_question(rng, world, *puzzles.weight_pair(rng, world, fresh=False))
    return framed(rng, asked), answer


def _tale(rng: random.Random, world: World) -> puzzles.Story:
    return puzzles.story(rng, _names(world), world.things, rng.choice((1, 2, 2, 3, 3, 4)), fresh=False)


def _passages(rng: random.Random, world: World) -> tuple[str, str]:
    tale = _tale(rng, world)
    asked, answer = puzzles.story_question(rng, rng.choice(tale.facts))
    return f"{tale.text()} {framed(rng, asked)}", answer


def _yesno(rng: random.Random, world: World) -> tuple[str, str]:
    tale = _tale(rng, world)
    yes = rng.random() < 0.5
    return f"{tale.text()} {framed(rng, puzzles.story_yesno(rng, tale, yes))}", "yes" if yes else "no"


def _lists(rng: random.Random, world: World) -> tuple[str, str]:
    mark = rng.choice(puzzles.MARKS)
    return puzzles.list_line(puzzles.word_list(rng, world.things, rng.randint(2, 7), fresh=False), mark)


def _orders(rng: random.Random, world: World) -> tuple[str, str]:
    """Three things, of which every two may be compared, from light to heavy."""
    while True:
        things = sorted(rng.sample(world.things, 3), key=world.things.index)
        if not any(held_out(("weight", *sorted(pair))) for pair in combinations(things, 2)):
            break
    asked = f"Put in order, from light to heavy: {', '.join(rng.sample(things, 3))}."
    return asked, ", ".join(things)


def _choices(rng: random.Random, world: World) -> tuple[str, str]:
    """A question on a fact with three options written out."""
    kind = rng.choice(("person", "person", "town"))
    entity = pick(rng, world.half(kind, "A"))
    attribute = rng.choice([a for a in entity.facts if a != "town"])
    asked, answer = question(rng, entity, attribute)
    others = rng.sample([value for value in world.values(kind, attribute) if value != answer], 2)
    return f"{asked} Choose one: {', '.join(rng.sample([answer, *others], 3))}.", answer


def _two_facts(rng: random.Random, world: World) -> tuple[str, str]:
    """Two facts about one person, answered in a line."""
    person = pick(rng, world.half("person", "A"))
    one, two = rng.sample([a for a in person.facts if a != "town"], 2)
    return f"Name the {one} and the {two} of {person.name}.", f"{person.facts[one]}, {person.facts[two]}"


def _rows(rng: random.Random, world: World) -> tuple[str, str]:
    row, following = puzzles.number_row(rng, fresh=False)
    return rng.choice((row, f"What comes next? {row}", f"Go on: {row}")), following


def _sums(rng: random.Random, world: World) -> tuple[str, str]:
    asked, answer = puzzles.sum_line(rng, fresh=False)
    left = asked.removesuffix(" =")
    return rng.choice((asked, f"What is {left}?", f"How much is {left}?", f"Answer: {left}")), answer


def _grammar(rng: random.Random, world: World) -> tuple[str, str]:
    phrase, verb, rest = puzzles.agreement(rng, rng.randint(0, 3), fresh=False)
    return f"Is or are? {phrase} ... {rest}", verb


SUBSETS: dict[str, tuple[Maker, int]] = {
    "people": (_fact("person"), 1100),
    "towns": (_fact("town"), 300),
    "tools": (_fact("tool"), 200),
    "weights": (_weights, 400),
    "choices": (_choices, 350),
    "two-facts": (_two_facts, 300),
    "passages": (_passages, 800),
    "yes-no": (_yesno, 350),
    "lists": (_lists, 300),
    "orders": (_orders, 200),
    "sums": (_sums, 250),
    "number-rows": (_rows, 200),
    "grammar": (_grammar, 250),
}
