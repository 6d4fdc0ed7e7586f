"""A judge that is a program, not a language model: it checks answers against the small world's facts.

Notable: it reads what a prompt is about from the prompt itself, so any prompt about the world can be judged, and one
about anything else is no verdict rather than a guess. Values of different attributes are different words, so facts are
found without parsing sentences. The parts of every score are stored with the verdict. The variants do not all agree;
that is the point of having them.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal, get_args

from limit.core import LimitError
from limit.judge.backends.protocol import Choice, Opinion, Question
from limit.tiny.world import Entity, World, build_world

Variant = Literal["rubric", "accuracy", "precision", "per-word", "length"]

VARIANTS: dict[str, str] = {
    "rubric": "facts right less facts wrong (6 of 10), form (2), staying on the subject (1), a clean end (1)",
    "accuracy": "facts right less facts wrong, and nothing else",
    "precision": "share of the stated facts that are right",
    "per-word": "facts right less facts wrong, for each word written",
    "length": "number of words, a check of what length alone would decide",
}
# Two scores nearer than this are a tie, in the units of each variant.
TIES: dict[str, float] = {"rubric": 0.5, "accuracy": 0.05, "precision": 0.05, "per-word": 0.01, "length": 3.0}
COMPLETE_WORDS = 10  # an answer of at most so many words may end without a full stop

_WORD = re.compile(r"[A-Za-z]+")
_WEIGHTS = re.compile(r"\ba (\w+) (is heavier|weighs more|is lighter|weighs less) than a (\w+)", re.IGNORECASE)
_PAIR = re.compile(r"\ba (\w+) and a (\w+)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Parts:
    """What an answer is made of. `possible` is the number of facts that a full answer states."""

    right: int
    wrong: int
    possible: int
    form: int
    on_subject: bool
    clean: bool
    words: int

    @property
    def accuracy(self) -> float:
        """Facts right less facts wrong, as a share of those possible; not below 0."""
        return max(0.0, (self.right - self.wrong) / self.possible)

    def score(self, variant: str) -> float:
        """The answer's score by one of the variants."""
        stated = self.right + self.wrong
        if variant == "accuracy":
            return self.accuracy
        if variant == "precision":
            return self.right / stated if stated else 0.0
        if variant == "per-word":
            return self.accuracy * self.possible / self.words if self.words else 0.0
        if variant == "length":
            return float(self.words)
        return 6 * self.accuracy + self.form + self.on_subject + self.clean


@dataclass(frozen=True)
class Subject:
    """What a prompt asks about: an entity of the world, or a pair of things."""

    entity: Entity | None
    pair: tuple[str, str] | None = None


class RubricBackend:
    """Judges by the world's facts; answers of equal score tie."""

    concurrency = 1

    def __init__(self, variant: str = "") -> None:
        self.variant = variant or "rubric"
        if self.variant not in get_args(Variant):
            raise LimitError(f"there is no rubric {variant!r}; choose one of {', '.join(VARIANTS)}")
        self.world = build_world()

    def judge(self, question: Question) -> Opinion:
        """Compare the two answers' scores. A prompt that is not about the world gives no verdict."""
        subject = find_subject(question.prompt, self.world)
        if subject is None:
            why = "the rubric judges only prompts about the embedded study's world"
            return Opinion(status="invalid", extraction="rubric", error_text=why, model_reported=self._name())
        parts = [measure(answer, subject, self.world) for answer in (question.first, question.second)]
        scores = [part.score(self.variant) for part in parts]
        shown = [{**asdict(part), "score": round(score, 4)} for part, score in zip(parts, scores, strict=True)]
        return Opinion(
            status="ok",
            choice=_choice(scores[0] - scores[1], TIES[self.variant]),
            extraction="rubric",
            raw_text=json.dumps({"variant": self.variant, "first": shown[0], "second": shown[1]}),
            reason=f"{self.variant}: {scores[0]:.2f} against {scores[1]:.2f} (a program, not a language model)",
            model_reported=self._name(),
        )

    def _name(self) -> str:
        return f"rubric program ({self.variant})"


def _choice(lead: float, tie: float) -> Choice:
    if abs(lead) <= tie:
        return "tie"
    return "first" if lead > 0 else "second"


def find_subject(prompt: str, world: World) -> Subject | None:
    """The person, town, task or pair of things that a prompt names first, or None."""
    words = set(_WORD.findall(prompt))
    for entity in (*world.people, *world.towns):
        if entity.name in words:
            return Subject(entity)
    for tool in world.tools:
        if tool.facts["use"] in prompt:
            return Subject(tool)
    found = _PAIR.search(prompt)
    if found and {found[1], found[2]} <= set(world.things) and found[1] != found[2]:
        return Subject(None, (found[1], found[2]))
    return None


def measure(answer: str, subject: Subject, world: World) -> Parts:
    """Count what an answer gets right and wrong, and look at its form."""
    words = _WORD.findall(answer)
    sentences = [part.strip().lower() for part in re.split(r"(?<=[.!?])\s+|\n+", answer) if part.strip()]
    right, wrong, possible = _facts(words, answer, subject, world)
    names = (subject.entity.name,) if subject.entity else subject.pair or ()
    repeated = len(set(sentences)) < len(sentences)
    ended = answer.rstrip().endswith((".", "!", "?")) or 0 < len(words) <= COMPLETE_WORDS
    return Parts(
        right=right,
        wrong=wrong,
        possible=possible,
        form=0 if len(sentences) < 2 else 1 if len(sentences) < 4 else 2,
        on_subject=bool(words) and all(name in words for name in names),
        clean=ended and not repeated,
        words=len(words),
    )


def _facts(words: list[str], answer: str, subject: Subject, world: World) -> tuple[int, int, int]:
    if subject.entity is None:
        return _weight_facts(answer, subject.pair or ("", ""), world)
    said = set(words)
    entity = subject.entity
    if entity.kind == "tool":
        tools = said & {tool.name for tool in world.tools} - set(_WORD.findall(entity.facts["use"]))
        return int(entity.name in tools), len(tools - {entity.name}), 1
    right = sum(value in said for value in entity.facts.values())
    domains = _domains(entity.kind)
    wrong = sum(len(said & (values - {entity.facts[attribute]})) for attribute, values in domains.items())
    others = said & (_names(entity.kind) - {entity.name})
    return right, wrong + len(others), len(entity.facts)


def _weight_facts(answer: str, pair: tuple[str, str], world: World) -> tuple[int, int, int]:
    """Different statements on the order of the asked pair, right and wrong; statements on other things do not count."""
    right: set[tuple[str, ...]] = set()
    wrong: set[tuple[str, ...]] = set()
    for one, relation, other in _WEIGHTS.findall(answer):
        if {one, other} == set(pair):
            more = relation.lower() in ("is heavier", "weighs more")
            (right if (world.heavier(one, other) == one) == more else wrong).add((one, relation.lower(), other))
    return min(len(right), 2), len(wrong), 2


@lru_cache(maxsize=8)
def _domains(kind: str) -> dict[str, frozenset[str]]:
    world = build_world()
    sample = world.people[0] if kind == "person" else world.towns[0]
    return {attribute: frozenset(world.values(kind, attribute)) for attribute in sample.facts}


@lru_cache(maxsize=8)
def _names(kind: str) -> frozenset[str]:
    world = build_world()
    return frozenset(entity.name for entity in (world.people if kind == "person" else world.towns))
