"""transformers' Trainer with packed rows: one batch is one optimizer step's samples, split into rows here.

What the Trainer keeps: schedule, clipping, optimizer, mixed precision, FSDP, checkpoint contents, resume, loggers.
What is ours: a step is a set of samples and its loss their exact weighted mean, however they are packed, halved when
memory runs out, or dealt out to processes; checkpoints appear by rename; a loss that is not finite ends the run.
"""

from __future__ import annotations

import contextlib
import errno
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from limit.core import Json, LimitError, read_json
from limit.encoding.packing import (
    Example,
    Row,
    best_fit_decreasing,
    length_groups,
    packed_row,
    padded_row,
    sample_weights,
    share_out,
)
from limit.finetune import layers, ranks, restarts
from limit.finetune.architecture import TrainingMode, to_device
from limit.finetune.checkpoints import (
    STATE,
    folder_size,
    is_disk_full,
    prune,
    reading,
    resume_points,
    staged_folder,
    step_of,
    write_state,
)
from limit.finetune.metrics import Journal, Speed, memory_gb, train_row
from limit.specs.run import Recipe


class StepSampler:
    """Sample numbers of each optimizer step of an epoch; a permutation of its own per (seed, epoch)."""

    def __init__(self, samples: int, batch_size: int, seed: int, drop_last: bool) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.drop_last = drop_last and samples >= batch_size
        self.epoch = 0
        self.exhausted = False

    def __len__(self) -> int:
        return self.samples // self.batch_size if self.drop_last else math.ceil(self.samples / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.samples, generator=generator).tolist()
        for step in range(0 if self.exhausted else len(self)):
            yield order[step * self.batch_size : (step + 1) * self.batch_size]


