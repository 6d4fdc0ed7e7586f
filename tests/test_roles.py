"""Who may do what, asked of the functions themselves: what a role may not do leaves the workspace as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from limit import access, jobs
from limit.claims import ledger
from limit.claims.evidence import Evidence
from limit.core import LimitError
from limit.export.write import write_report
from limit.finetune.launch import launch_finetune
from limit.gauntlet.fetch import fetch
from limit.gauntlet.harness import import_results
from limit.gauntlet.launch import launch_gauntlet
from limit.jobs.context import JobContext
from limit.judge.annotations import import_files
from limit.judge.requests import launch_judge, parse_judge
from limit.mixes.build import build_mix, label_mix
from limit.mixes.launch import launch_check
from limit.recipes import load_recipe
from limit.responses.launch import launch_respond
from limit.responses.prompt_sets import ensure_prompt_set, load_prompts
from limit.runs import ensure_outside_run
from limit.settings import EVERYDAY_SET, Workspace
from limit.sources import add_source
from limit.sources.launch import launch_work
from limit.sources.marks import mark
from limit.sources.searching import build_index
from limit.specs.gauntlet import GauntletSpec
from limit.specs.judge import RespondSpec
from limit.specs.mix import MixPart, MixSpec
from limit.specs.run import RunSpec
from limit.store import Store
from limit.studies import clone_study, run_study, stop_study
from tests.store.study import run_id, write_job, write_study

MIX, JOB = "aaaaaaaaaaa1", "job-0000000001"
RUN, OTHER = run_id(MIX, 1), run_id("aaaaaaaaaaa3", 1)
EVIDENCE = Evidence("supported", 60.0, 55.0, 65.0, "n = 30", (RUN,))
TEST = {"kind": "model", "a": "x", "measure": "preference", "relation": "above"}
SPEC = MixSpec(parts=(MixPart(source="lines"),))
Act = Callable[[Workspace, Path], Any]

ANALYST: dict[str, Act] = {
    "build a mix": lambda ws, _: build_mix(ws, SPEC, "mine"),
    "name a mix": lambda ws, _: label_mix(ws, MIX, "another name"),
    "mark a sample": lambda ws, _: mark(ws, "lines", ["0" * 16], "flag", True),
    "write a claim": lambda ws, _: ledger.add_claim(ws, "It is so.", TEST, EVIDENCE),
    "plan a study": lambda ws, _: clone_study(ws, "mini", "mine"),
}
OPERATOR: dict[str, Act] = {
    "add a source": lambda ws, folder: add_source(ws, "more", folder / "lines.jsonl"),
    "index a source": lambda ws, _: launch_work(ws, "index", "lines"),
    "check a mix": lambda ws, _: launch_check(ws, MIX),
    "finetune": lambda ws, _: launch_finetune(
        ws, RunSpec(model="tiny", mix_id=MIX, recipe_name="tiny", recipe=load_recipe("tiny"))
    ),
    "score": lambda ws, _: launch_gauntlet(ws, GauntletSpec(version="mini", limit=1), model="tiny"),
    "answer": lambda ws, folder: launch_respond(ws, RUN, RespondSpec(prompts=str(folder / "prompts.txt"))),
    "judge": lambda ws, folder: launch_judge(ws, RUN, OTHER, str(folder / "prompts.txt"), parse_judge("rubric")),
    "run a study": lambda ws, _: run_study(ws, "mini"),
    "stop a study": lambda ws, _: stop_study(ws, "mini"),
    "build an index": lambda ws, _: build_index(ws, "lines", JobContext(None)),
    "import evaluations": lambda ws, folder: import_results(ws, folder / "results_1.json", model="tiny"),
    "add a run": lambda ws, _: ensure_outside_run(ws, "elsewhere"),
    "add prompts": lambda ws, folder: ensure_prompt_set(ws, str(folder / "prompts.txt")),
    "fetch task files": lambda ws, _: fetch(ws, "v0", source="http://127.0.0.1:9"),
    "stop a job": lambda ws, _: jobs.stop(ws, JOB),
    "remove a job": lambda ws, _: jobs.remove(ws, JOB),
    "pause the queue": lambda ws, _: jobs.pause(ws),
}


@pytest.fixture
def full(ws: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    write_study(ws, seeds=1)
    write_job(ws, JOB, "finished")
    (tmp_path / "lines.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    results = {"results": {"arc": {"acc,none": 0.5}}, "n-samples": {"arc": {"effective": 4}}}
    (tmp_path / "results_1.json").write_text(json.dumps(results))
    (tmp_path / "prompts.txt").write_text("Tell me about towns\n")
    add_source(ws, "lines", tmp_path / "lines.jsonl")
    yield ws
    access.set_role_provider(None)


def contents(ws: Workspace) -> dict[str, bytes]:
    """Every file of the workspace but locks, which appear when somebody looks."""
    files = [path for path in ws.root.rglob("*") if path.is_file() and "lock" not in path.name]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("role", "what"),
    [("viewer", what) for what in (*ANALYST, *OPERATOR)] + [("analyst", what) for what in OPERATOR],
)
def test_what_a_role_may_not_do_changes_nothing(full: Workspace, tmp_path: Path, role: access.Role, what: str) -> None:
    before = contents(full)
    access.set_role_provider(lambda: role)
    with pytest.raises(LimitError, match=f"a {role} may not"):
        {**ANALYST, **OPERATOR}[what](full, tmp_path)
    assert contents(full) == before


@pytest.mark.parametrize("what", [what for what in ANALYST if what != "mark a sample"])
def test_an_analyst_may(full: Workspace, tmp_path: Path, what: str) -> None:
    before = contents(full)
    access.set_role_provider(lambda: "analyst")
    ANALYST[what](full, tmp_path)
    assert contents(full) != before


def test_a_viewer_may_not_import_judgments(full: Workspace, tmp_path: Path) -> None:
    access.set_role_provider(lambda: "viewer")
    with pytest.raises(LimitError, match="may not import"):
        import_files(full, [tmp_path / "lines.jsonl"])


def test_a_viewer_reads_prompts_that_ship_and_were_not_used_yet(full: Workspace) -> None:
    access.set_role_provider(lambda: "viewer")
    assert load_prompts(full, EVERYDAY_SET) and load_prompts(full, ensure_prompt_set(full, EVERYDAY_SET))


def test_a_viewer_sees_and_exports(full: Workspace, tmp_path: Path) -> None:
    access.set_role_provider(lambda: "viewer")
    with Store.open(full) as store:
        assert write_report(store, full, "csv", tmp_path / "numbers.csv").models
    assert (tmp_path / "numbers.csv").stat().st_size > 100
