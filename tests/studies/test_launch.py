"""Starting, resuming, widening, stopping and showing a study. The queue is paused: nothing heavy runs here."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from limit import jobs
from limit.core import Json, LimitError, append_jsonl, read_json, write_json
from limit.gauntlet import tasks
from limit.models import ModelRef
from limit.settings import Workspace
from limit.studies import list_studies, load_record, run_study, show_study, stop_study
from limit.studies.bundle import collect
from limit.studies.clone import clone_study
from limit.studies.launch import job_ids, job_status, prepare, stop_words
from limit.studies.spec import StudyMix, StudySpec

STUDY: Json = {
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


def put_scores(ws: Workspace, run: Json) -> None:
    value = {
        "eval_id": run["eval_id"],
        "version": "mini",
        "protocol": {},
        "tasks": [],
        "categories": [],
        "averages": [],
    }
    write_json(ws.run(run["run_id"]) / "gauntlet" / run["eval_id"] / "eval.json", value)


def put_answers(ws: Workspace, run: Json) -> None:
    for prompts, set_id in run["sets"].items():
        path = ws.run(run["run_id"]) / "responses" / prompts / f"{set_id}.json"
        write_json(path, {"set_id": set_id})


def row_of(ws: Workspace, label: str, study: str = "small") -> Json:
    return next(run for run in load_record(ws, study)["runs"] if run["label"] == label)


def rewritten(path: str, **changes: object) -> str:
    """The study file with other fields."""
    file = Path(path)
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))
    return path


def end(ws: Workspace, job_id: str, state: str) -> None:
    path = ws.job(job_id) / "status.json"
    write_json(path, {**read_json(path), "state": state})


def test_a_job_cleared_from_the_history_is_done_where_its_result_is_and_stops_no_stop(
    ws: Workspace, study_file: str
) -> None:
    run_study(ws, study_file)
    total = show_study(ws, "small")["progress"]["total"]
    base, long = row_of(ws, "base"), row_of(ws, "long")
    cleared = [base["jobs"]["gauntlet"], base["jobs"]["respond tiny-open"], long["jobs"]["finetune"]]
    for job in cleared:
        end(ws, job, "failed")
        jobs.remove(ws, job)
    put_scores(ws, base)
    done = show_study(ws, "small")["progress"]
    assert (done["done"], done["stopped"], done["total"]) == (1, 2, total)
    put_answers(ws, base)
    (ws.run(long["run_id"]) / "model").mkdir()
    assert show_study(ws, "small")["progress"]["done"] == 3
    assert stop_study(ws, "small")["stopped"]
    assert show_study(ws, "small")["state"] in ("failed", "stopped")


def test_a_comparison_without_its_job_is_done_when_every_prompt_has_a_verdict(ws: Workspace, study_file: str) -> None:
    run_study(ws, study_file)
    run = row_of(ws, "terse")
    key, comparison = next(iter(run["comparisons"].items()))
    end(ws, run["jobs"][f"judge {key}"], "stopped")
    jobs.remove(ws, run["jobs"][f"judge {key}"])
    folder = ws.comparison(comparison)
    write_json(folder / "comparison.json", {"prompt_set": "tiny-open"})
    rows = [{"judgement_key": str(n), "prompt_id": str(n), "status": "ok"} for n in range(120)]
    append_jsonl(folder / "judgments.jsonl", rows[:-1])
    assert job_status(ws, run, f"judge {key}")["state"] == "stopped"
    append_jsonl(folder / "judgments.jsonl", rows[-1:])
    assert job_status(ws, run, f"judge {key}")["state"] == "finished"


def test_a_start_that_breaks_off_forgets_no_comparison(
    ws: Workspace, study_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(ws, study_file)
    before = load_record(ws, "small")

    def break_off(*_: object, **__: object) -> None:
        raise LimitError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("limit.studies.launch.judge_job", break_off)
        with pytest.raises(LimitError, match="no room"):
            run_study(ws, "small")
    assert load_record(ws, "small")["runs"] == before["runs"]


def test_a_prompt_set_that_one_run_lacks_is_not_compared(ws: Workspace, study_file: str, tmp_path: Path) -> None:
    run_study(ws, study_file)
    prompts = tmp_path / "two.txt"
    prompts.write_text("Who are you?\nWhat is this?\n")
    run_study(ws, rewritten(study_file, prompts=[str(prompts)], mixes=STUDY["mixes"][:2]))
    assert {key.split()[1] for key in row_of(ws, "terse")["comparisons"]} == {"tiny-open", "two"}
    assert {key.split()[1] for key in row_of(ws, "both")["comparisons"]} == {"tiny-open"}


def test_a_missing_model_is_named_before_any_job(
    ws: Workspace, study_file: str, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(ref: ModelRef) -> None:
        if not ref.local:
            raise LimitError(f"model {ref.path!r} is neither a folder nor in the hub cache")

    monkeypatch.setattr("limit.studies.launch.require_at_hand", away)
    with pytest.raises(LimitError, match="some/model"):
        run_study(ws, rewritten(study_file, models=[str(tiny_llama), "some/model"]))
    assert jobs.list_jobs(ws) == []


def test_seeds_that_were_added_stay_when_the_file_is_started_again(ws: Workspace, study_file: str) -> None:
    run_study(ws, study_file)
    run_study(ws, study_file, seeds=[2])
    run_study(ws, study_file, seeds=[3])
    assert load_record(ws, "small")["spec"]["seeds"] == [1, 2, 3]
    run_study(ws, study_file)
    assert load_record(ws, "small")["spec"]["seeds"] == [1, 2, 3]


def test_the_command_has_what_was_asked_for(ws: Workspace, study_file: str, tiny_llama: Path) -> None:
    run_study(ws, study_file, model=str(tiny_llama), budget_usd=2.5)
    words = shlex.split(load_record(ws, "small")["command"])
    assert words[words.index("--model") + 1] == str(tiny_llama)
    assert words[words.index("--budget") + 1] == "2.5"
    run_study(ws, "small")
    assert "--model" in load_record(ws, "small")["command"]


def test_a_mix_that_was_changed_does_not_pool_with_what_it_was(ws: Workspace, study_file: str) -> None:
    run_study(ws, study_file, seeds=[1, 2])
    old = {run["run_id"] for run in load_record(ws, "small")["runs"] if run["label"] == "terse"}
    mixes = [{**mix, "parts": ["tiny-instruct:30"]} if mix["label"] == "terse" else mix for mix in STUDY["mixes"]]
    started = run_study(ws, rewritten(study_file, mixes=mixes))
    record = load_record(ws, "small")
    new = [run for run in record["runs"] if run["label"] == "terse"]
    assert len(new) == 2 and not old & {run["run_id"] for run in new}
    assert {run["run_id"] for run in record["earlier"]} == old
    assert {job for run in record["earlier"] for job in run["jobs"].values()} <= set(started["jobs"])
    assert set(stop_study(ws, "small")["stopped"]) == set(started["jobs"])
    run_study(ws, rewritten(study_file, mixes=STUDY["mixes"]))
    back = load_record(ws, "small")
    assert {run["run_id"] for run in back["runs"] if run["label"] == "terse"} == old
    assert all(run["comparisons"] for run in back["runs"] if run["label"] == "terse")


def test_a_record_that_holds_a_mix_as_it_was_shows_it_under_a_label_of_its_own(ws: Workspace, study_file: str) -> None:
    run_study(ws, study_file)
    mixes = [{**mix, "parts": ["tiny-instruct:30"]} if mix["label"] == "terse" else mix for mix in STUDY["mixes"]]
    run_study(ws, rewritten(study_file, mixes=mixes), seeds=[2])
    record = load_record(ws, "small")
    write_json(ws.studies / "small" / "study.json", {**record, "runs": record["earlier"] + record["runs"]})
    labels = [run["label"] for run in show_study(ws, "small")["runs"]]
    assert labels.count("terse") == 2 and labels.count("terse (earlier 1)") == 1
    assert labels.count("long") == 2


def test_another_budget_takes_the_place_of_a_queued_comparison(ws: Workspace, study_file: str) -> None:
    first = run_study(ws, study_file)
    old = {job for job in first["jobs"] if job.startswith("judge-")}
    second = run_study(ws, "small", budget_usd=1.0)
    new = {job for job in second["jobs"] if job.startswith("judge-")}
    assert not old & new and len(old) == len(new)
    assert {jobs.status(ws, job)["state"] for job in old} == {"stopped"}
    assert {jobs.status(ws, job)["state"] for job in new} == {"queued"}


def test_a_comparison_that_is_being_judged_keeps_its_job(
    ws: Workspace, study_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(ws, study_file)
    what = "judge rubric tiny-open 1"
    before = row_of(ws, "terse")["jobs"][what]
    monkeypatch.setattr("limit.studies.launch._state", lambda _, job: "running" if job == before else "queued")
    run_study(ws, "small", budget_usd=1.0)
    assert row_of(ws, "terse")["jobs"][what] == before


def test_stopping_leaves_what_another_study_needs(ws: Workspace, study_file: str) -> None:
    run_study(ws, study_file)
    clone_study(ws, "small", "wider", {"seeds": [1, 2]})
    run_study(ws, "wider")
    shared = set(job_ids(load_record(ws, "small")))
    only = set(job_ids(load_record(ws, "wider"))) - shared
    stopped = stop_study(ws, "wider")
    assert load_record(ws, "wider")["kept_for"] == ["small"]
    assert (set(stopped["stopped"]), set(stopped["kept"])) == (only, shared)
    assert stop_words(stopped).endswith(f"{len(shared)} go on, because small needs them too.")
    assert set(stop_study(ws, "small")["stopped"]) == shared, "a study that was stopped needs nothing"


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
    put_scores(ws, base)
    put_answers(ws, base)
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
