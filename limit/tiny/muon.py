"""Muon in single precision: momentum whose update matrices are made orthogonal before they are applied.

After Jordan et al., https://kellerjordan.github.io/posts/muon/. `torch.optim.Muon` runs its iteration in bfloat16,
which a processor without bfloat16 units does slowly; this one stays in float32 and handles equal shapes together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

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


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with orthogonal updates, for the inner weight matrices of a network."""

    def __init__(self, matrices: Iterable[torch.Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.05):
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update to every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                by_shape[matrix.shape].append(matrix)
            for shape, matrices in by_shape.items():
                updates = orthogonalise(torch.stack([self._direction(m, group["momentum"]) for m in matrices]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(update, alpha=-group["lr"] * scale)

    def _direction(self, matrix: torch.Tensor, momentum: float) -> torch.Tensor:
        buffer: torch.Tensor = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
        assert matrix.grad is not None
        buffer.lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(buffer, momentum)
