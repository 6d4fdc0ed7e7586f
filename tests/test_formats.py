"""Numbers as people read them."""

from __future__ import annotations

import pytest

from limit import formats


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "n/a"),
        (0.42, "0.4 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (4320, "1 h 12 min"),
        (100_000, "1 d 3 h"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert formats.duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"), [(None, "n/a"), (0, "0 B"), (999, "999 B"), (4_140_000, "4.1 MB"), (2e13, "20.0 TB")]
)
def test_sizes(value: float | None, words: str) -> None:
    assert formats.size(value) == words


def test_rates_carry_their_interval() -> None:
    assert formats.percent_interval(65.06, 62.0, 68.2) == f"65.1{formats.THIN}% [62.0, 68.2]"
    assert formats.percent_interval(65.06, None, None) == f"65.1{formats.THIN}%"
    assert formats.accuracy_interval(0.3512, 0.34, 0.3625) == "0.351 [0.340, 0.362]"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "n/a"),
        (float("nan"), "n/a"),
        (7.22e-24, "< 0.001"),
        (0.001, "= 0.001"),
        (0.0314, "= 0.031"),
        (1, "= 1.000"),
    ],
)
def test_p_values_have_no_exponent(value: float | None, words: str) -> None:
    assert formats.p_value(value) == words


def test_counts_and_tokens() -> None:
    assert (formats.count(11277), formats.tokens(12_400), formats.tokens(1_920_000)) == ("11,277", "12.4 k", "1.92 M")


def test_a_number_that_is_printed_as_zero_has_no_sign() -> None:
    assert formats.accuracy_interval(-0.0001, -0.00049, 0.07) == "0.000 [0.000, 0.070]"
    assert formats.percent(-0.04) == "0.0\u2009%"
