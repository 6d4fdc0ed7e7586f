"""The model side of an evaluation: one replica per device, packs in any order, memory that runs out."""

from __future__ import annotations

import copy
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any

from limit.core import Json, LimitError
from limit.gauntlet.generate import Answer, Batch, Generator, Interrupted, cache_positions
from limit.gauntlet.packs import Budget, Pack, plan
from limit.gauntlet.prompts import Item
from limit.gauntlet.score import CPU_BUDGET, GPU_BUDGET, Score, Scorer
from limit.gauntlet.tasks import Task
from limit.specs.gauntlet import GauntletSpec


@dataclass(frozen=True)
class Work:
    """One pack with the items it needs; `finishes` are the items whose last request is in it."""

    task: Task
    items: Sequence[Item]
    pack: Pack | Batch
    prefix_tokens: int
    finishes: frozenset[int]


class Engine:
    """Runs packs on the device of `model`, or on every GPU that this process may see."""

    def __init__(self, model: Any, tokenizer: Any, spec: GauntletSpec, *, add_space: bool) -> None:
        first = Scorer(model, _budget(model, spec), longest=spec.max_seq_len)
        self.tokenizer, self.add_space = tokenizer, add_space
        self._generators: dict[int, tuple[str, Generator]] = {}
        self.scorers = [first, *(Scorer(m, first.budget, spec.max_seq_len) for m in _replicas(model))]
        self.dtype = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[str(model.dtype).rpartition(".")[2]]

    @property
    def plan(self) -> Json:
        """What decides how requests are packed; a journal of another plan cannot be gone on with."""
        scorer = self.scorers[0]
        sharing = vars(scorer.sharing)
        return {"budget": vars(scorer.budget), "sharing": sharing, "cache": cache_positions(scorer.model)}

    def check(self, items: Sequence[Item]) -> None:
        """Raise LimitError when the model would be asked for more positions, or for other tokens, than it has."""
        self._check_ids(items)
        room = _position_limit(self.scorers[0].model.config.get_text_config())
        sizes = ((item, len(r.context) + len(r.continuation)) for item in items for r in item.requests)
        longest = max(size + item.max_new_tokens for item, size in sizes)
        if room is None or longest <= room:
            return
        answer = max(item.max_new_tokens for item in items)
        raise LimitError(
            f"a prompt of {longest} tokens with its answer does not fit the model's {room} positions; "
            + (f"answers alone take {answer}: leave the task out with --tasks" if answer >= room else "")
            + (f"evaluate with --max-seq-len {room}" if answer < room else "")
        )

    def _check_ids(self, items: Sequence[Item]) -> None:
        """A tokenizer may know more than the model, such as a padding token; what is fed must be known to both."""
        known = self.scorers[0].model.get_input_embeddings().weight.shape[0]
        if len(self.tokenizer) <= known:
            return
        largest = max(max(r.context + r.continuation) for item in items for r in item.requests)
        if largest >= known:
            raise LimitError(
                f"the tokenizer gives token {largest:,}, but the model knows {known:,} tokens; give the tokenizer that "
                f"the model was trained with"
            )

    @property
    def made_for(self) -> int | None:
        """How many positions the model was trained on, where its config says so."""
        positions = getattr(self.scorers[0].model.config.get_text_config(), "max_position_embeddings", None)
        return positions if isinstance(positions, int) and positions > 0 else None

    def beyond(self, items: Sequence[Item]) -> int:
        """How many items go beyond the positions that the model was made for; rotary models answer all the same."""
        room = self.made_for
        sizes = (max(len(r.context) + len(r.continuation) for r in i.requests) + i.max_new_tokens for i in items)
        return 0 if room is None else sum(size > room for size in sizes)

    def packs(self, task: Task, items: Sequence[Item]) -> list[Work]:
        """The plan of a chunk of items, in a fixed order."""
        scorer = self.scorers[0]
        seen: set[tuple[int, ...]] = set()
        if task.type == "generation_task_with_answers":
            batches = self._generator(scorer, task).plan(items)
            return [Work(task, items, b, _first_time(b.prefix, seen), frozenset(b.members)) for b in batches]
        shares = scorer.sharing
        packs = plan(items, scorer.budget, trees=shares.trees, prefixes=shares.prefixes, stages=shares.stages)
        left = {i: len(item.requests) for i, item in enumerate(items)}
        works = []
        for pack in packs:
            extra = _first_time(pack.prefix, seen)
            for tree in pack.trees:
                for path in tree.paths:
                    left[path.item] -= 1
            works.append(Work(task, items, pack, extra, frozenset(i for i in pack.items if left[i] == 0)))
        return works

    def run(self, works: Sequence[tuple[int, Work]], stopping: Callable[[], bool]) -> Iterator[tuple[int, Work, Json]]:
        """Yield each numbered piece of work with {tokens, seconds, scores or answers}; ends early when stopping."""
        if len(self.scorers) == 1:
            for number, work in works:
                values = self._timed(self.scorers[0], work, stopping)
                if values is None:
                    return
                yield number, work, values
            return
        free: queue.SimpleQueue[Scorer] = queue.SimpleQueue()
        for scorer in self.scorers:
            free.put(scorer)

        def on_free_device(work: Work) -> Json | None:
            scorer = free.get()
            try:
                return self._timed(scorer, work, stopping)
            finally:
                free.put(scorer)

        with ThreadPoolExecutor(len(self.scorers)) as pool:
            waiting = {pool.submit(on_free_device, work): (number, work) for number, work in works}
            for future in as_completed(waiting):
                values = future.result()
                if values is not None:
                    yield *waiting[future], values

    def _timed(self, scorer: Scorer, work: Work, stopping: Callable[[], bool]) -> Json | None:
        """What a piece of work brought; None when stopping."""
        if stopping():
            return None
        started = time.perf_counter()
        if isinstance(work.pack, Batch):
            try:
                values = self._answer(scorer, work, work.pack, stopping)
            except Interrupted:
                return None
        else:
            scores = _run_or_halve(scorer, work.pack)
            rows = [[s.item, s.choice, s.sum_logprob, s.greedy, s.lead] for s in scores]
            values = {"tokens": work.pack.tokens + work.prefix_tokens, "scores": rows}
        return {**values, "seconds": time.perf_counter() - started}

    def _answer(self, scorer: Scorer, work: Work, batch: Batch, stopping: Callable[[], bool]) -> Json:
        generator = self._generator(scorer, work.task)
        before = generator.tokens_computed
        answers = _answer_or_halve(generator, work.items, batch, stopping)
        tokens = generator.tokens_computed - before + work.prefix_tokens
        return {"tokens": tokens, "answers": [[a.item, a.text, a.nan] for a in answers]}

    def _generator(self, scorer: Scorer, task: Task) -> Generator:
        """The scorer's generator for a task; it is kept as long as the task, with the keys and values of its prefix."""
        if self.tokenizer.eos_token_id is None:
            raise LimitError(f"task {task.name!r} needs a tokenizer with an end-of-text token; this one has none")
        known, generator = self._generators.get(id(scorer), ("", None))
        if generator is None or known != task.key:
            share, stops = scorer.sharing.prefixes, task.early_stopping_criteria
            cached = share or scorer.sharing.stages
            generator = Generator(
                scorer.model, self.tokenizer, stops, share=share, pad_space=self.add_space, cached=cached
            )
            self._generators[id(scorer)] = task.key, generator
        return generator


