"""Sentence embeddings by a model in a local folder: a plain encoder of transformers, or one of sentence-transformers.

Notable: nothing is fetched, only safetensors are read, no code of the model runs. torch is imported inside a job alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limit.core import Json, LimitError, read_json
from limit.jobs.context import JobContext

SENTENCES = "sentence_bert_config.json"
MOST_TOKENS = 256  # of a text; sentence encoders are trained on less
BATCH = 32
Vectors = npt.NDArray[np.float32]


def embedding_folder(folder: str | Path) -> Path:
    """The folder of a usable encoder. Raises LimitError that names what it lacks."""
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise LimitError(f"there is no folder {str(folder)!r}; name the folder of a sentence-embedding model")
    if not (path / "config.json").is_file():
        raise LimitError(f"{path} has no config.json; name the folder of a sentence-embedding model")
    if not list(path.glob("*.safetensors")):
        raise LimitError(f"{path} has no weights as safetensors; convert the model, or download it in that format")
    pooling_of(path)
    return path


def model_name(folder: str | Path) -> str:
    """What to call the model in a folder: its hub id where it lies in the hub's cache, else its folder's name."""
    path = embedding_folder(folder)
    cached = next((part for part in path.parts if part.startswith("models--")), None)
    if cached:
        return cached.removeprefix("models--").replace("--", "/")
    return f"{path.parent.name}/{path.name}" if path.name == "model" else path.name


def embed(folder: Path, texts: list[str], context: JobContext) -> Vectors:
    """(n, dimensions) unit vectors of texts, in their order. Raises LimitError when the model cannot be loaded."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = embedding_folder(folder)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        model: Any = AutoModel.from_pretrained(str(path), local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        detail = " ".join(str(error).split())[:200]
        raise LimitError(f"the model in {path} cannot be loaded ({detail}); choose another folder") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = "right"  # so that a text has the same positions alone and among longer ones
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.eval().to(device)
    most = min(MOST_TOKENS, *(int(size) for size in _stated_lengths(path, model.config) if size))
    pooling = pooling_of(path)
    order = np.argsort([-len(text) for text in texts], kind="stable")  # longest first: little padding, early failure
    found: Vectors | None = None
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = tokenizer(
                [texts[i].strip() or "." for i in rows],
                padding=True,
                truncation=True,
                max_length=most,
                return_tensors="pt",
            ).to(device)
            states = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
            pooled = _pooled(states.float(), batch["attention_mask"], pooling)
            unit = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
            if found is None:
                found = np.zeros((len(texts), unit.shape[1]), np.float32)
            found[rows] = unit
            context.progress(min(start + BATCH, len(texts)), len(texts))
            if context.stop_requested():
                raise LimitError("the embedding was stopped; start it again when needed")
    return found if found is not None else np.zeros((0, 0), np.float32)


def _stated_lengths(folder: Path, config: Any) -> list[Any]:
    """How many tokens the model can take, and how many it was trained on, where these are told."""
    facts: Json = read_json(folder / SENTENCES) if (folder / SENTENCES).is_file() else {}
    return [getattr(config, "max_position_embeddings", None), facts.get("max_seq_length")]


def _pooled(states: Any, mask: Any, pooling: str) -> Any:
    """(n, dimensions) from (n, tokens, dimensions): of the first or last token of each text, or the mean of all."""
    import torch

    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    numbers = torch.arange(mask.shape[1], device=mask.device)
    place = (mask * numbers).argmax(1) if pooling == "lasttoken" else mask.to(torch.int64).argmax(1)
    return states[torch.arange(len(states), device=mask.device), place]


def pooling_of(folder: Path) -> str:
    """How a sentence-transformers folder makes one vector of a text: mean, cls or lasttoken; mean where none is said.

    Raises LimitError for any other way, because vectors made otherwise than the model was trained for mean little.
    """
    if further := [name for name in _modules(folder) if name not in ("Transformer", "Pooling", "Normalize")]:
        raise LimitError(f"{folder} has a layer of the kind {further[0]} behind its encoder, which is not supported")
    config = folder / "1_Pooling" / "config.json"
    facts: Json = read_json(config) if config.is_file() else {}
    chosen = [
        name.removeprefix("pooling_mode_") for name, on in facts.items() if on is True and "pooling_mode_" in name
    ]
    named = facts.get("pooling_mode")
    chosen += [named] if isinstance(named, str) else []
    known = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls", "lasttoken": "lasttoken"}
    if len(chosen) > 1 or any(name not in known for name in chosen):
        raise LimitError(
            f"{folder} pools tokens by {', '.join(chosen)}, which is not supported; choose a model that takes the mean "
            "of them, the first or the last"
        )
    return known[chosen[0]] if chosen else "mean"


def _modules(folder: Path) -> list[str]:
    """The kinds of layers that a sentence-transformers folder lists, none where it lists nothing."""
    try:
        parts: Any = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(part["type"]).split(".")[-1] for part in parts if isinstance(part, dict) and "type" in part]
