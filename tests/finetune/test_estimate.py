"""What a run will cost: known sizes give known figures, and finished runs correct them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from limit.core import Json, LimitError, read_json, write_json
from limit.finetune.estimate import estimate_finetune
from limit.finetune.memory import Device, ModelSize, memory_parts, model_size, wants_recompute
from limit.finetune.pace import samples_seen, steps_per_epoch, total_steps
from limit.finetune.train import finetune
from limit.jobs.context import JobContext
from limit.models import resolve_model
from limit.recipes import load_recipe
from limit.runs import ensure_run
from limit.settings import Workspace
from limit.specs.run import RunSpec
from tests.finetune.conftest import write_mix

SEVEN_B = ModelSize(parameters=6_700_000_000, layers=32, width=4096, vocabulary=50_432)
H200 = Device("NVIDIA H200", 150.0, True)
A100 = Device("NVIDIA A100-SXM4-40GB", 42.0, True)


@pytest.mark.parametrize(("samples", "recipe", "steps"), [(1000, "mpt-7b-paper", 20), (6000, "mpt-7b-paper", 125),
                                                          (1000, "mpt-30b-paper", 13), (1000, "full", 21)])  # fmt: skip
def test_steps_are_the_papers(samples: int, recipe: str, steps: int) -> None:
    assert steps_per_epoch(samples, load_recipe(recipe)) == steps


def test_an_earlier_end_counts() -> None:
    recipe = load_recipe("mpt-7b-paper")
    assert total_steps(20, recipe) == 200
    assert total_steps(20, recipe.replace(stop_after_epoch=4)) == 80
    assert total_steps(20, recipe.replace(max_steps=7)) == 7


def test_a_full_finetune_of_7b_needs_more_than_100_gb_and_lora_far_less() -> None:
    full = sum(memory_parts(SEVEN_B, load_recipe("full"), H200, 1, recompute=True).values())
    lora = sum(memory_parts(SEVEN_B, load_recipe("lora"), H200, 1, recompute=True).values())
    qlora = sum(memory_parts(SEVEN_B, load_recipe("qlora"), H200, 1, recompute=True).values())
    assert 107 < full < 135
    assert 13 < lora < 22
    assert qlora < 0.6 * lora


def test_tables_of_a_large_vocabulary_are_not_in_four_bits() -> None:
    llama_3 = ModelSize(8_030_261_248, 32, 4096, 128_256)
    weights = memory_parts(llama_3, load_recipe("qlora"), H200, 1, recompute=True)["weights_gb"]
    assert 5.7 < weights < 6.3, "5.7 GB of tensors in the files that bitsandbytes writes, and the adapter"


def test_weights_that_lie_there_twice_count_once(ws: Workspace, tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    once = model_size(resolve_model(ws, str(folder))).parameters
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert model_size(resolve_model(ws, str(folder))).parameters == once


@pytest.mark.parametrize("content", [b"", b"x" * 500, b'\x05\0\0\0\0\0\0\0{"a":', b"\x02\0\0\0\0\0\0\0[]"])
def test_a_broken_weights_file_is_one_sentence(content: bytes, ws: Workspace, tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(LimitError, match="no whole safetensors file"):
        model_size(resolve_model(ws, str(folder)))


@pytest.mark.parametrize("change", [{"hidden_size": "wide"}, {"hidden_size": -3}, {"vocab_size": []},
                                    {"text_config": "none"}])  # fmt: skip
def test_a_config_without_sense_is_one_sentence(change: Json, ws: Workspace, tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    write_json(folder / "config.json", {**read_json(folder / "config.json"), **change})
    with pytest.raises(LimitError, match="does not say its size"):
        model_size(resolve_model(ws, str(folder)))


def test_more_gpus_share_the_states() -> None:
    one = memory_parts(SEVEN_B, load_recipe("full"), A100, 1, recompute=True)
    eight = memory_parts(SEVEN_B, load_recipe("full"), A100, 8, recompute=True)
    assert eight["optimizer_gb"] == pytest.approx(one["optimizer_gb"] / 8)
    assert sum(eight.values()) < A100.memory_gb


def test_the_base_under_an_adapter_is_whole_on_every_gpu() -> None:
    one, eight = (memory_parts(SEVEN_B, load_recipe("lora"), A100, gpus, recompute=True) for gpus in (1, 8))
    assert eight == one


@pytest.mark.parametrize(
    ("name", "billions"),
    [("mosaicml/mpt-7b", 6.65), ("meta-llama/Llama-3.1-8B", 8.03), ("Qwen/Qwen2.5-1.5B", 1.54),
     ("mistralai/Mistral-7B-v0.1", 7.24), ("EleutherAI/pythia-6.9b", 6.86)],
)  # fmt: skip
def test_models_that_are_not_here_have_their_published_size(name: str, billions: float, ws: Workspace) -> None:
    assert model_size(resolve_model(ws, name)).parameters / 1e9 == pytest.approx(billions, abs=0.01)


def test_activations_are_recomputed_only_where_they_would_not_fit() -> None:
    small = ModelSize(125_000_000, 12, 768, 32_000)
    assert not wants_recompute(small, load_recipe("full"), H200, 1)
    assert wants_recompute(SEVEN_B, load_recipe("full"), H200, 1)
    assert not wants_recompute(SEVEN_B, load_recipe("full").replace(activation_checkpointing="off"), H200, 1)


def test_a_size_is_counted_from_the_weights(ws: Workspace, make_spec: Callable[..., RunSpec]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    spec = make_spec()
    model = AutoModelForCausalLM.from_pretrained(spec.model, dtype=torch.float32)
    assert model_size(resolve_model(ws, spec.model)).parameters == model.num_parameters()


def test_a_finished_run_becomes_a_data_point(ws: Workspace, make_spec: Callable[..., RunSpec]) -> None:
    """Tokens and steps are then exact, and memory is the run's own."""
    spec = make_spec("epochs=2.5")
    before = estimate_finetune(ws, spec)
    assert "no run has finished" in before.basis
    summary = finetune(ws, ensure_run(ws, spec), JobContext(None))
    after = estimate_finetune(ws, spec)
    assert "1 finished run" in after.basis
    assert (after.steps, after.samples) == (summary["steps"], summary["samples"])
    assert after.tokens == pytest.approx(summary["tokens"], rel=0.02)
    assert after.memory_gb == pytest.approx(summary["memory_gb"], rel=0.02)


