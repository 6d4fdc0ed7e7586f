"""Put samples of very different length together without padding: best-fit-decreasing bins, and rows made of them.

A row is one micro-batch: documents end to end, positions restarting at each, attention kept inside each (see
`limit.finetune.attention`). An optimizer step is a fixed set of samples, as in the paper, so packing changes how fast
a step runs and nothing else; the bins only decide which of its samples share a forward pass.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from limit.encoding.template import NO_LOSS

if TYPE_CHECKING:
    import torch


class Example(NamedTuple):
    """One encoded sample: `ids` and `labels` are int32 arrays of one length; `source` names where it came from."""

    ids: np.ndarray
    labels: np.ndarray
    source: str

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def loss_tokens(self) -> int:
        """Tokens that the model is asked to predict; the first token of a document never is."""
        return int((self.labels[1:] != NO_LOSS).sum())


@dataclass(eq=False)
class Documents:
    """Where the documents of a packed row lie: lengths in tokens, their running sum (int32, n + 1), the longest.

    No tuple and not frozen: torch.compile looks into both (torch 2.11), and would compile the layers anew for every
    number of documents.
    """

    lengths: tuple[int, ...]
    offsets: torch.Tensor
    longest: int


class Row(NamedTuple):
    """One forward pass.

    `input_ids` and `position_ids` are (1, T) when packed or (B, T) when padded; `attention_mask` is (B, T) when
    padded, else None. `where` are flat positions whose next token carries loss, `targets` those tokens, `weights`
    what each counts in the step's loss.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    documents: Documents | None
    where: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    tokens: int


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of indices whose lengths sum to at most `capacity`; a longer item gets a bin of its own.

    Each item, longest first, goes where it leaves the least room (ties by age). Bins wait by the room they have left,
    and one whole number has a bit for every room that some bin has, so finding a bin is a shift and a lowest bit.
    """
    bins: list[list[int]] = []
    waiting: dict[int, list[int]] = {}  # room left: heap of bins
    rooms = 0
    for item, size in _longest_first(lengths):
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            target = heapq.heappop(waiting[room])
            bins[target].append(item)
            if not waiting[room]:
                rooms ^= 1 << room
        else:
            room, target = capacity, len(bins)
            bins.append([item])
        if room > size:
            heapq.heappush(waiting.setdefault(room - size, []), target)
            rooms |= 1 << (room - size)
    return bins


def _longest_first(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(index, length) pairs, longest first, ties in their order."""
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    return zip(order.tolist(), sizes[order].tolist(), strict=True)


def fill(lengths: Sequence[int], capacity: int) -> float:
    """Share of the tokens of best-fit-decreasing rows of `capacity` that are real."""
    rows = best_fit_decreasing(lengths, capacity)
    space = sum(max(capacity, sum(lengths[index] for index in row)) for row in rows)
    return sum(lengths) / space if space else 1.0


def length_groups(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Batches of similar length whose padded size is at most `capacity`, for models that cannot pack."""
    groups: list[list[int]] = []
    for item, _ in _longest_first(lengths):
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= capacity:
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


def share_out(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """Deal indices to ranks so that each gets about the same number of tokens."""
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for item, size in _longest_first(lengths):
        rank = loads.index(min(loads))
        shares[rank].append(item)
        loads[rank] += size
    return shares


def sample_weights(examples: Sequence[Example], weighting: str) -> list[float]:
    """What one loss token of each example counts, so that the weighted losses of a step sum to its mean.

    "token": every loss token of the step alike; "sample": every sample alike, whatever its length.
    """
    counts = [example.loss_tokens for example in examples]
    if weighting == "token":
        return [1.0 / max(sum(counts), 1)] * len(counts)
    return [1.0 / (len(counts) * max(count, 1)) for count in counts]


def packed_row(examples: Sequence[Example], weights: Sequence[float]) -> Row:
    """Documents end to end in one row."""
    import torch

    lengths = tuple(example.length for example in examples)
    ids = np.concatenate([example.ids for example in examples])
    where, targets, scale = _loss_positions(examples, weights, starts=np.cumsum([0, *lengths[:-1]]))
    offsets = torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32)
    return Row(
        input_ids=torch.from_numpy(ids).long()[None],
        position_ids=torch.from_numpy(np.concatenate([np.arange(n) for n in lengths]))[None],
        attention_mask=None,
        documents=Documents(lengths, offsets, max(lengths)),
        where=where,
        targets=targets,
        weights=scale,
        tokens=sum(lengths),
    )


def padded_row(examples: Sequence[Example], weights: Sequence[float], pad_id: int) -> Row:
    """Samples under each other, padded at their end to the longest."""
    import torch

    longest = max(example.length for example in examples)
    ids = np.full((len(examples), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for line, example in enumerate(examples):
        ids[line, : example.length] = example.ids
        mask[line, : example.length] = 1
    where, targets, scale = _loss_positions(examples, weights, starts=np.arange(len(examples)) * longest)
    return Row(
        input_ids=torch.from_numpy(ids),
        position_ids=torch.arange(longest)[None].expand(len(examples), -1),
        attention_mask=torch.from_numpy(mask),
        documents=None,
        where=where,
        targets=targets,
        weights=scale,
        tokens=int(mask.sum()),
    )


def _loss_positions(
    examples: Sequence[Example], weights: Sequence[float], starts: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Flat positions that predict a labelled next token, those tokens, and their weights."""
    import torch

    where, targets, scale = [], [], []
    for example, weight, start in zip(examples, weights, starts, strict=True):
        labelled = np.flatnonzero(example.labels[1:] != NO_LOSS)
        where.append(start + labelled)
        targets.append(example.labels[1:][labelled])
        scale.append(np.full(len(labelled), weight, dtype=np.float32))
    return (
        torch.from_numpy(np.concatenate(where)).long(),
        torch.from_numpy(np.concatenate(targets)).long(),
        torch.from_numpy(np.concatenate(scale)),
    )
