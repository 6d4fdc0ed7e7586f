"""Figures say what the rows say: no invented bar, intervals where they are known, text that stays text."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
import pytest

from limit import charts
from limit.charts.figure import Drawing
from limit.charts.palette import Palette
from limit.charts.style import FONT
from limit.ui.samples_charts import length_figure, length_histogram, topic_figure
from tests.hostile import TEXTS

UNSEEN = ("customdata", "legendgroup", "offsetgroup")  # keys for clicks and grouping, never shown
LIGHT, DARK = Palette.light(), Palette.dark()


def bar(category: str, series: str, score: float | None, **more: Any) -> dict[str, Any]:
    spread = {"low": None if score is None else score - 0.02, "high": None if score is None else score + 0.03}
    return {"category": category, "group": "7B", "series": series, "label": series, "score": score, **spread, **more}


PANEL_ROWS = [bar(category, series, None if series == "base" else 0.4)
              for category in charts.PANELS for series in ("base", "lima")]  # fmt: skip


def pair(rate: float | None, **more: Any) -> dict[str, Any]:
    head = {"label": "a vs b", "candidate_series": "full", "baseline_series": "lima", "preference_pct": rate}
    counts = {"wins": 40, "losses": 40, "ties": 20, "invalid": 3, "low": 30.0, "high": 50.0, "n_prompts": 100}
    return {**head, **counts, **more}


def test_six_panels_with_errors_and_gaps() -> None:
    figure = charts.gauntlet_panels(PANEL_ROWS, LIGHT)
    assert len(figure.data) == 12
    lima = next(trace for trace in figure.data if trace.name == "lima")
    assert list(lima.y) == [0.4]
    assert lima.error_y.array[0] == pytest.approx(0.03)
    assert lima.error_y.arrayminus[0] == pytest.approx(0.02)
    base = next(trace for trace in figure.data if trace.name == "base")
    assert list(base.y) == [None]
    gaps = [note for note in figure.layout.annotations if note.text == "not published"]
    assert len(gaps) == 6


def one_of_each(palette: Palette) -> dict[str, go.Figure]:
    """Every chart, with whatever may stand in it."""
    panels = [*PANEL_ROWS, bar("average", "full", 0.2, partial=True, missing=["mmlu"], n=3, shade=1, key="e")]
    pairs = [pair(40.0, seeds=[38.0, 42.0], note="a note", published_pct=41.0), pair(None), pair(70.0, low=None)]
    points = [
        {
            "label": "a",
            "series": "base",
            "x": 0.4,
            "y": 40.0,
            "x_low": 0.3,
            "x_high": 0.5,
            "seeds": [{"x": 0.4, "y": 1}],
        },
        {"label": "b", "series": "lima", "x": 0.5, "y": 60.0, "y_low": 55.0, "y_high": 70.0, "layer": "the paper, 7B"},
        {"label": "c", "series": "full", "x": 0.6, "y": 50.0},
    ]
    sizes = [
        {"series": series, "label": "a", "size": size, "score": 0.4, "low": 0.3, "high": 0.5, "n_seeds": 2, "key": "k"}
        for size in (0, 500, 5000)
        for series in ("lima", None)
    ]
    losses = [
        {"step": n, "loss": 1.0, "label": "run", "series": "lima", "source": source}
        for n in (1, 2, 3)
        for source in (None, "a", "b")
    ]
    dots = [{"task": "mmlu", "series": "lima", "label": "a", "score": 0.4, "low": 0.3, "high": 0.5, "n": 9, "key": "k"}]
    lengths = {"p50": 3, "n": 5, "edges": [1, 2, 4], "counts": [1, 3, 1]}
    topics = [{"topic": 0, "name": "cats", "rows": 2}]
    where = [{"topic": 0, "row": row, "x": float(row), "y": 0.5} for row in (1, 2)]
    share = [
        {"name": "lists", "share": None, "low": None, "high": None},
        {"name": "b", "share": 0.5, "low": 0, "high": 1},
    ]
    return {
        "panels": charts.gauntlet_panels(panels, palette),
        "one column": charts.gauntlet_panels(panels, palette, columns=1),
        "pairs": charts.preference_bars(pairs, palette),
        "pairs for a room": charts.preference_bars(pairs, palette, scale=2),
        "plane": charts.plane(points, palette),
        "curve": charts.limit_curve(sizes, palette, y_title="average", sufficient={"lima": 500}),
        "losses": charts.loss_curves(losses, palette),
        "tasks": charts.task_dots(dots, palette),
        "shares": charts.share_bars({"a": share}, palette, colours={"a": "#123456"}, x_title="%", height=200),
        "nothing": charts.plane([], palette),
        "lengths": length_figure({"lima": lengths}, palette),
        "histogram": length_histogram(lengths, palette, (2, 3)),
        "topics": topic_figure(topics, where, palette),
    }


@pytest.mark.parametrize("name", one_of_each(LIGHT))
@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_figures_drawn_unchecked_hold_nothing_that_plotly_refuses(name: str, palette: Palette) -> None:
    unchecked = one_of_each(palette)[name].to_plotly_json()
    checked = go.Figure(unchecked).to_plotly_json()
    assert json.loads(json.dumps(checked)) == json.loads(json.dumps(unchecked))
    assert not unchecked["data"] or unchecked["layout"]["template"]["layout"]["colorway"]


def test_a_drawing_is_plotlys_own_figure_when_asked_for_more() -> None:
    drawing = Drawing([{"type": "scatter", "x": [1, 2], "y": [3, 4], "name": None}], {"height": 200, "xaxis": None})
    sent = json.loads(json.dumps(drawing.to_dict()))
    assert sent["data"] == [{"type": "scatter", "x": [1, 2], "y": [3, 4]}]
    assert sent["layout"].keys() == {"height", "template"}
    copied = copy.deepcopy(drawing)
    assert isinstance(drawing, go.Figure)
    assert drawing.update_layout(height=300).layout.height == 300
    assert (copied.layout.height, copied.data[0].x) == (200, (1, 2))
    assert json.loads(pio.to_json(drawing, validate=False))["layout"]["height"] == 300
    with pytest.raises(ValueError, match="heigth"):
        Drawing([], {"heigth": 3}).update_layout(height=3)
    with pytest.raises(AttributeError):
        _ = Drawing([], {}).no_such_thing


def test_zero_is_always_on_the_axis_of_bars() -> None:
    figure = charts.gauntlet_panels(PANEL_ROWS, LIGHT)
    assert {figure.layout[name].rangemode for name in figure.layout if name.startswith("yaxis")} == {"tozero"}


def test_a_partial_category_is_hatched_and_names_what_is_missing() -> None:
    figure = charts.gauntlet_panels([bar("average", "lima", 0.3, partial=True, missing=["mmlu"])], LIGHT)
    assert list(figure.data[0].marker.pattern.shape) == ["/"]
    assert "without mmlu" in figure.data[0].hovertext[0]


def test_a_series_has_one_colour_in_every_chart() -> None:
    panels = charts.gauntlet_panels([bar("average", "full", 0.3)], LIGHT)
    bars = charts.preference_bars([pair(40.0)], LIGHT)
    point = {"label": "x", "series": "full", "x": 0.4, "y": 50.0}
    marks = charts.plane([point], LIGHT)
    assert panels.data[0].marker.color == "#E4572E"
    assert bars.data[0].marker.color[0] == "#E4572E"
    assert marks.data[0].marker.color == "#E4572E"


def test_win_tie_and_loss_fill_the_bar() -> None:
    figure = charts.preference_bars([pair(40.0)], LIGHT)
    candidate, tie, baseline = (trace.x[0] for trace in figure.data[:3])
    assert candidate + tie + baseline == pytest.approx(100)
    assert tie == pytest.approx(20)
    assert candidate / (candidate + baseline) == pytest.approx(0.4)


def test_the_whisker_stands_on_the_boundary() -> None:
    figure = charts.preference_bars([pair(40.0, ties=0)], LIGHT)
    whisker = [trace for trace in figure.data if trace.type == "scatter" and trace.error_x.array is not None][-1]
    assert whisker.x[0] == 40.0
    assert (whisker.x[0] - whisker.error_x.arrayminus[0], whisker.x[0] + whisker.error_x.array[0]) == (30.0, 50.0)


def test_an_unknown_rate_is_a_gap_with_words() -> None:
    figure = charts.preference_bars([pair(None)], LIGHT)
    assert [trace.x[0] for trace in figure.data[:3]] == [0.0, 0.0, 0.0]
    assert "not published" in [trace.text[0] for trace in figure.data if trace.type == "scatter" and trace.text]


def test_the_front_leaves_out_what_is_beaten_on_both() -> None:
    rows = [{"x": 0.3, "y": 60.0}, {"x": 0.4, "y": 50.0}, {"x": 0.2, "y": 40.0}, {"x": 0.4, "y": 50.0},
            {"x": None, "y": 99.0}]  # fmt: skip
    assert charts.pareto_front(rows) == [0, 1, 3]
    assert charts.pareto_front([]) == []


def test_models_without_both_scores_are_not_drawn() -> None:
    rows = [
        {"label": "a", "series": "base", "x": 0.4, "y": None},
        {"label": "b", "series": "full", "x": 0.5, "y": 60.0},
    ]
    figure = charts.plane(rows, LIGHT)
    assert [trace.name for trace in figure.data] == ["b"]
    assert "No model has both" in charts.plane(rows[:1], LIGHT).layout.annotations[0].text


def test_dominated_models_are_pale() -> None:
    rows = [
        {"label": "a", "series": "base", "x": 0.4, "y": 40.0},
        {"label": "b", "series": "full", "x": 0.5, "y": 60.0},
    ]
    marks = {trace.name: trace.marker.opacity for trace in charts.plane(rows, LIGHT).data}
    assert marks["a"] < marks["b"] == 1.0


def test_the_limit_curve_has_a_log_axis_a_band_and_the_base_at_its_left() -> None:
    rows = [{"series": "subset", "label": "instruct", "size": size, "score": size / 1e4, "low": 0.0, "high": 1.0}
            for size in (200, 1000, 4000)]  # fmt: skip
    rows.append({"series": "base", "label": "base", "size": 0, "score": 0.1, "low": None, "high": None})
    figure = charts.limit_curve(rows, LIGHT, y_title="average", sufficient={"x": 1000})
    assert figure.layout.xaxis.type == "log"
    assert "base" in figure.layout.xaxis.ticktext
    assert any(trace.fill == "toself" for trace in figure.data)
    base = next(trace for trace in figure.data if trace.name == "base")
    assert 0 < base.x[0] < 200
    assert any("1,000 samples suffice" in note.text for note in figure.layout.annotations)
    rows.append({"series": "lima", "label": "lima", "size": 300, "score": 0.3, "low": None, "high": None})
    both = charts.limit_curve(rows, LIGHT, y_title="average", sufficient={"instruct": 1000, "lima": 300})
    marks = {(line.x0, line.line.color) for line in both.layout.shapes}
    assert marks == {(1000, LIGHT.colour("subset")), (300, LIGHT.colour("lima"))}
    assert [note.text for note in both.layout.annotations] == ["300 suffice: lima", "1,000 suffice: instruct"]


def test_loss_curves_tell_held_out_sources_apart() -> None:
    rows = [{"step": s, "loss": 1 / s, "label": "run", "series": "lima"} for s in (1, 2, 3)]
    rows += [{"step": 3, "loss": 0.5, "label": "run", "series": "lima", "source": "tiny"}]
    figure = charts.loss_curves([*rows, {"step": 4, "loss": None, "label": "run", "series": "lima"}], DARK)
    assert [trace.line.dash for trace in figure.data] == ["solid", "dash"]
    assert charts.loss_curves([], DARK).layout.annotations


def test_task_dots_have_intervals() -> None:
    rows = [{"task": "copa", "series": "lima", "label": "LIMA", "score": 0.3, "low": 0.2, "high": 0.5, "n": 100,
             "accuracy": 0.65, "baseline": 0.5}]  # fmt: skip
    figure = charts.task_dots(rows, LIGHT)
    assert figure.data[0].error_x.array[0] == pytest.approx(0.2)
    assert "accuracy 0.650" in figure.data[0].hovertext[0]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_dots_of_one_colour_differ_in_form_and_stay_visible(palette: Palette) -> None:
    rows = [{"task": "copa", "series": "base", "label": f"m{i}", "score": 0.1, "low": None, "high": None, "shade": i}
            for i in range(4)]  # fmt: skip
    figure = charts.task_dots(rows, palette)
    forms = [trace.marker.symbol[0] for trace in figure.data]
    assert len(set(forms[:3])) == 3
    assert all(trace.marker.opacity is None for trace in figure.data)
    assert (figure.layout.scattermode, {trace.orientation for trace in figure.data}) == ("group", {"h"})
    assert figure.layout.height > charts.task_dots(rows[:1], palette).layout.height


def test_words_stand_in_a_gap_only_where_they_fit() -> None:
    wide = [bar("average", "lima", None)]
    narrow = [{**bar("average", "lima", None), "label": f"m{i}", "series": f"s{i}", "group": g} for i in range(6)
              for g in ("7B", "30B", "a", "b", "c")]  # fmt: skip
    for rows, text in ((wide, "not published"), (narrow, "–")):
        texts = [note.text for note in charts.gauntlet_panels(rows, LIGHT).layout.annotations if note.hovertext]
        assert set(texts) == {text}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_hostile_names_stay_text(text: str, palette: Palette) -> None:
    rows = [bar("average", text, 0.4, missing=[text], partial=True) | {"label": text, "group": text}]
    point = {"label": text, "series": text, "x": 0.4, "y": 50.0, "layer": text, "hover": [text]}
    curve = {"series": text, "label": text, "size": 10, "score": 0.5, "low": None, "high": None}
    figures = [
        charts.gauntlet_panels(rows, palette),
        charts.preference_bars([pair(40.0, label=text, note=text)], palette),
        charts.plane([point], palette),
        charts.limit_curve([curve], palette, y_title=text),
        charts.loss_curves([{"step": 1, "loss": 1.0, "label": text, "series": text, "source": text}], palette),
        charts.task_dots(
            [{"task": text, "series": text, "label": text, "score": 0.1, "low": None, "high": None}], palette
        ),
    ]
    for figure in figures:
        data = json.dumps(
            [{k: v for k, v in t.items() if k not in UNSEEN} for t in json.loads(figure.to_json())["data"]]
        )
        assert "<script" not in data and "<img" not in data and "$\\\\frac" not in data


@pytest.mark.parametrize("draw", [charts.gauntlet_panels, charts.preference_bars, charts.plane, charts.task_dots])
def test_nothing_to_draw_is_said(draw: Any) -> None:
    assert draw([], LIGHT).layout.annotations[0].text


def test_a_source_of_many_subsets_is_one_part_of_a_composition() -> None:
    many = [{"source": "t0", "subset": f"task-{n}", "rows": 10} for n in range(200)]
    parts = [*many, {"source": "lima", "subset": "a", "rows": 5}, {"source": "lima", "subset": "b", "rows": 7}]
    assert charts.composition_text(parts) == "t0 2,000 (200 subsets) + lima/a 5 + lima/b 7"
    assert charts.composition_html(parts, LIGHT).count("<span") == 3


def test_words_of_an_empty_figure_fit_a_narrow_column() -> None:
    message = "No model has both a Gauntlet average and a preference rate yet"
    text = charts.plane([], LIGHT).layout.annotations[0].text
    assert text.replace("<br>", " ") == message
    assert max(len(line) for line in text.split("<br>")) <= 34


def test_a_composition_bar_is_escaped_and_in_proportion() -> None:
    parts = [{"source": "<b>x</b>", "subset": None, "rows": 300}, {"source": "lima", "subset": "s", "rows": 100}]
    text = charts.composition_html(parts, LIGHT)
    assert "<b>" not in text and "width:75.00%" in text and "width:25.00%" in text
    assert charts.composition_text([]) == "no samples"
    assert charts.composition_html([{"source": "a", "subset": None, "rows": None}], LIGHT)


def test_alternative_texts_name_the_values() -> None:
    assert "lima 7B 0.400" in charts.panels_alt(PANEL_ROWS)
    assert "not published" in charts.panels_alt(PANEL_ROWS)
    assert "40.0 per cent" in charts.preference_alt([pair(40.0)])
    assert "0.400" in charts.plane_alt([{"label": "a", "x": 0.4, "y": 50.0}])


def test_shares_carry_their_intervals_and_a_missing_one_stays_a_bar_of_nothing() -> None:
    rows = [
        {"name": "lists <b>$", "share": 0.25, "low": 0.2, "high": 0.35},
        {"name": "refusals", "share": None, "low": None, "high": None},
    ]
    figure = charts.share_bars({"a": rows}, LIGHT, colours={"a": "#123456"}, x_title="share, %", height=200)
    bars = figure.data[0]
    assert list(bars.x) == [25, 0]
    assert [round(length) for length in bars.error_x.array] == [10, 0]
    assert [round(length) for length in bars.error_x.arrayminus] == [5, 0]
    assert "<b>" not in bars.y[0] and "$" not in bars.y[0]


def boxes_of(figure: Any, width: float) -> list[tuple[str, float, float, float, float]]:
    """Name, left, top, right, bottom of each name of a plane whose plot is `width` pixels wide."""
    height = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    (left, right), (bottom, top) = figure.layout.xaxis.range, figure.layout.yaxis.range
    out = []
    for name in figure.layout.annotations:
        dx, dy = (name.ax, name.ay) if name.showarrow else (name.xshift, -name.yshift)
        x = (name.x - left) / (right - left) * width + dx
        y = (top - name.y) / (top - bottom) * height + dy
        out.append((name.text, x - 2.8 * len(name.text), y - 6, x + 2.8 * len(name.text), y + 6))
    return out


@pytest.mark.parametrize("width", [260, 400, 560])
@pytest.mark.parametrize(
    "places",
    [
        [
            (0.45, 3.6),
            (0.457, 4.1),
            (0.489, 3.7),
            (0.556, 3.0),
            (0.559, 9.9),
            (0.507, 85.5),
            (0.455, 71.9),
            (0.503, 50),
        ],
        [(0.4, 3.0), (0.44, 1.0), (0.5, 90.0)],
        [(0.4, 50.0)] * 5,
        [(0.3 + i / 1000, 50 + i / 10) for i in range(10)],
    ],
    ids=["the embedded study", "two close ones", "one place", "a crowd"],
)
def test_names_on_the_plane_do_not_meet(places: list[tuple[float, float]], width: float) -> None:
    points = [{"label": f"Instruct {i}", "series": f"s{i}", "x": x, "y": y} for i, (x, y) in enumerate(places)]
    boxes = boxes_of(charts.plane(points, LIGHT, height=440), width)
    assert len(boxes) == len(places)
    meeting = [
        (a[0], b[0])
        for a, b in itertools.combinations(boxes, 2)
        if a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]
    ]
    assert meeting == []
    assert all(left > -30 and right < width + 30 for _, left, _, right, _ in boxes)


def test_the_font_is_one_that_style_sheets_take() -> None:
    """An unquoted name with a word that starts with a digit makes a browser drop the whole declaration."""
    words = [word for family in FONT.split(", ") for word in family.split()]
    assert all(word[0].isalpha() for word in words)
    assert charts.plane([], LIGHT).to_dict()["layout"]["font"]["family"] == FONT
