"""`limit gauntlet`: run and show evaluations, fetch task files, exchange results with lm-evaluation-harness."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limit.cli import Parser, Verbs, command
from limit.core import Json
from limit.formats import p_value
from limit.settings import Workspace, workspace
from limit.specs.base import parse_text
from limit.specs.gauntlet import GauntletSpec


def add_parser(verbs: Verbs) -> None:
    """Add the verb and its commands."""
    parser = verbs.add_parser("gauntlet", help="score a model on the Eval Gauntlet")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    _add_run(commands)
    show = command(commands, "show", run_show, "scores of an evaluation", text=show_text)
    show.add_argument("eval", metavar="EVAL", help="evaluation id, or a folder with eval.json")
    show.add_argument("--against", metavar="EVAL", help="compare item by item with another evaluation")
    fetch = command(commands, "fetch", run_fetch, "get the task files from llm-foundry's repository", text=fetch_text)
    fetch.add_argument("--version", default="v0", help="only the files of this version (v0)")
    fetch.add_argument("--tasks", default="", metavar="T,...", help="only these tasks")
    fetch.add_argument("--from", dest="source", metavar="URL", help="another place that holds the same files")
    imported = command(commands, "import", run_import, "read results of lm-evaluation-harness")
    imported.add_argument("file", metavar="FILE", help="results_*.json; samples_*.jsonl beside it are read too")
    imported.add_argument("--run", dest="run_id", metavar="RUN", help="run that the results belong to")
    imported.add_argument("--model", help="model that the results belong to; by default the one the file names")
    exported = command(commands, "export", run_export, "write an evaluation as lm-evaluation-harness results")
    exported.add_argument("eval", metavar="EVAL", help="evaluation id, or a folder with eval.json")
    exported.add_argument("--out", required=True, metavar="DIR", help="folder for results and samples")


def _add_run(commands: Verbs) -> None:
    parser = command(commands, "run", run_run, "score a run or a model", text=run_text)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--run", dest="run_id", metavar="RUN", help="run to score, or RUN@epoch-N")
    who.add_argument("--model", help="folder or hub id of a model, or `tiny`")
    for option in GauntletSpec.options():
        choices = f" ({', '.join(map(str, option.choices))})" if option.choices else ""
        default = "" if option.default in (None, "", ()) else f"; default {option.default}"
        parser.add_argument(
            f"--{option.name.replace('_', '-')}",
            dest=f"spec_{option.name}",
            metavar="T,..." if option.name == "tasks" else option.name.upper(),
            help=f"{option.help}{choices}{default}".replace("%", "%%"),
        )
    parser.add_argument("--out", metavar="DIR", help="folder for eval.json, items.parquet and choices.parquet")
    parser.add_argument("--wait", action="store_true", help="return only when the scores are there")
    parser.add_argument("--job", metavar="DIR", help=argparse.SUPPRESS)


def spec_of(options: argparse.Namespace) -> GauntletSpec:
    """The request that the command line's words make. Raises LimitError."""
    given: Json = {}
    for option in GauntletSpec.options():
        text = getattr(options, f"spec_{option.name}")
        if text is not None:
            given[option.name] = parse_text(option, text)
    return GauntletSpec.from_dict(given)


def run_run(options: argparse.Namespace) -> Any:
    """Enqueue an evaluation, or make it in this process when started as a job's worker."""
    ws = workspace().make()
    spec = spec_of(options)
    if options.job:
        return _work(ws, options, spec)
    from limit.gauntlet.launch import launch_gauntlet, wait_for_scores

    started = launch_gauntlet(ws, spec, run_id=options.run_id, model=options.model, out=options.out)
    return wait_for_scores(ws, started) if options.wait else started


def _work(ws: Workspace, options: argparse.Namespace, spec: GauntletSpec) -> Json:
    from limit.gauntlet.launch import evaluation_folder
    from limit.gauntlet.worker import score_run
    from limit.jobs.context import open_context

    context = open_context(options.job)
    eval_id = str(context.subject().get("eval_id"))
    out = Path(options.out) if options.out else evaluation_folder(ws, options.run_id, eval_id)
    result = score_run(ws, options.run_id, spec, out, context)
    context.result(result)
    return result


