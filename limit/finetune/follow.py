"""What happens between steps: progress, stop requests, held-out loss, sample generations, and when to save."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from limit.core import LimitError
from limit.encoding.template import encode_prompt, messages_of
from limit.finetune.examples import Examples
from limit.finetune.loss import causal_lm
from limit.finetune.ranks import first_rank
from limit.finetune.trainer import Finetuner
from limit.jobs.context import JobContext

EVALUATIONS = 8  # held-out losses along one run, beside the first
GENERATIONS = 2  # sample answers along one run, beside the first: they cost far more
RESUME_EVERY_S = 300.0
SAVE_SHARE = 20  # resume checkpoints take at most a twentieth of the time
GENERATED_TOKENS = 64


class Follow(TrainerCallback):
    """The Trainer's callback; `keep_epoch` writes a checkpoint that stays, given the epoch's number."""

    def __init__(
        self, trainer: Finetuner, examples: Examples, context: JobContext, keep_epoch: Callable[[int], None]
    ) -> None:
        self.trainer, self.examples, self.context, self.keep_epoch = trainer, examples, context, keep_epoch
        self.stopped = False
        self._last_save = time.monotonic()
        self._evaluated = -1

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step == 0:
            self._look(0)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.sampler.set_epoch(state.global_step // self.trainer.steps_per_epoch)
        if state.global_step >= self._last_step():  # resumed when only the model was still to be written
            self.trainer.sampler.exhausted = control.should_training_stop = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step, last = state.global_step, self._last_step()
        if args.process_index == 0:
            _require_run(Path(str(args.output_dir)).parent)
            self.context.progress(step, last, eta_s=self.trainer.speed.eta_s(last - step))
        self.stopped = self._agree(self.context.stop_requested())
        control.should_training_stop = self.stopped or step >= last
        control.should_save = self.stopped or self._due(step)
        whole, rest = divmod(step, self.trainer.steps_per_epoch)
        # Before the resume checkpoint: a process killed in between makes this step, and so this epoch, again.
        if not rest and self._planned(step):
            self.keep_epoch(whole)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        last = self._last_step()
        if state.global_step == last or state.global_step % max(1, last // EVALUATIONS) == 0:
            self._look(state.global_step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._last_save = time.monotonic()

    def _last_step(self) -> int:
        trainer = self.trainer
        return last_step(trainer.recipe.stop_after_epoch, trainer.steps_per_epoch, trainer.state.max_steps)

    def _planned(self, step: int) -> bool:
        every = self.trainer.recipe.save_every_epochs
        return bool(every) and step % max(1, round((every or 0) * self.trainer.steps_per_epoch)) == 0

    def _due(self, step: int) -> bool:
        if self._planned(step):
            return True
        waited = time.monotonic() - self._last_save
        return self._agree(waited >= max(RESUME_EVERY_S, SAVE_SHARE * self.trainer.save_seconds))

    def _agree(self, mine: bool) -> bool:
        """What the first process says, on all processes."""
        args = self.trainer.args
        return mine if args.world_size == 1 else first_rank(mine, args.device)

    def _look(self, step: int) -> None:
        """Held-out loss of each source, and what the model says to three prompts. Draws no random numbers."""
        if step == self._evaluated:
            return
        self._evaluated = step
        journal = self.trainer.journal
        for source, examples in sorted(self.examples.held_out.items()):
            loss, tokens = self.trainer.source_loss(examples)
            journal.row("eval", step, source=source, loss=loss, n=len(examples), tokens=tokens)
        every = max(1, self._last_step() // GENERATIONS)
        if self.trainer.sharded or not journal.write or (step % every and step != self._last_step()):
            return
        for sample in self.examples.prompts:
            prompt = messages_of(sample)[:1]
            journal.row("generation", step, prompt=prompt[0]["content"], text=self._answer(prompt))

    @torch.no_grad()
    def _answer(self, prompt: Any) -> str:
        model: Any = causal_lm(self.trainer.model)
        tokenizer: Any = self.trainer.processing_class
        ids = encode_prompt(prompt, tokenizer, self.trainer.recipe.template, self.trainer.recipe.max_seq_len)
        tokens = torch.tensor([ids], device=self.trainer.args.device)
        was_training = model.training
        model.eval()
        try:
            with self.trainer.compute_loss_context_manager(), self.trainer.uncompiled():
                output = model.generate(
                    tokens,
                    attention_mask=torch.ones_like(tokens),
                    max_new_tokens=GENERATED_TOKENS,
                    do_sample=False,
                    pad_token_id=self.trainer.pad_id,
                    eos_token_id=tokenizer.eos_token_id,
                )
        finally:
            model.train(was_training)
        return str(tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)).strip()


def _require_run(folder: Path) -> None:
    """Raise LimitError where somebody has removed the run, whose model would have no place in the end."""
    if not (folder / "run.json").exists():
        raise LimitError(f"{folder} was removed while the run trained, so it ends; launch it again if it is wanted")


def last_step(stop_after_epoch: int | None, steps_per_epoch: int, scheduled: int) -> int:
    """Where training ends: the schedule's last step, or an earlier epoch. Raises LimitError for no step at all."""
    if scheduled < 1:
        raise LimitError("this recipe makes no training step; raise epochs")
    return scheduled if stop_after_epoch is None else min(scheduled, stop_after_epoch * steps_per_epoch)
