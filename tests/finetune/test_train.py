"""The worker: reproducible to the bit, resumable from any step, and clear about what stops it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from limit.core import LimitError, read_json, write_json
from limit.finetune import checkpoints, trainer
from limit.finetune.metrics import place_loggers
from limit.finetune.train import finetune
from limit.jobs.context import JobContext
from limit.models import load_model, load_tokenizer, resolve_model
from limit.runs import ensure_run
from limit.settings import PROJECT, Workspace
from limit.specs.run import RunSpec
from tests.finetune.conftest import QUIET, Crash, crash_at, metrics, same, weights, write_mix


def test_training_lowers_the_loss_and_leaves_a_loadable_model(ws: Workspace, make_run: Callable[..., str]) -> None:
    run_id = make_run("epochs=10", "learning_rate=0.01")
    summary = finetune(ws, run_id, QUIET)
    rows = metrics(ws, run_id, "train")
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert summary["state"] == "finished"
    assert summary["steps"] == len(rows) == 40
    ref = resolve_model(ws, run_id)
    assert ref.template == "alpaca"
    ids = load_tokenizer(ref)("which town", return_tensors="pt")["input_ids"]
    assert torch.isfinite(load_model(ref, "fp32", "cpu")(input_ids=ids).logits).all()


def test_only_safetensors_and_a_card_are_left_behind(ws: Workspace, make_run: Callable[..., str]) -> None:
    run_id = make_run("save_every_epochs=1")
    finetune(ws, run_id, QUIET)
    names = {path.name for path in ws.run(run_id).rglob("*") if path.is_file()}
    assert "model.safetensors" in names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth"))]
    card = (ws.run(run_id) / "model" / "README.md").read_text(encoding="utf-8")
    assert "MIT" in card
    assert "learning_rate" in card


def test_the_same_request_gives_the_same_bits(
    ws: Workspace, make_run: Callable[..., str], tmp_path: Path, make_spec: Callable[..., RunSpec]
) -> None:
    first = make_run()
    finetune(ws, first, QUIET)
    other = Workspace(tmp_path / "other").make()
    write_mix(other)
    second = ensure_run(other, make_spec())
    torch.manual_seed(999)
    finetune(other, second, QUIET)
    assert first == second
    assert same(weights(ws, first), weights(other, second))


def test_another_seed_gives_another_model(ws: Workspace, make_run: Callable[..., str]) -> None:
    first, second = make_run(), make_run(seed=18)
    finetune(ws, first, QUIET)
    finetune(ws, second, QUIET)
    assert not same(weights(ws, first), weights(ws, second))


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("tiny", ()),
        ("lora", ()),
        ("tiny", ("optimizer=decoupled_lionw", "weight_decay=0.001", "packing=false", "micro_batch_size=3")),
    ],
)
def test_a_run_that_crashed_at_any_step_ends_with_the_same_bits(
    recipe: str,
    changes: tuple[str, ...],
    ws: Workspace,
    make_run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed before the first checkpoint, inside an epoch, and at its edge; with dropout in the adapter."""
    settings = ("precision=fp32", "learning_rate=0.01", "epochs=3", *changes)
    straight, broken = make_run(*settings, recipe=recipe), make_run(*settings, "save_every_epochs=0.5", recipe=recipe)
    finetune(ws, straight, QUIET)
    for step in (1, 4, 5, 12):
        with monkeypatch.context() as patch:
            crash_at(patch, step)
            with pytest.raises(Crash):
                finetune(ws, broken, QUIET)
    summary = finetune(ws, broken, QUIET)
    assert same(weights(ws, straight), weights(ws, broken))
    assert summary["tokens"] == read_json(ws.run(straight) / "train" / "summary.json")["tokens"]
    assert [row["step"] for row in metrics(ws, broken, "train")] == list(range(1, 13))


WORKER = """
import os, signal, sys
from limit.finetune import trainer, train
from limit.jobs.context import JobContext
from limit.settings import workspace
step, run_id = int(sys.argv[1]), sys.argv[2]
original = trainer.Finetuner.training_step
def training_step(self, *args, **kwargs):
    if self.state.global_step + 1 == step:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *args, **kwargs)
trainer.Finetuner.training_step = training_step
train.finetune(workspace(), run_id, JobContext(None))
"""


