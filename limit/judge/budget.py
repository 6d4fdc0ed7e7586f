"""What judging may cost: prices, an estimate before, and a cap that holds whatever crashes.

Every call reserves the most it can cost before it is sent and is settled by what the server reports, or by the
reservation where a reply was lost. Both are lines of `spend.jsonl`: after a crash a reservation that was never
settled counts as spent, since the server may have charged for it.
"""

from __future__ import annotations

import ipaddress
import secrets
import threading
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limit.core import LimitError, append_jsonl, read_json, read_jsonl
from limit.judge.backends.protocol import Question
from limit.judge.prompts import prompt_text
from limit.settings import SHIPPED
from limit.specs.judge import JudgeSpec

CHARS_PER_TOKEN = 4.0
TYPICAL_REPLY_TOKENS = 60
CHAT_OVERHEAD_TOKENS = 64
PRICES = SHIPPED / "judge" / "prices.json"


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars of one call."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


FREE = Price(0.0, 0.0)


def price_of(spec: JudgeSpec) -> Price | None:
    """The price of a judge's tokens; None when nobody knows it. Local judges and private addresses are free."""
    if spec.usd_per_million_prompt is not None and spec.usd_per_million_completion is not None:
        return Price(spec.usd_per_million_prompt, spec.usd_per_million_completion)
    if spec.backend in ("local", "rubric") or (spec.base_url and _is_private(spec.base_url)):
        return FREE
    if spec.backend == "panel":
        return _dearest(spec)
    known = read_json(PRICES)["models"].get(spec.model)
    return Price(*known) if known else None


def _dearest(spec: JudgeSpec) -> Price | None:
    """A panel is metered at its dearest member's price, so that a cap holds."""
    from limit.judge.backends.panel import panel_members

    prices = [price_of(member) for member in panel_members(spec)]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    return Price(max(price.prompt for price in known), max(price.completion for price in known))


def _is_private(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith((".local", ".internal", ".localhost"))


def estimate_tokens(spec: JudgeSpec, questions: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Prompt and reply tokens of questions given as (characters shown, how many such questions)."""
    fixed = len(prompt_text(spec.protocol)) / CHARS_PER_TOKEN + CHAT_OVERHEAD_TOKENS
    count = sum(number for _, number in questions)
    prompt = sum((chars / CHARS_PER_TOKEN + fixed) * number for chars, number in questions)
    return round(prompt), count * min(spec.max_tokens, TYPICAL_REPLY_TOKENS)


def worst_tokens(spec: JudgeSpec, question: Question, calls: int) -> tuple[int, int]:
    """The most tokens that `calls` requests for one question can be charged for: a token has at least one byte."""
    texts = (question.prompt, question.first, question.second, prompt_text(spec.protocol))
    prompt = sum(len(text.encode(errors="surrogatepass")) for text in texts) + 2 * CHAT_OVERHEAD_TOKENS
    return calls * prompt, calls * max(spec.max_tokens, 16)


class Budget:
    """A cap in US dollars, in tokens, in both, or in neither, shared by the threads and the restarts of a run."""

    def __init__(self, path: Path, price: Price | None, usd: float | None = None, tokens: int | None = None) -> None:
        if price is None and tokens is None:
            raise LimitError(
                f"no price is known for this judge; set usd_per_million_prompt and usd_per_million_completion, "
                f"or cap it with --budget-tokens (shipped prices are in {PRICES.name})"
            )
        if price is None and usd is not None:
            raise LimitError("a budget in USD needs a price; set usd_per_million_prompt and usd_per_million_completion")
        self.path, self.price, self.limit_usd, self.limit_tokens = path, price or FREE, usd, tokens
        self.metered = price is None or price != FREE or tokens is not None
        self._changed = threading.Condition()
        self._open: dict[str, tuple[float, int]] = {}
        self.spent_usd, self.spent_tokens = self._read()

    def _read(self) -> tuple[float, int]:
        latest: dict[str, tuple[float, int]] = {}
        for line in read_jsonl(self.path):
            latest[str(line.get("id"))] = (float(line.get("usd") or 0), int(line.get("tokens") or 0))
        return sum(usd for usd, _ in latest.values()), sum(tokens for _, tokens in latest.values())

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