class Finetuner(Trainer):
    """The Trainer over encoded examples; `mode` says whether rows are packed or padded."""

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        recipe: Recipe,
        examples: list[Example],
        mode: TrainingMode,
        journal: Journal,
        *,
        pad_id: int,
        flops: float,
        peak: float | None,
        **options: Any,
    ) -> None:
        super().__init__(model=model, args=arguments, **options)
        self.recipe, self.examples, self.mode, self.journal = recipe, examples, mode, journal
        self.sampler = StepSampler(len(examples), recipe.global_batch_size, arguments.seed, recipe.drop_last)
        self.row_tokens = recipe.micro_batch_size * recipe.max_seq_len
        self.pad_id, self.flops, self.peak = pad_id, flops, peak
        self.compiled = ""  # what became of the wish to compile the layers, in words
        self.speed = Speed()
        self.tokens_seen = 0
        self.save_seconds = 0.0
        self._staging: Path | None = None

    @property
    def steps_per_epoch(self) -> int:
        return len(self.sampler)

    @property
    def sharded(self) -> bool:
        return bool(self.is_fsdp_enabled)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """All processes draw the same steps; each takes its share of a step in `training_step`."""
        return DataLoader(
            self.examples,  # type: ignore[arg-type]
            batch_sampler=self.sampler,
            collate_fn=list,
            generator=torch.Generator(),
        )

    def floating_point_ops(self, inputs: Any) -> int:
        return 0

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Every weight, as in Composer and plain torch; transformers would spare biases and norms."""
        return [name for name, _ in model.named_parameters()]

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of one optimizer step; returns its loss. Raises LimitError when it is not finite or cannot fit."""
        started = time.monotonic()
        model.train()
        loss, shortage = self._attempt(model, inputs)
        while self._on_any(bool(shortage)):
            self._halve(model, inputs, shortage or "on another process")
            loss, shortage = self._attempt(model, inputs)
        if self.args.world_size > 1:
            self._join(model, loss)
        if not torch.isfinite(loss):
            raise LimitError(_not_finite("loss", float(loss), self.state.global_step + 1))
        tokens = sum(example.length for example in inputs)
        self.tokens_seen += tokens
        self.speed.step(tokens, time.monotonic() - started)
        return loss

    def _attempt(self, model: Any, examples: list[Example]) -> tuple[torch.Tensor, str]:
        """Loss of this process's rows, and what the device said when they did not fit (empty when they did)."""
        try:
            return self._accumulate(model, examples), ""
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            # The failed pass's tensors hang on the traceback; the text alone lets them go.
            return torch.zeros(()), str(error).splitlines()[0][:200] if str(error) else type(error).__name__

    def _accumulate(self, model: Any, examples: list[Example]) -> torch.Tensor:
        """Run this process's rows forward and backward; replicated processes exchange nothing meanwhile."""
        rows = self._rows(examples)
        if self.sharded:
            rows += [self._empty_row(examples)] * (ranks.largest(len(rows), self.args.device) - len(rows))
        elif not rows:
            rows = [self._empty_row(examples)]
        scale = self.args.world_size if self.sharded else 1  # FSDP averages gradients, and we want the sum
        total = torch.zeros((), device=self.args.device)
        for number, row in enumerate(rows, start=1):
            apart = not self.sharded or number < len(rows)
            with self.accelerator.no_sync(model=model) if apart else contextlib.nullcontext():
                with self.compute_loss_context_manager():
                    loss = self._own(model)(row=to_device(row, self.args.device))
                self.accelerator.backward(loss * scale)
            total += loss.detach().float()
        return total

    def _own(self, model: Any) -> Any:
        """What to call: the sharded model, or the replica itself, whose wrapper would wait for others in a pass."""
        return model if self.sharded else self.accelerator.unwrap_model(model)

    def _join(self, model: Any, loss: torch.Tensor) -> None:
        """Sum the loss, in place, and the gradients of replicas; FSDP has summed its own."""
        dist.all_reduce(loss)
        if not self.sharded:
            ranks.sum_gradients(model.parameters())

    def _on_any(self, mine: bool) -> bool:
        return mine if self.sharded else self.on_any_process(mine)

    def on_any_process(self, mine: bool) -> bool:
        return ranks.any_rank(mine, self.args.device) if self.args.world_size > 1 else mine

    def _rows(self, examples: Sequence[Example]) -> list[Row]:
        """This process's rows of a step, weighted over the whole step."""
        weights = sample_weights(examples, self.recipe.loss_weighting)
        share = share_out([example.length for example in examples], self.args.world_size)[self.args.process_index]
        return self.rows_of([examples[index] for index in share], [weights[index] for index in share])

    def rows_of(self, examples: Sequence[Example], weights: Sequence[float]) -> list[Row]:
        """Rows of at most `row_tokens` tokens, packed or padded; a longer sample has a row of its own."""
        plan = best_fit_decreasing if self.mode.packed else length_groups
        rows = []
        for members in plan([example.length for example in examples], self.row_tokens):
            chosen, scale = [examples[index] for index in members], [weights[index] for index in members]
            rows.append(packed_row(chosen, scale) if self.mode.packed else padded_row(chosen, scale, self.pad_id))
        return rows

    def _empty_row(self, examples: Sequence[Example]) -> Row:
        """A shortest sample that counts nothing, for a process with fewer rows than another (FSDP works in step)."""
        shortest = min(examples, key=lambda example: example.length)
        return self.rows_of([shortest], [0.0])[0]

    def _halve(self, model: Any, examples: Sequence[Example], shortage: str) -> None:
        model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        longest = max(example.length for example in examples)
        if self.row_tokens <= longest:
            raise LimitError(
                f"out of memory: one sample of {longest:,} tokens does not fit ({shortage}); lower max_seq_len, "
                "switch activation_checkpointing on, or take the recipe lora or qlora"
            )
        self.row_tokens = max(self.row_tokens // 2, longest)
        if self.sharded:
            self._start_again(shortage)
        self.journal.note(
            self.state.global_step + 1,
            f"memory ran out; the micro-batch is now at most {self.row_tokens:,} tokens, "
            f"the global batch stays {self.recipe.global_batch_size}",
        )

    def _start_again(self, shortage: str) -> None:
        """Sharded processes cannot repeat a step: end, and let all go on from the last checkpoint."""
        restarts.ask_restart(Path(str(self.args.output_dir)), self.row_tokens)
        goes_on = "all processes start again" if restarts.can_restart() else "resume the run to go on"
        raise LimitError(
            f"out of memory at step {self.state.global_step + 1} ({shortage}); the micro-batch is now at most "
            f"{self.row_tokens:,} tokens: {goes_on} from the last checkpoint"
        )

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(float(norm)):
            raise LimitError(_not_finite("gradient norm", float(norm), self.state.global_step + 1))
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write the step's line; external loggers get it through transformers."""
        if "loss" in logs:
            step = self.state.global_step
            values = {
                "epoch": round(float(self.state.epoch or 0), 4),
                "loss": logs["loss"],
                "grad_norm": logs.get("grad_norm"),
                "lr": logs.get("learning_rate"),
                "memory_gb": round(memory_gb(self.args.device), 3),
            }
            remaining = self.state.max_steps - step
            self.journal.row(
                "train", step, **train_row(values, self.tokens_seen, self.speed, remaining, self.flops, self.peak)
            )
        super().log(logs, start_time)

    @torch.no_grad()
    def source_loss(self, examples: Sequence[Example]) -> tuple[float, int]:
        """Mean loss per token over held-out examples, and how many tokens that is."""
        model, tokens = self._own(self.model_wrapped), sum(example.loss_tokens for example in examples)
        model.eval()
        total = 0.0
        for row in self.rows_of(examples, [1.0 / tokens] * len(examples)):
            with self.compute_loss_context_manager(), self.uncompiled():
                total += float(model(row=to_device(row, self.args.device)))
        model.train()
        return total, tokens

    def uncompiled(self) -> Any:
        """Context for what is not training, for which layers would be compiled anew."""
        return layers.uncompiled() if self.compiled else contextlib.nullcontext()

    def _load_from_checkpoint(self, checkpoint: str, model: Any = None) -> None:
        with reading(checkpoint):
            super()._load_from_checkpoint(checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with reading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with reading(checkpoint):
            super()._load_rng_state(checkpoint)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write the resume checkpoint aside and rename it; a full disk costs this checkpoint and not the run."""
        started = time.monotonic()
        folder = Path(str(self.args.output_dir))
        target = folder / f"checkpoint-{self.state.global_step}"
        written = self._write_whole(model, trial, target)
        if not written and self.on_any_process(len(resume_points(folder)) > 1):
            if self.args.should_save:
                prune(folder, keep=1)
            written = self._write_whole(model, trial, target)
        if written and self.args.should_save:
            prune(folder, self.recipe.keep_checkpoints)
        if not written:
            self.journal.note(
                self.state.global_step,
                f"no room for {target.name}: the disk is full; until there is, the run can go on from "
                f"step {self.resume_step()} only",
            )
        self.save_seconds = time.monotonic() - started

    def save_for_resume(self) -> None:
        """Make the run resumable from where it is, unless it is already."""
        target = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        if not self.on_any_process(target in resume_points(target.parent)):
            self._save_checkpoint(self.model, None)

    def resume_step(self) -> int:
        """The step that a resumed run would go on from, 0 for the start."""
        points = resume_points(Path(str(self.args.output_dir)))
        return step_of(points[0]) if points else 0

    def _write_whole(self, model: Any, trial: Any, target: Path) -> bool:
        """Write a checkpoint that is there at once and whole; False when it does not fit the disk, on every process.

        Sharded weights are gathered while they are written, and a process that stopped half-way would leave the
        others waiting: whether there is room is looked at before.
        """
        if self.sharded and self.on_any_process(self._lacks_room(target.parent)):
            return False
        staging = target.parent / f".{target.name}.saving"
        first, full = self.args.should_save, False
        try:
            with contextlib.ExitStack() as stack:
                self._all_do(lambda: stack.enter_context(staged_folder(target)) if first else None)
                self._all_do(lambda: self._write_parts(model, trial, staging))
                self._all_do(lambda: self._tidy(staging) if first else None)
        except Exception as error:
            if not is_disk_full(error):
                raise
            full = True
        return not self.on_any_process(full)

    def _lacks_room(self, folder: Path) -> bool:
        """Whether a checkpoint as large as the last, or as fp32 weights with two moments, has no room."""
        if not self.args.should_save:
            return False
        points = resume_points(folder)
        model: Any = self.model
        weights = 4 * sum(int(p.numel()) for p in model.parameters())
        wanted = folder_size(points[0]) if points else 3 * weights
        return shutil.disk_usage(folder).free < wanted

    def _all_do(self, act: Callable[[], Any]) -> None:
        """Each process its part; all raise when one of them finds the disk full."""
        full: Exception | None = None
        try:
            act()
        except Exception as error:
            if not is_disk_full(error):
                raise
            full = error
        if self.on_any_process(full is not None):
            raise full or OSError(errno.ENOSPC, "the disk is full on another process")

    def _write_parts(self, model: Any, trial: Any, staging: Path) -> None:
        self._staging = staging
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._staging = None

    def _tidy(self, staging: Path) -> None:
        """One folder instead of transformers' two, with what resuming needs beside."""
        inner = staging / f"checkpoint-{self.state.global_step}"
        for path in inner.iterdir():
            path.rename(staging / path.name)
        inner.rmdir()
        write_state(staging, self.progress_state())

    def progress_state(self) -> Json:
        """What a resumed process needs beyond transformers' own state, to pack the same rows again."""
        return {"row_tokens": self.row_tokens, "tokens_seen": self.tokens_seen, "packed": self.mode.packed}

    def restore_progress(self, checkpoint: Path) -> None:
        """Take up `progress_state` of a checkpoint."""
        state = read_json(checkpoint / STATE)
        self.row_tokens, self.tokens_seen = int(state["row_tokens"]), int(state["tokens_seen"])


_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return any(words in text for words in _OUT_OF_MEMORY)


def _not_finite(what: str, value: float, step: int) -> str:
    if step == 1:
        return (
            f"the {what} is {value} before anything was learned (loss is not finite): weights of this model are not "
            "finite, or too large for bf16; use precision fp32, or another copy of the model"
        )
    return (
        f"the {what} became {value} at step {step} (loss is not finite); lower learning_rate, raise warmup_steps, "
        "or use precision fp32"
    )
