"""Small reasoning texts that are drawn fresh each time: stories, lists, sums, number rows, agreement, causes.

Each function draws one item from a generator. `fresh` says which side of the hold-out it must come from: False for
training text, True for test items. Difficulty is graded inside every kind, so that no task is all easy or all hard.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from limit.tiny.world import PLACES, World, held_out

T = TypeVar("T")

NUMBER_LIMIT = 12
MARKS = ("Again:", "Backwards:")
PLURALS = ("keys", "cups", "books", "shoes", "lamps", "chairs", "coins", "pots")
SINGULARS = ("key", "cup", "book", "shoe", "lamp", "chair", "coin", "pot")
# Nouns whose number their ending does not show; texts seldom use them (`agreement`), tests often.
ODD_PLURALS = ("children", "feet", "teeth", "oxen", "women", "men", "loaves", "knives", "dice")
ODD_SINGULARS = ("child", "foot", "tooth", "ox", "woman", "man", "loaf", "knife", "die")
ODD_SHARE = {False: 0.04, True: 0.5}
HEADS = {False: ("One of", "Each of"), True: ("Some of", "Both of", "Many of")}
STEPS = {1: 6.0, 2: 6.0, 3: 6.0, -1: 4.0, -2: 4.0, 4: 0.6, 5: 0.6, -3: 0.3, 6: 0.15, 7: 0.15}
LINKS = ("near", "under", "beside", "behind", "with")
STATES = ("on the table", "in the box", "very old", "quite new", "still here", "not here")
CAUSES = (  # verb, what the first person did, what the second person did
    ("thanked", "was glad", "had helped"),
    ("praised", "was pleased", "had won the game"),
    ("warned", "saw the danger", "did not look"),
    ("paid", "needed work done", "had done the work"),
    ("asked", "wanted to know", "knew the way"),
    ("followed", "was lost", "had a map"),
    ("visited", "was lonely", "was ill in bed"),
    ("woke", "was up early", "slept too long"),
)


def draw(rng: random.Random, make: Callable[[random.Random], tuple[object, T]], fresh: bool) -> T:
    """Draw until the key of an item lies on the wanted side of the hold-out."""
    while True:
        key, item = make(rng)
        if held_out(key) == fresh:
            return item


@dataclass(frozen=True)
class Story:
    """Who put which thing where; one fact per line of `facts`: (person, thing, place)."""

    facts: tuple[tuple[str, str, str], ...]

    def sentences(self) -> list[str]:
        return [f"{person} put the {thing} in the {place}." for person, thing, place in self.facts]

    def text(self) -> str:
        return " ".join(self.sentences())


def story(rng: random.Random, names: list[str], things: tuple[str, ...], size: int, fresh: bool) -> Story:
    """A story of `size` people, things and places, all different."""

    def make(rng: random.Random) -> tuple[object, Story]:
        facts = tuple(zip(rng.sample(names, size), rng.sample(things, size), rng.sample(PLACES, size), strict=True))
        return ("story", facts), Story(facts)

    return draw(rng, make, fresh)


def recall(rng: random.Random, fact: tuple[str, str, str]) -> tuple[str, str]:
    """A beginning of a sentence that a story settles, and its last word."""
    person, thing, place = fact
    return rng.choice(
        [(f"The {thing} is in the", place), (f"{person} had the", thing), (f"In the {place} is the", thing)]
    )


def story_question(rng: random.Random, fact: tuple[str, str, str]) -> tuple[str, str]:
    """A question on a story and its one-word answer."""
    person, thing, place = fact
    return rng.choice(
        [
            (f"Where is the {thing}?", place),
            (f"Who put the {thing} away?", person),
            (f"What is in the {place}?", thing),
            (f"What did {person} put away?", thing),
        ]
    )


def story_yesno(rng: random.Random, tale: Story, yes: bool) -> str:
    """A yes/no question; a wrong place is another place of the story, or half the time one that it never names."""
    _, thing, place = rng.choice(tale.facts)
    if not yes:
        others = [fact[2] for fact in tale.facts if fact[2] != place]
        absent = [p for p in PLACES if p not in {fact[2] for fact in tale.facts}]
        place = rng.choice(others) if others and rng.random() < 0.5 else rng.choice(absent)
    return f"Is the {thing} in the {place}?"


def word_list(rng: random.Random, words: tuple[str, ...], size: int, fresh: bool) -> list[str]:
    """A list of different words."""

    def make(rng: random.Random) -> tuple[object, list[str]]:
        items = rng.sample(words, size)
        return ("list", *items), items

    return draw(rng, make, fresh)


def list_line(items: list[str], mark: str) -> tuple[str, str]:
    """A list with a mark, and the list again or backwards."""
    order = items if mark == MARKS[0] else items[::-1]
    return f"List: {' '.join(items)}. {mark}", " ".join(order)


def sum_line(rng: random.Random, fresh: bool) -> tuple[str, str]:
    """A sum or a difference of small numbers: ("7 + 5 =", "12"). One in four pairs is held out."""

    def make(rng: random.Random) -> tuple[object, tuple[str, str]]:
        a, b = rng.randint(1, NUMBER_LIMIT), rng.randint(1, 9)
        if rng.random() < 0.5:
            return ("sum", a, b), (f"{a} + {b} =", str(a + b))
        return ("difference", a + b, b), (f"{a + b} - {b} =", str(a))

    return draw(rng, make, fresh)


def number_row(rng: random.Random, fresh: bool) -> tuple[str, str]:
    """Numbers at equal steps and the next one; texts seldom show the large steps, tests take all alike."""
    shares = [1.0] * len(STEPS) if fresh else list(STEPS.values())

    def make(rng: random.Random) -> tuple[object, tuple[str, str]]:
        start, step = rng.randint(1, 30), rng.choices(list(STEPS), shares)[0]
        count = rng.randint(3, 5)
        if step < 0:
            start -= step * (count + 1)
        row = [start + step * i for i in range(count + 1)]
        return ("row", *row), (", ".join(map(str, row[:-1])) + ",", str(row[-1]))

    return draw(rng, make, fresh)


def agreement(rng: random.Random, depth: int, fresh: bool) -> tuple[str, str, str]:
    """A noun phrase with `depth` distractors, the right verb, and the rest: ("The key near the cups", "is", "...").

    One phrase in six counts ("One of the keys"), one in eight joins two nouns; some nouns are rare in texts.
    """

    def make(rng: random.Random) -> tuple[object, tuple[str, str, str]]:
        plural = rng.random() < 0.5
        odd = rng.random() < ODD_SHARE[fresh]
        singulars, plurals = (ODD_SINGULARS, ODD_PLURALS) if odd else (SINGULARS, PLURALS)
        phrase = f"The {rng.choice(plurals if plural else singulars)}"
        kind = rng.random()
        if kind < 1 / 6:
            phrase = f"{rng.choice(HEADS[plural])} the {rng.choice(plurals)}"
        elif kind < 1 / 6 + 1 / 8:
            plural = True
            phrase = f"The {rng.choice(singulars)} and the {rng.choice(singulars)}"
        for _ in range(depth):
            other_plural = rng.random() < (0.3 if plural else 0.7)
            phrase += f" {rng.choice(LINKS)} the {rng.choice(PLURALS if other_plural else SINGULARS)}"
        return ("agreement", phrase), (phrase, "are" if plural else "is", rng.choice(STATES))

    return draw(rng, make, fresh)


def cause(rng: random.Random, names: list[str], fresh: bool) -> tuple[str, str, str, str, int]:
    """("Ann thanked Bob because", "Ann", "Bob", "had helped", 1): which of two people the reason is about."""

    def make(rng: random.Random) -> tuple[object, tuple[str, str, str, str, int]]:
        one, two = rng.sample(names, 2)
        verb, first, second = rng.choice(CAUSES)
        gold = rng.randint(0, 1)
        item = (f"{one} {verb} {two} because", one, two, (first, second)[gold], gold)
        return ("cause", one, two, verb, gold), item

    return draw(rng, make, fresh)


def weight_pair(rng: random.Random, world: World, fresh: bool) -> tuple[str, str]:
    """Two different things whose order may, or may not, be told in training text, which seldom weighs some of them."""
    shares = [1.0] * len(world.things) if fresh else world.thing_weights()

    def make(rng: random.Random) -> tuple[object, tuple[str, str]]:
        one = other = rng.choices(world.things, shares)[0]
        while other == one:
            other = rng.choices(world.things, shares)[0]
        return ("weight", *sorted((one, other))), (one, other)

    return draw(rng, make, fresh)
