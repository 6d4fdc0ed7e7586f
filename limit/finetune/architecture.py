"""How a model may be trained: packed or padded, with our output head or its own. Found out by trying.

Documents are run through the model alone and together in one row. Where the hidden states agree, packing is exact
for this architecture; where they do not (ALiBi, recurrent layers, absolute positions that cannot restart, attention
that ignores the interface) samples are padded instead, grouped by length. The yardstick is what contamination would
do to this very model, since an untrained one hardly shows it in its loss.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from limit.core import LimitError
from limit.encoding.packing import Example, Row, packed_row, padded_row
from limit.finetune.attention import PACKED, packed_pass
from limit.finetune.loss import causal_lm, install_loss, model_inputs

# Largest accepted difference, as a share of what plain concatenation of the documents would do.
TOLERANCE = {torch.float32: 0.02, torch.bfloat16: 0.2}

# Largest accepted difference of logits, as a share of the largest, between the model's own and output matrix x states.
HEAD_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}

# Settings by which a model changes its logits after the output matrix; a soft cap hardly shows before training.
_HEAD_SETTINGS = {"final_logit_softcapping": None, "logit_scale": 1.0, "logits_scaling": 1.0}


# Settings that limit how far back a token sees, in tokens.
_WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window", "window_size")


class TrainingMode(NamedTuple):
    """What was chosen, and why in words for a person."""

    packed: bool
    whole_logits: bool
    reason: str


def prepare_model(model: Any, want_packing: bool, pad_id: int, longest: int = 0) -> TrainingMode:
    """Install the fastest exact loss on `model` and say which. Raises LimitError when none is exact.

    `longest` is the length of the longest sample to come: an attention window that it exceeds is tried too.
    """
    inner = causal_lm(model)
    was_training = model.training
    model.eval()
    try:
        docs = _probe_documents(inner, longest)
        _require_causal(inner, docs[0])
        why_not = _try_packing(inner, docs) if want_packing else "the recipe turns packing off"
        if why_not and _difference(inner, docs, padded_row(docs, [0.0] * len(docs), pad_id)) > _tolerance(inner):
            raise LimitError(f"{type(inner).__name__} treats padded samples wrongly; it cannot be finetuned here")
        whole_logits = _changes_logits(inner, docs[0])
        install_loss(model, whole_logits)
        reason = f"padded, grouped by length: {why_not}" if why_not else "packed: each document attends to itself alone"
        return TrainingMode(not why_not, whole_logits, reason)
    finally:
        model.train(was_training)


def _require_causal(inner: Any, doc: Example) -> None:
    """Raise LimitError for an encoder, whose tokens see the answer that they should learn to predict.

    What a causal model makes of a token is the same to the bit whatever follows; an untrained encoder differs little.
    """
    other = doc.ids.copy()
    other[-1] = (other[-1] + 1) % inner.get_input_embeddings().weight.shape[0]
    with torch.no_grad():
        before, after = _hidden(inner, doc.ids)[:-1], _hidden(inner, other)[:-1]
    if float((before - after).abs().max()) > 1e-5 * float(before.abs().max()):
        raise LimitError(
            f"{type(inner).__name__} lets a token see those behind it; only causal language models can be finetuned"
        )


def _try_packing(inner: Any, docs: list[Example]) -> str:
    """Switch the model to packed attention where that is exact; else leave it as it was and return the reason."""
    name = type(inner).__name__
    before = inner.config._attn_implementation
    if not inner._can_set_attn_implementation():
        return f"{name} brings its own attention"
    try:
        inner.set_attn_implementation(PACKED)
        if _difference(inner, docs, packed_row(docs, [0.0] * len(docs))) <= _tolerance(inner):
            return ""
        reason = f"documents of one row would see each other in {name}"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # models are foreign code: whatever they raise, they can still be padded
        words = str(error).splitlines() or [type(error).__name__]
        reason = f"{name} does not take part ({words[0][:120]})"
    inner.set_attn_implementation(before)
    return reason


def _changes_logits(inner: Any, doc: Example) -> bool:
    """True when the model does more to its logits than multiply by the output matrix, by its settings or by trying,
    and when it shows no states to multiply."""
    config = inner.config.get_text_config()
    if any(getattr(config, name, None) not in (None, neutral) for name, neutral in _HEAD_SETTINGS.items()):
        return True
    tokens = _tokens(inner, doc.ids)
    with torch.no_grad():
        own = inner(input_ids=tokens, use_cache=False).logits[0].float()
        states, head = _states(inner, input_ids=tokens)[0], inner.get_output_embeddings()
        if states.shape == own.shape or head is None:
            return True
        plain = head(states).float()
    return float((own - plain).abs().max()) > HEAD_TOLERANCE.get(inner.dtype, 2e-2) * float(plain.abs().max())


def _tolerance(inner: Any) -> float:
    return TOLERANCE.get(inner.dtype, 0.2)


@torch.no_grad()
def _difference(inner: Any, docs: list[Example], row: Row) -> float:
    """Largest error of the row's hidden states against documents alone, in units of full contamination."""
    device = inner.get_input_embeddings().weight.device
    row = to_device(row, device)
    with packed_pass() if row.documents is not None else contextlib.nullcontext():
        states = _states(inner, **model_inputs(row)).float()
    if row.documents is not None:
        found = list(states[0].split(row.documents.lengths))
    else:
        found = [line[: doc.length] for line, doc in zip(states, docs, strict=True)]
    alone = [_hidden(inner, doc.ids) for doc in docs]
    together = _hidden(inner, np.concatenate([doc.ids for doc in docs])).split([doc.length for doc in docs])
    worst = max(float((a - b).abs().max()) for a, b in zip(alone, found, strict=True))
    contaminated = max(float((a - b).abs().max()) for a, b in zip(alone, together, strict=True))
    return worst / max(contaminated, 1e-30)


