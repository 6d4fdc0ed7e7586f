"""The card of a study before its start, and studies that differ from another one by what was changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from limit import access, jobs
from limit.core import LimitError, read_json, write_json
from limit.settings import Workspace
from limit.studies import list_studies, load_record, load_study, run_study, show_study
from limit.studies.clone import change_words, changed_mixes, clone_study, parse_mix, planned_studies, remove_plan
from limit.studies.cost import comparisons_of, cost_lines, study_cost
from limit.studies.show import study_text
from limit.studies.spec import StudySpec
from tests.studies.test_launch import STUDY


@pytest.fixture
def study_file(ws: Workspace, tmp_path: Path, tiny_llama: Path) -> str:
    jobs.pause(ws)
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "models": [str(tiny_llama)]}))
    return str(path)


def spec_of(ws: Workspace, name: str) -> StudySpec:
    return load_study(ws, name)[1]


def test_the_card_counts_what_starting_makes(ws: Workspace, study_file: str) -> None:
    cost = study_cost(ws, spec_of(ws, study_file))
    started = run_study(ws, study_file)
    record = load_record(ws, "small")
    kinds = [jobs.show(ws, job)["kind"] for job in started["jobs"]]
    assert cost.runs == len(record["runs"]) == 5
    assert (cost.finetunes, cost.evaluations, cost.answer_sets) == tuple(
        kinds.count(kind) for kind in ("finetune", "gauntlet", "respond")
    )
    assert cost.comparisons == kinds.count("judge") == 8


def test_the_card_has_figures_and_says_what_is_not_in_them(ws: Workspace, study_file: str) -> None:
    cost = study_cost(ws, spec_of(ws, study_file))
    assert cost.estimate is not None and cost.estimate.memory_gb > 0 and cost.estimate.fits == "fits"
    assert cost.seconds is not None and cost.seconds > 0
    assert cost.disk_gb is not None and cost.disk_gb > 0
    assert cost.judge_usd == 0
    assert any("evaluations" in reason for reason in cost.unknown), "nothing of this model was ever evaluated"
    assert "judge: free" in "\n".join(cost_lines(cost))


def test_what_is_done_is_not_counted_again(ws: Workspace, study_file: str) -> None:
    spec = spec_of(ws, study_file)
    before = study_cost(ws, spec)
    run_study(ws, study_file)
    run = next(run for run in load_record(ws, "small")["runs"] if run["label"] == "long")
    (ws.run(run["run_id"]) / "model").mkdir(parents=True)
    after = study_cost(ws, spec)
    assert (before.done, after.done) == (0, 1)
    assert after.seconds is not None and before.seconds is not None and after.seconds < before.seconds


def test_a_paid_judge_is_priced_and_an_unknown_one_is_said(ws: Workspace) -> None:
    spec = spec_of(ws, "mini")
    dear = study_cost(ws, spec.replace(judge="openai:gpt-4-0613"))
    assert dear.judge_usd is not None and dear.judge_usd > 1
    assert dear.judge_questions == 2 * 120 * comparisons_of(spec)
    assert "at most about USD" in "\n".join(cost_lines(dear))
    unknown = study_cost(ws, spec.replace(judge="openai:nobody-knows"))
    assert unknown.judge_usd is None
    assert "judge: cost not known" in "\n".join(cost_lines(unknown))
    assert any("price of judge nobody-knows" in reason for reason in unknown.unknown)


def test_missing_sources_are_named_and_memory_is_told_all_the_same(ws: Workspace) -> None:
    cost = study_cost(ws, spec_of(ws, "paper-7b"))
    assert cost.seconds is None and cost.disk_gb is None and cost.judge_usd is None
    assert cost.estimate is not None and cost.estimate.weights_gb > 13
    assert any("instruct-v1" in reason for reason in cost.unknown)
    assert "time: not known" in cost_lines(cost)


def test_show_tells_the_card_before_the_start_and_not_after(ws: Workspace, study_file: str) -> None:
    value = show_study(ws, study_file)
    assert value["state"] == "not started" and value["cost"]["finetunes"] == 4
    assert [run["label"] for run in value["runs"]] == ["base", "long", "terse", "both", "more"]
    assert "what starting it takes" in study_text(value)
    run_study(ws, study_file)
    assert "cost" not in show_study(ws, "small")


def test_a_clone_differs_by_what_was_changed(ws: Workspace, study_file: str) -> None:
    spec = spec_of(ws, study_file)
    mixes = changed_mixes(spec, mixes=["new=tiny-lima:5 + tiny-instruct:5"], drop=["more"], sizes=["tiny-lima:10"])
    plan = clone_study(ws, study_file, "mine", {"seeds": [3, 4], "mixes": mixes, "title": "Mine"})
    assert plan["cloned_from"] == "small"
    name, clone = load_study(ws, "mine")
    assert (name, clone.title, clone.seeds) == ("mine", "Mine", (3, 4))
    by_label = {mix.label: mix.parts for mix in clone.mixes}
    assert by_label == {
        "long": ("tiny-lima:10",),
        "terse": ("tiny-instruct:20",),
        "both": ("tiny-instruct:20", "tiny-lima:10"),
        "new": ("tiny-lima:5", "tiny-instruct:5"),
    }
    assert plan["changes"] == change_words(spec, clone)
    assert {"seeds: 1 -> 3, 4", "without mix more", "mix long: tiny-lima:20 -> tiny-lima:10"} <= set(plan["changes"])
    assert [entry["study"] for entry in planned_studies(ws)] == ["mine"]
    assert list_studies(ws) == []


def test_a_clone_of_a_started_study_shares_its_runs(ws: Workspace, study_file: str) -> None:
    run_study(ws, study_file)
    clone_study(ws, "small", "wider", {"seeds": [1, 2]})
    run_study(ws, "wider")
    first, second = ({run["run_id"] for run in load_record(ws, name)["runs"]} for name in ("small", "wider"))
    assert first < second and len(second) == 8
    assert planned_studies(ws) == []
    with pytest.raises(LimitError, match="already"):
        clone_study(ws, "small", "wider")


@pytest.mark.parametrize("words", ["no sign", "=tiny-lima:3", "a=", "a= + "])
def test_a_mix_in_words_needs_a_label_and_parts(words: str) -> None:
    with pytest.raises(LimitError, match="is not LABEL="):
        parse_mix(words)


def test_wrong_changes_are_named(ws: Workspace) -> None:
    spec = spec_of(ws, "mini")
    with pytest.raises(LimitError, match="no mix 'nope'"):
        changed_mixes(spec, drop=["nope"])
    with pytest.raises(LimitError, match="draws on 'nope'"):
        changed_mixes(spec, sizes=["nope:3"])
    for taken in ("mini", "paper"):
        with pytest.raises(LimitError, match="another name"):
            clone_study(ws, "mini", taken)
    with pytest.raises(LimitError, match="baseline"):
        clone_study(ws, "mini", "other", {"baseline": "nope"})
    assert planned_studies(ws) == []


def test_a_plan_is_not_replaced_by_another_one_of_its_name(ws: Workspace) -> None:
    first = clone_study(ws, "mini", "c1", {"seeds": [3]})
    assert clone_study(ws, "mini", "c1", {"seeds": [3]}) == first
    with pytest.raises(LimitError, match="plan 'c1' already"):
        clone_study(ws, "mini", "c1", {"seeds": [4]})
    assert spec_of(ws, "c1").seeds == (3,)


def test_a_damaged_plan_is_left_out_and_can_be_removed(ws: Workspace) -> None:
    write_json(ws.studies / "odd" / "plan.json", {"study": "odd"})
    assert planned_studies(ws) == []
    clone_study(ws, "mini", "mine")
    remove_plan(ws, "mine")
    assert planned_studies(ws) == []
    with pytest.raises(LimitError, match="no plan 'mine'"):
        remove_plan(ws, "mine")


def test_viewers_plan_nothing_and_analysts_start_nothing(ws: Workspace) -> None:
    try:
        access.set_role_provider(lambda: "viewer")
        with pytest.raises(LimitError, match="may not plan studies"):
            clone_study(ws, "mini", "mine")
        access.set_role_provider(lambda: "analyst")
        clone_study(ws, "mini", "mine")
        with pytest.raises(LimitError, match="may not run a study"):
            run_study(ws, "mine")
        assert read_json(ws.studies / "mine" / "plan.json")["cloned_from"] == "mini"
    finally:
        access.set_role_provider(None)


def test_what_is_there_already_takes_no_time(ws: Workspace, study_file: str) -> None:
    spec = spec_of(ws, study_file)
    started = run_study(ws, study_file)
    run = load_record(ws, "small")["runs"][1]
    folder = ws.run(run["run_id"]) / "gauntlet" / "e1"
    told = {"version": spec.gauntlet, "seconds": 1000.0, "protocol": {"limit": spec.gauntlet_limit}}
    write_json(folder / "eval.json", told)
    one = study_cost(ws, spec).seconds
    for other in load_record(ws, "small")["runs"]:
        path = ws.run(other["run_id"]) / "gauntlet" / "e1" / "eval.json"
        write_json(path, told)
    every = study_cost(ws, spec).seconds
    assert started["jobs"] and one is not None and every is not None
    assert one - every == pytest.approx(1000.0 * (len(load_record(ws, "small")["runs"]) - 1))


def test_what_is_of_another_protocol_is_not_there_and_tells_no_time(ws: Workspace, study_file: str) -> None:
    spec = spec_of(ws, study_file)
    run_study(ws, study_file)
    for run in load_record(ws, "small")["runs"]:
        folder = ws.run(run["run_id"])
        told = {"version": spec.gauntlet, "seconds": 1000.0, "protocol": {"limit": None}}
        write_json(folder / "gauntlet" / "e1" / "eval.json", told)
        made = {"max_new_tokens": 512, "limit": None}
        write_json(folder / "responses" / "tiny-open" / "s1.json", {"seconds": 500.0, "config": made})
    cost = study_cost(ws, spec)
    assert cost.seconds is not None and cost.seconds < 500.0
    words = " ".join(cost.unknown)
    assert "1 records a task: none like it" in words and "at most 8 tokens: none like it" in words
    whole = study_cost(ws, spec.replace(gauntlet_limit=None, max_new_tokens=512))
    assert not any("none like it" in reason for reason in whole.unknown)


def test_a_file_of_prompts_is_priced_before_the_first_start(ws: Workspace, tmp_path: Path) -> None:
    prompts = tmp_path / "my questions.txt"
    prompts.write_text("Who are you?\nWhat is this?\nWho are you?\n")
    spec = spec_of(ws, "mini").replace(prompts=[str(prompts)], judge="openai:gpt-4-0613")
    cost = study_cost(ws, spec)
    assert cost.judge_usd is not None and cost.judge_usd > 0
    assert cost.judge_questions == 2 * 2 * comparisons_of(spec)
    assert not list(ws.prompts.glob("my*"))
