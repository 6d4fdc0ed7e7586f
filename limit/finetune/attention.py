"""Attention for packed rows: each document attends to itself alone.

Registered with transformers' attention interface as `limit_packed`. On a GPU it is one call of
`torch.nn.attention.varlen`; on a CPU, which has no such kernel, one scaled-dot-product call per document, which beats
a dense block mask because the work is the sum of squares and not the square of the sum. Outside a packed forward pass
(generation, padded batches) it is transformers' own SDPA attention.

A trap this avoids: position ids that restart, together with an all-ones attention mask, silently let documents see
each other; a packed forward pass therefore carries no mask at all.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from limit.encoding.packing import Documents

PACKED = "limit_packed"
# What flash kernels take. Heads of other sizes, fp32 and older GPUs go the slower way, one document at a time.
_KERNEL_DTYPES = (torch.bfloat16, torch.float16)
_KERNEL_HEAD_SIZES = range(8, 257, 8)
_KERNEL_CAPABILITY = (8, 0)  # Ampere

_in_packed_pass: contextvars.ContextVar[bool] = contextvars.ContextVar("in_packed_pass", default=False)


@contextlib.contextmanager
def packed_pass() -> Iterator[None]:
    """Within the block models build no attention mask; documents are kept apart by `packed_attention` instead."""
    token = _in_packed_pass.set(True)
    try:
        yield
    finally:
        _in_packed_pass.reset(token)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    documents: Documents | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention over query (1, H, T, D), key and value (1, H_kv, T, D); returns (1, T, H, D).

    Raises NotImplementedError for features it would get wrong, such as a soft cap or attention sinks.
    """
    if documents is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    for feature in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(feature) is not None:
            raise NotImplementedError(f"packed attention has no {feature}")
    if query.is_cuda and not dropout and _fits_kernel(query, key, value):
        return _varlen(query, key, value, documents, scaling, sliding_window), None
    return _per_document(query, key, value, documents, scaling, sliding_window, dropout), None


def _fits_kernel(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether the GPU's packed kernel takes these heads, on this GPU and in this torch."""
    size = query.shape[-1]
    return (
        value.dtype in _KERNEL_DTYPES
        and size == key.shape[-1] == value.shape[-1]
        and size in _KERNEL_HEAD_SIZES
        and "window_size" in _varlen_parameters()
        and torch.cuda.get_device_capability(query.device) >= _KERNEL_CAPABILITY
    )


def _per_document(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Documents,
    scaling: float | None,
    window: int | None,
    dropout: float,
) -> torch.Tensor:
    grouped = query.shape[1] != key.shape[1]
    parts = [tensor.split(documents.lengths, dim=2) for tensor in (query, key, value)]
    outputs = []
    for q, k, v in zip(*parts, strict=True):
        mask = _window_mask(q.shape[2], window, q.device) if window and q.shape[2] > window else None
        out = scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling, enable_gqa=grouped
        )
        outputs.append(out)
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


def _window_mask(length: int, window: int, device: torch.device) -> torch.Tensor:
    """Causal band: a token sees itself and the `window` - 1 before it, as transformers' sliding attention does."""
    ones = torch.ones(length, length, dtype=torch.bool, device=device)
    return ones.tril() & ones.triu(1 - window)


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Documents,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    known = _varlen_parameters()
    if "enable_gqa" not in known and query.shape[1] != key.shape[1]:  # torch < 2.12
        groups = query.shape[1] // key.shape[1]
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    options: dict[str, Any] = {"window_size": (window - 1 if window else -1, 0), "scale": scaling}
    if "enable_gqa" in known:
        options["enable_gqa"] = query.shape[1] != key.shape[1]
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    offsets = documents.offsets
    # Under autocast rotary embeddings may leave fp32 queries, which flash kernels refuse.
    out: Any = varlen_attn(
        q.to(v.dtype),
        k.to(v.dtype),
        v,
        offsets,
        offsets,
        documents.longest,
        documents.longest,
        **options,
    )
    attended: torch.Tensor = out[None]
    return attended


@functools.cache
def _varlen_parameters() -> frozenset[str]:
    """What the kernel can be told; nothing in a torch before 2.11, which has none or one without windows."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return frozenset()
    return frozenset(inspect.signature(varlen_attn).parameters)


def _packed_mask(*args: Any, **kwargs: Any) -> Any:
    return None if _in_packed_pass.get() else sdpa_mask(*args, **kwargs)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, _packed_mask)
