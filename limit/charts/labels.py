"""Where names of points stand so that they cover neither each other nor marks and lines, at any width of a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]  # one row each: left, top, right, bottom in pixels
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
    spots = [_spots(name) for name in names]
    obstacles = [_obstacles(points, marks, lines, ranges, width, height) for width in WIDTHS]
    places = [_pixels(points, ranges, width, height) for width in WIDTHS]
    sizes = np.array([[CHAR_PX * len(name) / 2 + 2, LINE_PX / 2] for name in names])
    moves = [np.array([(spot.dx, spot.dy) for spot in mine]) for mine in spots]
    boxes = [[_around(place[i] + moves[i], sizes[i]) for i in range(len(names))] for place in places]
    led = [np.array([spot.led for spot in mine], dtype=float) for mine in spots]
    fixed = [np.array([_distance(spot) for spot in mine]) for mine in spots]
    for width, mine, (others, prices) in zip(WIDTHS, boxes, obstacles, strict=True):
        for i, box in enumerate(mine):
            near = _in_reach(box, others)
            around, price = others[near], prices[near]
            fixed[i] = fixed[i] + _covered(box, around) @ price + OUTSIDE * _outside(box, width, height)
            for share in (0.45, 0.65):  # of the way along the line to the mark
                middle = (box[:, :2] + box[:, 2:]) / 2 - (1 - share) * moves[i]
                fixed[i] += led[i] * (_covered(_around(middle, np.array([2.0, 2.0])), around) @ price)
    chosen: dict[int, int] = {}
    for i in _most_crowded_first(places[0]) * PASSES:
        cost = fixed[i]
        for mine in boxes:
            taken = [mine[j][c] for j, c in chosen.items() if j != i]
            if taken:
                cost = cost + LABEL * _covered(mine[i], np.stack(taken)).sum(axis=1)
        chosen[i] = int(np.argmin(cost))
    return [spots[i][chosen[i]] for i in range(len(names))]


def _spots(name: str) -> list[Spot]:
    """Beside the mark first, then further off with a line to it."""
    half, up = CHAR_PX * len(name) / 2 + 2, LINE_PX / 2
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


def _pixels(points: Any, ranges: Any, width: float, height: float) -> Boxes:
    (left, right), (bottom, top) = ranges
    values = np.asarray(points, dtype=float).reshape(-1, 2)
    x = (values[:, 0] - left) / ((right - left) or 1) * width
    return np.stack([x, (top - values[:, 1]) / ((top - bottom) or 1) * height], axis=1)


def _obstacles(
    points: Any, marks: Any, lines: Any, ranges: Any, width: float, height: float
) -> tuple[Boxes, NDArray[np.float64]]:
    """Boxes of marks and of short pieces of lines, and what it costs to cover each."""
    boxes = [_around(_pixels(points, ranges, width, height), np.array([MARK_PX / 2, MARK_PX / 2]))]
    prices = [MARK] * len(points)
    if len(marks):
        boxes.append(_around(_pixels(marks, ranges, width, height), np.array([3.0, 3.0])))
        prices += [LINE] * len(marks)
    for x0, y0, x1, y1 in lines:
        ends = _pixels([(x0, y0), (x1, y1)], ranges, width, height)
        pieces = max(1, math.ceil(float(np.abs(ends[1] - ends[0]).max()) / 16))
        path = ends[0] + (ends[1] - ends[0]) * np.linspace(0, 1, pieces + 1)[:, None]
        boxes.append(_around((path[1:] + path[:-1]) / 2, np.array([2.0, 2.0])))
        prices += [LINE] * pieces
    return np.concatenate(boxes), np.array(prices)


def _around(middle: Any, half: Any) -> Boxes:
    at = np.asarray(middle, dtype=float).reshape(-1, 2)
    return np.concatenate([at - half, at + half], axis=1)


def _in_reach(mine: Boxes, others: Boxes) -> NDArray[np.bool_]:
    """Which of `others` any box of `mine`, or one between two of them, may touch."""
    left, top = mine[:, :2].min(axis=0)
    right, bottom = mine[:, 2:].max(axis=0)
    within: NDArray[np.bool_] = (others[:, 2] > left) & (others[:, 0] < right)
    return within & (others[:, 3] > top) & (others[:, 1] < bottom)


def _covered(mine: Boxes, others: Boxes) -> NDArray[np.float64]:
    """1 for each box of `others` that a box of `mine` touches, and up to 1 more for how much of it."""
    left, top, right, bottom = mine.T[:, :, None]
    other_left, other_top, other_right, other_bottom = others.T[:, None, :]
    wide = np.minimum(right, other_right) - np.maximum(left, other_left)
    high = np.minimum(bottom, other_bottom) - np.maximum(top, other_top)
    area = np.maximum(wide, 0) * np.maximum(high, 0)
    touched: NDArray[np.float64] = (area > 0) + area / ((other_right - other_left) * (other_bottom - other_top))
    return touched


def _outside(mine: Boxes, width: float, height: float) -> NDArray[np.float64]:
    """1 for a name that leaves the plot; the margin on its right is free."""
    out = (mine[:, 0] < 0) | (mine[:, 2] > width + MARGIN_PX) | (mine[:, 1] < 0) | (mine[:, 3] > height)
    return out.astype(float)


def _most_crowded_first(place: Boxes) -> list[int]:
    gaps = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1)) + np.eye(len(place)) * 1e9
    return [int(i) for i in np.argsort(gaps.min(axis=1), kind="stable")]
