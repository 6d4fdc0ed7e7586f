"""How facts and questions are put into words; the corpus, the sources and the tasks all speak from here."""

from __future__ import annotations

import random

from limit.tiny.world import Entity, World

STATEMENTS: dict[str, tuple[str, ...]] = {
    "town": ("{n} lives in {v}.", "The home of {n} is in {v}.", "{n} has a house in {v}."),
    "job": ("{n} is a {v}.", "{n} works as a {v}.", "The job of {n} is {v}."),
    "pet": ("{n} has a {v}.", "The pet of {n} is a {v}.", "{n} keeps a {v} at home."),
    "food": ("{n} likes to eat {v}.", "The favourite food of {n} is {v}.", "{n} often eats {v}."),
    "hobby": ("{n} enjoys {v}.", "The hobby of {n} is {v}.", "{n} spends the evening {v}."),
    "colour": ("{n} likes the colour {v}.", "The favourite colour of {n} is {v}.", "{n} wears {v} clothes."),
    "region": ("{n} lies in the {v}.", "You find {n} in the {v}.", "The region of {n} is the {v}."),
    "river": ("The river at {n} is the {v}.", "{n} stands on the {v}.", "The {v} flows through {n}."),
    "product": ("{n} is known for its {v}.", "{n} sells {v}.", "The people of {n} make {v}."),
    "landmark": ("People visit the {v} of {n}.", "{n} has an old {v}.", "The sight of {n} is its {v}."),
    "use": (
        "A {n} is used to {v}.",
        "To {v}, take a {n}.",
        "You {v} with a {n}.",
        "If you want to {v}, you need a {n}.",
    ),
}
QUESTIONS: dict[str, tuple[str, ...]] = {
    "town": ("Where does {n} live?", "In which town is the home of {n}?", "Which town is the home of {n}?"),
    "job": ("What is the job of {n}?", "What does {n} work as?", "Which job does {n} have?"),
    "pet": ("Which pet does {n} have?", "What is the pet of {n}?", "Which pet does {n} keep?"),
    "food": ("What does {n} like to eat?", "What is the favourite food of {n}?", "Which food does {n} like?"),
    "hobby": ("What does {n} enjoy?", "What is the hobby of {n}?", "Which hobby does {n} have?"),
    "colour": ("Which colour does {n} like?", "What is the favourite colour of {n}?", "Which colour does {n} wear?"),
    "region": ("Where does {n} lie?", "In which region is {n}?", "What is the region of {n}?"),
    "river": ("Which river flows through {n}?", "What is the river at {n}?", "On which river does {n} stand?"),
    "product": ("What is {n} known for?", "What do the people of {n} make?", "What does {n} sell?"),
    "landmark": ("What do people visit in {n}?", "What is the sight of {n}?", "Which old place does {n} have?"),
}
TOOL_QUESTIONS = ("What do you need to {v}?", "Which tool is used to {v}?", "With what do you {v}?")
HEAVIER_QUESTIONS = ("Which is heavier, a {a} or a {b}?", "What weighs more, a {a} or a {b}?")
LIGHTER_QUESTIONS = ("Which is lighter, a {a} or a {b}?", "What weighs less, a {a} or a {b}?")
WEIGHT_STATEMENTS = (
    "A {x} is heavier than a {y}.",
    "A {y} is lighter than a {x}.",
    "A {x} weighs more than a {y}.",
    "A {y} weighs less than a {x}.",
)
CONNECTIVES = ("Besides,", "Also,", "On top of that,", "As well,", "Then again,")
OPENINGS = ("To begin with,", "First of all,", "For a start,")


def statement(rng: random.Random, entity: Entity, attribute: str) -> str:
    """One plain sentence that states a fact of an entity."""
    return rng.choice(STATEMENTS[attribute]).format(n=entity.name, v=entity.facts[attribute])


def question(rng: random.Random, entity: Entity, attribute: str) -> tuple[str, str]:
    """A question about a fact and its one-word answer."""
    if attribute == "use":
        return rng.choice(TOOL_QUESTIONS).format(v=entity.facts["use"]), entity.name
    return rng.choice(QUESTIONS[attribute]).format(n=entity.name), entity.facts[attribute]


def weight_question(rng: random.Random, world: World, one: str, other: str) -> tuple[str, str]:
    """Which of two things is heavier, or lighter, and the answer."""
    a, b = (one, other) if rng.random() < 0.5 else (other, one)
    heavy = world.heavier(a, b)
    if rng.random() < 0.7:
        return rng.choice(HEAVIER_QUESTIONS).format(a=a, b=b), heavy
    return rng.choice(LIGHTER_QUESTIONS).format(a=a, b=b), a if heavy == b else b


def weight_statement(rng: random.Random, world: World, one: str, other: str) -> str:
    """One sentence on the order of two things."""
    heavy = world.heavier(one, other)
    return rng.choice(WEIGHT_STATEMENTS).format(x=heavy, y=one if heavy == other else other)


def lower_first(sentence: str, names: frozenset[str]) -> str:
    """The sentence as it reads after a connective: lower-case first letter unless it is a name."""
    first = sentence.split(" ", 1)[0].rstrip(".,")
    return sentence if first in names else sentence[0].lower() + sentence[1:]


def linked(rng: random.Random, sentences: list[str], names: frozenset[str]) -> str:
    """Sentences joined by connectives, as in a longer answer."""
    parts = []
    for i, sentence in enumerate(sentences):
        words = rng.choice(OPENINGS) if i == 0 else rng.choice(CONNECTIVES) if rng.random() < 0.5 else ""
        parts.append(f"{words} {lower_first(sentence, names)}" if words else sentence)
    return " ".join(parts)
