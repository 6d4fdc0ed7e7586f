"""How to answer prompts, and how to compare two runs' answers."""

from __future__ import annotations

from typing import Literal

from limit.core import LimitError
from limit.specs.base import Spec, option
from limit.specs.run import Template


class RespondSpec(Spec):
    """How one run answers a prompt set."""

    prompts: str = option("name of a prompt set, or a file of prompts")
    max_new_tokens: int = option("longest answer in tokens", default=512, ge=1)
    do_sample: bool = option("draw tokens at random instead of taking the likeliest", default=False)
    temperature: float = option("with sampling: flatness of the distribution", default=1.0, gt=0)
    top_p: float = option("with sampling: share of probability kept", default=1.0, gt=0, le=1)
    top_k: int = option("with sampling: number of likeliest tokens kept; 0 keeps all", default=0, ge=0)
    seed: int = option("seed of sampling", default=17, ge=0)
    template: Template | Literal["auto"] = option("prompt template; auto takes that of the finetune", default="auto")
    limit: int | None = option("answer only the first N prompts", default=None, ge=1)


class JudgeSpec(Spec):
    """Who compares two answers, and how."""

    backend: Literal["openai", "local", "rubric", "panel"] = option("where verdicts come from", default="openai")
    model: str = option("model name at the server, folder of a local judge, or rubric variant", default="")
    base_url: str | None = option("server address of an OpenAI-compatible endpoint; empty: OpenAI itself", default=None)
    key_env: str = option("environment variable that holds the key", default="OPENAI_API_KEY", advanced=True)
    prompt: str = option("version of the judging prompt", default="pairwise-v1")
    order: Literal["both", "seeded", "fixed"] = option("which answer is shown first", default="both")
    extraction: Literal["auto", "logprob", "json", "regex"] = option("how a verdict is read", default="auto")
    temperature: float = option("randomness of the judge", default=0.0, ge=0)
    max_tokens: int = option("longest verdict in tokens", default=512, ge=1)
    seed: int = option("seed of orders and of the server where it takes one", default=17, ge=0)
    repeats: int = option("independent verdicts of each pair and order", default=1, ge=1)
    max_answer_chars: int = option("longer answers are cut in the middle, both alike", default=24_000, ge=100)

    def check(self) -> None:
        if self.backend in ("openai", "local") and not self.model:
            raise LimitError(f"judge backend {self.backend!r} needs a model; name one with model=...")
