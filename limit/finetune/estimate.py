"""What a finetune will cost: memory by component, time and disk, corrected by the runs this machine has finished.

No weights are loaded and no torch is imported: the model's size is read from its config and its safetensors headers,
tokens are counted at four characters each. Finished runs are data points: the ratio of what they took to what this
module would have said corrects the next estimate, for the same device and method first.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import math
import os
import shutil
import statistics
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from limit.core import Json, LimitError, read_json
from limit.finetune.metrics import flops_per_token, peak_flops
from limit.models import ModelRef, resolve_model
from limit.settings import SHIPPED, Workspace
from limit.specs.run import Recipe, RunSpec

CHARS_PER_TOKEN = 4.0
EXPECTED_MFU = 0.4  # of peak on a GPU, before this machine has shown better
CPU_FLOPS = 25e9  # one busy core, fp32
COMPUTED_WEIGHT = 0.5
START_S = 15.0  # imports, loading, held-out losses and generations, before a run has shown its own
CONTEXT_GB = 1.0  # CUDA context and workspace
LOADED_LIBRARIES_GB = 0.6  # torch and transformers in a CPU process
ROW_OVERHEAD = 34  # bytes of saved activations per token, layer and unit of width, half precision (Korthikanti 2022)

KNOWN_MODELS = SHIPPED / "catalog" / "models.json"  # configs of models that need not be here to be estimated

Fits = Literal["fits", "tight", "does not fit", "unknown"]


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


@dataclass(frozen=True)
class Estimate:
    """Figures for one run; memory per GPU in GB, time in seconds, disk in GB. `basis` says how much to trust them."""

    weights_gb: float
    gradients_gb: float
    optimizer_gb: float
    activations_gb: float
    other_gb: float
    memory_gb: float
    device: str
    device_memory_gb: float
    gpus: int
    fits: Fits
    why: str
    activation_checkpointing: bool
    steps: int
    steps_per_epoch: int
    samples: int
    tokens: int
    seconds: float
    disk_gb: float
    free_disk_gb: float
    basis: str

    def to_json(self) -> Json:
        return asdict(self)


def estimate_finetune(
    ws: Workspace, spec: RunSpec, gpus: int | None = None, mix_size: tuple[int, int] | None = None
) -> Estimate:
    """What `spec` will take here. Raises LimitError when the model or the mix cannot be found or sized.

    `mix_size` (rows, characters) stands in for a mix that is not built yet.
    """
    if spec.recipe is None or spec.mix_id is None:
        raise LimitError("only a finetune can be estimated; give a mix and a recipe")
    recipe = spec.recipe
    size = model_size(resolve_model(ws, spec.model))
    device, count = devices(gpus)
    rows, chars = mix_size or _mix_size(ws, spec.mix_id)
    samples = max(1, rows - min(recipe.held_out_per_part, rows // 20))
    per_epoch = steps_per_epoch(samples, recipe)
    steps = total_steps(per_epoch, recipe)
    known = _calibration(ws, spec, device)
    computed = _tokens_per_sample(chars, rows, recipe) * known.tokens
    tokens = round(min(computed, recipe.max_seq_len) * min(steps * recipe.global_batch_size, samples * steps))
    recompute = wants_recompute(size, recipe, device, count)
    parts = memory_parts(size, recipe, device, count, recompute)
    parts["other_gb"] = max(0.1, parts["other_gb"] + known.memory_gb)
    seconds = tokens * _flops(size, recipe, tokens / max(1, steps * recipe.global_batch_size)) / _rate(device, count)
    memory = sum(parts.values())
    fits, why = _verdict(memory, device, recipe)
    return Estimate(
        **{name: round(value, 3) for name, value in parts.items()},
        memory_gb=round(memory, 3),
        device=device.name,
        device_memory_gb=round(device.memory_gb, 1),
        gpus=count if device.gpu else 0,
        fits=fits,
        why=why,
        activation_checkpointing=recompute,
        steps=steps,
        steps_per_epoch=per_epoch,
        samples=samples,
        tokens=tokens,
        seconds=round(seconds * known.factor * (4 / 3 if recompute else 1) + known.overhead_s, 1),
        disk_gb=round(_disk(size, recipe, per_epoch, steps), 3),
        free_disk_gb=round(_free_disk(ws), 1),
        basis=known.basis,
    )


def steps_per_epoch(samples: int, recipe: Recipe) -> int:
    """Optimizer steps of one pass."""
    if recipe.drop_last and samples >= recipe.global_batch_size:
        return samples // recipe.global_batch_size
    return math.ceil(samples / recipe.global_batch_size)


def total_steps(per_epoch: int, recipe: Recipe) -> int:
    """Optimizer steps that will really run."""
    planned = recipe.max_steps or math.ceil(recipe.epochs * per_epoch)
    return min(planned, recipe.stop_after_epoch * per_epoch) if recipe.stop_after_epoch else planned


def memory_parts(size: ModelSize, recipe: Recipe, device: Device, gpus: int, recompute: bool) -> dict[str, float]:
    """Memory per GPU in GB by what it is for; FSDP divides all but activations by the number of GPUs."""
    n, share = size.parameters / 1e9, 1 / max(1, gpus)
    adapter = lora_parameters(size, recipe.lora_rank) / 1e9
    half = recipe.precision != "fp32" and device.gpu
    if recipe.method == "full":
        weights, trained, states = 4 * n + (2 * n if half else 0), n, 1 if recipe.optimizer == "decoupled_lionw" else 2
    else:
        base = 0.55 if recipe.method == "qlora" else (2 if half else 4)
        weights, trained, states = base * n + 4 * adapter, adapter, 2
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


def lora_parameters(size: ModelSize, rank: int) -> int:
    """Trained parameters of low-rank updates on every linear layer: about rank x 18 widths a layer."""
    return rank * size.layers * size.width * 18


def wants_recompute(size: ModelSize, recipe: Recipe, device: Device, gpus: int) -> bool:
    """Whether activations are recomputed; `auto` does so only where they would not fit otherwise."""
    if recipe.activation_checkpointing != "auto":
        return recipe.activation_checkpointing == "on"
    return sum(memory_parts(size, recipe, device, gpus, recompute=False).values()) > 0.9 * device.memory_gb


def _verdict(memory: float, device: Device, recipe: Recipe) -> tuple[Fits, str]:
    if recipe.method == "qlora" and not (device.gpu and has_bitsandbytes()):
        return "does not fit", "QLoRA needs an NVIDIA GPU and the bitsandbytes package; take LoRA"
    share = memory / device.memory_gb
    where = f"{memory:.1f} GB of {device.memory_gb:.1f} GB on {device.name}"
    if share > 1:
        smaller = "LoRA, or more GPUs" if recipe.method == "full" else "QLoRA, a shorter max_seq_len, or more GPUs"
        return "does not fit", f"{where}; try {smaller}"
    return ("tight", f"{where}; the micro-batch will halve itself if need be") if share > 0.85 else ("fits", where)


def _flops(size: ModelSize, recipe: Recipe, context: float) -> float:
    body = size.parameters - size.vocabulary * size.width
    return flops_per_token(body, size.layers, size.width, context, 1.0 if recipe.method == "full" else 0.0)


def _rate(device: Device, gpus: int) -> float:
    if not device.gpu:
        return CPU_FLOPS
    return (peak_flops(device.name) or 100e12) * EXPECTED_MFU * max(1, gpus)


def _tokens_per_sample(chars: int, rows: int, recipe: Recipe) -> float:
    template = 0 if recipe.template in ("plain", "tiny") else 40
    return min(chars / max(rows, 1) / CHARS_PER_TOKEN + template, recipe.max_seq_len)


def _disk(size: ModelSize, recipe: Recipe, per_epoch: int, steps: int) -> float:
    """GB at the worst moment: resume checkpoints with optimizer state, kept epochs, the final model."""
    n = size.parameters / 1e9
    trained = n if recipe.method == "full" else lora_parameters(size, recipe.lora_rank) / 1e9
    states = 1 if recipe.optimizer == "decoupled_lionw" else 2
    resume = (recipe.keep_checkpoints + 1) * 4 * (1 + states) * trained
    kept = 0
    if recipe.save_every_epochs:
        kept = int(steps / per_epoch / max(1.0, recipe.save_every_epochs))
    saved = (2 if recipe.precision == "bf16" else 4) * trained
    return resume + (kept + 1) * saved


def _mix_size(ws: Workspace, mix_id: str) -> tuple[int, int]:
    path = ws.mix(mix_id) / "mix.json"
    if not path.exists():
        raise LimitError(f"there is no mix {mix_id!r} in {ws.mixes}; build one with `limit mix build`")
    mix = read_json(path)
    return int(mix["rows"]), int(mix["chars"])


def _free_disk(ws: Workspace) -> float:
    folder = ws.root
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9


def model_size(ref: ModelRef) -> ModelSize:
    """Shape of a model from its config, parameters from safetensors headers where they are here, else computed."""
    config = _config(ref)
    text = config.get("text_config") or config
    width = int(text.get("hidden_size") or text.get("d_model") or text.get("n_embd") or 0)
    layers = int(text.get("num_hidden_layers") or text.get("n_layers") or text.get("n_layer") or 0)
    vocabulary = int(text.get("vocab_size") or 0)
    if not (width and layers and vocabulary):
        raise LimitError(f"the config of model {ref.name!r} does not say its size")
    counted = _counted_parameters(Path(ref.path)) if ref.local else 0
    return ModelSize(counted or _computed_parameters(text, width, layers, vocabulary), layers, width, vocabulary)


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
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total


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


def finished_runs(ws: Workspace) -> Iterator[tuple[RunSpec, Json]]:
    """Requests and summaries of the finetunes that finished here."""
    for path in ws.runs.glob("*/train/summary.json"):
        try:
            run, summary = read_json(path.parent.parent / "run.json"), read_json(path)
            fields: Any = {info.name: run[info.name] for info in RunSpec.options() if info.name in run}
            if summary.get("state") == "finished" and summary.get("tokens_per_s"):
                yield RunSpec.from_dict(fields), summary
        except (LimitError, KeyError):
            continue


@dataclass(frozen=True)
class Calibration:
    """What finished runs say: factors on the computed time per token and on the tokens, GB to add, seconds of start
    and evaluation, and all that in words."""

    factor: float
    tokens: float
    memory_gb: float
    overhead_s: float
    basis: str


def _calibration(ws: Workspace, spec: RunSpec, device: Device) -> Calibration:
    """From finished runs on the same kind of device by the same method; those near in model size weigh most.

    The computed figure itself counts the more, the farther the nearest run is in size, so that a far smaller model
    cannot stretch a large one's time.
    """
    size = model_size(resolve_model(ws, spec.model))
    past = list(_data_points(ws, spec, size, device))
    if not past:
        kind = f"{EXPECTED_MFU:.0%} of the GPU's peak" if device.gpu else "a typical core"
        return Calibration(1.0, 1.0, 0.0, START_S, f"computed from model size and {kind}; no run has finished here yet")
    computed = COMPUTED_WEIGHT * (1 - max(point.weight for point in past))
    total = computed + sum(point.weight for point in past)
    factor = math.exp(sum(point.weight * math.log(point.slowness) for point in past) / total)
    memory = sum(point.weight * point.memory_gb for point in past) / total
    same_model = [point.tokens for point in past if point.model == spec.model and point.tokens]
    runs = f"{len(past)} finished run{'s' * (len(past) > 1)}"
    overhead = statistics.median(point.overhead_s for point in past)
    tokens = statistics.median(same_model) if same_model else 1.0
    return Calibration(factor, tokens, memory, overhead, f"calibrated by {runs} of this machine")


@dataclass(frozen=True)
class DataPoint:
    """A finished run beside what this module would have said: `weight` by nearness in model size, 1 for the same."""

    model: str
    weight: float
    slowness: float
    tokens: float
    memory_gb: float
    overhead_s: float


def _data_points(ws: Workspace, spec: RunSpec, size: ModelSize, device: Device) -> Iterator[DataPoint]:
    for past, summary in finished_runs(ws):
        if past.recipe is None or not _same_kind(past, spec, summary, device):
            continue
        with contextlib.suppress(LimitError, KeyError, ZeroDivisionError, ValueError):
            then, ranks = model_size(resolve_model(ws, past.model)), int(summary.get("processes") or 1)
            rate = summary.get("steps_tokens", 0) / (summary.get("steps_s") or 1) or summary["tokens_per_s"]
            busy = summary.get("steps_s") or summary["tokens"] / rate
            recompute = wants_recompute(then, past.recipe, device, ranks)
            computed = sum(memory_parts(then, past.recipe, device, ranks, recompute).values())
            yield DataPoint(
                past.model,
                math.exp(-abs(math.log(then.parameters / size.parameters))),
                _slowness(then, past.recipe, summary, device, rate),
                _token_ratio(ws, past, summary),
                float(summary.get("memory_gb") or computed) - computed,
                max(0.0, summary["seconds"] - busy),
            )


def _token_ratio(ws: Workspace, past: RunSpec, summary: Json) -> float:
    """Tokens of a run over those counted at `CHARS_PER_TOKEN`, 0 when its mix is gone."""
    try:
        rows, chars = _mix_size(ws, past.mix_id or "")
    except LimitError:
        return 0.0
    recipe = past.recipe or Recipe()
    seen = min(summary["steps"] * recipe.global_batch_size, summary["epochs"] * summary["samples"])
    return float(summary["tokens"]) / seen / _tokens_per_sample(chars, rows, recipe)


def _same_kind(past: RunSpec, spec: RunSpec, summary: Json, device: Device) -> bool:
    on_gpu = str(summary.get("device", "")).startswith("cuda")
    if past.recipe is None or spec.recipe is None or on_gpu != device.gpu or not summary.get("seconds"):
        return False
    return past.recipe.method == spec.recipe.method


def _slowness(size: ModelSize, recipe: Recipe, summary: Json, device: Device, rate: float) -> float:
    """Seconds per token that a finished run took at `rate` tokens per second, over those that this module computes."""
    context = summary["tokens"] / max(1, summary["steps"] * recipe.global_batch_size)
    computed = _flops(size, recipe, context) / _rate(device, int(summary.get("processes") or 1))
    return 1 / (rate * computed)
