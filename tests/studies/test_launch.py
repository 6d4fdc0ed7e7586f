"""Starting, resuming, widening, stopping and showing a study. The queue is paused: nothing heavy runs here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from limit import jobs
from limit.core import LimitError, read_json, write_json
from limit.gauntlet import tasks
from limit.settings import Workspace
from limit.studies import list_studies, load_record, run_study, show_study, stop_study
from limit.studies.bundle import collect
from limit.studies.clone import clone_study
from limit.studies.launch import job_ids, prepare
from limit.studies.spec import StudyMix, StudySpec

STUDY = {
    "title": "A small one",
    "recipe": "tiny",
    "seeds": [1],
    "gauntlet": "mini",
    "gauntlet_limit": 1,
    "prompts": ["tiny-open"],
    "max_new_tokens": 8,
    "judge": "rubric",
    "other_judges": ["rubric:length"],
    "baseline": "long",
    "mixes": [
        {"label": "long", "parts": ["tiny-lima:20"]},
        {"label": "terse", "parts": ["tiny-instruct:20"]},
        {"label": "both", "parts": ["tiny-instruct:20", "tiny-lima:20"]},
        {"label": "more", "parts": ["tiny-lima:40"], "seeds": [1]},
    ],
}


@pytest.fixture
def study_file(ws: Workspace, tmp_path: Path, tiny_llama: Path) -> str:
    """A study of a random model, in a workspace whose queue is paused."""
    assert tasks.MINI.is_dir()
    jobs.pause(ws)
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "models": [str(tiny_llama)]}))
    return str(path)


def test_a_study_is_a_chain_of_jobs(ws: Workspace, study_file: str) -> None:
    started = run_study(ws, study_file)
    record = load_record(ws, "small")
    assert started["runs"] == 5
    assert [run["label"] for run in record["runs"]] == ["base", "long", "terse", "both", "more"]
    by_label = {run["label"]: run for run in record["runs"]}
    assert "finetune" not in by_label["base"]["jobs"]
    terse = by_label["terse"]["jobs"]
    gauntlet = jobs.show(ws, terse["gauntlet"])
    assert gauntlet["after"] == [terse["finetune"]]
    judge = jobs.show(ws, terse["judge rubric tiny-open 1"])
    assert set(judge["after"]) == {by_label["long"]["jobs"]["respond tiny-open"], terse["respond tiny-open"]}
    assert not by_label["long"]["comparisons"]
    assert len(by_label["base"]["comparisons"]) == 2
    assert len(started["jobs"]) == len(set(started["jobs"])) == 5 * 2 + 4 + 4 * 2


def test_starting_again_adds_nothing_and_a_seed_adds_its_runs(ws: Workspace, study_file: str) -> None:
    first = run_study(ws, study_file)
    again = run_study(ws, "small")
    assert again["jobs"] == first["jobs"]
    wider = run_study(ws, "small", seeds=[2])
    assert wider["runs"] == first["runs"] + 3
    assert set(first["jobs"]) < set(wider["jobs"])
    record = load_record(ws, "small")
    assert record["spec"]["seeds"] == [1, 2]
    base = next(run for run in record["runs"] if run["label"] == "base")
    assert len(base["comparisons"]) == 4


def test_stopping_leaves_nothing_queued_and_running_again_resumes(ws: Workspace, study_file: str) -> None:
    started = run_study(ws, study_file)
    assert show_study(ws, "small")["state"] == "queued"
    assert stop_study(ws, "small")["stopped"]
    assert {jobs.status(ws, job)["state"] for job in started["jobs"]} == {"stopped"}
    assert show_study(ws, "small")["state"] == "stopped"
    run_study(ws, "small")
    assert {jobs.status(ws, job)["state"] for job in job_ids(load_record(ws, "small"))} == {"queued"}


def test_show_names_what_is_not_known_yet(ws: Workspace, study_file: str) -> None:
    run_study(ws, study_file)
    shown = show_study(ws, "small")
    assert shown["progress"]["done"] == 0
    assert all(run["gauntlet"] is None and run["preference"] == [] for run in shown["runs"])
    assert [study["study"] for study in list_studies(ws)] == ["small"]


def test_a_missing_source_stops_the_study_before_any_job(ws: Workspace, study_file: str, tmp_path: Path) -> None:
    text = Path(study_file).read_text().replace("tiny-instruct:20", "nowhere:20")
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(LimitError, match="nowhere"):
        run_study(ws, str(path))
    assert jobs.list_jobs(ws) == []


def test_a_study_whose_run_folder_is_gone_says_so(ws: Workspace, study_file: str) -> None:
    run_study(ws, study_file)
    record = load_record(ws, "small")
    shutil.rmtree(ws.run(record["runs"][1]["run_id"]))
    with pytest.raises(LimitError, match="no run"):
        show_study(ws, "small")


def test_a_study_that_was_never_started_says_how(ws: Workspace) -> None:
    shown = show_study(ws, "ratio-sweep")
    assert (shown["state"], shown["command"]) == ("not started", "python -m limit study run ratio-sweep")
    with pytest.raises(LimitError, match="study run ratio-sweep"):
        load_record(ws, "ratio-sweep")


def test_only_what_is_finished_is_bundled(ws: Workspace, study_file: str, tmp_path: Path) -> None:
    run_study(ws, study_file)
    with pytest.raises(LimitError, match="no run"):
        collect(ws, "small", tmp_path / "bundle")
    record = load_record(ws, "small")
    base = record["runs"][0]
    for what, job in base["jobs"].items():
        if not what.startswith("judge "):
            status = ws.job(job) / "status.json"
            write_json(status, {**read_json(status), "state": "finished"})
    about = collect(ws, "small", tmp_path / "bundle")
    assert about["runs"] == 1
    shown = show_study(Workspace(tmp_path / "bundle"), "small")
    assert [(run["label"], run["state"]) for run in shown["runs"]] == [("base", "finished")]
    assert (tmp_path / "bundle" / "prompts" / "tiny-open" / "prompts.parquet").is_file()


@pytest.mark.parametrize(
    ("change", "budget", "words"),
    [
        ({"mixes": (StudyMix(label="a", parts=("tiny-lima:20",)), StudyMix(label="b", parts=("nosuch:5",)))}, None,
         "source 'nosuch' does not exist"),
        ({"mixes": (StudyMix(label="a", parts=("tiny-lima:20",)), StudyMix(label="b", parts=("tiny-lima:99999",)))},
         None, "asks for 99,999 samples"),
        ({"prompts": ("nosuch",)}, None, "nosuch"),
        ({}, -5.0, "allows nothing"),
        ({"judge": "openai:gpt-4-0613"}, None, "budget"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_said_before_anything_is_made(
    ws: Workspace, change: dict[str, object], budget: float | None, words: str
) -> None:
    jobs.pause(ws)
    clone_study(ws, "mini", "mine", {"baseline": "a" if "mixes" in change else "LIMA only", **change})
    with pytest.raises(LimitError, match=words):
        run_study(ws, "mine", budget_usd=budget)
    assert jobs.list_jobs(ws) == []
    assert not list(ws.runs.glob("*")) and not list(ws.mixes.glob("*/mix.json"))


def test_the_shipped_prompts_are_there_for_mixes_of_ones_own(ws: Workspace) -> None:
    spec = StudySpec(title="t", models=("tiny",), mixes=(StudyMix(label="a", parts=("mine:10",)),), recipe="tiny",
                     prompts=("tiny-open",))  # fmt: skip
    prepare(ws, spec)
    assert (ws.prompts / "tiny-open" / "prompt_set.json").is_file()


def test_a_file_that_is_no_yaml_is_not_taken_for_a_name(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text("{}")
    with pytest.raises(LimitError, match=r"ends in \.yaml, not 'grid\.json'"):
        run_study(ws, str(tmp_path / "grid.json"))


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_that_no_run_may_have_is_refused(ws: Workspace, seed: int) -> None:
    with pytest.raises(LimitError, match="not a whole number"):
        run_study(ws, "mini", seeds=[seed])
    assert not list(ws.mixes.glob("*/mix.json"))
