"""Reading a verdict out of a reply: label probabilities, JSON, or a fixed last line. What is unclear is invalid.

Nothing here guesses. Two different verdicts in one reply, a label that was not offered, or labels that hold less
than half of the probability make the reply invalid.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from limit.judge.backends.protocol import Choice

CHOICES: dict[str, Choice] = {"A": "first", "B": "second", "C": "tie"}
MIN_LABEL_MASS = 0.5
_VERDICT_LINE = re.compile(
    r"^[\s*_#>`\"']*verdict[\s*_`\"']*:[\s*_`\"'\[(]*(A|B|C|tie)[\s*_`\"'\])]*\.?\s*$", re.I | re.M
)
_GRADE_LINE = re.compile(
    r"^[\s*_#>`\"']*grade[\s*_`\"']*:[\s*_`\"'\[(]*(\d{1,3})(?:\s*/\s*10)?[\s*_`\"'\])]*\.?\s*$", re.I | re.M
)
_CODE_BLOCK = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", re.DOTALL)
_THINKING = re.compile(r"^.*</think>", re.DOTALL)  # the opening tag may stand in the chat template


@dataclass(frozen=True)
class LabelShares:
    """Probabilities of the three labels, renormalised over them; `mass` is what they held before."""

    first: float
    second: float
    tie: float
    mass: float

    @property
    def choice(self) -> Choice:
        """The likeliest label; a draw of first and second is a tie."""
        if self.tie >= max(self.first, self.second) or self.first == self.second:
            return "tie"
        return "first" if self.first > self.second else "second"


def label_shares(logprobs: Iterable[tuple[str, float]]) -> LabelShares | None:
    """Shares of the labels among (token, natural log-probability) pairs of one position.

    Variants of a label (leading space, lower case) are added up. None when the labels hold less than half of the
    probability or a number is no log-probability.
    """
    mass = {"A": 0.0, "B": 0.0, "C": 0.0}
    for token, logprob in logprobs:
        label = token.replace("Ġ", " ").replace("▁", " ").strip().upper()
        if label not in mass:
            continue
        if (not math.isfinite(logprob) and logprob != -math.inf) or logprob > 1e-3:
            return None
        mass[label] += math.exp(logprob)
    total = sum(mass.values())
    if total < MIN_LABEL_MASS or total > 1.01:
        return None
    return LabelShares(mass["A"] / total, mass["B"] / total, mass["C"] / total, min(total, 1.0))


def first_token_logprobs(logprobs: Any) -> list[tuple[str, float]] | None:
    """(token, log-probability) pairs of a reply's first token, in the chat or the legacy shape; None if absent."""
    if not isinstance(logprobs, dict):
        return None
    content = logprobs.get("content")
    if isinstance(content, list) and content and isinstance(content[0], dict):
        entries = content[0].get("top_logprobs")
        if isinstance(entries, list) and entries:
            return _pairs((e.get("token"), e.get("logprob")) for e in entries if isinstance(e, dict))
    legacy = logprobs.get("top_logprobs")
    if isinstance(legacy, list) and legacy and isinstance(legacy[0], dict):
        return _pairs(legacy[0].items())
    return None


def _pairs(entries: Iterable[tuple[Any, Any]]) -> list[tuple[str, float]] | None:
    pairs = []
    for token, logprob in entries:
        if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, (int, float)):
            return None
        pairs.append((token, float(logprob)))
    return pairs or None


def verdict_from_json(text: str) -> tuple[Choice, str | None] | None:
    """Verdict and reason of a JSON reply; None unless it is one object with exactly one known verdict."""
    value = _json_object(text)
    if value is None or not isinstance(value.get("verdict"), str):
        return None
    label = value["verdict"].strip().upper()
    choice = CHOICES.get("C" if label == "TIE" else label)
    reason = value.get("reason")
    return None if choice is None else (choice, reason if isinstance(reason, str) else None)


def verdict_from_line(text: str) -> tuple[Choice, str | None] | None:
    """Verdict and reason of a reply that ends in `Verdict: A`; None when lines disagree or the last is another."""
    found = _last_line(_VERDICT_LINE, text)
    if found is None:
        return None
    label, reason = found
    return CHOICES["C" if label.upper() == "TIE" else label.upper()], reason


def grade_from_json(text: str) -> tuple[int, str | None] | None:
    """Grade (1 to 10) and reason of a JSON reply; None unless it is one object with a whole grade in range."""
    value = _json_object(text)
    grade = None if value is None else value.get("grade")
    if value is None or isinstance(grade, bool) or not isinstance(grade, int) or not 1 <= grade <= 10:
        return None
    reason = value.get("reason")
    return grade, reason if isinstance(reason, str) else None


def grade_from_line(text: str) -> tuple[int, str | None] | None:
    """Grade and reason of a reply that ends in `Grade: 7`; None when lines disagree or it is out of range."""
    found = _last_line(_GRADE_LINE, text)
    if found is None or not 1 <= int(found[0]) <= 10:
        return None
    return int(found[0]), found[1]


def _last_line(pattern: re.Pattern[str], text: str) -> tuple[str, str | None] | None:
    text = _THINKING.sub("", text).rstrip()
    matches = list(pattern.finditer(text))
    if not matches or len({match[1].upper() for match in matches}) != 1 or matches[-1].end() != len(text):
        return None
    return matches[-1][1], text[: matches[0].start()].strip()[:2000] or None


def _json_object(text: str) -> dict[str, Any] | None:
    text = _THINKING.sub("", text).strip()
    block = _CODE_BLOCK.fullmatch(text)
    try:
        value = json.loads(block[1] if block else text, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)