def _hidden(inner: Any, ids: np.ndarray) -> torch.Tensor:
    """Hidden states (T, D) in fp32 of one document alone, through the model's ordinary attention."""
    return _states(inner, input_ids=_tokens(inner, ids))[0].float()


def _states(inner: Any, **inputs: Any) -> torch.Tensor:
    """Hidden states (B, T, D), or logits (B, T, V) of a model that does not part with its states."""
    decoder = inner.get_decoder()
    output = (decoder if isinstance(decoder, PreTrainedModel) else inner)(**inputs, use_cache=False)
    states: torch.Tensor = output.last_hidden_state if hasattr(output, "last_hidden_state") else output.logits
    return states


def _tokens(inner: Any, ids: np.ndarray) -> torch.Tensor:
    """Token ids (1, T) where the model's embeddings lie."""
    return torch.from_numpy(ids).long().to(inner.get_input_embeddings().weight.device)[None]


def _probe_documents(model: Any, longest: int) -> list[Example]:
    """Three documents of different length, their tokens spread over the vocabulary, and one that exceeds windows."""
    generator = np.random.default_rng(0)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    docs = []
    config = model.config.get_text_config()
    windows = [size for name in _WINDOWS if isinstance(size := getattr(config, name, None), int) and size < longest]
    for length in (11, 19, 5, *(size + 7 for size in windows)):
        ids = generator.integers(0, vocabulary, length).astype(np.int32)
        docs.append(Example(ids, ids, "probe"))
    return docs


def to_device(row: Row, device: torch.device) -> Row:
    """The row with its tensors on `device`."""
    documents = row.documents
    if documents is not None:
        documents = replace(documents, offsets=documents.offsets.to(device, non_blocking=True))
    moved: Any = {
        name: value.to(device, non_blocking=True) for name, value in row._asdict().items() if torch.is_tensor(value)
    }
    return row._replace(documents=documents, **moved)
