"""Mixes written by hand, runs on a random tiny Llama, and tiny random models of other architectures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from limit.core import write_json
from limit.finetune import follow, trainer
from limit.jobs.context import JobContext
from limit.recipes import load_recipe
from limit.runs import ensure_run
from limit.settings import Workspace
from limit.specs.run import RunSpec

QUIET = JobContext(None)
WORDS = ["town", "river", "baker", "lives", "small", "home", "question", "answer"]


def write_mix(ws: Workspace, mix_id: str = "0123456789ab", terse: int = 24, long: int = 8, **extra: Any) -> str:
    """A mix of two parts: one-word answers from `terse` and long ones from `long`."""
    rows = []
    for index in range(terse + long):
        part = 0 if index < terse else 1
        count = 1 if part == 0 else 20 + 7 * (index % 5)
        rows.append(
            {
                "row": index,
                "sample_id": f"{index:016x}",
                "source": ("terse", "long")[part],
                "subset": "",
                "prompt": f"which {WORDS[index % 8]} is number {index}?",
                "response": " ".join(WORDS[(index + k) % 8] for k in range(count)),
                "turns": 1,
                "meta": "{}",
                "part": part,
            }
        )
    rows += extra.pop("rows", [])
    folder = ws.mix(mix_id)
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
    chars = sum(len(row["prompt"]) + len(row["response"]) for row in rows)
    counts = [{"source": "terse", "subset": None, "rows": terse}, {"source": "long", "subset": None, "rows": long}]
    mix = {"mix_id": mix_id, "rows": len(rows), "chars": chars, "counts": counts, "licence": "MIT", "sources": {}}
    write_json(folder / "mix.json", {**mix, "non_commercial": False, **extra})
    write_json(folder / "label.json", {"name": "terse + long", "note": "", "created": ""})
    return mix_id


@pytest.fixture(autouse=True, scope="package")
def short_answers() -> Iterator[None]:
    """Sample answers are most of a tiny run's time and no part of what it learns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow, "GENERATED_TOKENS", 4)
        yield


@pytest.fixture
def mix_id(ws: Workspace) -> str:
    return write_mix(ws)


@pytest.fixture
def make_spec(tiny_llama: Path, mix_id: str) -> Callable[..., RunSpec]:
    """A request on the tiny Llama that takes a second: 3 epochs of 4 steps unless settings say otherwise."""

    def make(*settings: str, recipe: str = "tiny", seed: int = 17, model: str | None = None) -> RunSpec:
        small = ["template=alpaca", "max_seq_len=256", "global_batch_size=8", "warmup_steps=2", *settings]
        return RunSpec(
            model=model or str(tiny_llama),
            mix_id=mix_id,
            recipe_name=recipe,
            recipe=load_recipe(recipe).with_settings(small),
            seed=seed,
        )

    return make


@pytest.fixture
def make_run(ws: Workspace, make_spec: Callable[..., RunSpec]) -> Callable[..., str]:
    """Freeze such a request and return the run id."""
    return lambda *settings, **options: ensure_run(ws, make_spec(*settings, **options))


def metrics(ws: Workspace, run_id: str, kind: str) -> list[dict[str, Any]]:
    """The rows of one kind from a run's metrics.jsonl."""
    lines = (ws.run(run_id) / "train" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


class Crash(BaseException):
    """Stands for a process that ends at once, with nothing cleaned up."""


def weights(ws: Workspace, run_id: str, folder: str = "model") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in (ws.run(run_id) / folder).glob("*.safetensors"):
        found |= load_file(path)
    return found


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and bool(a) and all(torch.equal(a[key], b[key]) for key in a)


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """End the next attempt in the middle of an optimizer step."""
    original = trainer.Finetuner.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step + 1 == step:
            raise Crash
        return original(self, *args, **kwargs)

    monkeypatch.setattr(trainer.Finetuner, "training_step", training_step)
