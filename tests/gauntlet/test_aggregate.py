from __future__ import annotations

import math
from pathlib import Path

import pytest

from limit.core import LimitError
from limit.gauntlet.aggregate import TaskResult, composite, summarise, task_score
from limit.gauntlet.tasks import DEFINITIONS, Entry, Version, load_version

ENTRIES = {
    "one": (Entry("a", 3, 0.25), Entry("b", 0, 0.0)),
    "two": (Entry("c", 10, 0.5),),
}


def version(**changes: object) -> Version:
    averages = {"core_average": ("one", "two", "absent_category"), "nothing": ("absent_category",)}
    return Version("v", Path(), (), dict(ENTRIES), averages, **changes)  # type: ignore[arg-type]


ALL = {"a/3-shot": 0.30, "b/0-shot": 0.5, "c/10-shot": 0.4}
RECORDS = {"a/3-shot": 1, "b/0-shot": 1000, "c/10-shot": 50}


def test_the_worked_example() -> None:
    assert task_score(0.30, 0.25, version()) == pytest.approx(0.0666667)


def test_scores_are_not_clipped() -> None:
    assert task_score(0.0, 0.25, version()) == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    ("weighting", "weights"),
    [("EQUAL", (1, 1)), ("SAMPLE_SZ", (1, 1000)), ("LOG_SAMPLE_SZ", (1, math.log2(1000)))],
)
def test_weightings(weighting: str, weights: tuple[float, float]) -> None:
    found = composite(version(weighting=weighting), ALL, RECORDS)
    scores = (0.05 / 0.75, 0.5)
    one = sum(s * w for s, w in zip(scores, weights, strict=True)) / sum(weights)
    assert found.categories["one"] == pytest.approx(one)
    assert found.averages["core_average"] == pytest.approx((one + (0.4 - 0.5) / 0.5) / 2)


def test_without_rescaling_the_baseline_is_only_subtracted() -> None:
    assert composite(version(rescale_accuracy=False), ALL, RECORDS).categories["one"] == pytest.approx((0.05 + 0.5) / 2)
    plain = composite(version(rescale_accuracy=False, subtract_random_baseline=False), ALL, RECORDS)
    assert plain.categories["one"] == pytest.approx(0.4)


def test_rescaling_without_subtracting_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "gauntlet.yaml").write_text("aggregation: {subtract_random_baseline: false, rescale_accuracy: true}")
    with pytest.raises(LimitError, match="rescale_accuracy needs"):
        load_version("v0", tmp_path)


def test_a_missing_task_drops_its_category_and_shrinks_the_average() -> None:
    found = composite(version(), {"b/0-shot": 0.5, "c/10-shot": 0.4}, RECORDS)
    assert "one" not in found.categories
    assert found.partial["one"] == pytest.approx(0.5)
    assert found.members["core_average"] == ("two",)
    assert found.averages["core_average"] == pytest.approx(-0.2)


def test_an_average_over_no_category_is_zero() -> None:
    assert composite(version(), {}, {}).averages == {"core_average": 0.0, "nothing": 0.0}


def test_people_see_no_score_for_it_and_upstreams_number_stays_at_hand() -> None:
    gauntlet = load_version("v0", DEFINITIONS)
    rows = summarise(gauntlet, [TaskResult("copa", 0, {"": [1, 0] * 50})], {})["averages"]
    core = next(row for row in rows if row["name"] == "core_average")
    assert (core["score"], core["upstream_score"], core["ci_low"], core["categories"]) == (None, 0.0, None, [])
    lite = [TaskResult(entry.task, entry.num_fewshot, {"": [1, 0] * 50}) for entry in
            gauntlet.categories["commonsense_reasoning_lite"]]  # fmt: skip
    found = {row["name"]: row for row in summarise(gauntlet, lite, {})["averages"]}["lite_average"]
    assert found["categories"] == ["commonsense_reasoning_lite"]
    assert found["score"] == found["upstream_score"] is not None


def test_a_result_at_another_shot_count_does_not_count() -> None:
    assert "two" not in composite(version(), {"c/0-shot": 1.0}, RECORDS).categories


def test_sub_categories_count_alike() -> None:
    result = TaskResult("a", 3, {"big": [1] * 90, "small": [0] * 10})
    assert result.accuracy == 0.5


def test_missing_tasks_are_named_and_partial() -> None:
    gauntlet = load_version("v0", DEFINITIONS)
    results = [TaskResult("copa", 0, {"": [1, 0] * 50}), TaskResult("piqa", 10, {"": [1] * 60 + [0] * 40})]
    summary = summarise(gauntlet, results, {result.key: result.n for result in results})
    row = next(c for c in summary["categories"] if c["category"] == "commonsense_reasoning")
    assert (row["score"], row["partial"]) == (None, True)
    assert row["missing"] == ["openbook_qa", "bigbench_novel_concepts", "bigbench_strange_stories",
                              "bigbench_strategy_qa"]  # fmt: skip
    assert row["partial_score"] == pytest.approx(0.1)
    assert row["ci_low"] < 0.1 < row["ci_high"]
    lite = next(a for a in summary["averages"] if a["name"] == "lite_average")
    assert lite["categories"] == ["commonsense_reasoning_lite"]


def test_intervals_are_those_of_a_bootstrap_over_items() -> None:
    from limit.statistics import bootstrap_mean

    values = [1] * 70 + [0] * 30
    gauntlet = load_version("v0", DEFINITIONS)
    summary = summarise(gauntlet, [TaskResult("copa", 0, {"": values})], {})
    ours, theirs = summary["intervals"]["copa/0-shot"], bootstrap_mean(values)
    assert ours["ci_low"] == pytest.approx((theirs.low - 0.5) / 0.5, abs=0.04)
    assert ours["ci_high"] == pytest.approx((theirs.high - 0.5) / 0.5, abs=0.04)


def test_one_record_has_no_interval() -> None:
    summary = summarise(load_version("v0", DEFINITIONS), [TaskResult("copa", 0, {"": [1]})], {})
    assert summary["intervals"]["copa/0-shot"] == {"ci_low": None, "ci_high": None}
    assert TaskResult("copa", 0, {"": [1]}).stderr is None
