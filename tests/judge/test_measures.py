"""Length control, agreement, leanings, rankings and summaries against published figures and worked examples."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limit.judge.agreement import agreement, cohen_kappa, fleiss_kappa, leanings, turned_pairs, verdicts_by_pair
from limit.judge.annotations import import_files
from limit.judge.answers import answer_style, common_openings
from limit.judge.categories import by_category, of_category, prompt_categories
from limit.judge.judgments import Comparison, load_comparison, read_judgments
from limit.judge.length import by_length_ratio, length_controlled, longer_wins, win_rate
from limit.judge.length import fit_minimal as minimal
from limit.judge.quality import bounds, report
from limit.judge.ranking import bradley_terry, prompt_scores, sign_tests
from limit.judge.summary import nested_interval, preference_interval, resolve_orders, summarise, tally
from limit.settings import Workspace

FRAME = Comparison("x", "judged", "base", "cand", "test", "judge")


def row(prompt: str, verdict: str | None, order: str | None = None, **more: Any) -> dict[str, Any]:
    first = {"ab": 1, "ba": 2}.get(order or "")
    base = {"prompt_id": prompt, "verdict": verdict, "order": order, "first_response": first, "seed": 1}
    return {**base, "text_1": "one", "text_2": "two2", "status": "ok", "replicate": 0, **more}


@pytest.fixture(scope="module")
def alpaca_eval(shared_data: Path) -> dict[str, Any]:
    pq = pytest.importorskip("pyarrow.parquet")
    folder = shared_data / "judge" / "alpaca_eval"
    rows = pq.read_table(folder / "alpaca_eval_rows.parquet").to_pylist()
    models: dict[str, list[dict[str, Any]]] = {}
    for entry in rows:
        models.setdefault(entry["model"], []).append(entry)
    instructions = pq.read_table(folder / "alpaca_eval_instructions.parquet").to_pylist()
    published = json.loads((folder / "alpaca_eval_published.json").read_text())
    return {"rows": models, "instructions": {i["instruction_id"]: i for i in instructions}, "published": published}


def test_raw_win_rates_are_alpaca_evals(alpaca_eval: dict[str, Any]) -> None:
    assert len(alpaca_eval["published"]) == 6
    for model, facts in alpaca_eval["published"].items():
        ours = win_rate([entry["preference"] for entry in alpaca_eval["rows"][model]])
        for name in ("win_rate", "standard_error", "discrete_win_rate", "n_wins", "n_wins_base", "n_draws", "n_total"):
            assert ours[name] == pytest.approx(facts["published"][name], abs=1e-6), (model, name)


def test_minimal_length_control_is_the_maximum_likelihood_fit(alpaca_eval: dict[str, Any]) -> None:
    for model, facts in alpaca_eval["published"].items():
        rows, expected = alpaca_eval["rows"][model], facts["recomputed"]["lc_minimal"]
        y = np.array([entry["preference"] - 1 for entry in rows])
        a, k = minimal(y, np.array([float(entry["len_1"] - entry["len_2"]) for entry in rows]))
        assert 100 / (1 + math.exp(-k)) == pytest.approx(expected["winrate"], abs=0.01)
        assert a == pytest.approx(expected["tanh"], abs=1e-4)


def test_length_control_undoes_a_judge_that_only_likes_length() -> None:
    rng = np.random.default_rng(2)
    one, two = rng.normal(1000, 300, 2000), rng.normal(1300, 300, 2000)
    p = 1 / (1 + np.exp(2.5 * np.tanh((one - two) / (one - two).std(ddof=1))))
    y = rng.binomial(1, p)
    control = length_controlled(y, one, two, range(2000), draws=50)
    assert y.mean() > 0.65 and control.rate_pct == pytest.approx(50, abs=5)
    assert control.low is not None and control.high is not None and control.low < 50 < control.high


@pytest.mark.parametrize(
    ("y", "delta", "words"),
    [
        ([1, 0] * 20, list(range(40)), "only 40 decided"),
        ([1] * 200, list(range(200)), "one way"),
        ([1, 0] * 100, [5] * 200, "same length"),
        ([1, 0] * 100, [1000 + n % 7 for n in range(200)], "out of reach"),
    ],
)
def test_length_control_says_why_it_cannot(y: list[float], delta: list[float], words: str) -> None:
    control = length_controlled(y, delta, [0] * len(y), range(len(y)))
    assert control.rate_pct is None and words in str(control.reason)


def test_longer_share_and_thirds() -> None:
    rows = [row("p", "2"), row("q", "1"), row("r", "tie"), row("s", None), row("t", "2", text_2="one")]
    assert longer_wins(rows) == (1, 2)
    thirds = by_length_ratio([0, 0, 0, 0.5, 0.5, 0.5, 1, 1, 1], [100] * 9, [10, 20, 30, 90, 100, 110, 300, 400, 500])
    assert [third["rate_pct"] for third in thirds] == [0, 50, 100] and [third["n"] for third in thirds] == [3, 3, 3]


def test_a_win_needs_both_orders() -> None:
    rows = [
        *(row("agree", "2", order) for order in ("ab", "ba")),
        row("flip", "1", "ab"),
        row("flip", "2", "ba"),
        row("half", "2", "ab"),
        row("half", None, "ba", status="refused"),
    ]
    found = {r["prompt_id"]: (r["verdict"], r["status"]) for r in resolve_orders(rows)}
    assert found == {"agree": ("2", "ok"), "flip": ("tie", "ok"), "half": (None, "refused")}


def test_repeats_go_by_majority() -> None:
    rows = [row("p", verdict, "ab", replicate=n) for n, verdict in enumerate(["2", "2", "1", None])]
    assert resolve_orders(rows)[0]["verdict"] == "2"
    assert resolve_orders(rows[1:3])[0]["verdict"] == "tie"


def test_bounds_put_missing_verdicts_on_either_side() -> None:
    summary = summarise(FRAME, [row("a", "2"), row("b", "1"), row("c", None), row("d", None)])
    assert summary["preference_pct"] == 50 and bounds(summary) == {"all_lost_pct": 25.0, "all_won_pct": 75.0}


def test_nothing_decided_has_no_rate() -> None:
    for rows in ([], [row("a", "tie"), row("b", None)]):
        summary = summarise(FRAME, rows)
        assert summary["preference_pct"] is None and summary["ci_low"] is None
        report(FRAME, rows)


def test_the_papers_rule_is_the_mean_over_seeds_not_the_pooled_count() -> None:
    rows = [row(str(n), "2", seed=1) for n in range(8)] + [row(str(n), "1", seed=2) for n in range(2)]
    assert summarise(FRAME, rows)["preference_pct"] == 50


def test_intervals_treat_the_seeds_of_a_prompt_as_one() -> None:
    rng = np.random.default_rng(4)
    verdicts = [str(v) for v in rng.integers(1, 3, 200)]
    rows = [row(str(n), verdict, seed=seed) for seed in (1, 2, 3) for n, verdict in enumerate(verdicts)]
    three, one = preference_interval(*tally(rows)), preference_interval(*tally(rows[:200]))
    assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.1)


def test_kappa_of_a_worked_example_and_its_guards() -> None:
    pairs = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    left = {n: a for n, (a, _) in enumerate(pairs)}
    right = {n: b for n, (_, b) in enumerate(pairs)}
    found = agreement(left, right)
    assert found["n"] == 50 and found["agree_pct"] == 70 and found["kappa_low"] < 0.4 < found["kappa_high"]
    few = agreement(dict(list(left.items())[:20]), right)
    assert few["kappa"] is None and "30" in few["why"]
    onesided = agreement(dict.fromkeys(range(50), "a"), right)
    assert onesided["kappa"] is None and "95 %" in onesided["why"]
    assert agreement({}, right)["agree_pct"] is None


def test_kappa_is_over_baseline_and_candidate_whichever_text_sorts_first() -> None:
    one = ["2"] * 30 + ["1"] * 10
    two = ["2"] * 25 + ["1"] * 10 + ["2"] * 5
    texts = [("a", "b") if n % 2 else ("b", "a") for n in range(40)]
    first, second = (
        [row(f"p{n}", verdict, text_1=texts[n][0], text_2=texts[n][1]) for n, verdict in enumerate(verdicts)]
        for verdicts in (one, two)
    )
    found = agreement(verdicts_by_pair(first), verdicts_by_pair(second), turned_pairs(first))
    assert found["kappa"] == pytest.approx(cohen_kappa(list(zip(one, two, strict=True))))


def test_fleiss_kappa_of_a_worked_example() -> None:
    # Two raters on four items: agree on three; shares 5/8 and 3/8.
    assert fleiss_kappa([["a", "a"], ["a", "a"], ["b", "b"], ["a", "b"]]) == pytest.approx(
        (0.75 - 34 / 64) / (1 - 34 / 64)
    )
    assert fleiss_kappa([["a"]]) is None


def test_pairs_meet_whichever_side_was_the_baseline() -> None:
    there = verdicts_by_pair([row("p", "1")])
    back = verdicts_by_pair([row("p", "2", text_1="two2", text_2="one")])
    assert there == back


def test_seat_consistency_and_flips() -> None:
    rows = [
        *(row("a", "2", order) for order in ("ab", "ba")),
        row("b", "1", "ab"),
        row("b", "2", "ba"),
        row("b", "2", "ba", replicate=1),
        row("c", "1", "ab", replicate=0),
        row("c", "2", "ab", replicate=1),
        row("d", "2"),
    ]
    found = leanings(rows)
    assert (found["consistency_pct"], found["n_pairs"]) == (50, 2)
    assert found["first_seat_pct"] == pytest.approx(100 * 5 / 7) and found["n_decided"] == 7
    assert (found["flip_pct"], found["n_repeated"]) == (50, 2)


def one_by_one(games: list[tuple[str, str, float, Any]]) -> list[tuple[str, str, dict[Any, float]]]:
    return [(baseline, candidate, {prompt: score}) for baseline, candidate, score, prompt in games]


def test_bradley_terry_finds_the_strengths_of_a_simulation() -> None:
    rng, strength = np.random.default_rng(7), {"a": 0.0, "b": 1.0, "c": -0.7}
    games = []
    for n in range(3000):
        one, two = rng.choice(list(strength), 2, replace=False)
        won = rng.random() < 1 / (1 + math.exp(strength[one] - strength[two]))
        games.append((str(one), str(two), float(won), n))
    games.append(("x", "y", 1.0, -1))
    found = bradley_terry(one_by_one(games), "a", draws=50)
    assert [entry["model"] for entry in found] == ["b", "c"]
    for entry in found:
        assert entry["strength"] == pytest.approx(strength[entry["model"]], abs=0.2)
        assert entry["low"] < entry["win_pct"] < entry["high"]


def test_hundreds_of_models_against_one_are_ranked_by_how_often_they_win() -> None:
    rng = np.random.default_rng(3)
    won = {f"model {i:03}": int(rng.integers(5, 36)) for i in range(400)}
    games = [("base", model, float(n < wins), n) for model, wins in won.items() for n in range(40)]
    found = {entry["model"]: entry for entry in bradley_terry(one_by_one(games), "base")}
    assert found.keys() == won.keys()
    for model, wins in won.items():
        assert found[model]["win_pct"] == pytest.approx(100 * wins / 40, abs=0.1)
        assert found[model]["low"] < found[model]["win_pct"] < found[model]["high"]
        assert found[model]["games"] == 40


def test_models_that_meet_only_through_the_anchor_say_nothing_about_each_other() -> None:
    rng = np.random.default_rng(5)
    circle = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")]
    games = [(one, two, float(rng.random() < 0.6), n) for one, two in circle for n in range(50)]
    apart = [("a", "e", float(rng.random() < 0.3), n) for n in range(50)]
    alone = {entry["model"]: entry for entry in bradley_terry(one_by_one(games), "a")}
    beside = {entry["model"]: entry for entry in bradley_terry(one_by_one([*apart, *games]), "a")}
    assert alone.keys() == {"b", "c", "d"} and beside.keys() == {"b", "c", "d", "e"}
    for model, entry in alone.items():
        assert beside[model] == pytest.approx(entry), "the same draws of the same prompts"
    assert (
        bradley_terry([], "a")
        == []
        == bradley_terry([("x", "y", {0: 1.0})], "a")
        == bradley_terry([("a", "b", {})], "a")
    )


def test_sign_tests_are_corrected_together() -> None:
    strong = [row(str(n), "2") for n in range(30)] + [row(str(n + 30), "1") for n in range(8)]
    weak = [row(str(n), "2") for n in range(12)] + [row(str(n + 12), "1") for n in range(10)]
    found = sign_tests([prompt_scores(rows) for rows in (strong, weak, weak)])
    assert [entry["verdict"] for entry in found] == ["better", "cannot tell", "cannot tell"]
    assert found[0]["p_holm"] == pytest.approx(3 * found[0]["p_value"])
    assert found[1]["needed_prompts"] > 400


def seeded(rates: list[float], prompts: int = 100) -> list[dict[str, Any]]:
    """One row a prompt and seed; seed number s wins `rates[s]` of its prompts."""
    return [
        row(f"p{n}", "2" if n < rate * prompts else "1", seed=number)
        for number, rate in enumerate(rates)
        for n in range(prompts)
    ]


def test_the_nested_interval_holds_what_prompts_and_seeds_each_add() -> None:
    wins, losses = tally(seeded([0.4, 0.6, 0.8]))
    nested, prompts = nested_interval(wins, losses), preference_interval(wins, losses)
    assert nested.low < prompts.low < 0.6 < prompts.high < nested.high
    assert nested_interval(wins, losses) == nested, "the same data give the same interval"
    alike = nested_interval(*tally(seeded([0.6, 0.6, 0.6])))
    same = preference_interval(*tally(seeded([0.6, 0.6, 0.6])))
    assert (alike.low, alike.high) == pytest.approx((same.low, same.high), abs=0.015), "equal seeds add nothing"
    few = nested_interval(*tally(seeded([0.4, 0.6, 0.8], prompts=10_000)), draws=300)
    assert few.low == pytest.approx(0.4, abs=0.08) and few.high == pytest.approx(0.8, abs=0.08), "seeds alone remain"


def test_the_nested_interval_needs_two_seeds_with_a_verdict() -> None:
    rows = [*seeded([0.5]), *(row(f"p{n}", None, seed=7) for n in range(100))]
    assert math.isnan(nested_interval(*tally(rows)).low) and report(FRAME, rows)["nested_low"] is None
    assert math.isnan(nested_interval(*tally([])).low)
    both = report(FRAME, seeded([0.4, 0.6]))
    assert both["nested_low"] < 50 < both["nested_high"] and both["seed_low"] < both["nested_low"]


def test_orders_and_copies_of_a_prompt_count_as_one_in_every_interval() -> None:
    once = [row(f"p{n}", "2" if n % 3 else "1") for n in range(60)]
    copies = [row(f"p{n}", "2" if n % 3 else "1", replicate=c) for n in range(60) for c in range(5)]
    for measure in (preference_interval, nested_interval):
        one, five = (measure(*(np.tile(counts, (2, 1)) for counts in tally(rows))) for rows in (once, copies))
        assert (one.low, one.high) == pytest.approx((five.low, five.high))


def test_imported_soft_verdicts_come_to_alpaca_evals_own_win_rate(
    alpaca_eval: dict[str, Any], ws: Workspace, tmp_path: Path
) -> None:
    for model, facts in list(alpaca_eval["published"].items())[:2]:
        rows = [
            {
                "instruction": f"instruction {entry['instruction_id']}",
                "output_1": "x" * entry["len_1"],
                "output_2": "y" * entry["len_2"],
                "generator_1": "gpt4_1106_preview",
                "generator_2": model,
                "annotator": "weighted_alpaca_eval_gpt4_turbo",
                "preference": entry["preference"],
            }
            for entry in alpaca_eval["rows"][model]
        ]
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(rows))
        (id_,) = import_files(ws, [path])["comparisons"]
        found = report(load_comparison(ws, id_), read_judgments(ws, id_))
        assert found["score_pct"] == pytest.approx(facts["published"]["win_rate"], abs=1e-6)
        assert found["standard_error"] == pytest.approx(facts["published"]["standard_error"], abs=1e-6)
        control, minimal_rate = found["length_control"], facts["recomputed"]["lc_minimal"]["winrate"]
        assert control.rate_pct == pytest.approx(minimal_rate, abs=0.01) or "out of reach" in str(control.reason)


def test_missing_verdicts_are_told_apart() -> None:
    rows = [
        row("a", "2"),
        row("b", None, status="refused"),
        row("c", None, status="invalid"),
        row("d", None, status="error"),
    ]
    found = report(FRAME, [*rows, row("e", None, status="skipped_budget")])
    assert found["missing"] == {"refused": 1, "invalid": 1, "error": 1, "skipped_budget": 1}
    assert (found["all_lost_pct"], found["all_won_pct"]) == (20, 100)


def test_topics_come_from_rows_or_prompt_sets_and_one_alone_is_none() -> None:
    rows = [row(f"p{n}", "2", source_row={"dataset": "koala" if n < 2 else " vicuna\n x"}) for n in range(4)]
    topics = prompt_categories(rows)
    assert topics == {"p0": "koala", "p1": "koala", "p2": "vicuna x", "p3": "vicuna x"}
    assert prompt_categories(rows[:2]) == {} and len(of_category(rows, topics, "koala")) == 2
    assert prompt_categories(rows, {"p0": "writing"})["p0"] == "writing"
    assert prompt_categories([row("p", "1", source_row=None)]) == {}
    found = by_category(FRAME, [*rows, row("p4", "1")], topics)
    assert [(entry["category"], entry["n_prompts"], entry["preference_pct"]) for entry in found] == [
        ("koala", 2, 100),
        ("vicuna x", 2, 100),
    ]


def test_style_of_each_side_counts_each_answer_once() -> None:
    texts = [
        "Sure, here is a list:\n- one\n- two",
        "Sure, here is more",
        "I'm sorry, but I cannot do that.",
        "",
        "  \n",
    ]
    rows = [row(f"p{n}", "1", text_1=text, text_2="word") | {"prompt": f"Q{n}"} for n, text in enumerate(texts)]
    one, two = answer_style([*rows, *rows], 1), answer_style(rows, 2)
    shares = {habit["key"]: habit["share"] for habit in one["habits"]}
    assert one["n"] == 5 and one["empty"] == 2 and shares["lists"] == 0.2 and shares["refusals"] == 0.2
    assert one["openings"] == [{"words": "sure here is", "share": pytest.approx(2 / 3), "n": 2}]
    assert two["n"] == 5 and two["openings"][0]["share"] == 1 and "multiple_choice" not in shares
    assert common_openings(["こんにちは 世界", "こんにちは 世界!", "..."])[0]["words"] == "こんにちは 世界"
    assert answer_style([], 1)["n"] == 0


def test_a_verdict_without_its_seats_is_left_out_of_the_seat_share() -> None:
    rows = [
        {"prompt_id": f"p{i}", "order": "ab", "verdict": "1", "text_1": "a", "text_2": "b"}
        | ({"first_response": 1} if i else {})
        for i in range(3)
    ]
    assert leanings(rows)["n_decided"] == 2
