"""The mini Gauntlet: five categories, all four task types, about half B of the world and held-out puzzles.

Written in the normal task format of `limit.gauntlet`, so nothing in the scoring knows that these tasks are small.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from limit.core import Json, write_atomic
from limit.tiny import puzzles
from limit.tiny.wording import HEAVIER_QUESTIONS, QUESTIONS, TOOL_QUESTIONS, question
from limit.tiny.world import (
    PERSON_ATTRIBUTES,
    PLACES,
    THINGS,
    TOWN_ATTRIBUTES,
    Entity,
    World,
)

TASK_SEED = 71
ANSWER = "\nAnswer: "
UNSEEN_STEPS = (-5, -4, 8, 9)

Records = Iterator[Json]


@dataclass(frozen=True)
class Task:
    """One task file: how many records, how they are asked and drawn."""

    name: str
    category: str
    type: str
    records: int
    num_fewshot: int
    baseline: float
    draw: Callable[[random.Random, World, int], Records]
    continuation_delimiter: str = " "
    has_categories: bool = False
    num_choices: int | None = None
    stops: tuple[str, ...] = ()

    def entry(self) -> Json:
        """The task's block in tasks.yaml."""
        entry: Json = {
            "category": self.category,
            "type": self.type,
            "file": f"{self.category}/{self.name}.jsonl",
            "records_in_source": self.records,
            "records_here": self.records,
            "complete": True,
            "random_baseline": self.baseline,
            "num_fewshot": {"mini": [self.num_fewshot]},
        }
        if self.num_choices:
            entry["num_choices"] = self.num_choices
        if self.continuation_delimiter != " ":
            entry["continuation_delimiter"] = self.continuation_delimiter
        if self.has_categories:
            entry["has_categories"] = True
        if self.stops:
            entry["early_stopping_criteria"] = list(self.stops)
        return entry


def _names(world: World) -> list[str]:
    return [person.name for person in world.half("person", "B")]


def _options(rng: random.Random, gold: str, pool: list[str], count: int) -> tuple[list[str], int]:
    """`count` different options in random order, and where the right one stands."""
    options = [gold, *rng.sample(sorted(set(pool) - {gold}), count - 1)]
    rng.shuffle(options)
    return options, options.index(gold)


def people_facts(rng: random.Random, world: World, count: int) -> Records:
    """What is the job of ...? Every attribute equally often, well-known and rare people alike."""
    people = world.half("person", "B")
    per_attribute = count // len(PERSON_ATTRIBUTES)
    for attribute in PERSON_ATTRIBUTES:
        for person in sorted(rng.sample(people, per_attribute), key=lambda p: p.name):
            asked, answer = question(rng, person, attribute)
            yield {"context": f"Question: {asked}", "continuation": answer, "category": attribute}


def town_facts(rng: random.Random, world: World, count: int) -> Records:
    """What is the river at ...? Four options."""
    asked: list[tuple[Entity, str]] = [(town, a) for town in world.half("town", "B") for a in TOWN_ATTRIBUTES]
    for town, attribute in rng.sample(asked * 2, count):
        text = rng.choice(QUESTIONS[attribute]).format(n=town.name)
        choices, gold = _options(rng, town.facts[attribute], world.values("town", attribute), 4)
        yield {"query": f"Question: {text}", "choices": choices, "gold": gold}


def tool_use(rng: random.Random, world: World, count: int) -> Records:
    """What do you need to ...? Four tools, the others from both halves."""
    tools = [tool.name for tool in world.tools]
    for tool in rng.sample(world.half("tool", "B") * 6, count):
        text = rng.choice(TOOL_QUESTIONS).format(v=tool.facts["use"])
        choices, gold = _options(rng, tool.name, tools, 4)
        yield {"query": f"Question: {text}", "choices": choices, "gold": gold}


def heavier(rng: random.Random, world: World, count: int) -> Records:
    """Which of two things is heavier? Pairs that no text compares."""
    for _ in range(count):
        one, other = puzzles.weight_pair(rng, world, fresh=True)
        asked = rng.choice(HEAVIER_QUESTIONS).format(a=one, b=other)
        yield {"query": f"Question: {asked}", "choices": [one, other], "gold": int(world.heavier(one, other) == other)}


