"""A judge in this process: a local transformers model, read by the probability of its verdict labels.

One forward pass a question, no sampling, so the same question has the same answer on a CPU. A label that is one token
in context is read at the last position; otherwise the whole label is scored by its summed log-probability.
"""

from __future__ import annotations

import json
from typing import Any

from limit.core import LimitError
from limit.judge.backends.protocol import Opinion, Question
from limit.judge.prompts import LABELS, pair_messages
from limit.judge.verdicts import label_shares
from limit.models import load_model, load_tokenizer, resolve_model
from limit.settings import Workspace
from limit.specs.judge import JudgeSpec


class LocalBackend:
    """A causal language model as a judge; `model` is a folder, a run, a hub id or `tiny`."""

    concurrency = 1

    def __init__(self, ws: Workspace, spec: JudgeSpec) -> None:
        if spec.protocol == "single":
            raise LimitError("a local judge compares pairs only; choose protocol=pairwise or an openai backend")
        if spec.extraction not in ("auto", "logprob"):
            raise LimitError(f"a local judge is read by label probabilities, not {spec.extraction!r}; use logprob")
        ref = resolve_model(ws, spec.model)
        self.name = ref.name
        self.tokenizer = load_tokenizer(ref)
        self.model = load_model(ref)
        self.max_positions = int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 30)

    def judge(self, question: Question) -> Opinion:
        """Which of two answers is better, as shown; `p_first` and `p_tie` are over the three labels alone."""
        context = self._encode(question)
        labels = [self.tokenizer.encode(self.prefix + label, add_special_tokens=False) for label in LABELS]
        facts: dict[str, Any] = {
            "extraction": "logprob",
            "model_reported": self.name,
            "prompt_tokens": len(context),
            "completion_tokens": 1,
        }
        if len(context) + max(map(len, labels)) > self.max_positions:
            return Opinion("invalid", error_text="too long for the judge's context", **facts)
        scores = list(zip(LABELS, self._score(context, labels), strict=True))
        shares = label_shares(_normalised(scores))
        if shares is None:
            return Opinion("invalid", error_text="the label probabilities are not finite", **facts)
        return Opinion(
            "ok",
            choice=shares.choice,
            p_first=shares.first,
            p_tie=shares.tie,
            logprobs_json=json.dumps(scores),
            **facts,
        )

    @property
    def prefix(self) -> str:
        """What stands before a label: nothing after a chat header, a space after our own `Verdict:`."""
        return "" if self.tokenizer.chat_template else " "

    def _encode(self, question: Question) -> list[int]:
        messages = pair_messages(question.prompt, question.first, question.second, question.nonce, "logprob")
        if self.tokenizer.chat_template:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return list(self.tokenizer.encode(text, add_special_tokens=False))
        return list(self.tokenizer.encode("\n\n".join(m["content"] for m in messages) + "\n\nVerdict:"))

    def _score(self, context: list[int], labels: list[list[int]]) -> list[float]:
        """Summed log-probability of each label after the context."""
        import torch

        if all(len(label) == 1 for label in labels):
            with torch.inference_mode():
                logits = self.model(torch.tensor([context], device=self.model.device)).logits[0, -1].float()
            logprobs = logits.log_softmax(-1)
            return [float(logprobs[label[0]]) for label in labels]
        return [self._score_sequence(context, label) for label in labels]

    def _score_sequence(self, context: list[int], label: list[int]) -> float:
        import torch

        ids = torch.tensor([context + label], device=self.model.device)
        with torch.inference_mode():
            logprobs = self.model(ids).logits[0, len(context) - 1 : -1].float().log_softmax(-1)
        return float(logprobs.gather(-1, ids[0, len(context) :, None]).sum())


def _normalised(scores: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Log-probabilities over the labels alone: a base model puts little mass on them, yet its order counts."""
    import math

    top = max(score for _, score in scores)
    total = top + math.log(sum(math.exp(score - top) for _, score in scores)) if math.isfinite(top) else math.nan
    return [(label, score - total) for label, score in scores]