@pytest.mark.parametrize("checkpointing", ["off", "on"])
def test_the_next_run_takes_as_long_as_the_last(
    checkpointing: str, ws: Workspace, make_spec: Callable[..., RunSpec]
) -> None:
    """A summary of a run of 12 steps: 7 s to start and 100 s of steps; twice the epochs are twice the steps."""
    spec = make_spec(f"activation_checkpointing={checkpointing}")
    tokens = estimate_finetune(ws, spec).tokens
    summary = {"state": "finished", "device": "cpu", "processes": 1, "steps": 12, "epochs": 3.0, "samples": 31}
    times = {"seconds": 107.0, "steps_s": 100.0, "steps_tokens": tokens, "tokens": tokens, "tokens_per_s": tokens / 100}
    folder = ws.run(ensure_run(ws, spec)) / "train"
    write_json(folder / "summary.json", {**summary, **times, "memory_gb": 1.5})
    assert estimate_finetune(ws, spec).seconds == pytest.approx(107, rel=0.01)
    longer = make_spec(f"activation_checkpointing={checkpointing}", "epochs=6")
    assert estimate_finetune(ws, longer).seconds == pytest.approx(207, rel=0.01)
    assert estimate_finetune(ws, longer).memory_gb == pytest.approx(1.5, rel=0.01)


def test_the_same_mix_has_the_same_tokens(ws: Workspace, make_spec: Callable[..., RunSpec]) -> None:
    """A run on another mix, whose characters make twice as many tokens, leaves them alone."""
    ours, other = make_spec(), make_spec().replace(mix_id=write_mix(ws, "aaaaaaaaaaaa", terse=60, long=40))
    for spec, tokens in ((ours, 9300), (other, 90_000)):
        times = {"seconds": 20.0, "steps_s": 10.0, "steps_tokens": tokens, "tokens": tokens, "tokens_per_s": 99.0}
        shape = {"state": "finished", "device": "cpu", "steps": 12, "epochs": 3.0, "samples": 31}
        write_json(ws.run(ensure_run(ws, spec)) / "train" / "summary.json", {**shape, **times})
    assert estimate_finetune(ws, ours).tokens == pytest.approx(9300, rel=0.01)


def test_each_part_of_a_mix_keeps_its_own_samples_back(ws: Workspace, make_spec: Callable[..., RunSpec]) -> None:
    mix = write_mix(ws, "aaaaaaaaaaaa", terse=60, long=40)
    spec = make_spec("held_out_per_part=2").replace(mix_id=mix)
    assert estimate_finetune(ws, spec).samples == 96
    assert estimate_finetune(ws, spec.replace(mix_id="bbbbbbbbbbbb"), mix_size=(100, 5000)).samples == 98


def test_the_last_step_of_an_epoch_may_be_smaller() -> None:
    recipe = load_recipe("full").replace(global_batch_size=8)
    assert samples_seen(12, 4, 31, recipe) == 93
    assert samples_seen(9, 3, 31, recipe.replace(drop_last=True)) == 72


def test_a_broken_summary_is_no_data_point(ws: Workspace, make_spec: Callable[..., RunSpec]) -> None:
    spec = make_spec()
    run_id = ensure_run(ws, spec)
    write_json(ws.run(run_id) / "train" / "summary.json", {"state": "finished"})
    assert "no run has finished" in estimate_finetune(ws, spec).basis


def test_a_hub_model_that_is_not_here_cannot_be_sized(ws: Workspace) -> None:
    with pytest.raises(LimitError, match="hub cache"):
        model_size(resolve_model(ws, "nobody/nothing"))


def test_no_torch_is_needed() -> None:
    import subprocess
    import sys

    code = "import sys, limit.finetune, limit.finetune.estimate, limit.encoding.template; "
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'streamlit')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
