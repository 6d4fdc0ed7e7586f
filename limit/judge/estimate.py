"""What a comparison will take before it is begun: questions, tokens, money as far as a price is known."""

from __future__ import annotations

from collections.abc import Sequence

from limit.core import Json
from limit.judge.prices import estimate_facts, price_of
from limit.judge.prompts import prompt_text
from limit.judge.runner import Pair, is_identical, plan_items
from limit.settings import Workspace
from limit.specs.judge import JudgeSpec

CHARS_PER_TOKEN = 4.0
TYPICAL_REPLY_TOKENS = 60
CHAT_OVERHEAD_TOKENS = 64


def estimate(ws: Workspace, spec: JudgeSpec, pairs: Sequence[Pair]) -> Json:
    """{pairs, questions, tokens, prompt_tokens, completion_tokens, usd, price} of judging these pairs afresh.

    Pairs that nobody could tell apart are not asked. `usd` is None where the price is unknown. Raises LimitError when
    the workspace's price list cannot be read.
    """
    asked = [item.pair for item in plan_items(pairs, spec) if not is_identical(item.pair)]
    calls = spec.members() * (2 if spec.protocol == "single" else 1)
    again = spec.protocol == "single"  # each answer then comes with its own copy of the prompt
    sizes = [round(_shown_chars(pair, spec, again) / (2 if again else 1)) for pair in asked]
    tokens = estimate_tokens(spec, [(size, calls) for size in sizes])
    return {"pairs": len(pairs), "questions": len(asked), **estimate_facts(price_of(ws, spec), *tokens)}


def estimate_tokens(spec: JudgeSpec, questions: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Prompt and reply tokens of questions given as (characters shown, how many such questions)."""
    fixed = len(prompt_text(spec.protocol)) / CHARS_PER_TOKEN + CHAT_OVERHEAD_TOKENS
    prompt = sum((chars / CHARS_PER_TOKEN + fixed) * number for chars, number in questions)
    reply = 1 if spec.extraction == "logprob" else min(spec.max_tokens, TYPICAL_REPLY_TOKENS)
    return round(prompt), sum(number for _, number in questions) * reply


def _shown_chars(pair: Pair, spec: JudgeSpec, again: bool) -> int:
    texts = (pair.prompt, pair.text_1, pair.text_2, pair.prompt if again else "")
    return sum(min(len(text), spec.max_answer_chars) for text in texts)


def estimate_words(facts: Json) -> str:
    """An estimate in a sentence."""
    return f"{facts['questions']:,} questions, about {facts['tokens']:,} tokens, {facts['price']}"
