"""What may be done to a model's layers before training: recompute their activations, compile them.

Compiling pays where a long run meets a GPU: there it fuses what lies between the matrix products. On a CPU it gained
3 % in steps and lost minutes before them, so it is offered and never chosen by itself. Attention stays outside of the
compiled parts, since the documents of a row differ in every step, and lengths are kept open, so that rows of any
length run through what was compiled for the first. A model or a machine where this fails trains as it is. Fused
arithmetic rounds in another order: a compiled run has the losses of a plain one but for that, and a resumed one too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AttentionInterface

from limit.core import LimitError
from limit.encoding.packing import Row
from limit.finetune.attention import PACKED, packed_attention
from limit.finetune.loss import causal_lm


def recompute_activations(model: Any) -> None:
    """Keep only the inputs of each layer for the backward pass. Raises LimitError for a model without that."""
    inner = causal_lm(model)
    # Renamed in transformers 5.18 or later; the first argument is the same.
    enable = getattr(inner, "activation_checkpointing_enable", None) or inner.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        raise LimitError(
            f"{type(inner).__name__} cannot recompute its activations; set activation_checkpointing=off"
        ) from error


def compile_layers(model: Any, row: Row) -> str:
    """Compile every layer and try it on `row`; returns why not, in words, when the model was left as it was.

    Draws no random numbers and leaves no gradients.
    """
    layers = _layers(model)
    if not layers:
        return f"{type(causal_lm(model)).__name__} does not name its layers"
    AttentionInterface.register(PACKED, torch.compiler.disable(packed_attention))
    for layer in layers:
        layer.compile(dynamic=True)
    try:
        with torch.random.fork_rng():
            model(row=row).backward()
        return ""
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler may fail in any way
        for layer in layers:
            layer._compiled_call_impl = None
        return _first_words(error)
    finally:
        model.zero_grad(set_to_none=True)


def _layers(model: Any) -> list[torch.nn.Module]:
    names = set(causal_lm(model)._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def _first_words(error: BaseException) -> str:
    """The first line that says what happened; the compiler begins with where it happened and a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.endswith(":")]
    return ((telling or lines or [type(error).__name__])[0])[:200].rstrip(".")


@contextlib.contextmanager
def lenient_compiler() -> Iterator[None]:
    """Within the block a layer that cannot be compiled for some row runs as it is, instead of ending the run."""
    import torch._dynamo

    with torch._dynamo.config.patch(suppress_errors=True):
        yield


def uncompiled() -> Any:
    """Context in which compiled layers run as they are: what is not training would be compiled for little."""
    return torch.compiler.set_stance("force_eager")
