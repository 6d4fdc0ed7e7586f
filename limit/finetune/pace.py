"""How long a finetune takes: steps, tokens, and the work of a token over the speed of a device."""

from __future__ import annotations

import math
from collections import Counter

from limit.core import LimitError, read_json
from limit.finetune.examples import HELD_OUT_SHARE
from limit.finetune.memory import Device, ModelSize
from limit.finetune.metrics import flops_per_token, peak_flops
from limit.settings import Workspace
from limit.specs.run import Recipe

CHARS_PER_TOKEN = 4.0
EXPECTED_MFU = 0.4  # of peak on a GPU, before this machine has shown better
CPU_FLOPS = 25e9  # one busy core, fp32


def steps_per_epoch(samples: int, recipe: Recipe) -> int:
    """Optimizer steps of one pass."""
    if recipe.drop_last and samples >= recipe.global_batch_size:
        return samples // recipe.global_batch_size
    return math.ceil(samples / recipe.global_batch_size)


def total_steps(per_epoch: int, recipe: Recipe) -> int:
    """Optimizer steps that will really run."""
    planned = recipe.max_steps or math.ceil(recipe.epochs * per_epoch)
    return min(planned, recipe.stop_after_epoch * per_epoch) if recipe.stop_after_epoch else planned


def samples_seen(steps: int, per_epoch: int, samples: int, recipe: Recipe) -> float:
    """Samples that so many steps take; the last step of an epoch may be smaller."""
    return steps * min(recipe.global_batch_size, samples / per_epoch)


def size_of_mix(ws: Workspace, mix_id: str) -> tuple[int, int]:
    """Rows and characters of a mix. Raises LimitError when it is not there."""
    path = ws.mix(mix_id) / "mix.json"
    if not path.exists():
        raise LimitError(f"there is no mix {mix_id!r} in {ws.mixes}; build one with `limit mix build`")
    mix = read_json(path)
    return int(mix["rows"]), int(mix["chars"])


def held_out(ws: Workspace, mix_id: str, rows: int, recipe: Recipe) -> int:
    """Samples that are watched and not trained on, each source taken for a part; of a mix to come as of one part."""
    path, parts = ws.mix(mix_id) / "mix.json", Counter({"": rows})
    if path.exists():
        parts = Counter()
        for count in read_json(path)["counts"]:
            parts[count["source"]] += int(count["rows"])
    return sum(min(recipe.held_out_per_part, part // HELD_OUT_SHARE) for part in parts.values())


def tokens_per_sample(chars: int, rows: int, recipe: Recipe) -> float:
    """Tokens of a sample with its template, at most what the recipe leaves of it."""
    template = 0 if recipe.template in ("plain", "tiny") else 40
    return min(chars / max(rows, 1) / CHARS_PER_TOKEN + template, recipe.max_seq_len)


def seconds_per_token(
    size: ModelSize, recipe: Recipe, context: float, device: Device, gpus: int, recompute: bool
) -> float:
    """Time of a token in samples of `context` tokens; recomputed activations are a second forward pass."""
    body = size.parameters - size.vocabulary * size.width
    work = flops_per_token(body, size.layers, size.width, context, 1.0 if recipe.method == "full" else 0.0)
    return work * (4 / 3 if recompute else 1) / _device_flops(device, gpus)


def _device_flops(device: Device, gpus: int) -> float:
    """FLOP per second that may be expected of all devices together."""
    if not device.gpu:
        return CPU_FLOPS
    return (peak_flops(device.name) or 100e12) * EXPECTED_MFU * max(1, gpus)
