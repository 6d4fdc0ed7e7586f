"""Colours stay with the data and can be told apart."""

from __future__ import annotations

from itertools import combinations

import pytest

from limit.charts.palette import OWN, PAPER, Palette, _channels, _luminance


def test_the_papers_colours_are_fixed_on_both_grounds() -> None:
    for palette in (Palette.light(), Palette.dark()):
        assert [palette.colour(key) for key in ("base", "lima", "subset", "subset+lima", "full")] == [
            "#6CC5D9", "#2B2D6E", "#C9B458", "#8FB1CC", "#E4572E"]  # fmt: skip


def test_an_own_mix_keeps_its_colour_when_others_come() -> None:
    first = Palette.light().with_mixes(["3f9a1c000000"])
    later = Palette.light().with_mixes(["3f9a1c000000", "aaaaaaaaaaaa", "bbbbbbbbbbbb"])
    assert first.colour("3f9a1c000000") == later.colour("3f9a1c000000")


def test_own_mixes_differ_from_each_other_and_from_the_papers() -> None:
    palette = Palette.light().with_mixes(f"mix{n}" for n in range(len(OWN)))
    colours = [palette.colour(f"mix{n}") for n in range(len(OWN))]
    assert len(set(colours)) == len(OWN)
    assert not set(colours) & set(PAPER.values())


def test_more_mixes_than_colours_still_have_one() -> None:
    palette = Palette.dark().with_mixes(f"mix{n}" for n in range(50))
    assert {palette.colour(f"mix{n}") for n in range(50)} <= set(OWN)
    assert palette.colour("never seen") in OWN
    assert palette.colour(None) == palette.muted


@pytest.mark.parametrize(("a", "b"), combinations(PAPER, 2))
def test_the_papers_series_differ_in_grey_or_in_symbol(a: str, b: str) -> None:
    palette = Palette.light()
    grey = abs(_luminance(PAPER[a]) - _luminance(PAPER[b])) > 0.05
    assert grey or palette.symbol(a) != palette.symbol(b)


@pytest.mark.parametrize("colour", [*PAPER.values(), *OWN])
def test_text_on_a_colour_has_contrast(colour: str) -> None:
    ink = Palette.light().text_on(colour)
    light, dark = sorted((_luminance(colour), _luminance(ink)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.0


def test_marks_have_a_light_edge_on_the_dark_ground() -> None:
    assert _luminance(Palette.dark().edge) > 0.5
    assert _channels("#FF8000") == (255, 128, 0)
