"""Where names of points stand so that they cover neither each other nor marks and lines, at any width of a page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]  # last axis: left, top, right, bottom in pixels; first axis: the two widths
WIDTHS = (230.0, 560.0)  # pixels of a plot on a phone or in a narrow column, and in a wide one
CHAR_PX, LINE_PX, MARK_PX = 5.8, 15.0, 17.0
NEAR_PX, RINGS_PX = 11.0, (26.0, 44.0, 64.0)
PASSES = 3
MARGIN_PX = 20.0
LABEL, MARK, LINE, OUTSIDE, FAR = 20.0, 10.0, 2.5, 30.0, 0.25  # what it costs to cover, to leave the plot, to stand off


@dataclass(frozen=True)
class Spot:
    """Pixels from a point to the middle of its name (down is positive); `led` asks for a line between them."""

    dx: float
    dy: float
    led: bool


def place_labels(
    names: Sequence[str],
    points: Sequence[tuple[float, float]],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    height: float,
    lines: Sequence[tuple[float, float, float, float]] = (),
    marks: Sequence[tuple[float, float]] = (),
) -> list[Spot]:
    """A spot for the name of each point. `points`, `lines` (x0, y0, x1, y1) and `marks` (further small ones) are in
    data units, `ranges` those of the two axes, `height` that of the plot in pixels.

    Each name takes in turn the place that covers least of the others, of points and of lines at both widths, and may
    think again twice.
    """
    if not names:
        return []
    places = _pixels(points, ranges, height)
    others, prices = _obstacles(points, marks, lines, ranges, height)
    spots = [_spots(len(name)) for name in names]
    moves = np.array([[(spot.dx, spot.dy) for spot in mine] for mine in spots])
    led = np.array([spot.led for spot in spots[0]])
    half = np.array([[CHAR_PX * len(name) / 2 + 2, LINE_PX / 2] for name in names])
    middles = places[:, :, None] + moves
    boxes = _around(middles, half[:, None])
    cost = OUTSIDE * _outside(boxes, height).sum(axis=0) + [[_distance(spot) for spot in mine] for mine in spots]
    for i, width in itertools.product(range(len(names)), range(len(WIDTHS))):
        mine, middle = boxes[width, i], middles[width, i, led]
        near = _in_reach(mine, others[width])
        leaders = [_around(middle - (1 - share) * moves[i, led], np.array([2.0, 2.0])) for share in (0.45, 0.65)]
        paid = _covered(np.concatenate([mine, *leaders]), others[width, near]) @ prices[width, near]
        cost[i] += paid[: len(mine)]
        cost[i, led] += paid[len(mine) :].reshape(2, -1).sum(axis=0)  # two places on the way to the mark
    chosen = np.full((len(WIDTHS), len(names), 4), np.nan)  # of names without a place yet; nothing touches them
    taken = [0] * len(names)
    for i in _most_crowded_first(places[0]) * PASSES:
        chosen[:, i] = np.nan
        total = cost[i] + LABEL * np.nansum(_covered(boxes[:, i], chosen), axis=(0, 2))
        taken[i] = int(np.argmin(total))
        chosen[:, i] = boxes[:, i, taken[i]]
    return [mine[place] for mine, place in zip(spots, taken, strict=True)]


@lru_cache(maxsize=64)
def _spots(chars: int) -> list[Spot]:
    """Beside the mark first, then further off with a line to it."""
    half, up = CHAR_PX * chars / 2 + 2, LINE_PX / 2
    near = [Spot(side * (NEAR_PX - 3 + half), turn * (NEAR_PX - 2 + up), False) for side in (1, -1) for turn in (-1, 1)]
    near += [Spot(0, turn * (NEAR_PX + up), False) for turn in (-1, 1)]
    near += [Spot(side * (NEAR_PX + half), 0, False) for side in (1, -1)]
    far = []
    for ring in RINGS_PX:
        for step in range(12):
            across, down = math.cos(math.pi * step / 6), math.sin(math.pi * step / 6)
            far.append(Spot(ring * across + half * _side(across), ring * down + up * _side(down), True))
    return near + far


def _side(share: float) -> float:
    return 0.0 if abs(share) < 0.3 else math.copysign(1.0, share)


def _distance(spot: Spot) -> float:
    """Beside the mark costs nothing; a line costs by its length."""
    return FAR * (4 + max(abs(spot.dx), abs(spot.dy)) / 8) if spot.led else 0.0


def _pixels(points: Any, ranges: Any, height: float) -> NDArray[np.float64]:
    """Points in pixels at each width: [width, point, 2]."""
    (left, right), (bottom, top) = ranges
    values = np.asarray(points, dtype=float).reshape(-1, 2)
    x = (values[:, 0] - left) / ((right - left) or 1) * np.array(WIDTHS)[:, None]
    y = (top - values[:, 1]) / ((top - bottom) or 1) * height
    return np.stack([x, np.broadcast_to(y, x.shape)], axis=-1)


def _obstacles(points: Any, marks: Any, lines: Any, ranges: Any, height: float) -> tuple[Boxes, NDArray[np.float64]]:
    """Boxes of marks and of short pieces of lines at each width, and what it costs to cover each.

    A line has as many pieces as its longer picture needs; where it is short, each is worth the less.
    """
    boxes = [_around(_pixels(points, ranges, height), np.array([MARK_PX / 2, MARK_PX / 2]))]
    prices = [np.full((len(WIDTHS), len(points)), MARK)]
    if len(marks):
        boxes.append(_around(_pixels(marks, ranges, height), np.array([3.0, 3.0])))
        prices.append(np.full((len(WIDTHS), len(marks)), LINE))
    if len(lines):
        ends = _pixels(lines, ranges, height).reshape(len(WIDTHS), -1, 2, 2)
        wanted = np.ceil(np.abs(ends[:, :, 1] - ends[:, :, 0]).max(axis=2) / 16).clip(1)
        pieces = wanted.max(axis=0).astype(int)
        ends = np.repeat(ends, pieces, axis=1)
        first = np.repeat(np.cumsum(pieces) - pieces, pieces)
        share = (np.arange(len(first)) - first + 0.5) / np.repeat(pieces, pieces)
        middle = ends[:, :, 0] + (ends[:, :, 1] - ends[:, :, 0]) * share[:, None]
        boxes.append(_around(middle, np.array([2.0, 2.0])))
        prices.append(LINE * np.repeat(wanted / pieces, pieces, axis=1))
    return np.concatenate(boxes, axis=1), np.concatenate(prices, axis=1)


def _around(middle: NDArray[np.float64], half: NDArray[np.float64]) -> Boxes:
    return np.concatenate([middle - half, middle + half], axis=-1)


def _in_reach(mine: Boxes, others: Boxes) -> NDArray[np.bool_]:
    """Which of `others` any box of `mine`, or one between two of them, may touch."""
    left, top = mine[:, :2].min(axis=0)
    right, bottom = mine[:, 2:].max(axis=0)
    within: NDArray[np.bool_] = (others[:, 2] > left) & (others[:, 0] < right)
    return within & (others[:, 3] > top) & (others[:, 1] < bottom)


def _covered(mine: Boxes, others: Boxes) -> NDArray[np.float64]:
    """1 for each of `others` that one of `mine` touches, and up to 1 more for how much of it: [..., mine, other]."""
    left, top, right, bottom = (np.ascontiguousarray(mine[..., side])[..., :, None] for side in range(4))
    other = [np.ascontiguousarray(others[..., side])[..., None, :] for side in range(4)]
    wide = np.minimum(right, other[2]) - np.maximum(left, other[0])
    high = np.minimum(bottom, other[3]) - np.maximum(top, other[1])
    area = np.maximum(wide, 0, out=wide) * np.maximum(high, 0, out=high)
    touched: NDArray[np.float64] = (area > 0) + area / ((other[2] - other[0]) * (other[3] - other[1]))
    return touched


def _outside(boxes: Boxes, height: float) -> NDArray[np.float64]:
    """1 for a name that leaves the plot; the margin on its right is free."""
    width = np.array(WIDTHS)[:, None, None]
    out = (boxes[..., 0] < 0) | (boxes[..., 2] > width + MARGIN_PX) | (boxes[..., 1] < 0) | (boxes[..., 3] > height)
    return out.astype(float)


def _most_crowded_first(place: NDArray[np.float64]) -> list[int]:
    gaps = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1)) + np.eye(len(place)) * 1e9
    return [int(i) for i in np.argsort(gaps.min(axis=1), kind="stable")]
