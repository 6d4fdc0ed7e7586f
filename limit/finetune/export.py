"""What leaves a run: weights in safetensors, an adapter merged into its base, a model on the hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError
from limit.finetune.card import write_card
from limit.finetune.checkpoints import staged_folder
from limit.models import load_model, load_tokenizer, resolve_model
from limit.settings import Workspace

TOKENIZER_BYTES = 200  # for each token of the vocabulary, with merges, as JSON
CARD_BYTES = 2**18  # card, configs, headers

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl")


def save_weights(trainer: Any, target: Path) -> None:
    """Write the model or adapter with its tokenizer, in bf16 when it was trained so, else in fp32.

    Called on every process: sharded weights are gathered, and the first process writes.
    """
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model)
    state = _gathered(trainer, model) if trainer.sharded else model.state_dict()
    if not trainer.args.should_save:
        return
    if trainer.args.bf16:
        state = _converted(state, torch.bfloat16)
    options: Json = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    if not options:
        options["state_dict"] = state
    model.save_pretrained(target, safe_serialization=True, **options)
    trainer.processing_class.save_pretrained(target)
    _drop_pickles(target)


def saved_bytes(trainer: Any) -> int:
    """What `save_weights` will write, from above."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    adapter = hasattr(model, "peft_config")
    tensors = [p for p in model.parameters() if p.requires_grad or not adapter]  # tied ones are listed once
    each = 2 if trainer.args.bf16 and not adapter else 0
    weights = sum(tensor.numel() * (each or tensor.element_size()) for tensor in tensors)
    return weights + len(trainer.processing_class) * TOKENIZER_BYTES + CARD_BYTES


def _gathered(trainer: Any, model: Any) -> Json:
    """The whole weights of a sharded model, on the first process; copies of tied weights are left out."""
    state: Json = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return {name: tensor for name, tensor in state.items() if name not in model.all_tied_weights_keys}


def _converted(state: Json, dtype: Any) -> Json:
    """The state in another number format; tensors that share memory still do, so tied weights stay one."""
    done: dict[int, Any] = {}
    for tensor in state.values():
        done.setdefault(tensor.data_ptr(), tensor.to(dtype) if tensor.is_floating_point() else tensor)
    return {name: done[tensor.data_ptr()] for name, tensor in state.items()}


def _drop_pickles(folder: Path) -> None:
    for pattern in _PICKLES:
        for path in folder.glob(pattern):
            path.unlink()


def merge_adapter(ws: Workspace, run_name: str, out: Path) -> Path:
    """Write a run's adapter merged into its base model, as a folder that needs nothing of ours.

    Raises LimitError when the run has no finished adapter or `out` already holds something.
    """
    ref = resolve_model(ws, run_name)
    if ref.adapter is None:
        raise LimitError(f"run {run_name} has no adapter to merge; its model is whole in {ref.path}")
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise LimitError(f"{out} already exists; name a new folder for the merged model")
    with staged_folder(out) as target:
        load_model(ref, "auto", "cpu").save_pretrained(target, safe_serialization=True)
        load_tokenizer(ref).save_pretrained(target)
        if ref.run_id:
            write_card(ws, ref.run_id, target)
    return out


def push_model(ws: Workspace, run_name: str, repository: str) -> str:
    """Upload a run's model or adapter with a fresh card to the hub as a private repository; returns its address.

    Raises LimitError without HF_TOKEN, or when the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    ref = resolve_model(ws, run_name)
    if ref.run_id is None or not (ref.adapter or ref.local):
        raise LimitError(f"{run_name} is not a finished run of this workspace; only those can be pushed")
    if not os.environ.get("HF_TOKEN"):
        raise LimitError("pushing to the hub needs a token with write access in HF_TOKEN")
    folder = ref.adapter or Path(ref.path)
    write_card(ws, ref.run_id, folder)
    try:
        api = HfApi()
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, ignore_patterns=list(_PICKLES))
    except Exception as error:  # the hub's client lets errors of its network library through, whichever it uses
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise LimitError(f"the hub did not take {repository!r}: {why}") from error
    return f"https://huggingface.co/{repository}"
