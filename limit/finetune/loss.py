"""The loss: output head and cross-entropy only where there is a label, a chunk of positions at a time.

Instruction data has long prompts without loss and models have large vocabularies, so whole logits would be most of
the memory and a good part of the work. `head_loss` computes loss and gradients chunk by chunk in the forward pass and
keeps one hidden-sized gradient, never a logits-sized one.
"""

from __future__ import annotations

import contextlib
import functools
import types
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from limit.encoding.packing import Row
from limit.finetune.attention import packed_pass

CHUNK_LOGITS = 2**25  # logits at a time: 128 MiB in fp32


class _HeadLoss(torch.autograd.Function):
    """Sum over positions of weight x cross-entropy(hidden @ weight.T + bias, target)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        head: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        weights: torch.Tensor,
        chunk: int,
    ) -> torch.Tensor:
        dtype = _compute_dtype(hidden)
        matrix = head.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wanted = any(ctx.needs_input_grad)  # not while watching held-out loss
        grad_hidden = torch.empty_like(hidden) if wanted else None
        grad_head = torch.zeros_like(head, dtype=torch.float32) if head.requires_grad else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and bias.requires_grad else None
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            states = hidden[part].to(dtype)
            logits = (states @ matrix.T).float()
            if bias is not None:
                logits += bias.float()
            rows = torch.arange(len(logits), device=logits.device)
            picked = logits[rows, targets[part]]
            norm = torch.logsumexp(logits, dim=-1)
            total += ((norm - picked) * weights[part]).sum()
            if grad_hidden is None:
                continue
            grad = logits.sub_(norm[:, None]).exp_()  # probabilities, in the logits' own memory
            grad[rows, targets[part]] -= 1
            grad *= weights[part, None]
            if grad_bias is not None:
                grad_bias += grad.sum(0)
            grad = grad.to(dtype)
            grad_hidden[part] = (grad @ matrix).to(hidden.dtype)
            if grad_head is not None:
                grad_head.addmm_(grad.T, states) if dtype == torch.float32 else grad_head.add_(grad.T @ states)
        ctx.save_for_backward(
            grad_hidden,
            None if grad_head is None else grad_head.to(head.dtype),
            None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (scale,) = grads
        hidden, head, bias = (None if grad is None else grad * scale for grad in ctx.saved_tensors)
        return hidden, head, bias, None, None, None


def _compute_dtype(hidden: torch.Tensor) -> torch.dtype:
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def head_loss(
    hidden: torch.Tensor,
    head: torch.nn.Module,
    targets: torch.Tensor,
    weights: torch.Tensor,
    chunk_logits: int = CHUNK_LOGITS,
) -> torch.Tensor:
    """Weighted sum of next-token losses (fp32 scalar) of hidden states (N, D) under a linear head (V, D)."""
    if len(hidden) == 0:
        return hidden.sum() * 0.0
    weight: Any = head.weight
    chunk = max(1, min(len(hidden), chunk_logits // weight.shape[0]))
    result: torch.Tensor = _HeadLoss.apply(hidden, weight, getattr(head, "bias", None), targets, weights, chunk)
    return result


def causal_lm(model: Any) -> Any:
    """The plain causal language model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def install_loss(model: Any, whole_logits: bool = False) -> None:
    """Let `model(row=Row)` return the row's weighted loss; every other call works as before.

    The model's own forward is wrapped, and not its parts, so that data-parallel wrappers see an ordinary forward
    pass. With `whole_logits` the model's own head is used, for models that do more than multiply by a matrix there.
    """
    inner = causal_lm(model)
    original = inner.forward
    if not whole_logits:
        _let_head_count_loss(inner.get_output_embeddings())

    @functools.wraps(original)
    def forward(self: Any, *args: Any, row: Row | None = None, **kwargs: Any) -> Any:
        if row is None:
            return original(*args, **kwargs)
        with packed_pass() if row.documents is not None else contextlib.nullcontext():
            if whole_logits:
                return _whole_logits_loss(original, row)
            states = self.get_decoder()(**model_inputs(row), use_cache=False).last_hidden_state
        return self.get_output_embeddings()(states.flatten(0, 1)[row.where], loss_of=(row.targets, row.weights))

    inner.forward = types.MethodType(forward, inner)


def _let_head_count_loss(head: Any) -> None:
    """Let `head(states, loss_of=(targets, weights))` return the loss.

    FSDP gathers a module's weights around its forward pass, so the loss has to be one of the head's.
    """
    original = head.forward

    @functools.wraps(original)
    def forward(self: Any, states: torch.Tensor, loss_of: tuple[torch.Tensor, torch.Tensor] | None = None) -> Any:
        return original(states) if loss_of is None else head_loss(states, self, *loss_of)

    head.forward = types.MethodType(forward, head)


def model_inputs(row: Row) -> dict[str, Any]:
    """What a transformers model takes: documents only when packed, a mask only when padded."""
    inputs: dict[str, Any] = {"input_ids": row.input_ids}
    if row.documents is not None:
        return {**inputs, "position_ids": row.position_ids, "documents": row.documents}
    return {**inputs, "attention_mask": row.attention_mask}


def _whole_logits_loss(original: Any, row: Row) -> torch.Tensor:
    logits = original(**model_inputs(row), use_cache=False).logits.flatten(0, 1)[row.where].float()
    losses = cross_entropy(logits, row.targets, reduction="none")
    return (losses * row.weights).sum()
