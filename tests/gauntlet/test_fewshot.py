from __future__ import annotations

import pytest

from limit.gauntlet.fewshot import fixed_shots, paper_shots
from tests.gauntlet.reference import draw_all


@pytest.mark.parametrize(("n", "k"), [(1, 3), (2, 1), (2, 5), (5, 4), (5, 10), (32, 10), (100, 3), (500, 25)])
def test_paper_shots_equal_the_plain_reading_in_order(n: int, k: int) -> None:
    assert paper_shots(n, k) == draw_all(n, k)


def test_paper_shots_are_neither_sorted_nor_in_drawn_order() -> None:
    assert any(shots != sorted(shots) for shots in paper_shots(300, 10))


def test_without_shots_the_generator_is_not_touched() -> None:
    assert paper_shots(4, 0) == [[], [], [], []]


@pytest.mark.parametrize(("n", "k", "draws"), [(50, 10, 1), (50, 10, 4), (12, 10, 1), (3, 10, 2), (2, 1, 1), (1, 2, 1)])
def test_fixed_shots_never_hold_the_record_itself(n: int, k: int, draws: int) -> None:
    table = fixed_shots(n, k, draws)
    assert all(index not in shots for index, shots in enumerate(table))
    assert all(len(set(shots)) == len(shots) == min(k, n - 1) for shots in table)


def test_fixed_shots_are_few_and_dealt_out_in_turn() -> None:
    table = fixed_shots(1000, 5, 4)
    common = {tuple(shots) for shots in table}
    assert 4 <= len(common) <= 6
    assert sum(table[i] == table[i % 4] for i in range(1000)) > 950
