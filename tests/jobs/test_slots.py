"""Which places there are, who takes one, and what LIMIT_GPU_SLOTS changes."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator

import pytest

from limit.core import LimitError
from limit.jobs import slots
from limit.jobs.slots import acquire, gpus_needed, machine_slots, pool_of, visible_gpus
from limit.settings import Workspace

CARDS = ("GPU-aaaa", "GPU-bbbb", "GPU-cccc")


class NVMLError(Exception):
    pass


def nvml(used: tuple[float, ...] = (0, 0, 0), mig: tuple[str, ...] = ()) -> types.ModuleType:
    """A stand-in for the driver's library with three cards, the first divided when `mig` names its parts."""

    def mode(handle: object) -> tuple[int, int]:
        if handle != 0:
            raise NVMLError("not supported")
        return (1 if mig else 0), 0

    def part(handle: object, index: int) -> str:
        if index >= len(mig):
            raise NVMLError("empty")
        return mig[index]

    module = types.ModuleType("pynvml")
    module.NVMLError = NVMLError  # type: ignore[attr-defined]
    module.nvmlInit = lambda: None  # type: ignore[attr-defined]
    module.nvmlDeviceGetCount = lambda: len(CARDS)  # type: ignore[attr-defined]
    module.nvmlDeviceGetHandleByIndex = lambda index: index  # type: ignore[attr-defined]
    module.nvmlDeviceGetHandleByUUID = CARDS.index  # type: ignore[attr-defined]
    module.nvmlDeviceGetUUID = lambda handle: handle if isinstance(handle, str) else CARDS[handle]  # type: ignore[attr-defined]
    module.nvmlDeviceGetMigMode = mode  # type: ignore[attr-defined]
    module.nvmlDeviceGetMaxMigDeviceCount = lambda handle: 7  # type: ignore[attr-defined]
    module.nvmlDeviceGetMigDeviceHandleByIndex = part  # type: ignore[attr-defined]
    memory = lambda handle: types.SimpleNamespace(used=used[handle], total=1.0)  # noqa: E731
    module.nvmlDeviceGetMemoryInfo = memory  # type: ignore[attr-defined]
    return module


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[pytest.MonkeyPatch]:
    """A machine with three cards and slot locks of its own."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    monkeypatch.delenv("LIMIT_GPU_SLOTS")
    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(tmp_path))
    slots._all_gpus.cache_clear()
    yield monkeypatch
    slots._all_gpus.cache_clear()


def names() -> list[str]:
    return [slot.name for slot in machine_slots()]


def test_without_a_gpu_there_is_one_place_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIMIT_GPU_SLOTS")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    slots._all_gpus.cache_clear()
    assert names() == ["cpu-0"]
    monkeypatch.setenv("LIMIT_GPU_SLOTS", "3")
    assert names() == ["cpu-0", "cpu-1", "cpu-2"]


def test_gpus_are_known_by_uuid(cards: pytest.MonkeyPatch) -> None:
    assert names() == list(CARDS)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", ["GPU-bbbb"]),
        ("2,0", ["GPU-cccc", "GPU-aaaa"]),
        ("GPU-b", ["GPU-bbbb"]),
        ("", ["cpu-0"]),
        ("9", ["cpu-0"]),
    ],
)
def test_what_the_user_hides_is_not_used(cards: pytest.MonkeyPatch, visible: str, expected: list[str]) -> None:
    cards.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert names() == expected


def test_inside_a_job_the_users_own_choice_counts(cards: pytest.MonkeyPatch) -> None:
    cards.setenv("CUDA_VISIBLE_DEVICES", "")
    cards.setenv(slots.OUTER_GPUS, "all")
    assert visible_gpus() == list(CARDS)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("0", ["cpu-0"]),
        ("2", ["GPU-aaaa", "GPU-bbbb"]),
        ("4", [*CARDS, "GPU-aaaa.1"]),
        ("2,0", ["GPU-cccc", "GPU-aaaa"]),
        ("GPU-bbbb", ["GPU-bbbb"]),
    ],
)
def test_an_override_counts_or_names(cards: pytest.MonkeyPatch, override: str, expected: list[str]) -> None:
    cards.setenv("LIMIT_GPU_SLOTS", override)
    assert names() == expected


@pytest.mark.parametrize("override", ["7,8", "GPU-x", "-1", "many"])
def test_a_bad_override_is_explained(cards: pytest.MonkeyPatch, override: str) -> None:
    cards.setenv("LIMIT_GPU_SLOTS", override)
    with pytest.raises(LimitError, match="which this machine does not have; it has: GPU-aaaa"):
        machine_slots()


def test_a_divided_card_offers_its_parts(cards: pytest.MonkeyPatch) -> None:
    cards.setitem(sys.modules, "pynvml", nvml(mig=("MIG-1", "MIG-2")))
    slots._all_gpus.cache_clear()
    assert names() == ["MIG-1", "MIG-2", "GPU-bbbb", "GPU-cccc"]


def test_a_card_that_others_fill_is_taken_last(cards: pytest.MonkeyPatch, ws: Workspace) -> None:
    cards.setitem(sys.modules, "pynvml", nvml(used=(0.9, 0.1, 0.0)))
    taken, held = acquire(ws, {"kind": "finetune", "gpus": 2}) or ([], [])
    assert [slot.gpu for slot in taken] == ["GPU-bbbb", "GPU-cccc"]
    for descriptor in held:
        os.close(descriptor)


def test_several_gpus_are_taken_together_or_not_at_all(cards: pytest.MonkeyPatch, ws: Workspace) -> None:
    first, held = acquire(ws, {"kind": "finetune", "gpus": 2}) or ([], [])
    assert len(first) == len(held) == 2
    assert acquire(ws, {"kind": "finetune", "gpus": 2}) is None
    last, more = acquire(ws, {"kind": "finetune", "gpus": None}) or ([], [])
    assert [slot.gpu for slot in last] == ["GPU-cccc"]
    for descriptor in [*held, *more]:
        os.close(descriptor)


def test_two_workspaces_share_the_cards(cards: pytest.MonkeyPatch, ws: Workspace, tmp_path: object) -> None:
    other = Workspace(ws.root.parent / "other").make()
    _, held = acquire(ws, {"kind": "finetune", "gpus": 3}) or ([], [])
    assert acquire(other, {"kind": "gauntlet", "gpus": 1}) is None
    for descriptor in held:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("kind", "asked", "needed", "pool"),
    [
        ("finetune", None, 1, "slot"),
        ("gauntlet", None, 1, "slot"),
        ("respond", None, 1, "slot"),
        ("judge", None, 0, "light"),
        ("export", None, 0, "light"),
        ("judge", 1, 1, "slot"),
        ("respond", 0, 0, "light"),
    ],
)
def test_who_needs_a_place(kind: str, asked: int | None, needed: int, pool: str) -> None:
    job = {"kind": kind, "gpus": asked}
    assert (gpus_needed(job), pool_of(job)) == (needed, pool)


def test_only_jobs_that_need_a_gpu_go_to_the_cluster() -> None:
    assert pool_of({"kind": "finetune", "gpus": None}, cluster=True) == "ray"
    assert pool_of({"kind": "export", "gpus": None}, cluster=True) == "light"
