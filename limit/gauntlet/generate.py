"""Greedy answers to generation tasks: one prefill, a key-value cache, rows leaving the batch as they stop.

Notable: greedy whatever the model's own generation config says; a row stops at EOS, at its token limit, or once its
text holds a stop string (what follows would be cut off by the metric anyway). The ids that all prompts of a task begin
with are computed once. Prompts are padded on the left; padding is masked by length, never by token id.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limit.gauntlet.packs import Ids, common_start
from limit.gauntlet.prompts import Item

if TYPE_CHECKING:
    import torch

SHARED_AT_LEAST = 16
CPU_ROWS, GPU_ROWS = 32, 128
CPU_CACHE_BYTES = 512 << 20
CPU_PREFILL, GPU_PREFILL = 1024, 16384  # token positions in one pass over prompts
NARROWER_AT_MOST = 8  # prompts in one pass differ in length by at most an eighth of the longest


class Interrupted(Exception):
    """Somebody asked to stop in the middle of a batch; its answers are lost."""


@dataclass(frozen=True)
class Batch:
    """Indices of items that are answered together, longest prompt first, after a beginning that they share."""

    members: tuple[int, ...]
    prefix: Ids = ()


@dataclass(frozen=True)
class Answer:
    """What the model wrote for one item; `nan` where a token of it was chosen among numbers that are none."""

    item: int
    text: str
    nan: bool = False


class Generator:
    """One model on one device; `cached` says whether it takes keys and values, `share` whether those of a prefix."""

    def __init__(
        self, model: Any, tokenizer: Any, stops: Sequence[str], *, share: bool, pad_space: bool, cached: bool = True
    ) -> None:
        self.model, self.tokenizer, self.stops = model, tokenizer, tuple(stops)
        self.share, self.pad_space = share, pad_space
        self.device = next(model.parameters()).device
        known = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in known
        # Rows are padded on the left: a model must take the places of its tokens, or have none.
        places = self.takes_positions or model.config.get_text_config().model_type in ("mpt", "bloom")
        self.has_plain_cache = cached and places and keeps_plain_cache(model)
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self._special = frozenset(tokenizer.all_special_ids)
        # A token that is shown has a byte at least; twice as many tokens are more than a stop string can lie in.
        self._tail = 2 * max((len(stop.encode()) for stop in self.stops), default=0) + 4
        self._prefix: Ids = ()
        self._prefix_cache: Any = None
        self.tokens_computed = 0

    def plan(self, items: Sequence[Item]) -> list[Batch]:
        """Prompts of like length together, longest first, within the room for keys and values."""
        gpu = self.device.type == "cuda"
        positions, rows = cache_positions(self.model), GPU_ROWS if gpu else CPU_ROWS
        groups: dict[Ids, list[int]] = {}
        for index, item in enumerate(items):
            head = item.requests[0].context[: item.shared] if self.share else ()
            groups.setdefault(head, []).append(index)
        batches = []
        for members in groups.values():
            prefix = self._common([items[i].requests[0].context for i in members])
            batches += [Batch(tuple(part), prefix) for part in _parts(items, members, positions, rows)]
        return batches

    def run(self, items: Sequence[Item], batch: Batch, stopping: Callable[[], bool] = lambda: False) -> list[Answer]:
        """Answer the items of a batch; `tokens_computed` grows by the positions of its rows.

        The prefix is not counted, since other batches use it too. Raises Interrupted when `stopping` says so.
        """
        import torch

        prompts = [items[i].requests[0].context for i in batch.members]
        limits = [items[i].max_new_tokens for i in batch.members]
        with torch.inference_mode():
            if self.has_plain_cache:
                written = self._cached(prompts, limits, len(batch.prefix), stopping)
            else:
                written = [self._generic(*one) for one in zip(prompts, limits, strict=True) if not _raise(stopping)]
        return [Answer(i, self._text(ids), nan) for i, (ids, nan) in zip(batch.members, written, strict=True)]

    def _cached(
        self, prompts: list[Ids], limits: list[int], prefix: int, stopping: Callable[[], bool]
    ) -> list[tuple[list[int], bool]]:
        """(ids, whether NaN was met) of each row."""
        import torch

        chosen, cache, mask = self._prefilled(prompts, limits, prefix)
        broken = [False] * len(prompts)
        places = torch.tensor([[len(prompt)] for prompt in prompts], device=self.device)
        padded, width = bool((~mask).any()), max(map(len, prompts))
        written: list[list[int]] = [[] for _ in prompts]
        rows = list(range(len(prompts)))
        while True:
            for row, (token, nan) in zip(rows, chosen, strict=True):
                written[row].append(token)
                broken[row] |= bool(nan)
            for slot in reversed(range(len(rows))):
                if self._stopped(written[rows[slot]], limits[rows[slot]]):
                    cache.drop(slot)
                    rows[slot], chosen[slot] = rows[-1], chosen[-1]
                    del rows[-1], chosen[-1]
                    mask[slot], places[slot] = mask[len(rows)], places[len(rows)]
            if not rows:
                return list(zip(written, broken, strict=True))
            _raise(stopping)
            width += 1
            options: dict[str, Any] = {"attention_mask": mask[: len(rows), :width].long()} if padded else {}
            if self.takes_positions:
                options["position_ids"] = places[: len(rows)]
            ids = torch.tensor([[token] for token, _ in chosen], device=self.device)
            chosen = self._step(ids, cache, **options)
            places = places + 1

    def _prefilled(
        self, prompts: list[Ids], limits: list[int], prefix: int
    ) -> tuple[list[tuple[int, int]], Any, torch.Tensor]:
        """(first token of each row with its NaN flag, keys and values of all prompts, mask of the whole room).

        Prompts stand at the right edge of their columns, so that what is written next stands in one column.
        """
        import torch
        from transformers import DynamicCache

        from limit.gauntlet.cache import SlotCache

        width = max(map(len, prompts))
        room = width + max(limits)
        cache = SlotCache(len(prompts), room)
        mask = torch.ones((len(prompts), room), dtype=torch.bool, device=self.device)
        chosen: list[tuple[int, int]] = []
        for begin, end in self._passes(prompts, prefix):
            group = prompts[begin:end]
            past = self._shared(prompts[0][:prefix], end - begin) if prefix else DynamicCache()
            ids, known = self._padded([prompt[prefix:] for prompt in group], prefix)
            options: dict[str, Any] = {} if bool(known.all()) else {"attention_mask": known.long()}
            if self.takes_positions:
                options["position_ids"] = (known.long().cumsum(dim=1) - 1).clamp(min=0)[:, prefix:]
            chosen += self._step(ids, past, **options)
            column = width - ids.shape[1]
            cache.take(past, begin, prefix, column)
            mask[begin:end, prefix:column] = False
            mask[begin:end, column:width] = known[:, prefix:]
        return chosen, cache, mask

    def _passes(self, prompts: list[Ids], prefix: int) -> list[tuple[int, int]]:
        """Ranges of prompts that are read in one pass: few positions, and little padding."""
        budget = GPU_PREFILL if self.device.type == "cuda" else CPU_PREFILL
        passes: list[tuple[int, int]] = []
        widest = 0
        for number, prompt in enumerate(prompts):
            length = len(prompt) - prefix
            begin = passes[-1][0] if passes else 0
            if passes and (number + 1 - begin) * widest <= budget and widest - length <= widest // NARROWER_AT_MOST:
                passes[-1] = (begin, number + 1)
            else:
                passes.append((number, number + 1))
                widest = length
        return passes

    def _shared(self, prefix: Ids, rows: int) -> Any:
        """A copy for `rows` of the keys and values of a prefix, which are computed when it changes."""
        import torch
        from transformers import DynamicCache

        if self._prefix != prefix:
            self._prefix_cache = DynamicCache()
            self.model(
                input_ids=torch.tensor([prefix], device=self.device),
                past_key_values=self._prefix_cache,
                use_cache=True,
                **self._last,
            )
            self._prefix = prefix
        made = DynamicCache()
        for number, layer in enumerate(self._prefix_cache.layers):
            made.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), number)
        return made

    def _step(self, ids: torch.Tensor, cache: Any, **options: Any) -> list[tuple[int, int]]:
        """Feed `ids` and return the likeliest next token of each row, with 1 where it was chosen among NaN."""
        import torch

        self.tokens_computed += ids.numel()
        logits = self.model(input_ids=ids, past_key_values=cache, use_cache=True, **options, **self._last).logits
        last = logits[:, -1].float()
        best = last.argmax(dim=-1, keepdim=True)  # NaN counts as the largest
        both = torch.cat([best, last.gather(1, best).isnan().long()], dim=1).tolist()
        return [(token, nan) for token, nan in both]

    def _padded(self, prompts: Sequence[Ids], shared: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids padded on the left, mask with `shared` columns before them)."""
        import torch

        width = max(map(len, prompts))
        ids = torch.zeros((len(prompts), width), dtype=torch.long)
        mask = torch.zeros((len(prompts), shared + width), dtype=torch.bool)
        mask[:, :shared] = True
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, shared + width - len(prompt) :] = True
        return ids.to(self.device), mask.to(self.device)

    def _common(self, prompts: Sequence[Ids]) -> Ids:
        """The ids that all prompts begin with, at least one left to each; none where sharing would gain nothing."""
        if not self.share or not self.has_plain_cache or len(prompts) < 2:
            return ()
        start = common_start(prompts)[: min(map(len, prompts)) - 1]
        return start if len(start) >= SHARED_AT_LEAST else ()

    def _stopped(self, ids: list[int], limit: int) -> bool:
        if len(ids) >= limit or ids[-1] == self.tokenizer.eos_token_id:
            return True
        if not self.stops:
            return False
        end: list[int] = []
        for token in reversed(ids):
            if len(end) == self._tail:
                break
            if token not in self._special:
                end.append(token)
        return self._holds_stop(end[::-1]) and self._holds_stop(ids)

    def _holds_stop(self, ids: list[int]) -> bool:
        text = self._text(ids)
        return any(stop in text for stop in self.stops)

    def _text(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return f" {text}" if self.pad_space else text

    def _generic(self, prompt: Ids, limit: int) -> tuple[list[int], bool]:
        """transformers' own greedy loop, one prompt at a time: recurrent states must not see padding."""
        import torch
        from transformers import LogitsProcessorList

        watch = _Watch()
        ids = torch.tensor([prompt], device=self.device)
        eos = self.tokenizer.eos_token_id
        out = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1, max_new_tokens=limit,
            eos_token_id=eos, pad_token_id=eos, logits_processor=LogitsProcessorList([watch]),
        )  # fmt: skip
        self.tokens_computed += out.shape[1]
        return out[0, len(prompt) :].tolist(), watch.nan


