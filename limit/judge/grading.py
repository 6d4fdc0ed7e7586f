"""Single-answer grades from 1 to 10: as a second protocol for comparisons, and for training samples.

In a comparison each answer is graded alone, in the manner of MT-Bench, and the higher grade wins; equal grades tie. An
answer that meets several others is graded once.
"""

from __future__ import annotations

import json
import threading
from typing import Protocol, runtime_checkable

from limit.judge.backends.protocol import Choice, Opinion, Question
from limit.judge.prompts import fence_code


@runtime_checkable
class Grader(Protocol):
    """A backend that can grade one answer."""

    concurrency: int

    def grade(self, prompt: str, answer: str, nonce: str) -> tuple[int | None, Opinion]:
        """A grade from 1 to 10 with the reply behind it; None when the reply holds none."""
        ...


class GradingBackend:
    """Compares two answers by their grades; speaks the same protocol as a pairwise judge."""

    def __init__(self, grader: Grader) -> None:
        self.grader = grader
        self.concurrency = grader.concurrency
        self._grades: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def judge(self, question: Question) -> Opinion:
        """The answer with the higher grade. Raises what the grader raises."""
        first, reply_1 = self._grade(question.prompt, question.first)
        second, reply_2 = self._grade(question.prompt, question.second)
        replies = [reply for reply in (reply_1, reply_2) if reply is not None]
        prompt_tokens, completion_tokens = _sum_tokens(replies)
        failed = next((reply for reply in replies if reply.status != "ok"), None)
        choice: Choice | None = None
        if first is not None and second is not None:
            choice = "tie" if first == second else "first" if first > second else "second"
        return Opinion(
            status="ok" if choice else failed.status if failed else "invalid",
            choice=choice,
            extraction="grades",
            raw_text=json.dumps({"first": first, "second": second}),
            reason="\n".join(reply.reason for reply in replies if reply.reason) or None,
            model_reported=next((reply.model_reported for reply in replies), None),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            error_text=None if choice else (failed.error_text if failed else None) or "no grade in the reply",
        )

    def _grade(self, prompt: str, answer: str) -> tuple[int | None, Opinion | None]:
        with self._lock:
            known = self._grades.get((prompt, answer))
        if known is not None:
            return known, None
        grade, reply = self.grader.grade(prompt, answer, fence_code(prompt, answer))
        if grade is not None:
            with self._lock:
                self._grades[prompt, answer] = grade
        return grade, reply


def _sum_tokens(replies: list[Opinion]) -> tuple[int | None, int | None]:
    """Tokens of the replies together; unknown when any is unknown."""
    if any(reply.prompt_tokens is None or reply.completion_tokens is None for reply in replies):
        return None, None
    return sum(r.prompt_tokens or 0 for r in replies), sum(r.completion_tokens or 0 for r in replies)
