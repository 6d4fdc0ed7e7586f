"""What a finetune holds in memory: the model's size, the device it runs on, and bytes by component.

No weights are loaded and no torch is imported: a model's size is read from its config and its safetensors headers.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from limit.core import Json, LimitError, read_json
from limit.models import ModelRef
from limit.settings import SHIPPED
from limit.specs.run import Recipe

CONTEXT_GB = 1.0  # CUDA context and workspace
LOADED_LIBRARIES_GB = 0.6  # torch and transformers in a CPU process
ROW_OVERHEAD = 34  # bytes of saved activations per token, layer and unit of width, half precision (Korthikanti 2022)

KNOWN_MODELS = SHIPPED / "catalog" / "models.json"  # configs of models that need not be here to be estimated


@dataclass(frozen=True)
class ModelSize:
    """Shape of a model: counts of parameters and of layers, widths, vocabulary."""

    parameters: int
    layers: int
    width: int
    vocabulary: int


@dataclass(frozen=True)
class Device:
    """One place to train: a GPU with its memory, or this machine's memory for CPU runs."""

    name: str
    memory_gb: float
    gpu: bool


def memory_parts(size: ModelSize, recipe: Recipe, device: Device, gpus: int, recompute: bool) -> dict[str, float]:
    """Memory per GPU in GB by what it is for. FSDP divides all but activations of a full finetune by the number of
    GPUs; a base under an adapter is whole on each."""
    n, share = size.parameters / 1e9, 1 / max(1, gpus) if recipe.method == "full" else 1.0
    adapter = lora_parameters(size, recipe.lora_rank) / 1e9
    half = recipe.precision != "fp32" and device.gpu
    if recipe.method == "full":
        weights, trained, states = 4 * n + (2 * n if half else 0), n, 1 if recipe.optimizer == "decoupled_lionw" else 2
    else:
        base = _four_bit_gb(size) if recipe.method == "qlora" else n * (2 if half else 4)
        weights, trained, states = base + 4 * adapter, adapter, 2
    row = max(recipe.micro_batch_size, 1) * recipe.max_seq_len
    per_token = (2 if recompute else ROW_OVERHEAD) * size.width * size.layers + (ROW_OVERHEAD if recompute else 0) * (
        size.width
    )
    head = 3 * min(row * size.vocabulary, 2**25) * 4
    return {
        "weights_gb": weights * share,
        "gradients_gb": 4 * trained * share,
        "optimizer_gb": 4 * states * trained * share,
        "activations_gb": (row * per_token * (1 if half else 2) + head) / 1e9,
        "other_gb": CONTEXT_GB if device.gpu else LOADED_LIBRARIES_GB,
    }


def _four_bit_gb(size: ModelSize) -> float:
    """Layers in four bits with their scales; embeddings and output head stay in bf16."""
    tables = min(2 * size.vocabulary * size.width, size.parameters / 2) / 1e9
    return 0.55 * (size.parameters / 1e9 - tables) + 2 * tables


def lora_parameters(size: ModelSize, rank: int) -> int:
    """Trained parameters of low-rank updates on every linear layer: about rank x 18 widths a layer."""
    return rank * size.layers * size.width * 18


def wants_recompute(size: ModelSize, recipe: Recipe, device: Device, gpus: int) -> bool:
    """Whether activations are recomputed; `auto` does so only where they would not fit otherwise."""
    if recipe.activation_checkpointing != "auto":
        return recipe.activation_checkpointing == "on"
    return sum(memory_parts(size, recipe, device, gpus, recompute=False).values()) > 0.9 * device.memory_gb


def model_size(ref: ModelRef) -> ModelSize:
    """Shape of a model from its config, parameters from safetensors headers where they are here, else computed."""
    config = _config(ref)
    counted = _counted_parameters(Path(ref.path)) if ref.local else 0
    try:
        text = config.get("text_config") or config
        width = int(text.get("hidden_size") or text.get("d_model") or text.get("n_embd") or 0)
        layers = int(text.get("num_hidden_layers") or text.get("n_layers") or text.get("n_layer") or 0)
        vocabulary = int(text.get("vocab_size") or 0)
        if min(width, layers, vocabulary) < 1:
            raise ValueError
        return ModelSize(counted or _computed_parameters(text, width, layers, vocabulary), layers, width, vocabulary)
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise LimitError(f"the config of model {ref.name!r} does not say its size") from error


def _config(ref: ModelRef) -> Json:
    if ref.local:
        return read_json(Path(ref.path) / "config.json")
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(ref.path, "config.json")
    if not isinstance(found, str) and ref.path in (known := read_json(KNOWN_MODELS)):
        return dict(known[ref.path])
    if not isinstance(found, str):
        raise LimitError(f"model {ref.path!r} is not in the hub cache yet, so its cost cannot be told beforehand")
    return read_json(Path(found))


def _counted_parameters(folder: Path) -> int:
    """Elements of all tensors, from the headers of the safetensors files."""
    # Some folders hold the weights a second time, as consolidated.safetensors.
    paths = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    return sum(_elements(path) for path in paths)


def _elements(path: Path) -> int:
    """Elements of a safetensors file. Raises LimitError for one that was cut or is something else."""
    try:
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            if length > path.stat().st_size:
                raise ValueError
            header = json.loads(file.read(length))
        return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
        raise LimitError(f"{path} is no whole safetensors file; get the model again") from error


def _computed_parameters(config: Json, width: int, layers: int, vocabulary: int) -> int:
    inner = int(config.get("intermediate_size") or config.get("expansion_ratio", 4) * width)
    heads = int(config.get("num_attention_heads") or config.get("n_heads") or 1)
    groups = int(config.get("num_key_value_heads") or heads)
    gated = 3 if "intermediate_size" in config and config.get("model_type") != "gpt_neox" else 2
    attention = 2 * width * width * (1 + groups / heads)
    tables = vocabulary * width * (1 if config.get("tie_word_embeddings", "d_model" in config) else 2)
    return int(layers * (attention + gated * width * inner) + tables)


def devices(gpus: int | None = None) -> tuple[Device, int]:
    """What training would run on, and how many of it: the smallest GPU here, or this machine's memory."""
    found = _gpu_memory()
    if found:
        name, memory = min(found, key=lambda pair: pair[1])
        return Device(name, memory, True), min(gpus or 1, len(found))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Device("CPU", pages / 1e9, False), 1


@functools.cache
def _gpu_memory() -> tuple[tuple[str, float], ...]:
    """(name, GB) of each GPU as nvidia-smi tells, without touching CUDA in this process."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
        return tuple((line.split(",")[0].strip(), float(line.split(",")[1]) * 1.048576e-3) for line in lines if line)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return ()


def has_bitsandbytes() -> bool:
    """Whether 4-bit weights can be had."""
    return importlib.util.find_spec("bitsandbytes") is not None
