"""Update rules against their formulas, with weight decay decoupled from the learning rate."""

from __future__ import annotations

import torch

from limit.finetune.optimizers import DecoupledLionW, group_weight_decay, optimizer_class
from limit.recipes import load_recipe


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