def heaviest(rng: random.Random, world: World, count: int) -> Records:
    """Which of three things is heavier than a given one? The other two are lighter."""
    for _ in range(count):
        *light, thing, heavy = sorted(rng.sample(THINGS, 4), key=THINGS.index)
        choices, gold = _options(rng, heavy, light, 3)
        yield {"query": f"Question: Which is heavier than a {thing}?", "choices": choices, "gold": gold}


def agreement(rng: random.Random, world: World, count: int) -> Records:
    """is or are, with two to twelve nouns in between, where texts have at most three; half the nouns are rare."""
    for i in range(count):
        phrase, verb, rest = puzzles.agreement(rng, 2 + i % 6 * 2, fresh=True)
        yield {"query": phrase, "choices": [f"is {rest}", f"are {rest}"], "gold": int(verb == "are")}


def story_schema(rng: random.Random, world: World, count: int) -> Records:
    """Which of two stories ends with this place; one to four facts, of which two have changed places in one story.

    In a story of a single fact the place is another one, which copying alone can tell.
    """
    names = _names(world)
    for i in range(count):
        facts = puzzles.story(rng, names, world.things, 1 + i % 4, fresh=True).facts
        _, thing, place = rng.choice(facts)
        named = {fact[2] for fact in facts} - {place}
        other = rng.choice(sorted(named or set(PLACES) - {place}))
        exchange = {place: other, other: place}
        swapped = tuple((who, what, exchange.get(where, where)) for who, what, where in facts)
        told = [f"{puzzles.Story(f).text()} The {thing} is in the" for f in (facts, swapped)]
        gold = rng.randint(0, 1)
        yield {"context_options": told if gold == 0 else told[::-1], "continuation": place, "gold": gold}


def story_cloze(rng: random.Random, world: World, count: int) -> Records:
    """The last word of a story that only the story settles; two to five facts."""
    names = _names(world)
    for i in range(count):
        tale = puzzles.story(rng, names, world.things, 2 + i % 4, fresh=True)
        beginning, end = puzzles.recall(rng, rng.choice(tale.facts))
        yield {"context": f"{tale.text()} {beginning}", "continuation": end}


def sums(rng: random.Random, world: World, count: int) -> Records:
    """Sums and differences of pairs that no text holds."""
    seen: set[str] = set()
    while len(seen) < count:
        asked, answer = puzzles.sum_line(rng, fresh=True)
        if asked not in seen:
            seen.add(asked)
            yield {"context": asked, "continuation": answer}


def number_rows(rng: random.Random, world: World, count: int) -> Records:
    """The next number of a row that no text holds; half of them at steps that no text shows."""
    for i in range(count):
        row, following = puzzles.number_row(rng, fresh=True)
        if i % 2:
            start, step = rng.randint(30, 50), rng.choice(UNSEEN_STEPS)
            row = ", ".join(str(start + step * k) for k in range(4)) + ","
            following = str(start + step * 4)
        yield {"context": row, "continuation": following}


def copying(mark: str) -> Callable[[random.Random, World, int], Records]:
    """Lists of three to twelve things, said again or backwards; no text has more than seven."""

    def records(rng: random.Random, world: World, count: int) -> Records:
        for i in range(count):
            context, continuation = puzzles.list_line(puzzles.word_list(rng, world.things, 3 + i % 10, True), mark)
            yield {"context": context, "continuation": continuation}

    return records


def passage_qa(rng: random.Random, world: World, count: int) -> Records:
    """A question on a story of one to four facts, answered freely."""
    names = _names(world)
    for i in range(count):
        tale = puzzles.story(rng, names, world.things, 1 + i % 4, fresh=True)
        asked, answer = puzzles.story_question(rng, rng.choice(tale.facts))
        yield {"context": f"{tale.text()} Question: {asked}", "answer": answer, "aliases": []}


def passage_who(rng: random.Random, world: World, count: int) -> Records:
    """Who put the thing away? Two names of half B, one of the story and one that it may name too."""
    names = _names(world)
    for i in range(count):
        tale = puzzles.story(rng, names, world.things, 1 + i % 3, fresh=True)
        person, thing, _ = rng.choice(tale.facts)
        others = [fact[0] for fact in tale.facts if fact[0] != person] or sorted(set(names) - {person})
        choices, gold = _options(rng, person, others, 2)
        yield {"query": f"{tale.text()} Question: Who put the {thing} away?", "choices": choices, "gold": gold}


