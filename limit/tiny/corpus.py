"""The pretraining text of the base model: plain documents about the small world, drawn from a seed.

Notable: half B of people, towns and tools occurs in statements only; questions and answers are about half A; no
document uses the finetuning template; sums, rows, lists, stories and pairs that are held out never occur.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from limit.tiny import puzzles
from limit.tiny.wording import (
    OPENINGS,
    linked,
    lower_first,
    question,
    statement,
    weight_question,
    weight_statement,
)
from limit.tiny.world import PERSON_ATTRIBUTES, PLACES, TOWN_ATTRIBUTES, Entity, World

Writer = Callable[[random.Random, World], str]

QA_STYLES = (
    ("Question: {q}\nAnswer: {a}", "\n"),
    ("Question: {q} Answer: {a}.", " "),
    ("{q} {a}.", " "),
    ("Q: {q}\nA: {a}", "\n"),
)


def documents(world: World, seed: int, count: int) -> Iterator[str]:
    """Yield `count` documents; kinds are drawn by the shares below."""
    rng = random.Random(seed)
    writers, shares = zip(*SHARES.items(), strict=True)
    for _ in range(count):
        yield rng.choices(writers, shares)[0](rng, world)


def names(world: World) -> frozenset[str]:
    """Words that keep their capital letter inside a sentence."""
    return frozenset(entity.name for entity in (*world.people, *world.towns))


def pick(rng: random.Random, entities: tuple[Entity, ...] | list[Entity]) -> Entity:
    """An entity, the well-known ones more often."""
    return rng.choices(entities, [entity.weight for entity in entities])[0]


def facts_in_words(rng: random.Random, entity: Entity, attributes: tuple[str, ...], least: int) -> list[str]:
    """Statements of at least `least` facts in random order."""
    chosen = rng.sample(attributes, rng.randint(least, len(attributes)))
    return [statement(rng, entity, attribute) for attribute in chosen]


def person_note(rng: random.Random, world: World) -> str:
    """What there is to say about a person, plainly or with connectives."""
    return _note(rng, world, pick(rng, world.people), PERSON_ATTRIBUTES, 4)


def town_note(rng: random.Random, world: World) -> str:
    """What there is to say about a town."""
    return _note(rng, world, pick(rng, world.towns), TOWN_ATTRIBUTES, 3)


def _note(rng: random.Random, world: World, entity: Entity, attributes: tuple[str, ...], least: int) -> str:
    sentences = facts_in_words(rng, entity, attributes, least)
    return linked(rng, sentences, names(world)) if rng.random() < 0.3 else " ".join(sentences)


def scattered_facts(rng: random.Random, world: World) -> str:
    """Single facts about several people and towns."""
    sentences = []
    for _ in range(rng.randint(3, 7)):
        entity = pick(rng, world.people if rng.random() < 0.75 else world.towns)
        sentences.append(statement(rng, entity, rng.choice(tuple(entity.facts))))
    return " ".join(sentences)


def tool_note(rng: random.Random, world: World) -> str:
    """Uses of several tools, or how one is used step by step."""
    if rng.random() < 0.6:
        return " ".join(statement(rng, pick(rng, world.tools), "use") for _ in range(rng.randint(3, 5)))
    tool = pick(rng, world.tools)
    use = tool.facts["use"]
    return f"{statement(rng, tool, 'use')} First, find a {tool.name}. Then, {use}. Finally, put the {tool.name} away."


def weight_note(rng: random.Random, world: World) -> str:
    """The order of several pairs of things, none of them held out."""
    pairs = [puzzles.weight_pair(rng, world, fresh=False) for _ in range(rng.randint(4, 7))]
    return " ".join(weight_statement(rng, world, *pair) for pair in pairs)


def questions(rng: random.Random, world: World) -> str:
    """Questions about half A, answered in a word, in one of several layouts."""
    kind = rng.choice(("person", "person", "person", "town", "tool", "weight"))
    pairs = []
    for _ in range(rng.randint(3, 6)):
        if kind == "weight":
            pairs.append(weight_question(rng, world, *puzzles.weight_pair(rng, world, fresh=False)))
        else:
            entity = pick(rng, world.half(kind, "A"))
            pairs.append(question(rng, entity, rng.choice(tuple(entity.facts))))
    return laid_out(rng, pairs)


def laid_out(rng: random.Random, pairs: list[tuple[str, str]], before: str = "") -> str:
    """Questions and answers in one of the styles; `before` stands in front of each question."""
    style, joint = rng.choice(QA_STYLES)
    return joint.join(style.format(q=f"{before}{q}", a=a) for q, a in pairs)


def _people_names(world: World, half: str | None = None) -> list[str]:
    return [person.name for person in world.people if half in (None, person.half)]


def _size(rng: random.Random) -> int:
    return rng.choice((1, 2, 2, 3, 3, 4))


def story_with_recalls(rng: random.Random, world: World) -> str:
    """A story and sentences whose last word it settles."""
    tale = puzzles.story(rng, _people_names(world), world.things, _size(rng), fresh=False)
    ends = [" ".join(puzzles.recall(rng, rng.choice(tale.facts))) + "." for _ in range(rng.randint(2, 5))]
    return " ".join([tale.text(), *ends])


def story_with_questions(rng: random.Random, world: World) -> str:
    """Stories about half A, each with questions answered in a word or with yes and no."""
    people = _people_names(world, "A")
    parts = []
    yesno = rng.random() < 0.4
    style, joint = rng.choice(QA_STYLES)
    for _ in range(rng.randint(1, 3)):
        tale = puzzles.story(rng, people, world.things, _size(rng), fresh=False)
        for i in range(rng.randint(1, 2)):
            q, a = puzzles.story_question(rng, rng.choice(tale.facts))
            if yesno:
                yes = rng.random() < 0.5
                q, a = puzzles.story_yesno(rng, tale, yes), "yes" if yes else "no"
            told = f"{tale.text()} " if i == 0 else ""
            parts.append(f"{told}{style.format(q=q, a=a)}")
    return joint.join(parts)


def ledger(rng: random.Random, world: World) -> str:
    """Things with their places as bare pairs, and some of the pairs again."""
    size = rng.randint(2, 5)
    pairs = [f"{t} {p}" for t, p in zip(rng.sample(world.things, size), rng.sample(PLACES, size), strict=True)]
    again = rng.choices(pairs, k=rng.randint(2, 6))
    return f"Ledger: {', '.join(pairs)}. {', '.join(again)}."


def lists(rng: random.Random, world: World) -> str:
    """Lists that are said again or backwards."""
    mark = rng.choice(puzzles.MARKS)
    lines = []
    for _ in range(rng.randint(1, 3)):
        items = puzzles.word_list(rng, world.things, rng.randint(2, 7), fresh=False)
        lines.append(" ".join(puzzles.list_line(items, mark)) + ".")
    return " ".join(lines)


def sums(rng: random.Random, world: World) -> str:
    """Sums and differences, one a line."""
    return "\n".join(" ".join(puzzles.sum_line(rng, fresh=False)) for _ in range(rng.randint(4, 9)))


def number_rows(rng: random.Random, world: World) -> str:
    """Rows of numbers at equal steps, one a line."""
    return "\n".join(" ".join(puzzles.number_row(rng, fresh=False)) for _ in range(rng.randint(3, 6)))


def grammar(rng: random.Random, world: World) -> str:
    """Sentences on agreement and on causes."""
    sentences = []
    for _ in range(rng.randint(3, 5)):
        if rng.random() < 0.4:
            sentences.append(" ".join(puzzles.agreement(rng, rng.randint(0, 3), fresh=False)) + ".")
        else:
            text, one, two, reason, gold = puzzles.cause(rng, _people_names(world), fresh=False)
            sentences.append(f"{text} {(one, two)[gold]} {reason}.")
    return " ".join(sentences)


def letters(rng: random.Random, world: World) -> str:
    """Letters between people of half A: greetings and requests in a layout that is not the finetuning template."""
    person = pick(rng, world.half("person", "A"))
    sender = pick(rng, world.half("person", "A"))
    about = pick(rng, world.half(rng.choice(("person", "town")), "A"))
    told = " ".join(facts_in_words(rng, about, tuple(about.facts), 2))
    ask = rng.choice(("Please tell me about", "Could you write about", "I would like to know about", "Describe"))
    opening = rng.choice(OPENINGS)
    body = f"{opening} {lower_first(told, names(world))}"
    close = rng.choice(("I hope this helps.", "That is all I know.", "Good luck with it.", "Have a nice day."))
    return f"Dear {person.name}, {ask} {about.name}. Yours, {sender.name}. Gladly, {sender.name}. {body} {close}"


SHARES: dict[Writer, float] = {
    person_note: 24,
    town_note: 7,
    scattered_facts: 12,
    tool_note: 1.5,
    weight_note: 4,
    questions: 5,
    story_with_recalls: 21,
    story_with_questions: 11,
    ledger: 10,
    lists: 18,
    sums: 8,
    number_rows: 2.5,
    grammar: 8,
    letters: 3,
}
