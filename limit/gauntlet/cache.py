"""Keys and values of rows that are answered together: allocated once, written in place.

Notable: transformers' own growing cache is copied whole at every token; here a row that leaves costs one copy. This
module imports torch and transformers, so only a worker imports it, and only when it generates.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class SlotLayer(DynamicLayer):
    """One layer's keys and values, each [rows, heads, room, width]; the first `length` columns are filled."""

    def __init__(self, rows: int, room: int) -> None:
        super().__init__()
        self.rows, self.room, self.length = rows, room, 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate. Zeros, because a masked column still must hold a number."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._all_keys = key_states.new_zeros((self.rows, key_states.shape[1], self.room, key_states.shape[3]))
        self._all_values = value_states.new_zeros((self.rows, value_states.shape[1], self.room, value_states.shape[3]))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the next columns of all rows; returns views of what is filled."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin, self.length = self.length, self.length + key_states.shape[2]
        self._all_keys[: self.rows, :, begin : self.length] = key_states
        self._all_values[: self.rows, :, begin : self.length] = value_states
        return self._view()

    def place(self, row: int, column: int, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Write a block whose upper left corner is at (row, column), and whose last column becomes the last filled."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, columns = slice(row, row + len(key_states)), slice(column, column + key_states.shape[2])
        self._all_keys[rows, :, columns] = key_states
        self._all_values[rows, :, columns] = value_states
        self.length = columns.stop
        self._view()

    def drop(self, row: int) -> None:
        """Give the last row the place of `row`."""
        self.rows -= 1
        if row != self.rows:
            self._all_keys[row, :, : self.length] = self._all_keys[self.rows, :, : self.length]
            self._all_values[row, :, : self.length] = self._all_values[self.rows, :, : self.length]
        self._view()

    def _view(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys = self._all_keys[: self.rows, :, : self.length]
        self.values = self._all_values[: self.rows, :, : self.length]
        return self.keys, self.values


class SlotCache(Cache):
    """A `SlotLayer` for each layer of a model."""

    def __init__(self, rows: int, room: int) -> None:
        super().__init__(layers=[])
        self._made = lambda: SlotLayer(rows, room)

    def take(self, source: Any, row: int, prefix: int, column: int) -> None:
        """Put the rows of a prefill's cache from `row` on: `prefix` columns at the left edge, the rest at `column`."""
        layers: list[Any] = self.layers
        layers.extend(self._made() for _ in range(len(source.layers) - len(layers)))
        for layer, filled in zip(layers, source.layers, strict=True):
            if prefix:
                layer.place(row, 0, filled.keys[:, :, :prefix], filled.values[:, :, :prefix])
            layer.place(row, column, filled.keys[:, :, prefix:], filled.values[:, :, prefix:])

    def drop(self, row: int) -> None:
        """Let a row leave; the last one takes its place."""
        layers: list[Any] = self.layers
        for layer in layers:
            layer.drop(row)
