"""`limit study`: run, show, list and stop grids of mixes, models and seeds."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from limit.cli import Verbs, command
from limit.core import Json, LimitError
from limit.settings import workspace

PAPER_STUDIES = ("paper-7b", "paper-30b")
POLL_S = 2.0


def add_parser(verbs: Verbs) -> None:
    """Add the verb and its commands."""
    parser = verbs.add_parser("study", help="run and show a grid of mixes, sizes and seeds")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = command(commands, "run", run_run, "start a study, go on with it, or add seeds to it", text=run_text)
    run.add_argument("name", help="mini, paper, paper-7b, paper-30b, size-curve, ratio-sweep, or a YAML file")
    run.add_argument("--seeds", type=_seeds, default=(), metavar="S,...", help="seeds, added to those it has")
    run.add_argument("--model", help="base model in place of the preset's: tiny, a folder or a hub id")
    run.add_argument("--budget", type=float, metavar="USD", help="most that each comparison may cost")
    run.add_argument("--wait", action="store_true", help="return only when every job has ended")
    show = command(commands, "show", run_show, "runs with mix, seed, Gauntlet and preference", text=show_text)
    show.add_argument("name", help="a study; paper: the published numbers; not started yet: what it will take")
    report = command(commands, "report", run_report, "means, intervals and orders over seeds", text=_report_text)
    report.add_argument("name", help="a study that was started, or mini for the results that ship")
    plan = command(commands, "plan", run_plan, "what a study would run and take, before it is started", text=_plan_text)
    plan.add_argument("name", help="a preset, a clone or a YAML file")
    _add_clone(commands)
    command(commands, "list", run_list, "studies that were started, and the built-in ones")
    stop = command(commands, "stop", run_stop, "stop what waits or runs; finished runs stay", text=_stop_text)
    stop.add_argument("name", help="a study that was started")


def _add_clone(commands: Any) -> None:
    clone = command(commands, "clone", run_clone, "plan a study like another one, with changes", text=_clone_text)
    clone.add_argument("name", help="the study to start from: started, planned, a preset or a YAML file")
    clone.add_argument("new", help="name of the clone; `limit study run NEW` starts it")
    clone.add_argument("--title", help="one line for people")
    clone.add_argument("--model", action="append", metavar="M", help="base model, in place of the study's; repeatable")
    clone.add_argument("--seeds", type=_seeds, metavar="S,...", help="seeds, in place of the study's")
    clone.add_argument(
        "--mix", action="append", default=[], metavar="LABEL=PART+PART", help="a mix, new or in place of its namesake"
    )
    clone.add_argument("--drop", action="append", default=[], metavar="LABEL", help="leave this mix out")
    clone.add_argument(
        "--size", action="append", default=[], metavar="SOURCE:N", help="take N of this source in every mix that has it"
    )
    clone.add_argument("--baseline", metavar="LABEL", help="the mix that answers are compared with")
    clone.add_argument("--recipe", help="recipe of every finetune")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise LimitError(f"--seeds {text!r} is not a list of whole numbers; for example --seeds 17,18") from None


def run_run(options: argparse.Namespace) -> Json:
    """Start the study's jobs; with --wait return its results."""
    from limit.studies.launch import run_study

    ws = workspace().make()
    names = PAPER_STUDIES if options.name == "paper" else (options.name,)
    started = [
        run_study(ws, name, seeds=options.seeds, model=options.model, budget_usd=options.budget) for name in names
    ]
    if options.wait:
        started = [_waited(ws, study) for study in started]
    return started[0] if len(started) == 1 else {"study": "paper", "studies": started}


def _waited(ws: Any, started: Json) -> Json:
    from limit import jobs
    from limit.studies.launch import load_record
    from limit.studies.show import progress, show_study

    record = load_record(ws, started["study"])
    while True:
        jobs.schedule(ws)
        done = progress(ws, record)
        if sys.stderr.isatty():
            print(f"\r{done['done']}/{done['total']} jobs  ", end="", file=sys.stderr, flush=True)
        if done["done"] + done["stopped"] + done["failed"] == done["total"]:
            break
        time.sleep(POLL_S)
    if done["failed"] or done["stopped"]:
        why = "; ".join(f"{row['job_id']}: {row['reason']}" for row in done["reasons"][:3])
        raise LimitError(
            f"{done['failed']} jobs of study {started['study']} failed, {done['stopped']} stopped: {why or 'stopped'}; "
            f"`limit study run {started['study']}` resumes it"
        )
    return show_study(ws, started["study"])


