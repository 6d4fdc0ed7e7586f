"""What judges' tokens cost: given with the judge, listed in the workspace, listed here, free, or unknown.

An unknown price stays unknown: it is never taken for nothing, never guessed, and stops no estimate of tokens; only a
budget in US dollars needs a price. The list that ships is from memory of its date and says so. A workspace has its own
in `prices.json`, of the same form, whose entries win over it.
"""

from __future__ import annotations

import ipaddress
import math
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError, read_json
from limit.settings import SHIPPED, Workspace
from limit.specs.judge import JudgeSpec

PRICES = SHIPPED / "judge" / "prices.json"
OWN_PRICES = "prices.json"
HOW_TO_PRICE = (
    "set usd_per_million_prompt and usd_per_million_completion, or list the model in the workspace's "
    f'{OWN_PRICES} as {{"models": {{"NAME": [PROMPT, ANSWER]}}}}, in USD for a million tokens'
)


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens; `source` says who named them."""

    prompt: float
    completion: float
    source: str = ""

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars of one call."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6

    @property
    def is_free(self) -> bool:
        """Whether tokens cost nothing."""
        return self.prompt == 0 and self.completion == 0


def price_of(ws: Workspace, spec: JudgeSpec) -> Price | None:
    """The price of a judge's tokens; None when nobody knows it. Local judges and private addresses are free.

    Raises LimitError when the workspace's own list cannot be used.
    """
    if spec.usd_per_million_prompt is not None and spec.usd_per_million_completion is not None:
        return Price(spec.usd_per_million_prompt, spec.usd_per_million_completion, "as given")
    if spec.backend in ("local", "rubric"):
        return Price(0.0, 0.0, "runs on this machine")
    if spec.backend == "panel":
        return _dearest(ws, spec)
    own = _listed(ws.root / OWN_PRICES).get(spec.model)
    if own:
        return Price(*own, f"the workspace's {OWN_PRICES}")
    if spec.base_url and _is_private(spec.base_url):
        return Price(0.0, 0.0, "a private address")
    known = _listed(PRICES).get(spec.model) if _is_openai(spec.base_url) else None
    return Price(*known, f"list price of {read_json(PRICES)['as_of']}, from memory") if known else None


def _dearest(ws: Workspace, spec: JudgeSpec) -> Price | None:
    """A panel is metered at its dearest member's price, so that a cap holds."""
    from limit.judge.backends.panel import panel_members

    prices = [price_of(ws, member) for member in panel_members(spec)]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    top = max(known, key=lambda price: price.prompt)
    return Price(top.prompt, max(price.completion for price in known), f"the dearest member: {top.source}")


def _listed(path: Path) -> dict[str, tuple[float, float]]:
    """{model: (prompt, answer)} of a list of prices; a file that is not there lists none. Raises LimitError."""
    if not path.is_file():
        return {}
    models = read_json(path).get("models")
    if not isinstance(models, dict):
        raise LimitError(f'{path} has no "models"; {HOW_TO_PRICE}')
    return {str(name): _pair(path, name, value) for name, value in models.items()}


def _pair(path: Path, name: str, value: Any) -> tuple[float, float]:
    usable = isinstance(value, list) and len(value) == 2 and all(_is_amount(amount) for amount in value)
    if not usable:
        raise LimitError(f"{path} lists {value!r} for {name!r}; {HOW_TO_PRICE}")
    return float(value[0]), float(value[1])


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_private(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith((".local", ".internal", ".localhost"))


def _is_openai(url: str | None) -> bool:
    """Whether OpenAI's list applies: another vendor may sell a model of the same name at another price."""
    return url is None or (urllib.parse.urlsplit(url).hostname or "") == "api.openai.com"


def price_words(usd: float | None, price: Price | None) -> str:
    """What a number of tokens costs, in words for people."""
    if price is None or usd is None:
        return "unknown price"
    if price.is_free:
        return f"free ({price.source})"
    amount = f"USD {usd:.2f}" if usd >= 0.1 else f"USD {usd:.2g}"
    return f"about {amount} ({price.source})"


def check_budget(ws: Workspace, judge: JudgeSpec, usd: float | None, tokens: int | None) -> None:
    """Raise LimitError when a judge that costs money has no cap, or a cap that cannot be kept."""
    if usd is not None and not usd > 0:
        raise LimitError(f"a budget of USD {usd:g} allows nothing; give a positive amount")
    if tokens is not None and tokens <= 0:
        raise LimitError(f"a budget of {tokens} tokens allows nothing; give a positive number")
    price = price_of(ws, judge)
    if price is None and usd is not None:
        raise LimitError(
            f"a budget in USD needs a price, and that of the judge {judge.model!r} is unknown; {HOW_TO_PRICE}"
        )
    if price is None and tokens is None:
        raise LimitError(
            f"the price of the judge {judge.model!r} is unknown; cap it with --budget-tokens, or {HOW_TO_PRICE}"
        )
    if price is not None and not price.is_free and usd is None and tokens is None:
        raise LimitError(f"the judge {judge.label()!r} costs money; allow an amount with --budget USD")


def estimate_facts(price: Price | None, prompt_tokens: int, completion_tokens: int) -> Json:
    """{tokens, prompt_tokens, completion_tokens, usd (None: unknown), price} of an estimate."""
    usd = None if price is None else price.cost(prompt_tokens, completion_tokens)
    return {
        "tokens": prompt_tokens + completion_tokens,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "usd": usd,
        "price": price_words(usd, price),
    }