class _Watch:
    """A step of transformers' loop that changes nothing and remembers whether a score was NaN."""

    def __init__(self) -> None:
        self.nan = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.nan |= bool(scores.isnan().any())
        return scores


def cache_positions(model: Any) -> int:
    """For how many tokens there is room for keys and values: half of a GPU beside the weights, or what a CPU spares.

    A function of the model and the device alone, so that an evaluation that goes on later has the same batches.
    """
    import torch

    each = _bytes_of_a_position(model)
    if each is None:
        return 1
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    if model.device.type == "cuda":
        room = (torch.cuda.get_device_properties(model.device).total_memory - weights) // 2
    else:
        room = max(CPU_CACHE_BYTES, weights // 4)
    return max(1, int(room // each))


def keeps_plain_cache(model: Any) -> bool:
    """Whether keys and values lie in a cache that is handed over; recurrent models keep a state of their own."""
    known = inspect.signature(model.forward).parameters
    return "past_key_values" in known and not getattr(model, "_is_stateful", False)


def _bytes_of_a_position(model: Any) -> int | None:
    """What all layers keep of one token, seen by feeding one: layers may differ, and configs name it in many ways."""
    import torch
    from transformers import DynamicCache

    cache: Any = DynamicCache()
    try:
        with torch.inference_mode():
            model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device), past_key_values=cache,
                  use_cache=True)  # fmt: skip
        kept: list[torch.Tensor] = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept) or None
    except Exception:  # a model with a cache of its own raises whatever it likes; it is answered row by row
        return None


def _parts(items: Sequence[Item], members: Sequence[int], positions: int, rows: int) -> list[list[int]]:
    """Members of a group in batches of like length; one at least in each, whatever room it needs."""
    parts: list[list[int]] = []
    room = 0
    for index in sorted(members, key=lambda i: -len(items[i].requests[0].context)):
        if not parts or len(parts[-1]) >= rows or (len(parts[-1]) + 1) * room > positions:
            parts.append([])
            room = len(items[index].requests[0].context) + items[index].max_new_tokens
        parts[-1].append(index)
    return parts


def _raise(stopping: Callable[[], bool]) -> bool:
    if stopping():
        raise Interrupted
    return False
