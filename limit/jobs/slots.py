"""What jobs wait for: a GPU each, a CPU slot where there is none, or one of a few light places.

Who needs what, when a request leaves `gpus` open: finetune, gauntlet and respond hold a model and take one slot.
judge, fetch, index, export and everything else are light: they wait on the network or the disk, take no GPU, see none,
and at most `LIGHT_PLACES` of them run at a time. A judge that runs in process asks with `gpus=1`.

`LIMIT_GPU_SLOTS` overrides what the machine says: a number of slots, or a list of GPU indices or UUIDs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError
from limit.jobs.locks import try_lock
from limit.settings import Workspace

HEAVY_KINDS = ("finetune", "gauntlet", "respond")
OUTER_GPUS = "LIMIT_OUTER_GPUS"
LIGHT_PLACES = 4
REMOTE_PLACES = 32
MOST_SLOTS = 1024
_FOREIGN_SHARE = 0.5


@dataclass(frozen=True)
class Slot:
    """One place to run; `gpu` is a UUID, or None for a place on the CPU."""

    name: str
    gpu: str | None = None


def gpus_needed(job: Json) -> int:
    """How many slots a job takes; 0 for a light one."""
    asked = job.get("gpus")
    if isinstance(asked, int):
        return int(asked)
    return 1 if job["kind"] in HEAVY_KINDS else 0


def pool_of(job: Json, cluster: bool = False) -> str:
    """Jobs of one pool wait for each other in order; the pools do not. With a `cluster` GPU jobs go there."""
    if not gpus_needed(job):
        return "light"
    return "ray" if cluster else "slot"


def on_ray(status: Json) -> bool:
    """Whether an attempt was given a place on the Ray cluster, whatever has been chosen since."""
    return any(str(slot).startswith("ray-") for slot in status["slots"])


def pool_slots(pool: str) -> list[Slot]:
    """All places of a pool, in the order in which they are tried."""
    if pool == "slot":
        return machine_slots()
    return [Slot(f"{pool}-{n}") for n in range(REMOTE_PLACES if pool == "ray" else LIGHT_PLACES)]


def machine_slots() -> list[Slot]:
    """The GPUs that may be used, by UUID, or CPU slots where there are none. Raises LimitError on a bad override."""
    gpus = visible_gpus()
    wanted = os.environ.get("LIMIT_GPU_SLOTS", "").strip()
    if not wanted:
        return [Slot(gpu, gpu) for gpu in gpus] or [Slot("cpu-0")]
    if wanted.isdecimal():
        number = int(wanted)
        if number > MOST_SLOTS:
            raise LimitError(f"LIMIT_GPU_SLOTS asks for {wanted} slots; give a number up to {MOST_SLOTS}")
        if number == 0 or not gpus:
            return [Slot(f"cpu-{n}") for n in range(max(number, 1))]
        return [_share(gpus, n) for n in range(number)]
    return [_named_gpu(word.strip(), gpus) for word in wanted.split(",") if word.strip()]


def _share(gpus: Sequence[str], number: int) -> Slot:
    """Slot `number` over `gpus`; with more slots than GPUs several jobs share one."""
    gpu, again = gpus[number % len(gpus)], number // len(gpus)
    return Slot(gpu if again == 0 else f"{gpu}.{again}", gpu)


def _named_gpu(word: str, gpus: Sequence[str]) -> Slot:
    if word.isdecimal() and int(word) < len(gpus):
        return Slot(gpus[int(word)], gpus[int(word)])
    if word in gpus:
        return Slot(word, word)
    known = ", ".join(gpus) or "none"
    raise LimitError(f"LIMIT_GPU_SLOTS names GPU {word!r}, which this machine does not have; it has: {known}")


def check_size(job: Json, cluster: bool = False) -> None:
    """Raise LimitError when the job asks for more slots than there will ever be; a cluster may grow."""
    if too_large(job, cluster):
        raise LimitError(f"the job asks for {size_words(job)}; ask for fewer, or set LIMIT_GPU_SLOTS")


def too_large(job: Json, cluster: bool = False) -> bool:
    """Whether a job asks for more places than this machine has. Raises LimitError as `machine_slots` does."""
    return pool_of(job, cluster) == "slot" and not 0 < gpus_needed(job) <= len(machine_slots())


def size_words(job: Json) -> str:
    """`3 GPUs but this machine has 1 slot`."""
    there = len(machine_slots())
    return f"{gpus_needed(job)} GPUs but this machine has {there} slot{'s' if there != 1 else ''}"


def acquire(ws: Workspace, job: Json, cluster: bool = False) -> tuple[list[Slot], list[int]] | None:
    """Lock the places that the job needs: (slots, descriptors that hold them), or None and nothing held."""
    pool = pool_of(job, cluster)
    needed = gpus_needed(job) if pool == "slot" else 1
    slots: list[Slot] = []
    held: list[int] = []
    for slot in _emptiest_first(pool_slots(pool)):
        descriptor = try_lock(_lock_file(ws, slot))
        if descriptor is not None:
            slots.append(slot)
            held.append(descriptor)
        if len(slots) == needed:
            return slots, held
    for descriptor in held:
        os.close(descriptor)
    return None


def _lock_file(ws: Workspace, slot: Slot) -> Path:
    """A GPU is one for all workspaces of this machine; other places are counted per workspace."""
    if slot.gpu is None:
        return ws.jobs / ".slots" / f"{slot.name}.lock"
    return Path(tempfile.gettempdir()) / f"limit-gpus-{os.getuid()}" / f"{slot.name}.lock"


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs, or of their MIG parts, that CUDA_VISIBLE_DEVICES leaves to us; empty where there are none."""
    found = _all_gpus()
    allowed = outer_visible_devices()
    if allowed is None:
        return list(found)
    chosen = []
    for word in (part.strip() for part in allowed.split(",")):
        if word.isdecimal() and int(word) < len(found):
            chosen.append(found[int(word)])
        chosen.extend(uuid for uuid in found if word and not word.isdecimal() and uuid.startswith(word))
    return list(dict.fromkeys(chosen))


