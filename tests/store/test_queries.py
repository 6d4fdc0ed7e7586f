"""What pages, claims and exports are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limit.settings import Workspace
from limit.store import Store
from limit.store import queries_gauntlet as gauntlet
from limit.store import queries_models as models
from limit.store import queries_preferences as preferences
from limit.store import queries_published as published
from limit.store import queries_runs as runs
from limit.store.packed import unpack
from limit.store.series import mix_series, named_role
from tests.store.study import (
    MIXES,
    nothing,
    put_study,
    run_id,
    write_comparison,
    write_eval,
    write_job,
    write_mix,
    write_run,
    write_study,
    write_study_record,
)


@pytest.fixture
def store(ws: Workspace, tmp_path: Path) -> Iterator[Store]:
    put_study(ws)
    with Store.open(ws, shipped=nothing(tmp_path)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("size", "series", "expected"),
    [("7B", "subset+lima", 65.1), ("7B", "full", 45.3), ("30B", "subset+lima", 46.7), ("30B", "full", 39.3)],
)
def test_the_papers_rates_follow_from_the_counts(store: Store, size: str, series: str, expected: float) -> None:
    row = next(r for r in published.paper_preferences(store, "lima", [size]) if r["series"] == series)
    assert row["published_pct"] == expected
    assert row["preference_pct"] == pytest.approx(expected, abs=0.0501)
    assert row["low"] < row["preference_pct"] < row["high"]
    assert row["seed_low"] < row["preference_pct"] < row["seed_high"]
    assert "bootstrap" in row["interval"]


def test_all_36_files_are_counted_with_ties_apart_from_invalid(store: Store) -> None:
    total = store.rows(
        """select count(*) as files, sum(rows) as rows, sum(wins_baseline) as lima, sum(wins_candidate) as candidate,
                  sum(ties) as ties, sum(invalid) as invalid from published_judgments"""
    )
    assert total == [{"files": 36, "rows": 11277, "lima": 6694, "candidate": 4520, "ties": 8, "invalid": 55}]


def test_unpublished_bars_are_gaps_and_digitised_ones_carry_their_error(store: Store) -> None:
    rows = published.paper_gauntlet(store)
    assert len(rows) == 60
    gaps = {(r["group"], r["series"]) for r in rows if r["score"] is None}
    assert gaps == {(size, series) for size in ("7B", "30B") for series in ("base", "subset")}
    for row in rows:
        if row["score"] is not None:
            assert 0 < row["high"] - row["score"] < 0.01


def test_the_mean_of_five_digitised_categories_is_the_average_bar(store: Store) -> None:
    rows = [r for r in published.paper_gauntlet(store) if r["score"] is not None]
    for key in {(r["group"], r["series"]) for r in rows}:
        mine = {r["category"]: r["score"] for r in rows if (r["group"], r["series"]) == key}
        average = mine.pop("average")
        assert sum(mine.values()) / 5 == pytest.approx(average, abs=0.0008)


def test_a_mix_has_the_papers_colour_by_its_contents(store: Store) -> None:
    series = {mix["mix_id"]: mix["series"] for mix in runs.mixes(store)}
    assert series == {"aaaaaaaaaaa1": "lima", "aaaaaaaaaaa2": "subset", "aaaaaaaaaaa3": "subset+lima"}


def test_a_later_mix_never_takes_a_colour_from_an_earlier_one() -> None:
    first = {"mix_id": "one", "parts": [{"source": "lima"}], "spec": None}
    later = {"mix_id": "two", "parts": [{"source": "my-lima"}], "spec": None}
    other = {"mix_id": "three", "parts": [{"source": "poems"}], "spec": None}
    whole = {"mix_id": "four", "parts": [{"source": "instruct-v1"}], "spec": '{"parts": [{"take": null}]}'}
    assert mix_series([first]) == {"one": "lima"}
    assert mix_series([first, later, other, whole]) == {"one": "lima", "two": "two", "three": "three", "four": "full"}


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("7b_lima", "lima"),
        ("7b_instructv1", "full"),
        ("7b_instructv1_5k", "subset"),
        ("30b_instructv3_1k_lima", "subset+lima"),
        ("alpaca", "alpaca"),
        (None, "unknown"),
    ],
)
def test_models_named_as_in_the_paper_keep_their_colour(name: str | None, series: str) -> None:
    assert named_role(name) == series


def test_runs_carry_their_mix_and_the_state_of_their_latest_job(store: Store, ws: Workspace) -> None:
    write_job(ws, "job-0000000001", "failed", run_id("aaaaaaaaaaa1", 1), "out of memory")
    write_job(ws, "job-0000000002", "running", run_id("aaaaaaaaaaa1", 1))
    store.refresh()
    row = next(r for r in runs.runs(store) if r["run_id"] == run_id("aaaaaaaaaaa1", 1))
    assert (row["mix_name"], row["samples"], row["series"], row["state"], row["loss"]) == (
        "lima 300", 300, "lima", "running", 0.15)  # fmt: skip
    assert [job["job_id"] for job in runs.jobs(store, ["failed"])] == ["job-0000000001"]
    assert len(runs.jobs(store)) == 2


def test_training_metrics_keep_the_order_written(store: Store) -> None:
    rows = runs.training_metrics(store, [run_id("aaaaaaaaaaa1", 1)])
    assert [row["step"] for row in rows] == list(range(1, 21))
    held_out = runs.training_metrics(store, [run_id("aaaaaaaaaaa1", 1)], "eval")
    assert [row["source"] for row in held_out] == ["tiny-lima"]


def test_gauntlet_rows_have_average_and_five_categories(store: Store) -> None:
    eval_id = gauntlet.evals(store, run_ids=[run_id("aaaaaaaaaaa1", 1)])[0]["eval_id"]
    rows = gauntlet.gauntlet_rows(store, [eval_id])
    assert {row["category"] for row in rows} == {"average", *gauntlet.CORE}
    assert {row["n"] for row in rows} == {40, 200}
    assert {(row["series"], row["group"]) for row in rows} == {("lima", "tiny")}
    assert len(gauntlet.task_rows(store, [eval_id], "world_knowledge")) == 1


def test_items_are_paired_by_task_and_index_and_texts_come_from_the_file(store: Store) -> None:
    a = gauntlet.evals(store, run_ids=[run_id("aaaaaaaaaaa1", 1)])[0]["eval_id"]
    b = gauntlet.evals(store, run_ids=[run_id("aaaaaaaaaaa2", 1)])[0]["eval_id"]
    pairs = gauntlet.paired_items(store, a, b, "world_knowledge")
    assert len(pairs) == 40
    flipped = [pair for pair in pairs if pair["a"] != pair["b"]]
    texts = gauntlet.item_texts(store, a, flipped[:3])
    assert [text["idx"] for text in texts] == [pair["idx"] for pair in flipped[:3]]
    assert texts[0]["context"].startswith("Question")
    assert gauntlet.item_texts(store, "none", flipped) == []


def test_of_several_evaluations_the_complete_one_is_shown(store: Store, ws: Workspace) -> None:
    run = run_id("aaaaaaaaaaa1", 1)
    write_eval(ws, run, "aaaaaaaaaaa1", items=5, version="v0")
    store.refresh()
    assert gauntlet.best_evals(store, "v0")[run]["version"] == "v0"
    assert gauntlet.best_evals(store, "mini")[run]["version"] == "mini"


def test_comparisons_have_counts_interval_and_colours(store: Store) -> None:
    rows = preferences.comparisons(store)
    assert len(rows) == 4
    for row in rows:
        assert (row["wins"] + row["losses"], row["ties"], row["invalid"], row["n_prompts"]) == (28, 1, 1, 30)
        assert row["low"] <= row["preference_pct"] <= row["high"]
        assert row["baseline_series"] == "lima"
    scores = preferences.prompt_means(store, {"one": [rows[0]["comparison_id"]], "none": []})
    assert len(scores["one"]) == 29 and scores["none"] == {}
    assert scores["one"]["p1"] == 0.5


def test_pair_texts_are_read_from_the_journal(store: Store) -> None:
    comparison = preferences.comparisons(store)[0]["comparison_id"]
    page = preferences.judgments(store, comparison, [None], limit=5)
    assert [row["line"] for row in page] == [0]
    assert preferences.pair_texts(store, comparison, [0])[0]["prompt"] == "Tell me about 0"
    assert preferences.pair_texts(store, "none", [0]) == {}


def test_seeds_of_a_mix_are_one_model(store: Store) -> None:
    rows = models.own_rows(store)
    assert [(row["label"], row["n_seeds"]) for row in rows] == [
        ("tiny (base)", 1), ("lima 300", 2), ("instruct 1000", 2), ("lima 300 + instruct 1000", 2)]  # fmt: skip
    both = rows[-1]
    assert both["x"] == pytest.approx(sum(seed["x"] for seed in both["seeds"]) / 2)
    assert both["y"] == pytest.approx(sum(seed["y"] for seed in both["seeds"]) / 2)
    assert both["x_low"] < both["x"] < both["x_high"]
    assert rows[1]["is_baseline"] and rows[1]["y"] == 50.0
    assert rows[0]["y"] is None


def test_from_three_seeds_on_the_spread_over_seeds_widens_the_interval() -> None:
    assert models.combine_intervals([(0.5, 0.4, 0.6), (0.7, 0.6, 0.8)]) == pytest.approx((0.5, 0.7))
    low, high = models.combine_intervals([(0.1, 0.09, 0.11), (0.5, 0.49, 0.51), (0.9, 0.89, 0.91)])
    assert low is not None and high is not None and low < 0 and high > 1
    assert models.combine_intervals([(0.5, None, None)]) == (None, None)


def test_only_comparable_scores_stand_in_one_layer(store: Store, ws: Workspace) -> None:
    lone = write_run(ws, "aaaaaaaaaaa1", 99)
    write_eval(ws, lone, "aaaaaaaaaaa1", version="v0")
    store.refresh()
    assert {row["protocol"] for row in models.own_rows(store)} == {"mini, paper shots, 512 tokens, fp32"}
    assert [r["label"] for r in models.own_rows(store, version="v0") if r["x"] is not None] == ["lima 300"]


def test_the_papers_models_have_the_same_shape(store: Store) -> None:
    paper, own = models.paper_rows(store), models.own_rows(store)
    assert set(paper[0]) == set(own[0])
    lima = next(row for row in paper if row["key"] == "paper:7B:lima")
    assert (lima["y"], lima["is_baseline"]) == (50.0, True)
    assert next(row for row in paper if row["key"] == "paper:7B:base")["x"] is None


def test_a_comparison_of_a_later_seed_joins_its_model(store: Store, ws: Workspace) -> None:
    write_run(ws, "aaaaaaaaaaa2", 3)
    write_comparison(ws, "aaaaaaaaaaa2", 3)
    store.refresh()
    row = next(row for row in models.own_rows(store) if row["label"] == "instruct 1000")
    assert (row["n_seeds"], len(row["comparison_ids"])) == (3, 3)


def test_an_empty_workspace_still_has_the_paper(ws: Workspace, tmp_path: Path) -> None:
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        assert models.own_rows(store) == []
        assert len(models.paper_rows(store)) == 10
        assert len(published.paper_recipes(store)) == 2
        assert len(published.paper_datasets(store)) == 4
        assert published.foundry_scores(store)


def test_seeds_of_one_request_share_a_colour() -> None:
    def mix(mix_id: str, seed: int, take: int) -> dict[str, Any]:
        spec = {"parts": [{"source": "lima", "take": take}], "seed": seed}
        return {"mix_id": mix_id, "parts": [{"source": "lima"}], "spec": json.dumps(spec)}

    keys = mix_series([mix("one", 17, 300), mix("two", 18, 300), mix("three", 17, 100), mix("four", 18, 100)])
    assert keys == {"one": "lima", "two": "lima", "three": "three", "four": "three"}


def test_prompts_tell_who_fares_better_and_hold_both_answers(ws: Workspace, tmp_path: Path) -> None:
    write_study(ws, seeds=2)
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        rows = {row["label"]: row for row in models.own_rows(store)}
        lima, both = rows["lima 300"], rows["lima 300 + instruct 1000"]
        found = preferences.prompt_outcomes(store, both, lima)
        assert len(found) == 29, "a prompt without a verdict is left out"
        assert {row["b"] for row in found} == {0.5}, "the baseline counts one half against itself"
        assert {row["a"] for row in found} <= {0.0, 0.25, 0.5, 0.75, 1.0}
        mirrored = preferences.prompt_outcomes(store, lima, both)
        assert [(row["b"], row["a"]) for row in mirrored] == [(row["a"], row["b"]) for row in found]
        texts = preferences.answers_to(store, both, lima, "p5")
        assert texts == {"prompt": "Tell me about 5", "a": "short", "b": "a long answer"}
        assert preferences.answers_to(store, both, lima, "nobody asked") is None


def test_what_ships_is_never_averaged_with_ones_own(ws: Workspace, tmp_path: Path) -> None:
    shipped = Workspace(tmp_path / "shipped").make()
    write_study(shipped, seeds=3)
    write_study(ws, seeds=1)
    with Store.open(ws, shipped=shipped.root) as store:
        rows = models.own_rows(store)
    own = {row["label"]: row for row in rows if row["origin"] == "workspace"}
    theirs = {row["label"]: row for row in rows if row["origin"] == "shipped"}
    assert {row["n_seeds"] for row in own.values()} == {1}
    assert {label: row["n_seeds"] for label, row in theirs.items()} == {
        "lima 300": 2,
        "instruct 1000": 2,
        "lima 300 + instruct 1000": 2,
    }
    assert not {e for row in own.values() for e in row["eval_ids"]} & {
        e for row in theirs.values() for e in row["eval_ids"]
    }
    assert len({row["key"] for row in rows}) == len(rows)


def test_a_run_that_has_no_result_yet_counts_as_no_seed_and_borrows_none(ws: Workspace, tmp_path: Path) -> None:
    shipped = Workspace(tmp_path / "shipped").make()
    write_study(shipped, seeds=2)
    write_mix(ws, "aaaaaaaaaaa1", MIXES["aaaaaaaaaaa1"], "2026-01-01T00:00:00.000Z")
    for seed in (1, 2):
        write_run(ws, "aaaaaaaaaaa1", seed)
    with Store.open(ws, shipped=shipped.root) as store:
        before = {(row["label"], row["origin"]): row for row in models.own_rows(store)}
        assert before["lima 300", "workspace"]["x"] is None
        assert before["lima 300", "shipped"]["n_seeds"] == 2
        write_eval(ws, run_id("aaaaaaaaaaa1", 1), "aaaaaaaaaaa1", seed=1)
        store.refresh()
        after = {(row["label"], row["origin"]): row for row in models.own_rows(store)}
    assert after["lima 300", "workspace"]["n_seeds"] == 1
    assert after["lima 300", "workspace"]["x"] is not None


def test_a_study_has_its_own_baseline_whatever_others_its_runs_were_judged_against(
    ws: Workspace, tmp_path: Path
) -> None:
    write_study(ws, seeds=2)
    write_study_record(ws, "mine", baseline="aaaaaaaaaaa2")
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        every = {row["label"]: row for row in models.own_rows(store)}
        mine = {row["label"]: row for row in models.study_rows(store, "mine")}
        assert models.study_rows(store, "nobody's") == []
    assert every["lima 300"]["is_baseline"] and not mine["lima 300"]["is_baseline"]
    assert mine["instruct 1000"]["is_baseline"] and mine["lima 300"]["baseline"] == mine["instruct 1000"]["key"]
    assert mine["lima 300"]["y"] > 70 and mine["lima 300"]["n_seeds"] == 1
    assert len(mine["lima 300"]["comparison_ids"]) == 1
    assert not {row["key"] for row in every.values()} & {row["key"] for row in mine.values()}


def test_a_study_counts_its_own_evaluation_of_a_run_that_has_several(ws: Workspace, tmp_path: Path) -> None:
    write_study(ws, seeds=1)
    write_study_record(ws, "mine", baseline="aaaaaaaaaaa1")
    later = write_eval(ws, run_id("aaaaaaaaaaa3", 1), "aaaaaaaaaaa3", items=50, seed=9, version="v0")
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        found = [e for row in models.study_rows(store, "mine") for e in row["eval_ids"]]
    assert len(found) == 3 and later not in found


def test_an_interval_of_a_rate_over_seeds_stays_a_rate() -> None:
    pairs = [{"preference_pct": rate, "low": rate - 1, "high": min(100.0, rate + 1), "n_prompts": 9, "wins": 8,
              "losses": 1, "ties": 2, "invalid": 0} for rate in (99.0, 90.0, 100.0)]  # fmt: skip
    found = models._combined_rate(pairs)
    assert found["high"] == 100.0 and found["low"] > 0
    assert (found["wins"], found["ties"]) == (24, 6)


def _change_items(ws: Workspace, run: str, eval_id: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = ws.run(run) / "gauntlet" / eval_id / "items.parquet"
    rows = pq.read_table(path).to_pylist()
    rows = change(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows), path)


def _by_part(store: Store) -> dict[tuple[Any, ...], dict[int, float]]:
    """Mean score of each item of each evaluation, straight from the rows of `gauntlet_items`."""
    found: dict[tuple[Any, ...], dict[int, float]] = {}
    for row in store.rows(
        """select eval_id, category, task, num_fewshot, subcategory, idx, avg(correct) as score from gauntlet_items
           where correct is not null and idx is not null group by all"""
    ):
        *part, idx, score = row.values()
        found.setdefault(tuple(part), {})[idx] = score
    return found


def _packed(store: Store) -> dict[tuple[Any, ...], dict[int, float]]:
    rows = gauntlet.packed_scores(store, [row["eval_id"] for row in gauntlet.evals(store)])
    found = {}
    for row in rows:
        *part, idx, correct = row.values()
        numbers, scores = unpack(idx, correct)
        assert list(numbers) == sorted(numbers)
        found[tuple(part)] = dict(zip(numbers.tolist(), scores.tolist(), strict=True))
    return found


def test_packed_scores_are_those_of_the_items(ws: Workspace, tmp_path: Path) -> None:
    run = write_run(ws, None, 1)
    whole, gaps = write_eval(ws, run, "base"), write_eval(ws, run, "base", version="v0")

    def with_gaps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number, row in enumerate(rows):
            row["subcategory"] = ["law", None][number % 2]
            row["correct"] = None if number % 7 == 0 else row["correct"]
            row["idx"] = None if number % 31 == 0 else row["idx"] * 3
        return rows[::-1]  # written in any order

    _change_items(ws, run, gaps, with_gaps)
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        plain = _by_part(store)
        assert {key[0] for key in plain} == {whole, gaps}
        assert _packed(store) == plain
        assert len(plain) == 5 + 10
        stored = store.rows("select distinct eval_id from gauntlet_scores where idx is null")
        assert stored == [{"eval_id": whole}], "numbers without a gap are not stored"


def test_packed_scores_outlive_files_that_hold_something_else(ws: Workspace, tmp_path: Path) -> None:
    run = write_run(ws, None, 1)
    strange, empty, bare = (write_eval(ws, run, "base", version=name) for name in ("strange", "empty", "bare"))

    def odd(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["idx"], row["correct"] = 2**40 + row["idx"], 10**12 * row["correct"]

    _change_items(ws, run, strange, odd)
    pq.write_table(pa.table({"task": pa.array([], pa.string())}), ws.run(run) / "gauntlet" / empty / "items.parquet")
    pq.write_table(pa.table({"correct": ["yes"], "idx": ["one"]}), ws.run(run) / "gauntlet" / bare / "items.parquet")
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        packed = _packed(store)
        assert {key[0] for key in packed} == {strange}
        assert {score for scores in packed.values() for score in scores.values()} == {0.0, 1.0}
        assert min(number for scores in packed.values() for number in scores) == 2**40
        assert not store.rows("select * from problems")


def test_scores_by_prompt_are_those_of_the_verdicts(store: Store) -> None:
    ids = [row["comparison_id"] for row in preferences.comparisons(store)]
    groups = {"one": ids[:1], "all": ids, "none": [], "unknown": ["nobody"]}
    expected = {
        name: {
            row["prompt_id"]: row["score"]
            for row in store.rows(
                """select prompt_id, avg(score) as score from (
                     select prompt_id, comparison_id,
                            avg(case verdict when '2' then 1.0 when '1' then 0.0 when 'tie' then 0.5 end) as score
                     from judgments where verdict is not null and list_contains(?, comparison_id) group by all)
                   group by prompt_id""",
                [group],
            )
        }
        for name, group in groups.items()
    }
    found = preferences.prompt_means(store, groups)
    assert found == expected and len(found["all"]) == 29
    assert list(found["all"]) == sorted(found["all"])
