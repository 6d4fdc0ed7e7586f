"""Update rules against their formulas, with weight decay decoupled from the learning rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from limit.encoding.packing import Example
from limit.finetune.architecture import TrainingMode
from limit.finetune.metrics import Journal
from limit.finetune.optimizers import DecoupledLionW, group_weight_decay, optimizer_class
from limit.finetune.train import training_arguments
from limit.finetune.trainer import Finetuner
from limit.recipes import load_recipe
from tests.finetune.models import random_model


def test_lion_follows_the_sign_of_its_interpolated_momentum() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = DecoupledLionW([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    momentum, value = torch.zeros(3), weight.detach().clone()
    for grad in (torch.tensor([1.0, -1.0, 0.5]), torch.tensor([-4.0, 0.1, 0.2])):
        weight.grad = grad.clone()
        optimizer.step()
        value = value * (1 - 0.5) - 0.1 * torch.sign(0.9 * momentum + 0.1 * grad)
        momentum = 0.99 * momentum + 0.01 * grad
        torch.testing.assert_close(weight.detach(), value)


def test_lions_decay_follows_the_schedule_and_not_the_rate() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = DecoupledLionW([weight], lr=1e-6, weight_decay=0.1)
    optimizer.param_groups[0]["lr"] = 5e-7
    weight.grad = torch.zeros(1)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([0.95]))


def test_decoupled_adamw_decays_by_the_share_of_the_rate_that_is_left() -> None:
    recipe = load_recipe("mpt-7b-paper").replace(weight_decay=0.1, learning_rate=0.01)
    kind, options = optimizer_class(recipe)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = kind([weight], **options, weight_decay=group_weight_decay(recipe))
    optimizer.param_groups[0]["lr"] = 0.005
    weight.grad = torch.zeros(1)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([0.95]))


def test_norms_and_biases_decay_like_every_weight(tmp_path: Path) -> None:
    """Composer and plain torch spare none, which transformers' Trainer does by itself."""
    recipe = load_recipe("mpt-7b-paper").replace(weight_decay=0.1, learning_rate=0.01, precision="fp32")
    model, ids = random_model("gpt-neox"), np.arange(3, 9, dtype=np.int32)
    trainer = Finetuner(
        model, training_arguments(tmp_path, recipe, 17, ()), recipe, [Example(ids, ids, "s")],
        TrainingMode(True, False, ""), Journal(tmp_path / "metrics.jsonl"), pad_id=0, flops=1.0, peak=None,
        optimizer_cls_and_kwargs=optimizer_class(recipe),
    )  # fmt: skip
    decays = {
        id(p): group["weight_decay"] for group in trainer.create_optimizer().param_groups for p in group["params"]
    }
    assert {decays[id(parameter)] for parameter in model.parameters()} == {group_weight_decay(recipe)}
