"""The update rules of the paper: AdamW and Lion with weight decay decoupled from the learning rate, as in Composer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from limit.specs.run import Recipe


class DecoupledLionW(torch.optim.Optimizer):
    """Lion (Chen et al. 2023): the sign of an interpolated momentum, with decay scaled by lr / initial lr.

    Composer's `DecoupledLionW`: weight decay acts as `weight_decay * lr / initial_lr` and not times the rate itself.
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "initial_lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            decay = group["weight_decay"] * group["lr"] / group["initial_lr"]
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if not state:
                    state["exp_avg"] = torch.zeros_like(param)
                momentum = state["exp_avg"]
                if decay:
                    param.mul_(1 - decay)
                update = torch.lerp(param.grad, momentum, beta1).sign_()
                param.add_(update, alpha=-group["lr"])
                momentum.lerp_(param.grad, 1 - beta2)
        return loss


def optimizer_class(recipe: Recipe) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Class and keyword arguments of a recipe's optimizer, without the weight decay (see `group_weight_decay`)."""
    common = {"lr": recipe.learning_rate, "betas": (recipe.beta1, recipe.beta2)}
    if recipe.optimizer == "decoupled_lionw":
        return DecoupledLionW, common
    return torch.optim.AdamW, {**common, "eps": recipe.epsilon, "fused": True}


def group_weight_decay(recipe: Recipe) -> float:
    """The decay to give torch: it multiplies by the learning rate, which the decoupled AdamW divides out."""
    if recipe.optimizer == "decoupled_adamw":
        return recipe.weight_decay / recipe.learning_rate
    return recipe.weight_decay
