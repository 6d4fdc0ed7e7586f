"""What to finetune and how."""

from __future__ import annotations

from typing import Literal

from limit.core import LimitError
from limit.specs.base import Spec, option

Template = Literal["alpaca", "instruct-v3", "lima", "instruct-v3-test", "plain", "chat", "tiny"]


class Recipe(Spec):
    """Training hyperparameters; presets lie in `data/recipes/`."""

    method: Literal["full", "lora", "qlora"] = option("which weights are trained", default="full")
    optimizer: Literal["adamw", "decoupled_adamw", "decoupled_lionw"] = option("update rule", default="adamw")
    learning_rate: float = option("peak learning rate", default=1e-5, gt=0)
    beta1: float = option("first moment decay", default=0.9, ge=0, le=1, advanced=True)
    beta2: float = option("second moment decay", default=0.99, ge=0, le=1, advanced=True)
    epsilon: float = option("term that keeps the update finite", default=1e-8, gt=0, advanced=True)
    weight_decay: float = option(
        "share of every weight that a step at the peak rate takes away; `adamw` multiplies it by the rate",
        default=0.0,
        ge=0,
        advanced=True,
    )
    schedule: Literal["linear", "cosine", "constant"] = option("learning rate after the warm-up", default="linear")
    warmup_steps: int = option("steps of linear warm-up", default=50, ge=0, le=100_000_000)
    epochs: float = option("passes over the mix", default=3.0, gt=0, le=10_000)
    max_steps: int | None = option(
        "stop after this many steps, whatever the epochs", default=None, ge=1, le=100_000_000, advanced=True
    )
    stop_after_epoch: int | None = option(
        "end here although the schedule runs on to `epochs` (the paper judged epoch 4 or 6 of 10)",
        default=None,
        ge=1,
        le=10_000,
    )
    global_batch_size: int = option("samples in one optimizer step", default=48, ge=1, le=1_000_000)
    drop_last: bool = option("leave out the last, smaller batch of an epoch", default=False, advanced=True)
    micro_batch_size: int = option(
        "samples on one device at a time; halved by itself when memory runs out", default=4, ge=1, le=1_000_000
    )
    max_seq_len: int = option("tokens of a sample beyond which it is cut", default=2048, ge=8, le=10_000_000)
    precision: Literal["auto", "fp32", "bf16"] = option("number format of weights in the forward pass", default="auto")
    grad_clip_norm: float = option("largest gradient norm; 0 leaves gradients alone", default=1.0, ge=0)
    packing: bool = option("pack several samples in one row, each attending only to itself", default=True)
    loss_weighting: Literal["token", "sample"] = option(
        "mean over tokens of a step, or over its samples", default="token"
    )
    activation_checkpointing: Literal["auto", "on", "off"] = option(
        "recompute activations to save memory", default="auto"
    )
    compile: bool = option(
        "compile the layers with torch.compile; pays on long runs on a GPU, where the first steps take minutes",
        default=False,
        advanced=True,
        later=True,
    )
    template: Template = option("prompt template around each sample", default="alpaca")
    lora_rank: int = option("rank of the low-rank update", default=16, ge=1, le=100_000, advanced=True)
    lora_alpha: int = option("scale of the low-rank update", default=32, ge=1, le=10_000_000, advanced=True)
    lora_dropout: float = option("dropout inside the low-rank update", default=0.05, ge=0, le=1, advanced=True)
    save_every_epochs: float | None = option(
        "write a checkpoint this often; empty: as needed to resume", default=None, gt=0
    )
    keep_checkpoints: int = option(
        "how many resume checkpoints stay on disk", default=2, ge=1, le=10_000, advanced=True
    )
    held_out_per_part: int = option(
        "samples of each part kept out of training to watch its loss", default=32, ge=0, le=1_000_000
    )

    def check(self) -> None:
        for name in ("beta1", "beta2", "lora_dropout"):
            if getattr(self, name) >= 1:
                raise LimitError(f"Recipe.{name} is {getattr(self, name)}; it must be less than 1")


class RunSpec(Spec):
    """One model: a base model alone, or a base model finetuned on a mix with a recipe and a seed."""

    model: str = option("folder or hub id of a causal language model, or `tiny` for the one that ships")
    mix_id: str | None = option("the mix to finetune on; empty: the base model alone", default=None)
    recipe_name: str = option("preset that the recipe started from", default="full")
    recipe: Recipe | None = option("hyperparameters; needed with a mix", default=None)
    seed: int = option("seed of data order, dropout and new weights", default=17, ge=0, le=2**31 - 1)
    trust_remote_code: bool = option("run code that comes with this model", default=False, advanced=True)

    def check(self) -> None:
        if (self.mix_id is None) != (self.recipe is None):
            raise LimitError("a finetuned run needs both a mix and a recipe; a base run has neither")
