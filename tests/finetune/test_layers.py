"""What is done to layers leaves the mathematics alone, and a layer that cannot be compiled trains as it is."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from limit.core import LimitError
from limit.encoding.packing import Example, Row, packed_row, padded_row, sample_weights
from limit.finetune import layers
from limit.finetune.architecture import prepare_model
from limit.finetune.train import finetune
from limit.jobs.context import JobContext
from limit.settings import Workspace
from tests.finetune.conftest import metrics
from tests.finetune.models import random_model
from tests.finetune.test_exactness import gradients, one_by_one, relative

needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler is at hand")


def samples(*lengths: int) -> list[Example]:
    generator = np.random.default_rng(7)
    made = []
    for length in lengths:
        ids = generator.integers(3, 300, length).astype(np.int32)
        made.append(Example(ids, ids, "s"))
    return made


def row_of(examples: list[Example], packed: bool = True) -> Row:
    weights = sample_weights(examples, "token")
    return packed_row(examples, weights) if packed else padded_row(examples, weights, pad_id=0)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", ["llama"])
def test_compiled_layers_have_the_loss_and_gradient_of_plain_ones(name: str) -> None:
    """For rows of other lengths and other numbers of documents than they were compiled with, without compiling anew."""
    model = random_model(name).train()
    expected = [(examples, *one_by_one(model, examples)) for examples in (samples(9, 14), samples(31, 4, 8, 17))]
    packed = prepare_model(model, want_packing=True, pad_id=0).packed
    torch._dynamo.reset()
    assert layers.compile_layers(model, row_of(samples(12, 6, 20), packed)) == ""
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs > 0
    for examples, loss, grads in expected:
        model.zero_grad()
        found = model(row=row_of(examples, packed))
        found.backward()
        assert float(found.detach()) == pytest.approx(loss, rel=1e-5)
        assert relative(gradients(model), grads) < 1e-5
    if packed:
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs


def test_a_machine_without_a_compiler_trains_uncompiled_and_says_so(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*args: Any, **options: Any) -> None:
        raise RuntimeError("No working C++ compiler found in cpp.cxx: (None, 'g++')\nand more")

    torch._dynamo.reset()
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", no_compiler)
    plain, wished = make_run("max_steps=3"), make_run("max_steps=3", "compile=true")
    finetune(ws, plain, JobContext(None))
    summary = finetune(ws, wished, JobContext(None))
    assert summary["state"] == "finished"
    assert summary["compiled"] is False
    (said,) = [row["text"] for row in metrics(ws, wished, "note") if "compiled" in row["text"]]
    assert said.startswith("not compiled: ")
    assert "No working C++ compiler" in said
    pairs = zip(metrics(ws, plain, "train"), metrics(ws, wished, "train"), strict=True)
    assert all(a["loss"] == b["loss"] for a, b in pairs)


@pytest.mark.slow
@needs_compiler
def test_a_compiled_run_says_so_and_learns_the_same(ws: Workspace, make_run: Callable[..., str]) -> None:
    torch._dynamo.reset()
    settings = ("max_steps=4", "lora_dropout=0", "activation_checkpointing=on", "precision=fp32")
    plain, compiled = (make_run(*settings, *more, recipe="lora") for more in ((), ("compile=true",)))
    finetune(ws, plain, JobContext(None))
    assert finetune(ws, compiled, JobContext(None))["compiled"] is True
    assert any(row["text"].startswith("compiled: ") for row in metrics(ws, compiled, "note"))
    for a, b in zip(metrics(ws, plain, "train"), metrics(ws, compiled, "train"), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)


def test_recomputing_needs_no_name_that_goes_away() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers.recompute_activations(random_model("llama"))


def test_a_model_that_cannot_recompute_is_one_sentence() -> None:
    model = random_model("llama")
    model.supports_gradient_checkpointing = False
    with pytest.raises(LimitError, match="activation_checkpointing=off"):
        layers.recompute_activations(model)
