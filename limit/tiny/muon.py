"""Muon in single precision: momentum whose update matrices are made orthogonal before they are applied.

After Jordan et al., https://kellerjordan.github.io/posts/muon/. `torch.optim.Muon` runs its iteration in bfloat16,
which a processor without bfloat16 units does slowly; this one stays in float32 and handles equal shapes together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(batch: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Bring the singular values of each matrix of a (n, rows, columns) stack close to one (Newton-Schulz)."""
    a, b, c = COEFFICIENTS
    wide = batch.mT if batch.size(-2) > batch.size(-1) else batch
    x = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if batch.size(-2) > batch.size(-1) else x


class Muon:
    """Nesterov momentum with orthogonal updates, for the inner weight matrices of a network.

    Has the part of torch's optimizer interface that a training loop uses. It is no subclass of it, because this
    module must be importable without loading torch.
    """

    def __init__(
        self, matrices: Iterable[torch.Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.05
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(matrices), "lr": lr}]
        self.momentum, self.weight_decay = momentum, weight_decay
        self._buffers = [matrix.detach().clone().zero_() for matrix in self.param_groups[0]["params"]]

    def step(self) -> None:
        """Apply one update to every matrix; all of them must have a gradient."""
        import torch

        group = self.param_groups[0]
        by_shape: dict[torch.Size, list[int]] = defaultdict(list)
        for index, matrix in enumerate(group["params"]):
            by_shape[matrix.shape].append(index)
        with torch.no_grad():
            for shape, indices in by_shape.items():
                updates = orthogonalise(torch.stack([self._direction(index) for index in indices]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for index, update in zip(indices, updates, strict=True):
                    matrix = group["params"][index]
                    matrix.mul_(1 - group["lr"] * self.weight_decay)
                    matrix.add_(update, alpha=-group["lr"] * scale)

    def _direction(self, index: int) -> torch.Tensor:
        gradient: torch.Tensor = self.param_groups[0]["params"][index].grad
        self._buffers[index].lerp_(gradient, 1 - self.momentum)
        return gradient.lerp(self._buffers[index], self.momentum)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for matrix in self.param_groups[0]["params"]:
            matrix.grad = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"buffers": self._buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._buffers = list(state["buffers"])
