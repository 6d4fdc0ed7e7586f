"""What judging may cost: a cap in US dollars or tokens that holds whatever crashes.

Every call reserves the most it can cost before it is sent and is settled by what the server reports, or by the
reservation where a reply was lost. Both are lines of `spend.jsonl`: after a crash a reservation that was never
settled counts as spent, since the server may have charged for it.
"""

from __future__ import annotations

import secrets
import threading
from pathlib import Path

from limit.core import LimitError, append_jsonl, read_jsonl
from limit.judge.backends.protocol import Question
from limit.judge.prices import HOW_TO_PRICE, Price
from limit.judge.prompts import prompt_text
from limit.specs.judge import JudgeSpec

ENVELOPE_TOKENS = 128  # what a chat format may put around a question
UNKNOWN = Price(0.0, 0.0, "unknown")


def worst_tokens(spec: JudgeSpec, question: Question, calls: int) -> tuple[int, int]:
    """The most tokens that `calls` requests for one question can be charged for: a token has at least one byte."""
    texts = (question.prompt, question.first, question.second, prompt_text(spec.protocol))
    prompt = sum(len(text.encode(errors="surrogatepass")) for text in texts) + ENVELOPE_TOKENS
    return calls * prompt, calls * max(spec.max_tokens, 16)


class Budget:
    """A cap in US dollars, in tokens, in both, or in neither, shared by the threads and the restarts of a run."""

    def __init__(self, path: Path, price: Price | None, usd: float | None = None, tokens: int | None = None) -> None:
        if price is None and tokens is None:
            raise LimitError(f"the price of this judge is unknown; cap it with --budget-tokens, or {HOW_TO_PRICE}")
        if price is None and usd is not None:
            raise LimitError(f"a budget in USD needs a price, and this judge's is unknown; {HOW_TO_PRICE}")
        self.path, self.price, self.limit_usd, self.limit_tokens = path, price or UNKNOWN, usd, tokens
        self.metered = price is None or not price.is_free or tokens is not None
        self._changed = threading.Condition()
        self._open: dict[str, tuple[float, int]] = {}
        self.spent_usd, self.spent_tokens = self._read()

    def _read(self) -> tuple[float, int]:
        latest: dict[str, tuple[float, int]] = {}
        for line in read_jsonl(self.path):
            latest[str(line.get("id"))] = (float(line.get("usd") or 0), int(line.get("tokens") or 0))
        return sum(usd for usd, _ in latest.values()), sum(tokens for _, tokens in latest.values())

    def check_room(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Raise LimitError when even one question of this size does not fit into what is left."""
        usd, tokens = self.price.cost(prompt_tokens, completion_tokens), prompt_tokens + completion_tokens
        if not self._fits(usd, tokens):
            left, most = self._words(usd, tokens)
            raise LimitError(
                f"the budget has {left} left, and one question with its retries can cost up to {most}; "
                "give a higher --budget, or a smaller max_answer_chars or max_tokens"
            )

    def _words(self, usd: float, tokens: int) -> tuple[str, str]:
        if self.limit_usd is not None and self.spent_usd + usd > self.limit_usd:
            return f"USD {max(0.0, self.limit_usd - self.spent_usd):.2g} of {self.limit_usd:g}", f"USD {usd:.2g}"
        cap = self.limit_tokens or 0
        return f"{max(0, cap - self.spent_tokens):,} of {cap:,} tokens", f"{tokens:,}"

    def reserve(self, name: str, prompt_tokens: int, completion_tokens: int) -> str | None:
        """Set aside the most a call can cost; None when the cap leaves no room even after all calls in flight."""
        usd, tokens = self.price.cost(prompt_tokens, completion_tokens), prompt_tokens + completion_tokens
        with self._changed:
            while not self._fits(usd, tokens):
                if not self._open:
                    return None
                self._changed.wait(1.0)
            ticket = f"{name}-{secrets.token_hex(4)}"
            self._open[ticket] = (usd, tokens)
            self._write(ticket, usd, tokens)
        return ticket

    def settle(self, ticket: str, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
        """Replace a reservation by what was used; unknown use is charged in full. Returns USD, None without a price."""
        with self._changed:
            usd, tokens = self._open.pop(ticket)
            if prompt_tokens is not None and completion_tokens is not None:
                usd, tokens = self.price.cost(prompt_tokens, completion_tokens), prompt_tokens + completion_tokens
            self.spent_usd += usd
            self.spent_tokens += tokens
            self._write(ticket, usd, tokens)
            self._changed.notify_all()
        return usd

    def _fits(self, usd: float, tokens: int) -> bool:
        held_usd = sum(held for held, _ in self._open.values())
        held_tokens = sum(held for _, held in self._open.values())
        fits_usd = self.limit_usd is None or self.spent_usd + held_usd + usd <= self.limit_usd
        return fits_usd and (self.limit_tokens is None or self.spent_tokens + held_tokens + tokens <= self.limit_tokens)

    def _write(self, ticket: str, usd: float, tokens: int) -> None:
        if self.metered:  # not synced: a killed process loses nothing, a power cut at most some reservations
            append_jsonl(self.path, [{"id": ticket, "usd": usd, "tokens": tokens}], sync=False)
