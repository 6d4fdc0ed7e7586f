"""Sentence embeddings by a model in a local folder: a plain encoder of transformers, or one of sentence-transformers.

Notable: nothing is fetched, only safetensors are read, no code of the model runs. torch is imported inside a job alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limit.core import Json, LimitError, read_json
from limit.jobs.context import JobContext

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
    return path


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
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.eval().to(device)
    most = min(MOST_TOKENS, int(getattr(model.config, "max_position_embeddings", None) or MOST_TOKENS))
    first_token = _pools_first_token(path)
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
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            pooled = states[:, 0] if first_token else (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            unit = torch.nn.functional.normalize(pooled.float(), dim=1).cpu().numpy()
            if found is None:
                found = np.zeros((len(texts), unit.shape[1]), np.float32)
            found[rows] = unit
            context.progress(min(start + BATCH, len(texts)), len(texts))
            if context.stop_requested():
                raise LimitError("the embedding was stopped; start it again when needed")
    return found if found is not None else np.zeros((0, 0), np.float32)


def _pools_first_token(folder: Path) -> bool:
    """Whether a sentence-transformers folder takes the first token's vector; others take the mean of all."""
    config = folder / "1_Pooling" / "config.json"
    pooling: Json = read_json(config) if config.is_file() else {}
    return bool(pooling.get("pooling_mode_cls_token"))
