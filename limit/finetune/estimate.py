"""What a finetune will cost: memory by component, time and disk, corrected by the runs this machine has finished.

Memory is `memory`'s, steps and time are `pace`'s, and what finished runs add is `calibration`'s. No torch is imported.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import Literal

from limit.core import Json, LimitError
from limit.finetune.calibration import Finished, calibration
from limit.finetune.memory import (
    Device,
    ModelSize,
    devices,
    has_bitsandbytes,
    lora_parameters,
    memory_parts,
    model_size,
    wants_recompute,
)
from limit.finetune.pace import (
    held_out,
    samples_seen,
    seconds_per_token,
    size_of_mix,
    steps_per_epoch,
    tokens_per_sample,
    total_steps,
)
from limit.models import resolve_model
from limit.settings import Workspace
from limit.specs.run import Recipe, RunSpec

Fits = Literal["fits", "tight", "does not fit", "unknown"]


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
    ws: Workspace,
    spec: RunSpec,
    gpus: int | None = None,
    mix_size: tuple[int, int] | None = None,
    finished: Finished | None = None,
) -> Estimate:
    """What `spec` will take here. Raises LimitError when the model or the mix cannot be found or sized.

    `mix_size` (rows, characters) stands in for a mix that is not built yet, `finished` for a look at `finished_runs`.
    """
    if spec.recipe is None or spec.mix_id is None:
        raise LimitError("only a finetune can be estimated; give a mix and a recipe")
    recipe = spec.recipe
    size = model_size(resolve_model(ws, spec.model))
    device, count = devices(gpus)
    rows, chars = mix_size or size_of_mix(ws, spec.mix_id)
    samples = max(1, rows - held_out(ws, spec.mix_id, rows, recipe))
    per_epoch = steps_per_epoch(samples, recipe)
    steps = total_steps(per_epoch, recipe)
    known = calibration(ws, spec, device, finished)
    length = min(tokens_per_sample(chars, rows, recipe) * known.tokens, recipe.max_seq_len)
    tokens = round(length * samples_seen(steps, per_epoch, samples, recipe))
    recompute = wants_recompute(size, recipe, device, count)
    parts = memory_parts(size, recipe, device, count, recompute)
    parts["other_gb"] = max(0.1, parts["other_gb"] + known.memory_gb)
    computed_s = tokens * seconds_per_token(size, recipe, length, device, count, recompute)
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
        seconds=round(computed_s * known.factor + known.overhead_s, 1),
        disk_gb=round(_disk(size, recipe, device, per_epoch, steps), 3),
        free_disk_gb=round(_free_disk(ws), 1),
        basis=known.basis,
    )


def _verdict(memory: float, device: Device, recipe: Recipe) -> tuple[Fits, str]:
    if recipe.method == "qlora" and not (device.gpu and has_bitsandbytes()):
        return "does not fit", "QLoRA needs an NVIDIA GPU and the bitsandbytes package; take LoRA"
    share = memory / device.memory_gb
    where = f"{memory:.1f} GB of {device.memory_gb:.1f} GB on {device.name}"
    if share > 1:
        smaller = "LoRA, or more GPUs" if recipe.method == "full" else "QLoRA, or a shorter max_seq_len"
        return "does not fit", f"{where}; try {smaller}"
    return ("tight", f"{where}; the micro-batch will halve itself if need be") if share > 0.85 else ("fits", where)


def _disk(size: ModelSize, recipe: Recipe, device: Device, per_epoch: int, steps: int) -> float:
    """GB at the worst moment: resume checkpoints with optimizer state, kept epochs, the final model."""
    n = size.parameters / 1e9
    trained = n if recipe.method == "full" else lora_parameters(size, recipe.lora_rank) / 1e9
    states = 1 if recipe.optimizer == "decoupled_lionw" else 2
    resume = (recipe.keep_checkpoints + 1) * 4 * (1 + states) * trained
    kept = 0
    if recipe.save_every_epochs:
        kept = int(steps / per_epoch / max(1.0, recipe.save_every_epochs))
    half = recipe.precision == "bf16" or (recipe.precision == "auto" and device.gpu)
    saved = (2 if half and recipe.method == "full" else 4) * trained
    return resume + (kept + 1) * saved


def _free_disk(ws: Workspace) -> float:
    folder = ws.root
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9