def run_text(value: Json) -> str:
    """One sentence, or the table of a study that was waited for."""
    if "studies" in value:
        return "\n".join(run_text(study) for study in value["studies"])
    if isinstance(value["runs"], list):
        return show_text(value)
    return f"{value['title']}: {value['runs']} runs, {len(value['jobs'])} jobs; `limit study show {value['study']}`"


def run_show(options: argparse.Namespace) -> Json:
    """State and results of a study."""
    from limit.studies.difference import against_shipped
    from limit.studies.show import show_study

    ws = workspace()
    return {**show_study(ws, options.name), "against_shipped": against_shipped(ws, options.name)}


def show_text(value: Json) -> str:
    """The table of a study; for one that ships, also how far the results here are from those."""
    from limit.studies.difference import difference_text
    from limit.studies.show import study_text

    beside = value.get("against_shipped")
    return study_text(value) + (f"\nAgainst the shipped results: {difference_text(beside)}" if beside else "")


def run_report(options: argparse.Namespace) -> Json:
    """What a study says over its seeds."""
    from limit.studies.report import study_report

    return study_report(workspace(), options.name)


def _report_text(value: Json) -> str:
    from limit.studies.report import report_text

    return report_text(value)


def run_plan(options: argparse.Namespace) -> Json:
    """Runs, their number and their cost, with nothing started."""
    from limit.studies.cost import study_cost
    from limit.studies.launch import grid
    from limit.studies.spec import load_study

    ws = workspace()
    study, spec = load_study(ws, options.name)
    runs = [
        {"model": m, "seed": seed, "mix": mix.label, "parts": list(mix.parts)}
        for m in spec.models
        for seed, mix in grid(spec)
    ]
    head = {"study": study, "title": spec.title, "finetunes": len(runs), "runs": runs, "spec": spec.to_dict()}
    return {**head, "cost": study_cost(ws, spec).to_json()}


def _plan_text(value: Json) -> str:
    from limit.studies.show import cost_text

    lines = [f"{run['mix']:24} seed {run['seed']:>5}  {' + '.join(run['parts'])}" for run in value["runs"]]
    return "\n".join([f"{value['title']} ({value['study']})", *lines, *cost_text(value["cost"])])


def run_clone(options: argparse.Namespace) -> Json:
    """Plan a study with changes."""
    from limit.studies.clone import changed_mixes, clone_study
    from limit.studies.spec import load_study

    ws = workspace().make()
    _, spec = load_study(ws, options.name)
    asked = {
        "title": options.title,
        "models": options.model,
        "seeds": options.seeds,
        "baseline": options.baseline,
        "recipe": options.recipe,
    }
    changes: Json = {field: value for field, value in asked.items() if value}
    if options.mix or options.drop or options.size:
        changes["mixes"] = changed_mixes(spec, options.mix, options.drop, options.size)
    return clone_study(ws, options.name, options.new, changes)


def _clone_text(value: Json) -> str:
    changed = "; ".join(value["changes"]) or "no change but the name"
    start = f"`limit study show {value['study']}` tells its cost, `limit study run {value['study']}` starts it"
    return f"{value['study']} is {value['cloned_from']} with: {changed}; {start}"


def run_list(options: argparse.Namespace) -> Json:
    """What was started and what can be."""
    from limit.studies.clone import planned_studies
    from limit.studies.show import list_studies
    from limit.studies.spec import preset_names

    ws = workspace()
    presets = ["paper", *preset_names()]
    return {"started": list_studies(ws), "planned": planned_studies(ws), "presets": presets}


def run_stop(options: argparse.Namespace) -> Json:
    """Stop a study."""
    from limit.studies.launch import stop_study

    return stop_study(workspace(), options.name)


def _stop_text(value: Json) -> str:
    from limit.studies.launch import stop_words

    return stop_words(value)
