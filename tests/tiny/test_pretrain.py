"""Pretraining: it goes down, it resumes to the same numbers, and its pieces do what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from limit.core import read_json, read_jsonl
from limit.tiny import pretrain
from limit.tiny.muon import orthogonalise
from limit.tiny.tokenizer import HELPER, USER, train_tokenizer

SMALL = pretrain.PretrainRecipe(
    vocab_size=600, hidden_size=32, layers=1, heads=2, intermediate_size=48, row_tokens=48, rows=4, steps=20,
    warmup_steps=4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "CHECKPOINT_EVERY", 10)
    monkeypatch.setattr(pretrain, "LOG_EVERY", 5)
    monkeypatch.setattr(pretrain, "DOCUMENTS", 1_000)


def test_the_loss_falls_and_the_record_is_complete(tmp_path: Path) -> None:
    pretrain.save(pretrain.train(SMALL, tmp_path), SMALL, tmp_path)
    record = read_json(tmp_path / "loss.json")
    assert record["loss"][-1][1] < record["loss"][0][1]
    assert record["tokens"] == 20 * 4 * 48
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    import torch

    whole = pretrain.train(SMALL, tmp_path / "whole")
    original, calls = pretrain.save_checkpoint, []

    def stop_after_the_first(*arguments: object) -> None:
        original(*arguments)  # type: ignore[arg-type]
        calls.append(arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretrain, "save_checkpoint", stop_after_the_first)
        pretrain.train(SMALL, tmp_path / "parts")
    resumed = pretrain.train(SMALL, tmp_path / "parts")
    assert len(calls) == 1
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [row["step"] for row in read_jsonl(tmp_path / "parts" / "loss.jsonl")] == [5, 10, 15, 20]


def test_the_learning_rate_warms_up_stays_and_decays() -> None:
    recipe = replace(SMALL, steps=100, warmup_steps=10, decay_from=0.5)
    scales = [recipe.lr_scale(step) for step in range(100)]
    assert scales[0] == 0.1
    assert scales[20] == scales[49] == 1.0
    assert 0 < scales[99] < 0.03
    assert np.all(np.diff(scales[50:]) < 0)


def test_orthogonal_updates_have_singular_values_near_one() -> None:
    import torch

    values = torch.linalg.svdvals(orthogonalise(torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(1))))
    assert float(values.min()) > 0.5 and float(values.max()) < 1.4


def test_a_word_is_one_token_wherever_it_stands() -> None:
    tokenizer = train_tokenizer(["The baker lives in Gemby.\nThe baker sells bread."] * 20, 400)
    first = tokenizer("baker")["input_ids"]
    assert first == tokenizer(" baker")["input_ids"]
    assert tokenizer("x\nbaker")["input_ids"][-len(first) :] == first
    assert len(tokenizer("12")["input_ids"]) > len(tokenizer("1")["input_ids"])
    assert len(tokenizer(f"{USER}{HELPER}")["input_ids"]) == 2
    assert tokenizer.decode(tokenizer("The baker lives.\nThe baker sells.")["input_ids"]).strip() == (
        "The baker lives.\nThe baker sells."
    )
