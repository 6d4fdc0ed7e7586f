"""The model as a recipe trains it: all of it, or low-rank updates on a frozen base, four-bit or not."""

from __future__ import annotations

import os
from typing import Any

import torch

from limit.core import LimitError
from limit.finetune.examples import Examples
from limit.finetune.layers import recompute_activations
from limit.finetune.loss import causal_lm
from limit.finetune.memory import devices, has_bitsandbytes, model_size, wants_recompute
from limit.models import ModelRef, load_model
from limit.specs.run import Recipe


def trainable_model(ref: ModelRef, recipe: Recipe, device: str) -> Any:
    """The model with the weights that the recipe trains: fp32 masters when all are, low-rank ones on a frozen base."""
    if recipe.method == "qlora":
        model = load_model(ref, "bf16", device, quantization_config=_four_bit())
    else:
        # Full finetuning keeps fp32 master weights and computes in bf16 under autocast.
        model = load_model(ref, "fp32" if recipe.method == "full" else "auto", device)
    if recipe.method != "full":
        model = add_adapter(model, recipe)
        if ref.adapter:  # by itself it would name the base below that adapter
            model.peft_config["default"].base_model_name_or_path = str(ref.adapter)
    model.train()
    if _recompute(ref, recipe):
        recompute_activations(model)
        if recipe.method != "full":
            model.enable_input_require_grads()
    return model


def require_context(model: Any, examples: Examples) -> None:
    """Raise LimitError for samples that a model of limited positions or vocabulary cannot read."""
    config = causal_lm(model).config.get_text_config()
    everything = [*examples.train, *(example for kept in examples.held_out.values() for example in kept)]
    positions, longest = getattr(config, "max_position_embeddings", None), max(e.length for e in everything)
    if isinstance(positions, int) and 0 < positions < longest:
        raise LimitError(
            f"the longest sample has {longest:,} tokens and the model was made for {positions:,}; "
            f"set max_seq_len={positions}"
        )
    rows, largest = causal_lm(model).get_input_embeddings().weight.shape[0], max(int(e.ids.max()) for e in everything)
    if largest >= rows:
        raise LimitError(
            f"the tokenizer makes token {largest:,} and the model knows {rows:,}; use the tokenizer that belongs to it"
        )


def _recompute(ref: ModelRef, recipe: Recipe) -> bool:
    """Whether to recompute activations: as the recipe says, or by the estimate that the Launch page shows."""
    device, gpus = devices(int(os.environ.get("WORLD_SIZE", "1")))
    try:
        return wants_recompute(model_size(ref), recipe, device, gpus)
    except LimitError:  # a model whose size cannot be told
        return device.gpu


def add_adapter(model: Any, recipe: Recipe) -> Any:
    """The model frozen, with low-rank updates of every linear layer that are trained."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _four_bit() -> Any:
    why_not = qlora_problem()
    if why_not:
        raise LimitError(why_not)
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def qlora_problem() -> str:
    """Why QLoRA does not work here, empty when it does."""
    if not torch.cuda.is_available():
        return "recipe method 'qlora' needs an NVIDIA GPU; take 'lora'"
    return (
        "" if has_bitsandbytes() else "recipe method 'qlora' needs the bitsandbytes package; install it or take 'lora'"
    )
