"""What a judge is asked and what it replies.

A backend answers one question, which of two answers is better as shown, and knows nothing of orders, seeds, keys,
journals or money; the runner does all that. To add one: write a class with `judge` and `concurrency`, and a line in
`limit.judge.backends.build_backend`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Choice = Literal["first", "second", "tie"]
OpinionStatus = Literal["ok", "invalid", "refused"]


@dataclass(frozen=True)
class Question:
    """One pair as shown to a judge; `nonce` is unique to the call and fences the texts as data."""

    prompt: str
    first: str
    second: str
    prompt_id: str
    nonce: str


@dataclass(frozen=True)
class Opinion:
    """What a judge made of one question.

    `choice` is None unless `status` is "ok". `p_first` is the probability that the first shown wins, `p_tie` that of
    a tie, where the judge gives them. Token counts are None where the backend does not count.
    """

    status: OpinionStatus
    choice: Choice | None = None
    p_first: float | None = None
    p_tie: float | None = None
    extraction: str = ""
    raw_text: str | None = None
    reason: str | None = None
    logprobs_json: str | None = None
    model_reported: str | None = None
    system_fingerprint: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error_text: str | None = None


class Transient(Exception):
    """The question may succeed later: rate limit, server error, cut connection. The runner waits and asks again.

    `retry_after_s` is the server's own wish; `pause_all` holds back the other workers too (rate limits); `billed`
    says that the server may have charged for a reply that never arrived whole.
    """

    def __init__(
        self, message: str, retry_after_s: float | None = None, pause_all: bool = False, billed: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.pause_all = pause_all
        self.billed = billed


class Backend(Protocol):
    """A judge. `judge` may be called from `concurrency` threads at once.

    Raises Transient for what may pass, and LimitError for what stops the run (bad key, unknown model).
    """

    concurrency: int

    def judge(self, question: Question) -> Opinion:
        """Which of the two answers is better, as shown."""
        ...
