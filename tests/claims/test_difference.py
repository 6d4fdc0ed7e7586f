"""Differences between models, and the smallest size that is enough."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limit.claims import sizes
from limit.claims.difference import (
    changed_tasks,
    compare_models,
    compare_with,
    item_scores,
    paired_scores,
    sentence,
)
from limit.claims.sizes import curve_rows, families, smallest_sufficient
from limit.core import read_json, write_json
from limit.settings import Workspace
from limit.store import Store
from limit.store.queries_gauntlet import paired_items
from limit.store.queries_models import own_rows, paper_rows
from limit.store.queries_preferences import comparisons
from tests.claims.conftest import model
from tests.store import study
from tests.store.study import (
    note_protocol,
    nothing,
    write_eval,
    write_mix,
    write_run,
    write_study,
)


def test_a_real_difference_is_told_and_its_mirror_is_worse(store: Store) -> None:
    a, b = model(store, "lima 300 + instruct 1000"), model(store, "lima 300")
    there, back = compare_models(store, a, b), compare_models(store, b, a)
    average = {line["measure"]: line for line in there}["average"]
    assert (average["verdict"], average["n"], average["unit"]) == ("better", 750, "items")
    mirrored = {line["measure"]: line for line in back}["average"]
    assert mirrored["verdict"] == "worse"
    assert mirrored["estimate"] == pytest.approx(-average["estimate"])


@pytest.mark.parametrize("measure", ["average", "world_knowledge", "preference"])
def test_many_models_against_one_are_as_each_pair_alone(store: Store, measure: str) -> None:
    *rows, full = own_rows(store)
    together = compare_with(store, rows, full, measure)
    alone = [compare_models(store, row, full, only=measure)[0] for row in rows]
    numbers = ("estimate", "low", "high", "p_value", "n", "needed_n")
    for one, other in zip(together, alone, strict=True):
        assert (one["measure"], one["basis"], one["unit"]) == (measure, other["basis"], other["unit"])
        assert [one[key] for key in numbers] == pytest.approx([other[key] for key in numbers], nan_ok=True)


def test_models_that_share_no_scored_item_are_said_so(store: Store) -> None:
    full = {**model(store, "lima 300"), "eval_ids": []}
    line = compare_with(store, [model(store, "lima 300 + instruct 1000")], full, "average")[0]
    assert (line["verdict"], line["low"]) == ("cannot tell", None)
    assert sentence(line, "A", "B") == "Gauntlet average: A and B cannot be compared, they share no scored item."


def test_items_of_a_task_whose_file_was_changed_are_not_paired(ws: Workspace, store: Store) -> None:
    """One model was evaluated before the file changed, the other after: the items are not the same questions."""
    a, b = model(store, "lima 300 + instruct 1000"), model(store, "lima 300")
    for row, sha256 in ((a, "new"), (b, "old")):
        for run in row["run_ids"]:  # type: ignore[attr-defined]
            note_protocol(ws, run, {"addition": sha256, "agreement": "same", "tool_use": sha256 if row is a else ""})
    store.refresh()
    assert changed_tasks(store, a, b) == ["addition"]
    lines = {line["measure"]: line for line in compare_models(store, a, b)}
    assert "symbolic_problem_solving" not in lines
    assert {"language_understanding", "commonsense_reasoning", "world_knowledge"} <= lines.keys()
    assert lines["average"]["n"] == 600
    first, second = (row["eval_ids"][0] for row in (a, b))  # type: ignore[index]
    assert {pair["task"] for pair in paired_items(store, first, second)} == {
        "people_facts", "tool_use", "agreement", "passage_qa"}  # fmt: skip


def test_the_difference_is_that_of_the_scores_shown(store: Store) -> None:
    a, b = model(store, "lima 300 + instruct 1000"), model(store, "lima 300")
    lines = {line["measure"]: line for line in compare_models(store, a, b)}
    assert lines["average"]["estimate"] == pytest.approx(a["x"] - b["x"])  # type: ignore[operator]
    for category, facts in a["categories"].items():  # type: ignore[attr-defined]
        expected = facts["score"] - b["categories"][category]["score"]  # type: ignore[index]
        assert lines[category]["estimate"] == pytest.approx(expected)


def test_a_chance_difference_cannot_be_told_and_says_how_much_more_would(ws: Workspace, tmp_path: Path) -> None:
    write_study(ws, seeds=1, items=20, prompts=20)
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        rows = own_rows(store)
        lines = compare_models(store, rows[0], rows[1])
    unsure = [line for line in lines if line["verdict"] == "cannot tell" and line["estimate"]]
    assert unsure
    assert any("more items would settle" in line["sentence"] for line in unsure)


def test_many_lines_raise_the_bar(store: Store) -> None:
    lines = compare_models(store, model(store, "lima 300 + instruct 1000"), model(store, "lima 300"))
    assert all(line["p_adjusted"] >= line["p_value"] for line in lines)
    assert max(line["p_adjusted"] / line["p_value"] for line in lines if line["p_value"] > 0) > 1


def test_preference_between_two_candidates_goes_through_their_baseline(store: Store) -> None:
    lines = compare_models(store, model(store, "lima 300 + instruct 1000"), model(store, "instruct 1000"))
    preference = lines[-1]
    assert (preference["measure"], preference["verdict"], preference["basis"]) == ("preference", "better", "paired")


def test_a_direct_comparison_is_read_from_both_sides(store: Store) -> None:
    a, b = model(store, "instruct 1000"), model(store, "lima 300")
    direct, mirrored = compare_models(store, a, b)[-1], compare_models(store, b, a)[-1]
    assert direct["estimate"] == pytest.approx(-mirrored["estimate"])
    assert (direct["verdict"], mirrored["verdict"]) == ("worse", "better")


def test_published_models_are_compared_by_their_reading_error_only(store: Store) -> None:
    rows = {row["key"]: row for row in paper_rows(store)}
    lines = compare_models(store, rows["paper:7B:full"], rows["paper:7B:lima"])
    assert {line["basis"] for line in lines[:-1]} == {"reading error"}
    assert lines[0]["verdict"] == "better"
    assert "is published above" in lines[0]["sentence"]
    unknown = compare_models(store, rows["paper:7B:full"], rows["paper:7B:base"])
    assert all(line["estimate"] is None and line["verdict"] == "cannot tell" for line in unknown)
    assert "not published" in unknown[0]["sentence"]


def test_subcategories_weigh_alike_whatever_their_size(ws: Workspace, tmp_path: Path) -> None:
    run = write_run(ws, None, 1)
    eval_id = write_eval(ws, run, "base", items=10)
    path = ws.run(run) / "gauntlet" / eval_id / "items.parquet"
    rows = [r for r in pq.read_table(path).to_pylist() if r["task"] == "people_facts"]
    for i, row in enumerate(rows):
        row.update(subcategory="big" if i < 8 else "small", correct=1 if i < 8 else 0)
    pq.write_table(pa.Table.from_pylist(rows), path)
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        first, _ = paired_scores(store, [eval_id], [eval_id])["world_knowledge"]
    assert first.mean() == pytest.approx(0.5)


def test_items_that_leave_out_their_shots_or_stand_twice_are_compared_all_the_same(
    ws: Workspace, tmp_path: Path
) -> None:
    ids = []
    for seed in (1, 2):
        run = write_run(ws, "aaaaaaaaaaa1", seed)
        ids.append(write_eval(ws, run, "aaaaaaaaaaa1", items=20, seed=seed))
        folder = ws.run(run) / "gauntlet" / ids[-1]
        record = read_json(folder / "eval.json")
        write_json(folder / "eval.json", {**record, "tasks": [{**task, "baseline": 0.25} for task in record["tasks"]]})
        rows = pq.read_table(folder / "items.parquet").to_pylist()
        rows = [{name: value for name, value in row.items() if name != "num_fewshot"} for row in (*rows, *rows[:7])]
        pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        first, second = paired_scores(store, [ids[0]], [ids[1]])["world_knowledge"]
        pairs = paired_items(store, *ids, "world_knowledge")
        expected = sum(pair["a"] - pair["b"] for pair in pairs) / 20 / 0.75
        assert len(pairs) == len(first) == 20
        assert first.mean() - second.mean() == pytest.approx(expected)


def test_seeds_are_averaged_item_by_item_whichever_items_they_have(ws: Workspace, tmp_path: Path) -> None:
    ids = []
    for seed, kept in enumerate((range(10), range(10), range(0, 10, 2))):
        run = write_run(ws, "aaaaaaaaaaa1", seed)
        ids.append(write_eval(ws, run, "aaaaaaaaaaa1", items=10, seed=seed))
        path = ws.run(run) / "gauntlet" / ids[-1] / "items.parquet"
        rows = [row for row in pq.read_table(path).to_pylist() if row["idx"] in kept]
        pq.write_table(pa.Table.from_pylist(rows), path)
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        for chosen in (ids[:1], ids[:2], ids):
            (scores,) = item_scores(store, [chosen])
            for (category, task, _, _), (numbers, means) in scores.parts.items():
                expected = store.rows(
                    """select idx, avg(correct) as score from gauntlet_items
                       where list_contains(?, eval_id) and category = ? and task = ? group by idx order by idx""",
                    [chosen, category, task],
                )
                assert numbers.tolist() == [row["idx"] for row in expected]
                assert means.tolist() == pytest.approx([row["score"] for row in expected])


def test_the_smallest_sufficient_size_is_named_with_its_uncertainty(ws: Workspace, tmp_path: Path) -> None:
    skills = {"bbbbbbbbbbb1": (100, 0.2), "bbbbbbbbbbb2": (500, 0.6), "bbbbbbbbbbb3": (4000, 0.6)}
    for mix, (size, skill) in skills.items():
        study.SKILL[mix] = skill
        write_mix(ws, mix, [("tiny-instruct", None, size)], created=f"2026-02-01T00:00:{size % 60:02d}.000Z")
        write_eval(ws, write_run(ws, mix, 1), mix, items=300, seed=4)
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        rows = own_rows(store)
        answer = smallest_sufficient(store, rows, "average")
        curve = curve_rows(rows, "average")
    assert answer is not None
    assert (answer.reference, answer.at_least) == (4000, 500)
    assert "From 500 samples on" in answer.sentence
    assert {row["size"] for row in curve} == {100, 500, 4000}
    assert {row["label"] for row in curve} == {"tiny-instruct"}


def test_mixes_of_one_size_are_on_curves_of_their_own(ws: Workspace, tmp_path: Path) -> None:
    shares = {"ccccccccccc1": (900, 100, 0.2), "ccccccccccc2": (500, 500, 0.7), "ccccccccccc3": (5400, 600, 0.7),
              "ccccccccccc4": (3000, 3000, 0.7)}  # fmt: skip
    for number, (mix, (first, second, skill)) in enumerate(shares.items()):
        study.SKILL[mix] = skill
        parts = [("tiny-lima", None, first), ("tiny-instruct", None, second)]
        write_mix(ws, mix, parts, created=f"2026-02-01T00:00:0{number}.000Z")
        write_eval(ws, write_run(ws, mix, 1), mix, items=300, seed=number)
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        rows = own_rows(store)
        names = families(rows)
        assert set(names.values()) == {"tiny-lima + tiny-instruct · 90:10", "tiny-lima + tiny-instruct · 50:50"}
        for mix, name in (("ccccccccccc1", "90:10"), ("ccccccccccc2", "50:50")):
            row = next(row for row in rows if row["mix_id"] == mix)
            assert names[row["key"]].endswith(name)
        words = {}
        for name in set(names.values()):
            answer = smallest_sufficient(store, [row for row in rows if names[row["key"]] == name], "average")
            assert answer is not None
            words[name[-5:]] = answer.sentence
        assert words["90:10"].startswith("Every smaller size is worse")
        assert words["50:50"].startswith("From 1,000 samples on")
        together = smallest_sufficient(store, rows, "average")
        assert together is not None and "Every smaller size" not in together.sentence, "one of 1,000 is as good"
    assert len({row["label"] for row in curve_rows(rows, "average")}) == 2


def test_models_on_two_base_models_have_curves_and_names_of_their_own(ws: Workspace, tmp_path: Path) -> None:
    for model_path in ("/one/model", "/two/model"):
        for mix, size in (("ddddddddddd1", 100), ("ddddddddddd2", 500)):
            study.SKILL[mix] = 0.5
            write_mix(ws, mix, [("tiny-lima", None, size)], created=f"2026-02-01T00:00:0{size // 100}.000Z")
            run = write_run(ws, mix, 1 if "one" in model_path else 2)
            path = ws.run(run) / "run.json"
            write_json(path, {**read_json(path), "model": model_path})
            write_eval(ws, run, mix, items=50)
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        rows = own_rows(store)
        assert len(rows) == 4 and len({row["label"] for row in rows}) == 4
        assert {row["layer"] for row in rows} == {"one/model", "two/model"}
        assert set(families(rows).values()) == {"tiny-lima · one/model", "tiny-lima · two/model"}
        line = compare_models(store, rows[0], rows[2])[0]
    assert "one/model" in line["sentence"] and "two/model" in line["sentence"]


def test_preference_between_models_counts_pairs_as_the_rate_does(ws: Workspace, tmp_path: Path) -> None:
    """Ten prompts with a verdict in one order only, ten lost in both, ten with a verdict that is none."""
    write_study(ws, seeds=1)
    comparison = next(ws.comparisons.iterdir())
    rows = []
    for number in range(30):
        for order in ("ab", "ba"):
            verdict = {0: "2" if order == "ab" else None, 1: "1", 2: "error"}[number // 10]
            rows.append({"judgement_key": f"{number} {order}", "prompt_id": f"p{number}", "order": order, "seed": 1,
                         "text_1": "x", "text_2": f"y{number}", "verdict": verdict, "status": "ok"})  # fmt: skip
    (comparison / "judgments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        facts = next(row for row in comparisons(store) if row["comparison_id"] == comparison.name)
        assert (facts["wins"], facts["losses"], facts["preference_pct"]) == (0, 10, 0.0)
        candidate = next(row for row in own_rows(store) if comparison.name in row["comparison_ids"])
        baseline = next(row for row in own_rows(store) if row["is_baseline"])
        (line,) = compare_models(store, candidate, baseline, only="preference")
        assert (line["n"], line["estimate"]) == (10, -50.0)
        assert "a tie counts one half" in line["sentence"]


def test_one_size_is_no_curve(store: Store) -> None:
    assert smallest_sufficient(store, [model(store, "lima 300")], "average") is None


def test_published_curves_claim_no_test(ws: Workspace) -> None:
    with Store.open(ws) as store:
        rows = paper_rows(store, ["7B"])
        for measure in ("average", "preference"):
            answer = smallest_sufficient(store, rows, measure)
            assert answer is not None and answer.shown_at is None
            assert "published" in answer.sentence and "can be told" not in answer.sentence
            assert ("nothing was tested" in answer.sentence) == (measure == "average")


def test_of_many_sizes_a_few_are_compared_and_both_ends_are_kept() -> None:
    rows = [{"samples": size} for size in range(100, 20_100, 100)]
    chosen = [row["samples"] for row in sizes._spread(rows)]
    assert len(chosen) <= sizes.MOST_SIZES and (chosen[0], chosen[-1]) == (100, 20_000)
    assert chosen == sorted(set(chosen))
    assert [row["samples"] for row in sizes._spread(rows[:4])] == [100, 200, 300, 400]
