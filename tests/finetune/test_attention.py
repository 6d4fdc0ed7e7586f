"""When the GPU's packed kernel is called, and how, against stand-ins with the parameters of torch 2.11 and 2.13."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.nn.attention import varlen

from limit.encoding.packing import Documents
from limit.finetune import attention

LENGTHS = (5, 9, 3)


def reference(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int,
    scale: float | None, window_size: tuple[int, int],
) -> torch.Tensor:  # fmt: skip
    """Attention of each document by its formula, with the kernel's own checks on (T, H, D) in bf16."""
    assert query.dtype == key.dtype == value.dtype == torch.bfloat16
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert query.shape == key.shape == value.shape
    assert (max_q, max_k) == (max(LENGTHS), max(LENGTHS))
    left, right = window_size
    assert right == 0, "causal"
    outputs = []
    for start, stop in zip(cu_seq_q.tolist(), cu_seq_q.tolist()[1:], strict=False):
        q, k, v = (tensor[start:stop].float().transpose(0, 1) for tensor in (query, key, value))
        scores = q @ k.transpose(1, 2) * (scale or q.shape[-1] ** -0.5)
        distance = torch.arange(stop - start)[:, None] - torch.arange(stop - start)[None]
        seen = (distance >= 0) & ((left < 0) | (distance <= left))
        outputs.append((scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(outputs).to(query.dtype)


def torch_2_11(query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, *,
               return_aux: Any = None, scale: Any = None, window_size: tuple[int, int] = (-1, -1)) -> Any:  # fmt: skip
    return reference(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale, window_size)


def torch_2_13(query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, *,
               return_aux: Any = None, scale: Any = None, window_size: tuple[int, int] = (-1, -1),
               enable_gqa: bool = False, seqused_k: Any = None, block_table: Any = None,
               num_splits: Any = None) -> Any:  # fmt: skip
    assert enable_gqa == (query.shape[1] != key.shape[1])
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return reference(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale, window_size)


@pytest.fixture(params=[torch_2_11, torch_2_13])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    monkeypatch.setattr(varlen, "varlen_attn", request.param)
    attention._varlen_parameters.cache_clear()
    yield request.param
    attention._varlen_parameters.cache_clear()


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_the_kernel_is_asked_for_what_each_document_sees(kernel: Any, window: int | None, key_heads: int) -> None:
    torch.manual_seed(0)
    total = sum(LENGTHS)
    query = torch.randn(1, 4, total, 8)  # rotary embeddings leave queries in fp32 under autocast
    key, value = (torch.randn(1, key_heads, total, 8, dtype=torch.bfloat16) for _ in range(2))
    offsets = torch.tensor([0, 5, 14, 17], dtype=torch.int32)
    documents = Documents(LENGTHS, offsets, max(LENGTHS))
    found = attention._varlen(query, key, value, documents, 0.3, window)
    expected = attention._per_document(query.bfloat16(), key, value, documents, 0.3, window, 0.0)
    assert found.shape == expected.shape == (1, total, 4, 8)
    torch.testing.assert_close(found.float(), expected.float(), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("capability", "heads", "dtype", "fits"),
    [
        ((9, 0), (128, 128), torch.bfloat16, True),
        ((8, 0), (256, 256), torch.float16, True),
        ((7, 5), (64, 64), torch.bfloat16, False),  # a GPU before Ampere
        ((9, 0), (192, 128), torch.bfloat16, False),  # latent attention: values are narrower than keys
        ((9, 0), (512, 512), torch.bfloat16, False),
        ((9, 0), (12, 12), torch.bfloat16, False),
        ((9, 0), (64, 64), torch.float32, False),
    ],
)
def test_the_kernel_is_used_only_for_what_it_takes(
    capability: tuple[int, int], heads: tuple[int, int], dtype: Any, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    query = key = torch.zeros(1, 4, 3, heads[0], dtype=dtype)
    assert attention._fits_kernel(query, key, torch.zeros(1, 4, 3, heads[1], dtype=dtype)) == fits
