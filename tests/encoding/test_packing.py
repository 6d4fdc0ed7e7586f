"""Bins lose nothing and leave little room; rows say where their documents and labels are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limit.encoding.packing import (
    Example,
    best_fit_decreasing,
    fill,
    length_groups,
    packed_row,
    padded_row,
    sample_weights,
    share_out,
)
from limit.encoding.template import NO_LOSS

lengths_of = st.lists(st.integers(1, 400), max_size=80)


def example(ids: list[int], prompt: int) -> Example:
    labels = np.array([NO_LOSS] * prompt + ids[prompt:], np.int32)
    return Example(np.array(ids, np.int32), labels, "s")


@given(lengths=lengths_of, capacity=st.integers(1, 300))
def test_bins_hold_every_item_once_and_never_too_much(lengths: list[int], capacity: int) -> None:
    for plan in (best_fit_decreasing, length_groups):
        groups = plan(lengths, capacity)
        assert sorted(item for group in groups for item in group) == list(range(len(lengths)))
    for group in best_fit_decreasing(lengths, capacity):
        assert sum(lengths[item] for item in group) <= capacity or len(group) == 1
    for group in length_groups(lengths, capacity):
        assert max(lengths[item] for item in group) * len(group) <= capacity or len(group) == 1


@given(lengths=lengths_of, ranks=st.integers(1, 8))
def test_shares_hold_every_item_once_and_weigh_alike(lengths: list[int], ranks: int) -> None:
    shares = share_out(lengths, ranks)
    assert sorted(item for share in shares for item in share) == list(range(len(lengths)))
    loads = [sum(lengths[item] for item in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths, default=0)


def test_each_item_goes_where_it_leaves_the_least_room() -> None:
    assert best_fit_decreasing([6, 5, 4, 3, 2], 10) == [[0, 2], [1, 3, 4]]


def test_a_mix_of_three_thousand_fills_its_rows() -> None:
    generator = np.random.default_rng(0)
    lengths = np.concatenate([generator.integers(20, 150, 2000), generator.integers(100, 1024, 1000)]).tolist()
    assert fill(lengths, 1024) >= 0.99


@pytest.mark.parametrize("weighting", ["token", "sample"])
def test_the_weights_of_a_step_sum_to_one(weighting: str) -> None:
    examples = [example([5, 6, 7, 8], 2), example([5, 6, 7, 8, 9], 1), example(list(range(20)), 3)]
    weights = sample_weights(examples, weighting)
    assert sum(w * e.loss_tokens for w, e in zip(weights, examples, strict=True)) == pytest.approx(1.0)
    assert len(set(weights)) == (1 if weighting == "token" else 3)


def test_a_packed_row_restarts_positions_and_never_predicts_across_documents() -> None:
    first, second = example([5, 6, 7, 8], 2), example([9, 10, 11], 0)
    row = packed_row([first, second], [0.5, 0.25])
    assert row.input_ids.tolist() == [[5, 6, 7, 8, 9, 10, 11]]
    assert row.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert row.attention_mask is None
    assert row.documents is not None
    assert row.documents.offsets.tolist() == [0, 4, 7]
    assert row.where.tolist() == [1, 2, 4, 5]
    assert row.targets.tolist() == [7, 8, 10, 11]
    assert row.weights.tolist() == [0.5, 0.5, 0.25, 0.25]


def test_a_padded_row_masks_its_padding() -> None:
    row = padded_row([example([5, 6, 7, 8], 2), example([9, 10], 1)], [1.0, 1.0], pad_id=3)
    assert row.input_ids.tolist() == [[5, 6, 7, 8], [9, 10, 3, 3]]
    assert row.attention_mask is not None
    assert row.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert row.where.tolist() == [1, 2, 4]
    assert row.tokens == 6