def outer_visible_devices() -> str | None:
    """CUDA_VISIBLE_DEVICES as the user set it; inside a job, where we set it ourselves, as it was outside."""
    outer = os.environ.get(OUTER_GPUS)
    if outer is None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if outer == "all" else outer


@cache
def _all_gpus() -> tuple[str, ...]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, or no card: all mean that there is no GPU to offer
        return ()
    uuids: list[str] = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        parts = _mig_parts(pynvml, handle)
        uuids.extend(parts if parts is not None else [str(pynvml.nvmlDeviceGetUUID(handle))])
    return tuple(uuids)


def _mig_parts(nvml: Any, handle: Any) -> list[str] | None:
    """UUIDs of a card's MIG parts, or None when the card is whole or cannot be divided."""
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
        places = nvml.nvmlDeviceGetMaxMigDeviceCount(handle) if current else 0
    except nvml.NVMLError:
        return None
    parts = []
    for index in range(places):
        try:
            parts.append(str(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))))
        except nvml.NVMLError:  # an empty place on the card
            continue
    return parts or None


def _emptiest_first(slots: list[Slot]) -> list[Slot]:
    """Other tenants' cards last: ours are kept apart by locks, theirs show only in memory use."""
    if len(slots) < 2 or all(slot.gpu is None for slot in slots):
        return slots
    return sorted(slots, key=lambda slot: _used_share(slot.gpu) > _FOREIGN_SHARE)


def _used_share(uuid: str | None) -> float:
    try:
        import pynvml

        info = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(uuid))
        return float(info.used) / float(info.total)
    except Exception:  # a MIG part or a lost card: no figure, no preference
        return 0.0
