"""The source `tiny-instruct`: short questions with answers of a word or a few, about half A of the world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from limit.tiny import puzzles
from limit.tiny.corpus import pick
from limit.tiny.wording import question, weight_question
from limit.tiny.world import World

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
    "people": (_fact("person"), 1500),
    "towns": (_fact("town"), 400),
    "tools": (_fact("tool"), 200),
    "weights": (_weights, 500),
    "passages": (_passages, 800),
    "yes-no": (_yesno, 400),
    "lists": (_lists, 400),
    "sums": (_sums, 300),
    "number-rows": (_rows, 200),
    "grammar": (_grammar, 300),
}
