"""Greedy answers to generation tasks: one prefill, a key-value cache, rows leaving the batch as they stop.

Notable: greedy whatever the model's own generation config says; a row stops at EOS, at its token limit, or once its
text holds a stop string (what follows would be cut off by the metric anyway). The ids that all prompts of a batch
begin with are computed once. Prompts are padded on the left; padding is masked by length, never by token id.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limit.gauntlet.prompts import Item

if TYPE_CHECKING:
    import torch

SHARED_AT_LEAST = 16
CPU_POSITIONS, CPU_ROWS = 8192, 16
GPU_POSITIONS, GPU_ROWS = 131_072, 128


@dataclass(frozen=True)
class Batch:
    """Indices of items that are answered together."""

    members: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """What the model wrote for one item."""

    item: int
    text: str


class Generator:
    """One model on one device."""

    def __init__(self, model: Any, tokenizer: Any, stops: Sequence[str], *, share: bool, pad_space: bool) -> None:
        self.model, self.tokenizer, self.stops = model, tokenizer, tuple(stops)
        self.share, self.pad_space = share, pad_space
        self.device = next(model.parameters()).device
        self.takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self.tokens_computed = 0

    def plan(self, items: Sequence[Item]) -> list[Batch]:
        """Prompts of like length together, longest first, within the room for keys and values."""
        gpu = self.device.type == "cuda"
        positions, rows = (GPU_POSITIONS, GPU_ROWS) if gpu else (CPU_POSITIONS, CPU_ROWS)
        batches: list[list[int]] = []
        room = 0
        for index in sorted(range(len(items)), key=lambda i: -len(items[i].requests[0].context)):
            need = len(items[index].requests[0].context) + items[index].max_new_tokens
            if not batches or len(batches[-1]) >= rows or (len(batches[-1]) + 1) * room > positions:
                batches.append([])
                room = need
            batches[-1].append(index)
        return [Batch(tuple(batch)) for batch in batches]

    def run(self, items: Sequence[Item], batch: Batch) -> list[Answer]:
        """Answer the items of a batch. `tokens_computed` grows by the positions that went through the model."""
        import torch

        prompts = [items[i].requests[0].context for i in batch.members]
        limits = [items[i].max_new_tokens for i in batch.members]
        with torch.inference_mode():
            written = self._cached(prompts, limits) if self._has_plain_cache() else self._generic(prompts, limits)
        return [Answer(i, self._text(ids)) for i, ids in zip(batch.members, written, strict=True)]

    def _has_plain_cache(self) -> bool:
        """Whether keys and values lie in the cache that rows can leave; recurrent models keep a state of their own."""
        return (
            not getattr(self.model, "_is_stateful", False)
            and "past_key_values" in inspect.signature(self.model.forward).parameters
        )

    def _cached(self, prompts: list[tuple[int, ...]], limits: list[int]) -> list[list[int]]:
        import torch
        from transformers import DynamicCache

        shared = self._common(prompts) if self.share and len(prompts) > 1 else 0
        cache = DynamicCache()
        if shared:
            self._step(torch.tensor([prompts[0][:shared]], device=self.device), None, cache)
            cache.batch_repeat_interleave(len(prompts))
        ids, mask = self._padded([prompt[shared:] for prompt in prompts], shared)
        written: list[list[int]] = [[] for _ in prompts]
        rows = list(range(len(prompts)))
        while True:
            chosen = self._step(ids, mask, cache).tolist()
            for row, token in zip(rows, chosen, strict=True):
                written[row].append(token)
            going = [i for i, row in enumerate(rows) if not self._stopped(written[row], limits[row])]
            if not going:
                return written
            if len(going) < len(rows):
                kept = torch.tensor(going, device=self.device)
                cache.batch_select_indices(kept)
                mask, rows = mask[kept], [rows[i] for i in going]
            ids = torch.tensor([[chosen[i]] for i in going], device=self.device)
            mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)

    def _step(self, ids: torch.Tensor, mask: torch.Tensor | None, cache: Any) -> torch.Tensor:
        """Feed `ids` and return the likeliest next token of each row."""
        options: dict[str, Any] = {}
        if mask is not None:
            options["attention_mask"] = mask
            if self.takes_positions:
                options["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        self.tokens_computed += ids.numel()
        logits = self.model(input_ids=ids, past_key_values=cache, use_cache=True, **options, **self._last).logits
        best: torch.Tensor = logits[:, -1].float().argmax(dim=-1)
        return best

    @property
    def _last(self) -> dict[str, int]:
        return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self.model.forward).parameters else {}

    def _padded(self, prompts: Sequence[Sequence[int]], shared: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        width = max(map(len, prompts))
        ids = torch.zeros((len(prompts), width), dtype=torch.long)
        mask = torch.zeros((len(prompts), shared + width), dtype=torch.long)
        mask[:, :shared] = 1
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, shared + width - len(prompt) :] = 1
        return ids.to(self.device), mask.to(self.device)

    def _common(self, prompts: Sequence[tuple[int, ...]]) -> int:
        """How many ids all prompts begin with, at least one left to each; 0 where sharing would gain nothing."""
        first, last = min(prompts), max(prompts)
        length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        length = min(length, min(map(len, prompts)) - 1)
        return length if length >= SHARED_AT_LEAST else 0

    def _stopped(self, ids: list[int], limit: int) -> bool:
        if len(ids) >= limit or ids[-1] == self.tokenizer.eos_token_id:
            return True
        return bool(self.stops) and any(stop in self._text(ids) for stop in self.stops)

    def _text(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return f" {text}" if self.pad_space else text

    def _generic(self, prompts: list[tuple[int, ...]], limits: list[int]) -> list[list[int]]:
        """transformers' own greedy loop, one prompt at a time: recurrent states must not see padding."""
        import torch

        written = []
        for prompt, limit in zip(prompts, limits, strict=True):
            ids = torch.tensor([prompt], device=self.device)
            eos = self.tokenizer.eos_token_id
            out = self.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1, max_new_tokens=limit,
                eos_token_id=eos, pad_token_id=eos,
            )  # fmt: skip
            self.tokens_computed += out.shape[1]
            written.append(out[0, len(prompt) :].tolist())
        return written
