"""What finished runs of this machine teach the next estimate: what they took over what it would say.

Runs on the same kind of device by the same method count, those near in model size most.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from limit.core import Json, LimitError, read_each, read_kept
from limit.finetune.memory import Device, ModelSize, memory_parts, model_size, wants_recompute
from limit.finetune.pace import EXPECTED_MFU, seconds_per_token, size_of_mix, tokens_per_sample
from limit.models import resolve_model
from limit.runs import run_spec
from limit.settings import Workspace
from limit.specs.run import Recipe, RunSpec

COMPUTED_WEIGHT = 0.5
START_S = 15.0  # imports, loading, held-out losses and generations, before a run has shown its own


Finished = Sequence[tuple[RunSpec, Json]]


@dataclass(frozen=True)
class Calibration:
    """What finished runs say: factors on the computed time per token and on the tokens, GB to add, seconds of start
    and evaluation, and all that in words."""

    factor: float
    tokens: float
    memory_gb: float
    overhead_s: float
    basis: str


def calibration(ws: Workspace, spec: RunSpec, device: Device, finished: Finished | None = None) -> Calibration:
    """From finished runs on the same kind of device by the same method; those near in model size weigh most.

    `finished` are the `finished_runs`, for who asks several times.

    The computed figure itself counts the more, the farther the nearest run is in size, so that a far smaller model
    cannot stretch a large one's time.
    """
    size = model_size(resolve_model(ws, spec.model))
    past = list(_data_points(ws, finished_runs(ws) if finished is None else finished, spec, size, device))
    if not past:
        kind = f"{EXPECTED_MFU:.0%} of the GPU's peak" if device.gpu else "a typical core"
        return Calibration(1.0, 1.0, 0.0, START_S, f"computed from model size and {kind}; no run has finished here yet")
    computed = COMPUTED_WEIGHT * (1 - max(point.weight for point in past))
    total = computed + sum(point.weight for point in past)
    factor = math.exp(sum(point.weight * math.log(point.slowness) for point in past) / total)
    memory = sum(point.weight * point.memory_gb for point in past) / total
    same_model = [point for point in past if point.model == spec.model and point.tokens]
    nearest = [point for point in same_model if point.mix_id == spec.mix_id] or same_model
    runs = f"{len(past)} finished run{'s' * (len(past) > 1)}"
    overhead = statistics.median(point.overhead_s for point in past)
    tokens = statistics.median(point.tokens for point in nearest) if nearest else 1.0
    return Calibration(factor, tokens, memory, overhead, f"calibrated by {runs} of this machine")


@dataclass(frozen=True)
class DataPoint:
    """A finished run beside what would have been said: `weight` by nearness in model size, 1 for the same;
    `slowness` and `tokens` as factors, memory and time as what came on top."""

    model: str
    mix_id: str | None
    weight: float
    slowness: float
    tokens: float
    memory_gb: float
    overhead_s: float


def _data_points(
    ws: Workspace, finished: Finished, spec: RunSpec, size: ModelSize, device: Device
) -> Iterator[DataPoint]:
    for past, summary in finished:
        if past.recipe is None or not _same_kind(past, spec, summary, device):
            continue
        with contextlib.suppress(LimitError, KeyError, TypeError, ZeroDivisionError, ValueError):
            yield _data_point(ws, past, past.recipe, summary, size, device)


def _data_point(
    ws: Workspace, past: RunSpec, recipe: Recipe, summary: Json, size: ModelSize, device: Device
) -> DataPoint:
    then, ranks = model_size(resolve_model(ws, past.model)), int(summary.get("processes") or 1)
    rate = summary.get("steps_tokens", 0) / (summary.get("steps_s") or 1) or summary["tokens_per_s"]
    busy = summary.get("steps_s") or summary["tokens"] / rate
    length = summary["tokens"] / _samples_seen(recipe, summary)
    recompute = wants_recompute(then, recipe, device, ranks)
    computed_gb = sum(memory_parts(then, recipe, device, ranks, recompute).values())
    return DataPoint(
        past.model,
        past.mix_id,
        math.exp(-abs(math.log(then.parameters / size.parameters))),
        1 / (rate * seconds_per_token(then, recipe, length, device, ranks, recompute)),
        _token_ratio(ws, past, recipe, length),
        float(summary.get("memory_gb") or computed_gb) - computed_gb,
        max(0.0, summary["seconds"] - busy),
    )


def _samples_seen(recipe: Recipe, summary: Json) -> float:
    return float(min(summary["steps"] * recipe.global_batch_size, summary["epochs"] * summary["samples"]))


def _token_ratio(ws: Workspace, past: RunSpec, recipe: Recipe, length: float) -> float:
    """Tokens of a run's sample over those counted at `CHARS_PER_TOKEN`, 0 when its mix is gone."""
    try:
        rows, chars = size_of_mix(ws, past.mix_id or "")
    except LimitError:
        return 0.0
    return length / tokens_per_sample(chars, rows, recipe)


def _same_kind(past: RunSpec, spec: RunSpec, summary: Json, device: Device) -> bool:
    on_gpu = str(summary.get("device", "")).startswith("cuda")
    if past.recipe is None or spec.recipe is None or on_gpu != device.gpu or not summary.get("seconds"):
        return False
    return past.recipe.method == spec.recipe.method


def finished_runs(ws: Workspace) -> Finished:
    """Requests and summaries of the finetunes that finished here."""
    found = []
    for run_id, summary in read_each(ws.runs, "train/summary.json").items():
        if summary.get("state") != "finished" or not summary.get("tokens_per_s"):
            continue
        with contextlib.suppress(LimitError, KeyError):
            found.append((run_spec(read_kept(f"{ws.runs}/{run_id}/run.json") or {}), summary))
    return found
