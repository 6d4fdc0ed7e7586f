"""Intervals, tests and verdicts against closed forms and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from limit import statistics
from limit.statistics import (
    Interval,
    bootstrap_mean,
    holm,
    mcnemar_exact,
    needed_prompts,
    paired_difference,
    seed_interval,
    sign_test,
    verdict_of,
)


def test_bootstrap_interval_matches_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(3).normal(5, 2, size=2000)
    interval = bootstrap_mean(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)


def test_same_data_and_seed_give_the_same_interval() -> None:
    values = [0.0, 1.0, 1.0, 0.5, 0.0, 1.0]
    assert bootstrap_mean(values) == bootstrap_mean(list(values))
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_counting_picks_of_equal_values_gives_the_interval_of_picking_each(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 6, size=3000) / 5, rng.integers(0, 6, size=3000) / 5
    counted = paired_difference(a, b)
    monkeypatch.setattr(statistics, "_FEW", math.inf)
    picked = paired_difference(a, b)
    assert (counted.low, counted.high) == pytest.approx((picked.low, picked.high), abs=0.001)
    assert (counted.low, counted.high) != (picked.low, picked.high), "both were drawn alike"
    assert (counted.estimate, counted.p_value) == (picked.estimate, picked.p_value)


def test_copies_of_a_prompt_do_not_narrow_a_clustered_interval() -> None:
    values = np.random.default_rng(0).integers(0, 2, size=100).astype(float)
    alone = bootstrap_mean(values)
    copied = bootstrap_mean(np.repeat(values, 4), clusters=np.repeat(np.arange(100), 4))
    naive = bootstrap_mean(np.repeat(values, 4))
    assert copied == alone
    assert naive.high - naive.low < 0.6 * (alone.high - alone.low)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(200):
        interval = bootstrap_mean(rng.binomial(1, 0.3, size=150), draws=400, seed=trial)
        hits += interval.low <= 0.3 <= interval.high
    assert 180 <= hits <= 198


def test_nothing_to_measure_gives_nan_and_bad_values_are_refused() -> None:
    assert math.isnan(bootstrap_mean([]).low)
    assert bootstrap_mean([0.25]) == Interval(0.25, 0.25)
    with pytest.raises(ValueError, match="NaN"):
        bootstrap_mean([1.0, math.nan])
    with pytest.raises(ValueError, match="3 values but 2 clusters"):
        bootstrap_mean([1, 2, 3], clusters=["a", "b"])


def test_paired_binary_difference_uses_mcnemar() -> None:
    a = np.array([1] * 30 + [0] * 10 + [1] * 60)
    b = np.array([0] * 30 + [1] * 10 + [1] * 60)
    difference = paired_difference(a, b)
    assert difference.estimate == pytest.approx(0.2)
    assert difference.p_value == pytest.approx(stats.binomtest(30, 40, 0.5).pvalue)
    assert difference.verdict == "better" and difference.n == 100
    assert paired_difference(b, a).verdict == "worse"


def test_paired_difference_of_scores_agrees_with_a_t_test() -> None:
    rng = np.random.default_rng(5)
    a = rng.normal(0.0, 1.0, 200)
    b = a + rng.normal(0.1, 0.6, 200)
    difference = paired_difference(b, a)
    assert difference.p_value == pytest.approx(stats.ttest_rel(b, a).pvalue, abs=0.01)


def test_equal_models_cannot_be_told_apart() -> None:
    same = paired_difference([1, 0, 1, 1], [1, 0, 1, 1])
    assert (same.verdict, same.p_value, same.needed_n) == ("cannot tell", 1.0, None)
    assert paired_difference([], []).verdict == "cannot tell"


def test_needed_number_is_enough_and_one_quarter_of_it_is_not() -> None:
    rng = np.random.default_rng(8)
    pilot = paired_difference(rng.normal(0.2, 1, 4000), np.zeros(4000))
    assert pilot.needed_n is not None
    exact = ((1.959964 + 0.841621) / 0.2) ** 2
    assert pilot.needed_n == pytest.approx(exact, rel=0.25)
    assert needed_prompts(0.6, 0.5) == math.ceil(((1.959964 + 0.841621) * 0.5 / 0.1) ** 2)
    assert needed_prompts(0.5, 0.5) is None


def test_sign_test_and_mcnemar_are_the_exact_binomial() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert mcnemar_exact(0, 5) == pytest.approx(2 / 32)


def test_holm_matches_a_worked_example_and_keeps_gaps() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    gaps = holm([0.02, math.nan, 0.5])
    assert gaps[0] == pytest.approx(0.04) and math.isnan(gaps[1]) and gaps[2] == 0.5


def test_seed_interval_of_three_seeds_uses_the_wide_t() -> None:
    interval = seed_interval([0.64, 0.65, 0.66])
    assert interval.high - 0.65 == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-5)
    assert math.isnan(seed_interval([0.5]).low)


def test_verdict_needs_both_the_interval_and_the_test() -> None:
    assert verdict_of(Interval(0.1, 0.2), 0.2) == "cannot tell"
    assert verdict_of(Interval(-0.1, 0.2), 0.01) == "cannot tell"
    assert verdict_of(Interval(0.51, 0.6), 0.01, zero=0.5) == "better"
    assert verdict_of(Interval(0.1, 0.2), math.nan) == "cannot tell"


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.1])
def test_equal_values_may_flip_together(shift: float) -> None:
    """The fast test of few distinct values is the slow one: their p-values differ by the error of 5,000 draws only."""
    rng = np.random.default_rng(3)
    values = rng.choice([-0.4, -0.2, 0.0, 0.2, 0.4, 0.6], 700) + shift
    values[values == shift] = 0.0
    groups = statistics._groups(values)
    assert groups is not None and int(groups[1].sum()) == 700
    fast, slow = statistics._grouped_flip_p(*groups, 17), statistics._sign_flip_p(values, 17)
    assert fast == pytest.approx(slow, abs=4 * math.sqrt(max(slow * (1 - slow), 1e-4) / 5000) * 2)


def test_many_distinct_values_are_not_grouped_and_rounding_makes_no_new_ones() -> None:
    assert statistics._groups(np.random.default_rng(1).normal(size=100)) is None
    noisy = np.repeat([0.1, 0.3 - 0.2, 0.5], 100)
    groups = statistics._groups(noisy)
    assert groups is not None and len(groups[0]) == 2
    assert statistics.paired_difference(np.zeros(40) + 0.5, np.zeros(40) + 0.5, [*range(40)]).p_value == 1.0
