"""Figures of sources: names on the map of topics do not meet."""

from __future__ import annotations

from itertools import combinations

import pytest

from limit.charts.palette import Palette
from limit.core import Json
from limit.ui.mix_charts import alignment_figure
from limit.ui.samples_charts import LABEL_HEIGHT, LABEL_WIDTH, length_figure, topic_figure


def test_names_of_topics_do_not_meet() -> None:
    topics: list[Json] = [{"topic": n, "name": f"topic {n}"} for n in range(6)]
    points: list[Json] = [
        {"topic": n, "row": row, "x": 10.0 * (row % 2) + 0.1 * n, "y": 5.0 + 0.05 * n + row % 3}
        for n in range(6)
        for row in range(9)
    ]
    figure = topic_figure(topics, points, Palette.light())
    labels = figure.layout.annotations
    assert {label.text for label in labels} == {topic["name"] for topic in topics}
    width, height = (max(p[axis] for p in points) - min(p[axis] for p in points) for axis in ("x", "y"))
    for one, other in combinations(labels, 2):
        apart = abs(one.y - other.y) >= 0.999 * LABEL_HEIGHT * height
        assert apart or abs(one.x - other.x) >= LABEL_WIDTH * width
    assert len(topic_figure([], [], Palette.dark()).layout.annotations) == 0


def test_prompt_sets_are_called_prompts_once() -> None:
    groups = [
        {"kind": "prompts", "group": name, "share": 0.5, "low": 0.4, "high": 0.6}
        for name in ("lima-test-prompts", "mine")
    ]
    figure = alignment_figure({"groups": groups}, Palette.light())
    names = {str(name) for trace in figure.data for name in (trace.y if trace.y is not None else ())}
    assert {"lima-test-prompts", "mine prompts"} <= names


def test_a_line_of_lengths_comes_from_nothing_and_goes_to_nothing() -> None:
    facts = {"edges": [1.0, 2**0.5, 2.0], "counts": [2, 0, 1]}
    line = length_figure({"few": facts}, Palette.light()).data[0]
    assert list(line.y) == pytest.approx([0, 200 / 3, 0, 100 / 3, 0])
    assert list(line.x) == pytest.approx([2 ** (bar / 2 + 0.25) for bar in range(-1, 4)])
    assert len(length_figure({"none": {"edges": [], "counts": []}}, Palette.dark()).data[0].y) == 0