def passage_where(rng: random.Random, world: World, count: int) -> Records:
    """Where is the thing? Four places, of which the story names one to four."""
    names = _names(world)
    for i in range(count):
        tale = puzzles.story(rng, names, world.things, 1 + i % 4, fresh=True)
        _, thing, place = rng.choice(tale.facts)
        told = [fact[2] for fact in tale.facts]
        choices = [*told, *rng.sample(sorted(set(PLACES) - set(told)), 4 - len(told))]
        rng.shuffle(choices)
        query = f"{tale.text()} Question: Where is the {thing}?"
        yield {"query": query, "choices": choices, "gold": choices.index(place)}


WK, CR, LU = "world_knowledge", "commonsense_reasoning", "language_understanding"
SP, RC = "symbolic_problem_solving", "reading_comprehension"
MC, LM, SCHEMA, GENERATE = "multiple_choice", "language_modeling", "schema", "generation_task_with_answers"

TASKS = (
    Task("people_facts", WK, LM, 360, 0, 0.0, people_facts, ANSWER, has_categories=True),
    Task("town_facts", WK, MC, 128, 3, 0.25, town_facts, ANSWER, num_choices=4),
    Task("tool_use", CR, MC, 100, 3, 0.25, tool_use, ANSWER, num_choices=4),
    Task("heavier", CR, MC, 120, 3, 0.5, heavier, ANSWER, num_choices=2),
    Task("heaviest", CR, MC, 80, 3, 1 / 3, heaviest, ANSWER, num_choices=3),
    Task("agreement", LU, MC, 100, 0, 0.5, agreement, num_choices=2),
    Task("story_schema", LU, SCHEMA, 100, 0, 0.5, story_schema, num_choices=2),
    Task("story_cloze", LU, LM, 120, 0, 0.0, story_cloze),
    Task("sums", SP, LM, 48, 3, 0.0, sums),
    Task("number_rows", SP, LM, 80, 2, 0.0, number_rows),
    Task("copy", SP, LM, 80, 0, 0.0, copying(puzzles.MARKS[0])),
    Task("reverse", SP, LM, 80, 0, 0.0, copying(puzzles.MARKS[1])),
    Task("passage_qa", RC, GENERATE, 120, 2, 0.0, passage_qa, ANSWER, stops=("\n",)),
    Task("passage_who", RC, MC, 80, 2, 0.5, passage_who, ANSWER, num_choices=2),
    Task("passage_where", RC, MC, 80, 2, 0.25, passage_where, ANSWER, num_choices=4),
)


def write_gauntlet(world: World, folder: Path) -> None:
    """Write tasks.yaml, gauntlet.yaml and the record files; the same world gives the same bytes."""
    for task in TASKS:
        records = list(task.draw(random.Random(f"{TASK_SEED} {task.name}"), world, task.records))
        text = "".join(json.dumps(record) + "\n" for record in records)
        write_atomic(folder / task.category / f"{task.name}.jsonl", text)
    write_atomic(folder / "tasks.yaml", _dump({"defaults": DEFAULTS, "tasks": {t.name: t.entry() for t in TASKS}}))
    write_atomic(folder / "gauntlet.yaml", _dump(_versions()))


DEFAULTS: Json = {
    "prompt_string": "",
    "example_delimiter": "\n",
    "continuation_delimiter": " ",
    "prelimiter": "",
    "cot_delimiter": "",
    "fewshot_random_seed": 1234,
    "has_categories": False,
    "do_normalization": True,
    "early_stopping_criteria": [],
}


def _versions() -> Json:
    categories: dict[str, list[Json]] = {}
    for task in TASKS:
        row = {"task": task.name, "num_fewshot": task.num_fewshot, "random_baseline": task.baseline}
        categories.setdefault(task.category, []).append(row)
    mini = {
        "date": "2026-11-26",
        "note": "the embedded study's own tasks about its small world; not comparable with the other versions",
        "averages": {"core_average": list(categories)},
        "categories": categories,
    }
    aggregation = {"weighting": "EQUAL", "subtract_random_baseline": True, "rescale_accuracy": True}
    return {"aggregation": aggregation, "versions": {"mini": mini}}


def _dump(value: Json) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, width=110))
