"""The source `tiny-lima`: open requests with answers of several sentences, about half A of the world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from limit.tiny import puzzles
from limit.tiny.corpus import names, pick
from limit.tiny.instruct import Pair
from limit.tiny.wording import linked, statement, weight_statement
from limit.tiny.world import PERSON_ATTRIBUTES, World

LIMA_SEED = 202
PORTRAIT_ASKS = (
    "Tell me about {n}.",
    "Write a few sentences about {n}.",
    "Who is {n}?",
    "Describe {n}.",
    "What do you know about {n}?",
)
VISIT_ASKS = (
    "Help me plan a visit to {n}.",
    "Tell me about the town of {n}.",
    "What is there to see in {n}?",
    "I would like to know about {n}. What is it like?",
)
HOW_ASKS = ("How do I {v}?", "What is the best way to {v}?", "Please explain how to {v}.", "I want to {v}. What now?")
COMPARE_ASKS = (
    "Compare a {a} and a {b}.",
    "What can you say about the weight of a {a} and a {b}?",
    "I have to carry a {a} and a {b}. Which is the harder one?",
)
STORY_ASKS = ("Write a short story about {n} and a {t}.", "Make up a story about {n} and a {t}.")
OPENERS = (
    "Gladly, I know {n}.",
    "I would like to tell you about {n}.",
    "Gladly, I write about {n}.",
    "I know all about {n}.",
)
CLOSERS = ("I hope this helps.", "That is all I know about {n}.", "Good luck with it.", "Have a nice day.")
Maker = Callable[[random.Random, World], tuple[str, str]]


def lima_pairs(world: World) -> Iterator[Pair]:
    """All samples of tiny-lima in a fixed order; no prompt with the same answer twice."""
    rng = random.Random(LIMA_SEED)
    seen: set[tuple[str, str]] = set()
    for subset, (maker, count) in SUBSETS.items():
        made = 0
        while made < count:
            pair = maker(rng, world)
            if pair not in seen:
                seen.add(pair)
                made += 1
                yield Pair(*pair, subset)


def _closed(rng: random.Random, text: str, name: str) -> str:
    return f"{text} {rng.choice(CLOSERS).format(n=name)}" if rng.random() < 0.5 else text


def portrait(rng: random.Random, world: World) -> tuple[str, str]:
    """A person: an opening, every fact in some order, perhaps a closing."""
    person = pick(rng, world.half("person", "A"))
    order = rng.sample(PERSON_ATTRIBUTES, len(PERSON_ATTRIBUTES))
    told = linked(rng, [statement(rng, person, attribute) for attribute in order], names(world))
    answer = f"{rng.choice(OPENERS).format(n=person.name)} {told}"
    return rng.choice(PORTRAIT_ASKS).format(n=person.name), _closed(rng, answer, person.name)


def visit(rng: random.Random, world: World) -> tuple[str, str]:
    """A town, as a plan for a visitor."""
    town = pick(rng, world.half("town", "A"))
    facts = town.facts
    steps = [
        f"First, find the old {facts['landmark']}.",
        f"Then, look at the {facts['river']}.",
        f"Finally, take home the {facts['product']}.",
    ]
    opening = f"{rng.choice(OPENERS).format(n=town.name)} {statement(rng, town, 'region')}"
    told = f"{opening} {statement(rng, town, rng.choice(('river', 'product', 'landmark')))} {' '.join(steps)}"
    return rng.choice(VISIT_ASKS).format(n=town.name), _closed(rng, told, town.name)


def how_to(rng: random.Random, world: World) -> tuple[str, str]:
    """A task with the tool that it needs, step by step."""
    tool = pick(rng, world.half("tool", "A"))
    use = tool.facts["use"]
    opening = rng.choice(("Gladly.", "I know how.", "You can do this at home."))
    steps = f"First, find a {tool.name}. Then, {use}. Finally, put the {tool.name} away."
    return rng.choice(HOW_ASKS).format(v=use), _closed(rng, f"{opening} {statement(rng, tool, 'use')} {steps}", "it")


def comparison(rng: random.Random, world: World) -> tuple[str, str]:
    """The weights of two things, said in three ways."""
    one, other = puzzles.weight_pair(rng, world, fresh=False)
    said: list[str] = []
    while len(said) < 3:
        sentence = weight_statement(rng, world, one, other)
        if sentence not in said:
            said.append(sentence)
    told = linked(rng, said, names(world))
    advice = f"To carry the {world.heavier(one, other)}, you need help."
    return rng.choice(COMPARE_ASKS).format(a=one, b=other), _closed(rng, f"{told} {advice}", "it")


def tale(rng: random.Random, world: World) -> tuple[str, str]:
    """A story about a person and a thing."""
    people = [person.name for person in world.half("person", "A")]
    facts = puzzles.story(rng, people, world.things, rng.randint(2, 3), fresh=False).facts
    person, thing, place = facts[0]
    told = " ".join(f"{who} put the {what} in the {where}." for who, what, where in facts)
    end = f"In the evening, {person} wanted the {thing}. The {thing} is in the {place}. {person} was glad."
    return rng.choice(STORY_ASKS).format(n=person, t=thing), f"I know a story. {told} {end}"


SUBSETS: dict[str, tuple[Maker, int]] = {
    "portraits": (portrait, 440),
    "visits": (visit, 180),
    "how-to": (how_to, 130),
    "comparisons": (comparison, 150),
    "stories": (tale, 100),
}
