"""How to answer prompts, and how to compare two runs' answers."""

from __future__ import annotations

import re
from typing import Literal

from limit.core import Json, LimitError, content_id
from limit.specs.base import Spec, option
from limit.specs.run import Template

# What changes neither the question nor who answers it is left out of a judge's identity.
_NOT_IDENTITY = ("key_env", "order", "repeats", "concurrency", "usd_per_million_prompt", "usd_per_million_completion")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
_LIKE_A_KEY = re.compile(r"[0-9a-fA-F]{32,}|(?:sk|key|hf)_?[A-Za-z0-9]{20,}")


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
    model: str = option(
        "model name at the server, folder of a local judge, rubric variant, or the panel's members "
        "(`openai:gpt-4o+local:PATH+rubric`)",
        default="",
    )
    base_url: str | None = option("server address of an OpenAI-compatible endpoint; empty: OpenAI itself", default=None)
    key_env: str = option("environment variable that holds the key", default="OPENAI_API_KEY", advanced=True)
    protocol: Literal["pairwise", "single"] = option(
        "compare two answers, or grade each alone from 1 to 10", default="pairwise"
    )
    prompt: Literal["v1"] = option("version of the judging prompt", default="v1")
    order: Literal["both", "seeded", "fixed"] = option("which answer is shown first", default="both")
    extraction: Literal["auto", "logprob", "json", "regex"] = option("how a verdict is read", default="auto")
    temperature: float = option("randomness of the judge", default=0.0, ge=0)
    max_tokens: int = option("longest verdict in tokens", default=512, ge=1)
    seed: int = option("seed of orders and of the server where it takes one", default=17, ge=0)
    repeats: int = option("independent verdicts of each pair and order", default=1, ge=1)
    max_answer_chars: int = option("longer answers are cut in the middle, both alike", default=24_000, ge=100)
    concurrency: int = option("questions in flight at once", default=8, ge=1, le=256, advanced=True)
    usd_per_million_prompt: float | None = option(
        "price of a million prompt tokens; empty: the shipped price list", default=None, ge=0, advanced=True
    )
    usd_per_million_completion: float | None = option(
        "price of a million answer tokens; empty: the shipped price list", default=None, ge=0, advanced=True
    )

    def check(self) -> None:
        if self.backend in ("openai", "local", "panel") and not self.model:
            raise LimitError(f"judge backend {self.backend!r} needs a model; name one with model=...")
        if self.base_url is not None and not self.base_url.startswith(("http://", "https://")):
            raise LimitError(f"base_url {self.base_url!r} is no address; it starts with http:// or https://")
        if self.base_url is not None and "@" in self.base_url.split("//", 1)[1].split("/", 1)[0]:
            raise LimitError(
                "base_url holds a user name or key; put the key in the environment and name it with key_env"
            )
        if self.base_url is not None and re.search(r"[?&](?:[^=&]*key|[^=&]*token|sig)=", self.base_url, re.I):
            raise LimitError(
                "base_url holds a key in its query; put the key in the environment and name it with key_env"
            )
        if not _VARIABLE.fullmatch(self.key_env) or _LIKE_A_KEY.fullmatch(self.key_env):  # never shown: it may be a key
            raise LimitError(
                "key_env is no name of an environment variable; give the variable's name, not the key itself"
            )
        if (self.usd_per_million_prompt is None) != (self.usd_per_million_completion is None):
            raise LimitError("a judge's price needs both usd_per_million_prompt and usd_per_million_completion")

    def members(self) -> int:
        """How many judges are asked for one verdict."""
        return self.model.count("+") + 1 if self.backend == "panel" else 1

    def identity(self) -> Json:
        """What makes two verdicts the same judge's: backend, model, address, prompt, extraction, sampling."""
        return {name: value for name, value in self.to_dict().items() if name not in _NOT_IDENTITY}

    def judge_id(self, prompt_text: str = "") -> str:
        """12 hex of the identity and the full text of the judging prompt; never of a key."""
        return content_id({**self.identity(), "prompt_text": prompt_text})

    def label(self) -> str:
        """Short text such as `gpt-4o-mini` or `rubric`."""
        name = self.model.rsplit("/", 1)[-1] if self.backend == "local" else self.model
        words = name or self.backend if self.backend != "rubric" else f"rubric {self.model}".strip()
        return f"{words} (single grades)" if self.protocol == "single" else words