def _first_time(prefix: tuple[int, ...], seen: set[tuple[int, ...]]) -> int:
    """Tokens of a prefix that no work before it has; it is among the seen ones then."""
    tokens = 0 if prefix in seen else len(prefix)
    seen.add(prefix)
    return tokens


def _budget(model: Any, spec: GauntletSpec) -> Budget:
    default = GPU_BUDGET if model.device.type == "cuda" else CPU_BUDGET
    if not spec.batch_tokens:
        return default
    return replace(default, plain=spec.batch_tokens, forest=min(default.forest, spec.batch_tokens))


def _replicas(model: Any) -> list[Any]:
    """Copies of a GPU model on the other GPUs that this process may see."""
    import torch

    if model.device.type != "cuda" or getattr(model, "hf_device_map", None):
        return []
    others = [i for i in range(torch.cuda.device_count()) if i != (model.device.index or 0)]
    return [copy.deepcopy(model).to(f"cuda:{i}") for i in others]


def _run_or_halve(scorer: Scorer, pack: Pack) -> list[Score]:
    """Run a pack; where memory does not suffice, its halves one after the other."""
    import torch

    try:
        return scorer.run(pack)
    except torch.OutOfMemoryError as error:
        if len(pack.trees) == 1:
            raise LimitError(
                "the GPU's memory does not suffice for one record; use a smaller --max-seq-len, bf16, or a larger GPU"
            ) from error
    torch.cuda.empty_cache()
    half = len(pack.trees) // 2
    parts = (pack.trees[:half], pack.trees[half:])
    return [score for trees in parts for score in _run_or_halve(scorer, replace(pack, trees=trees))]


def _answer_or_halve(
    generator: Generator, items: Sequence[Item], batch: Batch, stopping: Callable[[], bool]
) -> list[Answer]:
    """Answer a batch; where memory does not suffice, its halves one after the other."""
    import torch

    try:
        return generator.run(items, batch, stopping)
    except torch.OutOfMemoryError as error:
        if len(batch.members) == 1:
            raise LimitError(
                "the GPU's memory does not suffice for one answer; use a smaller --max-seq-len, bf16, or a larger GPU"
            ) from error
    torch.cuda.empty_cache()
    half = len(batch.members) // 2
    parts = (batch.members[:half], batch.members[half:])
    return [a for part in parts for a in _answer_or_halve(generator, items, replace(batch, members=part), stopping)]


def _position_limit(config: Any) -> int | None:
    """How many positions a model has a table for; None for rotary, Bloom's ALiBi and recurrent models."""
    if config.model_type == "mpt":
        return int(config.max_seq_len)
    rotary = any(getattr(config, name, None) for name in ("rope_parameters", "rope_theta", "rope_scaling"))
    if rotary or config.model_type == "bloom" or getattr(config, "alibi", False):
        return None
    limit = getattr(config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) else None