def test_a_worker_killed_by_the_kernel_resumes_to_the_same_bits(ws: Workspace, make_run: Callable[..., str]) -> None:
    straight = make_run("learning_rate=0.01")
    killed = make_run("learning_rate=0.01", "save_every_epochs=0.5", "keep_checkpoints=1")
    finetune(ws, straight, QUIET)
    environment = {**os.environ, "LIMIT_HOME": str(ws.root), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", WORKER, "6", killed], env=environment, cwd=PROJECT, capture_output=True, timeout=240
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert (ws.run(killed) / "train" / "checkpoint-4").is_dir()
    finetune(ws, killed, QUIET)
    assert same(weights(ws, straight), weights(ws, killed))


def test_a_stop_request_saves_and_resume_goes_on(ws: Workspace, make_run: Callable[..., str], tmp_path: Path) -> None:
    straight, stopped = make_run("learning_rate=0.01"), make_run("learning_rate=0.01", "keep_checkpoints=3")
    finetune(ws, straight, QUIET)
    write_json(tmp_path / "job" / "cancel", {})
    summary = finetune(ws, stopped, JobContext(tmp_path / "job"))
    assert summary["state"] == "stopped"
    assert summary["steps"] == 1
    assert not (ws.run(stopped) / "model").exists()
    assert finetune(ws, stopped, QUIET)["state"] == "finished"
    assert same(weights(ws, straight), weights(ws, stopped))


def test_a_finished_run_is_not_trained_again(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = make_run()
    first = finetune(ws, run_id, QUIET)
    crash_at(monkeypatch, 1)
    assert finetune(ws, run_id, QUIET) == first


def test_epochs_are_kept_and_can_be_loaded(ws: Workspace, make_run: Callable[..., str]) -> None:
    run_id = make_run("save_every_epochs=1", "stop_after_epoch=2")
    summary = finetune(ws, run_id, QUIET)
    assert summary["steps"] == 8
    assert metrics(ws, run_id, "train")[-1]["lr"] > 0, "the schedule runs on to its third epoch"
    ref = resolve_model(ws, f"{run_id}@epoch-2")
    load_model(ref, "fp32", "cpu")
    assert same(weights(ws, run_id), weights(ws, run_id, "train/epoch-2"))
    with pytest.raises(LimitError, match="epoch-3"):
        resolve_model(ws, f"{run_id}@epoch-3")


def test_an_epoch_is_kept_though_the_process_died_while_keeping_it(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = make_run("save_every_epochs=1")
    with monkeypatch.context() as patch:
        patch.setattr("limit.finetune.train._keep_epoch", lambda *args: (_ for _ in ()).throw(Crash()))
        with pytest.raises(Crash):
            finetune(ws, run_id, QUIET)
    finetune(ws, run_id, QUIET)
    kept = [path.name for path in (ws.run(run_id) / "train").glob("epoch-*")]
    assert sorted(kept) == ["epoch-1", "epoch-2", "epoch-3"]


def test_resume_checkpoints_are_pruned_and_gone_in_the_end(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = make_run("save_every_epochs=0.25", "keep_checkpoints=2")
    with monkeypatch.context() as patch:
        crash_at(patch, 8)
        with pytest.raises(Crash):
            finetune(ws, run_id, QUIET)
    train = ws.run(run_id) / "train"
    assert sorted(path.name for path in train.glob("checkpoint-*")) == ["checkpoint-6", "checkpoint-7"]
    finetune(ws, run_id, QUIET)
    assert not list(train.glob("checkpoint-*"))


def test_a_broken_checkpoint_is_passed_over(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("save_every_epochs=0.25", "learning_rate=0.01")
    straight, run_id = make_run(*settings), make_run(*settings, "keep_checkpoints=3")
    finetune(ws, straight, QUIET)
    with monkeypatch.context() as patch:
        crash_at(patch, 8)
        with pytest.raises(Crash):
            finetune(ws, run_id, QUIET)
    train = ws.run(run_id) / "train"
    (train / "checkpoint-7" / "trainer_state.json").write_text("{")
    assert [path.name for path in checkpoints.resume_points(train)] == ["checkpoint-6", "checkpoint-5"]
    optimizer = train / "checkpoint-6" / "optimizer.pt"
    optimizer.write_bytes(b"?" * optimizer.stat().st_size)
    with pytest.raises(LimitError, match=r"checkpoint-6 cannot be read .* delete that folder"):
        finetune(ws, run_id, QUIET)
    optimizer.unlink()
    assert [path.name for path in checkpoints.resume_points(train)] == ["checkpoint-5"]
    finetune(ws, run_id, QUIET)
    assert same(weights(ws, straight), weights(ws, run_id))


def test_out_of_memory_halves_the_rows_and_keeps_the_step(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, short = make_run("learning_rate=0.01"), make_run("learning_rate=0.01", "keep_checkpoints=3")
    finetune(ws, straight, QUIET)
    original = trainer.Finetuner.rows_of

    def rows_of(self: Any, examples: Any, scale: Any) -> Any:
        rows = original(self, examples, scale)
        if max(row.tokens for row in rows) > 300:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return rows

    monkeypatch.setattr(trainer.Finetuner, "rows_of", rows_of)
    summary = finetune(ws, short, QUIET)
    assert summary["row_tokens"] <= 512
    assert any("memory ran out" in row["text"] for row in metrics(ws, short, "note"))
    pairs = zip(metrics(ws, straight, "train"), metrics(ws, short, "train"), strict=True)
    assert all(a["loss"] == pytest.approx(b["loss"], rel=1e-4) for a, b in pairs)


def test_a_sample_that_never_fits_says_what_to_change(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Any, examples: Any, scale: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(trainer.Finetuner, "rows_of", never)
    with pytest.raises(LimitError, match="lower max_seq_len"):
        finetune(ws, make_run("held_out_per_part=0"), QUIET)


def test_a_loss_that_is_not_finite_stops_with_a_reason(ws: Workspace, make_run: Callable[..., str]) -> None:
    run_id = make_run("learning_rate=1e30", "grad_clip_norm=0", "warmup_steps=0")
    with pytest.raises(LimitError, match="lower learning_rate"):
        finetune(ws, run_id, QUIET)
    assert not (ws.run(run_id) / "model").exists()


def test_a_run_that_is_removed_meanwhile_ends_at_once(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, original = make_run(), trainer.Finetuner.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        shutil.rmtree(ws.run(run_id))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(trainer.Finetuner, "training_step", training_step)
    with pytest.raises(LimitError, match="was removed while the run trained"):
        finetune(ws, run_id, QUIET)
    assert not ws.run(run_id).exists()


def test_held_out_loss_and_generations_are_recorded_per_source(ws: Workspace, tiny_llama: Path) -> None:
    mix = write_mix(ws, "aaaaaaaaaaaa", terse=60, long=40)
    from limit.recipes import load_recipe

    recipe = load_recipe("tiny").with_settings(["template=plain", "epochs=1", "held_out_per_part=1"])
    run_id = ensure_run(ws, RunSpec(model=str(tiny_llama), mix_id=mix, recipe_name="tiny", recipe=recipe))
    summary = finetune(ws, run_id, QUIET)
    assert summary["held_out"] == {"long": 1, "terse": 1}
    assert summary["samples"] == 98
    rows = metrics(ws, run_id, "eval")
    assert {(row["source"], row["n"]) for row in rows} == {("terse", 1), ("long", 1)}
    assert rows[0]["step"] == 0
    assert rows[-1]["step"] == summary["steps"]
    assert len({row["prompt"] for row in metrics(ws, run_id, "generation")}) == 3


def test_watching_does_not_change_what_is_learned(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("learning_rate=0.01", "precision=fp32")
    watched, alone = make_run(*settings, recipe="lora"), make_run(*settings, "keep_checkpoints=3", recipe="lora")
    finetune(ws, watched, QUIET)
    monkeypatch.setattr("limit.finetune.follow.Follow._look", lambda self, step: None)
    finetune(ws, alone, QUIET)
    assert same(weights(ws, watched), weights(ws, alone))


def test_every_train_row_has_the_fields_that_pages_read(ws: Workspace, make_run: Callable[..., str]) -> None:
    run_id = make_run("epochs=1")
    finetune(ws, run_id, QUIET)
    wanted = {"step", "epoch", "loss", "grad_norm", "lr", "tokens", "tokens_per_s", "mfu", "memory_gb", "eta_s", "time"}
    assert all(wanted <= row.keys() for row in metrics(ws, run_id, "train"))


def test_a_mix_without_a_single_response_is_refused(ws: Workspace, tiny_llama: Path) -> None:
    from limit.recipes import load_recipe

    mix = write_mix(ws, "bbbbbbbbbbbb")
    recipe = load_recipe("tiny").with_settings(["template=alpaca", "max_seq_len=16"])
    run_id = ensure_run(ws, RunSpec(model=str(tiny_llama), mix_id=mix, recipe_name="tiny", recipe=recipe))
    with pytest.raises(LimitError, match="raise max_seq_len"):
        finetune(ws, run_id, QUIET)


def test_an_unknown_hub_model_offline_is_one_sentence(ws: Workspace, make_spec: Callable[..., RunSpec]) -> None:
    run_id = ensure_run(ws, make_spec(model="nobody/nothing-7b"))
    with pytest.raises(LimitError, match="nobody/nothing-7b"):
        finetune(ws, run_id, QUIET)


def test_a_paper_recipe_runs_on_mpt(ws: Workspace, tiny_llama: Path, mix_id: str, tmp_path: Path) -> None:
    """Decoupled Lion, ALiBi, padded and grouped by length, an incomplete batch dropped, epoch 2 kept."""
    from transformers import AutoTokenizer

    from limit.recipes import load_recipe
    from tests.finetune.models import CONFIGS

    folder = tmp_path / "mpt"
    config = CONFIGS["mpt"]()
    config.vocab_size = 512
    from transformers import MptForCausalLM

    MptForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    recipe = load_recipe("mpt-30b-paper").with_settings(
        [
            "template=plain",
            "max_seq_len=128",
            "global_batch_size=10",
            "epochs=4",
            "stop_after_epoch=2",
            "precision=fp32",
        ]
    )
    run_id = ensure_run(ws, RunSpec(model=str(folder), mix_id=mix_id, recipe_name="mpt-30b-paper", recipe=recipe))
    summary = finetune(ws, run_id, QUIET)
    assert summary["steps"] == 6
    assert summary["mode"].startswith("padded")
    assert resolve_model(ws, f"{run_id}@epoch-2").local


def test_samples_beyond_a_models_context_are_refused(
    ws: Workspace, mix_id: str, tiny_llama: Path, tmp_path: Path
) -> None:
    import shutil

    from limit.recipes import load_recipe

    folder = tmp_path / "short"
    shutil.copytree(tiny_llama, folder)
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "max_position_embeddings": 60})
    recipe = load_recipe("tiny").with_settings(["template=alpaca", "max_seq_len=256"])
    run_id = ensure_run(ws, RunSpec(model=str(folder), mix_id=mix_id, recipe_name="tiny", recipe=recipe))
    with pytest.raises(LimitError, match="set max_seq_len=60"):
        finetune(ws, run_id, QUIET)


def test_token_ids_that_a_model_does_not_know_are_refused(
    ws: Workspace, mix_id: str, tiny_llama: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from limit.recipes import load_recipe

    folder = tmp_path / "few-words"
    config = LlamaConfig(vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                         num_attention_heads=4)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    recipe = load_recipe("tiny").with_settings(["template=plain"])
    run_id = ensure_run(ws, RunSpec(model=str(folder), mix_id=mix_id, recipe_name="tiny", recipe=recipe))
    with pytest.raises(LimitError, match="the model knows 100"):
        finetune(ws, run_id, QUIET)


@pytest.mark.parametrize("optimizer", ["adamw", "decoupled_adamw", "decoupled_lionw"])
def test_bf16_on_a_cpu_is_fp32_but_for_rounding(optimizer: str, ws: Workspace, make_run: Callable[..., str]) -> None:
    settings = (f"optimizer={optimizer}", "learning_rate=0.001", "epochs=1.5")
    exact, rounded = make_run(*settings), make_run(*settings, "precision=bf16")
    assert [finetune(ws, run_id, QUIET)["epochs"] for run_id in (exact, rounded)] == [1.5, 1.5]
    pairs = list(zip(metrics(ws, exact, "train"), metrics(ws, rounded, "train"), strict=True))
    assert len(pairs) == 6, "one epoch and a half of four steps"
    assert all(a["loss"] == pytest.approx(b["loss"], rel=1e-2) for a, b in pairs)
    assert pairs[-1][0]["loss"] < pairs[0][0]["loss"]
    assert {tensor.dtype for tensor in weights(ws, rounded).values()} == {torch.bfloat16}


def test_samples_that_are_cut_or_lost_are_said(ws: Workspace, make_run: Callable[..., str]) -> None:
    run_id = make_run("template=plain", "max_seq_len=18", "max_steps=1")
    summary = finetune(ws, run_id, QUIET)
    said = [row["text"] for row in metrics(ws, run_id, "note") if "max_seq_len=18" in row["text"]]
    assert summary["truncated"] > summary["without_loss"] > 0
    assert said == [
        f"{summary['truncated']} samples are longer than max_seq_len=18 and cut; "
        f"{summary['without_loss']} have no response left and are not trained on"
    ]


def test_an_empty_mix_is_refused(ws: Workspace, tiny_llama: Path) -> None:
    import pyarrow.parquet as pq

    from limit.recipes import load_recipe

    path = ws.mix(write_mix(ws, "cccccccccccc")) / "samples.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    spec = RunSpec(model=str(tiny_llama), mix_id="cccccccccccc", recipe_name="tiny", recipe=load_recipe("tiny"))
    with pytest.raises(LimitError, match="holds no sample"):
        finetune(ws, ensure_run(ws, spec), QUIET)


@pytest.mark.parametrize("setting", ["beta1=1", "beta2=1", "lora_dropout=1", "epochs=1e20", "lora_rank=99999999999"])
def test_settings_that_torch_would_refuse_are_refused_at_once(setting: str, make_run: Callable[..., str]) -> None:
    with pytest.raises(LimitError, match=setting.partition("=")[0]):
        make_run(setting)


def test_a_run_stopped_or_killed_after_its_last_step_is_not_trained_further(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the schedule running on to a later epoch, and with an end inside of an epoch."""
    for ends in (("stop_after_epoch=2",), ("max_steps=6",), ("epochs=1.5",)):
        settings = ("learning_rate=0.01", "held_out_per_part=0", *ends)
        straight, killed = make_run(*settings), make_run(*settings, "save_every_epochs=0.5")
        finetune(ws, straight, QUIET)
        with monkeypatch.context() as patch:
            patch.setattr("limit.finetune.train._put_model", lambda *args: (_ for _ in ()).throw(Crash()))
            with pytest.raises(Crash):
                finetune(ws, killed, QUIET)
        summary = finetune(ws, killed, QUIET)
        assert summary["steps"] == read_json(ws.run(straight) / "train" / "summary.json")["steps"]
        assert [row["step"] for row in metrics(ws, killed, "train")] == list(range(1, summary["steps"] + 1))
        assert same(weights(ws, straight), weights(ws, killed)), ends


def test_loggers_write_into_the_workspace_unless_told_otherwise(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("WANDB_DIR", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")
    for name in names:
        monkeypatch.setenv(name, "x")  # so that the test's end restores what was
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_PROJECT", "my own")
    place_loggers(ws)
    found = [os.environ[name] for name in names]
    assert found == [str(ws.root), "my own", f"sqlite:///{ws.root}/mlflow.db", "limit"]


def test_a_tokenizer_without_pad_and_end_tokens_trains_by_its_chat_template(
    ws: Workspace, make_run: Callable[..., str], tiny_llama: Path, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "bare"
    shutil.copytree(tiny_llama, folder)
    config = read_json(folder / "tokenizer_config.json")
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    bare = {name: value for name, value in config.items() if name not in ("pad_token", "eos_token", "bos_token")}
    write_json(folder / "tokenizer_config.json", {**bare, "chat_template": template})
    run_id = make_run("template=chat", "packing=false", "max_steps=1", model=str(folder))
    assert finetune(ws, run_id, QUIET)["state"] == "finished"


def test_weights_that_are_not_finite_are_told_from_a_rate_that_is_too_high(
    ws: Workspace, make_run: Callable[..., str], tiny_llama: Path, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import save_file

    folder = tmp_path / "broken"
    shutil.copytree(tiny_llama, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    run_id = make_run("held_out_per_part=2", model=str(folder))
    with pytest.raises(LimitError, match="before anything was learned"):
        finetune(ws, run_id, QUIET)
    assert "NaN" not in (ws.run(run_id) / "train" / "metrics.jsonl").read_text(encoding="utf-8"), "no JSON"