def run_text(value: Json) -> str:
    """The averages and categories, tasks where no average has a score, or where the job stands."""
    if "scores" not in value:
        return f"job {value.get('job_id', '')} ({value.get('state', 'stopped')}) writes {value['path']}"
    scores = value["scores"]
    wholes = {**scores["averages"], **scores["categories"]}
    shown = {name: score for name, score in wholes.items() if score is not None}
    if all(score is None for score in scores["averages"].values()):
        shown = {**scores["tasks"], **shown}
    lacking = [name for name in wholes if wholes[name] is None]
    lines = [_score_line(name, score) for name, score in shown.items()]
    lines += [f"no score, since tasks are missing: {', '.join(lacking)}"] if lacking else []
    return "\n".join([*lines, f"evaluation {value['eval_id']} in {value['path']}"])


def _score_line(name: str, score: float | None) -> str:
    return f"{name:44s} {'partial or none' if score is None else f'{score:.3f}'}"


def run_show(options: argparse.Namespace) -> Any:
    """eval.json, or the comparison with another evaluation."""
    from limit.gauntlet.results import compare, find_eval, read_eval

    ws = workspace()
    folder = find_eval(ws, options.eval)
    if options.against:
        return {"comparison": compare(folder, find_eval(ws, options.against))}
    return {**read_eval(folder), "path": str(folder)}


def show_text(value: Json) -> str:
    """A table of tasks and categories, or of differences."""
    if "comparison" in value:
        return "\n".join(map(_difference_line, value["comparison"]))
    protocol = value["protocol"]
    lines = [
        f"{value['model']} on {value['version']}, {protocol['shots']} shots, "
        f"{protocol['max_seq_len'] or 'an unknown number of'} tokens, {protocol['dtype']}, "
        f"{'complete' if protocol['complete'] else 'cut or partial'}",
        *map(_task_line, value["tasks"]),
    ]
    for row in value["categories"]:
        missing = f"; missing {', '.join(row['missing'])}" if row["missing"] else ""
        lines.append(f"{_score_line(row['category'], row['score'])}{missing}")
    for row in value["averages"]:
        score = row["score"] if row["categories"] else None
        lines.append(f"{_score_line(row['name'], score)} (of {len(row['categories'])} categories)")
    return "\n".join(lines)


def _difference_line(row: Json) -> str:
    """One task of two evaluations: who is better, by how much, and what it would take to tell."""
    needed = (
        f"; about {row['needed_n']:,} items would tell" if row["verdict"] == "cannot tell" and row["needed_n"] else ""
    )
    return (
        f"{row['task']:36s} {row['num_fewshot']:2d}-shot  {row['a']:.3f} against {row['b']:.3f}  {row['verdict']}  "
        f"({row['difference']:+.3f} [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}], n {row['n']:,}, "
        f"p {p_value(row['p_holm'])}{needed})"
    )


def _task_line(row: Json) -> str:
    """One task's numbers, and what keeps them from being taken at their word."""
    n = "unknown" if row["n"] is None else f"{row['n']:,}"
    doubts = (
        (row.get("nan"), "NaN"),
        (row.get("near_ties"), "near ties"),
        (row.get("always_right"), "accept any text"),
        (row.get("beyond_positions"), "longer than the model was made for"),
    )
    notes = "".join(f"; {number:,} {words}" for number, words in doubts if number)
    return (
        f"  {row['task']:38s} {row['num_fewshot']:2d}-shot  accuracy {row['accuracy']:.3f}  "
        f"score {row['score']:.3f}  n {n}{notes}"
    )


def run_fetch(options: argparse.Namespace) -> Any:
    """Get task files into the workspace."""
    from limit.gauntlet.fetch import fetch

    names = tuple(name.strip() for name in options.tasks.split(",") if name.strip())
    return fetch(workspace().make(), options.version, names, source=options.source)


def fetch_text(value: Json) -> str:
    """What came and what did not."""
    lines = [f"{len(value['files'])} files in {value['path']}"]
    return "\n".join([*lines, *(f"not fetched: {file} ({reason})" for file, reason in value["failed"].items())])


def run_import(options: argparse.Namespace) -> Any:
    """Read lm-evaluation-harness results into the workspace."""
    from limit.gauntlet.harness import import_results

    return import_results(workspace().make(), Path(options.file), run_id=options.run_id, model=options.model)


def run_export(options: argparse.Namespace) -> Any:
    """Write lm-evaluation-harness results."""
    from limit.gauntlet.harness_export import export_results
    from limit.gauntlet.results import find_eval

    return export_results(find_eval(workspace(), options.eval), Path(options.out))
