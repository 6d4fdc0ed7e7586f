"""`limit respond`: answer a prompt set with a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limit.cli import Verbs, command
from limit.core import Json, LimitError
from limit.settings import Workspace, workspace
from limit.specs.judge import RespondSpec


def add_parser(verbs: Verbs) -> None:
    """Add the verb."""
    parser = command(verbs, "respond", run_respond, "answer a prompt set with a run", text=respond_text)
    parser.add_argument(
        "--run",
        required=True,
        dest="run_id",
        metavar="RUN",
        help="run that answers; with --import also a name for a model that ran elsewhere",
    )
    parser.add_argument("--prompts", required=True, metavar="SET", help="prompt set, or a .txt, .json or .jsonl file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help=f"one generation setting: {RespondSpec.settings_help('prompts')}",
    )
    parser.add_argument("--import", dest="given", metavar="FILE", help="take the answers of a model_outputs.json")
    parser.add_argument("--export", metavar="FILE", help="write the newest answers as a model_outputs.json")
    parser.add_argument("--wait", action="store_true", help="return only when the answers are there")
    parser.add_argument("--job", metavar="DIR", help=argparse.SUPPRESS)


def run_respond(options: argparse.Namespace) -> Any:
    """Enqueue the answers, or make them in this process when started as a job's worker."""
    ws = workspace().make()
    if options.given and options.export:
        raise LimitError("--import and --export cannot be given together; choose one")
    if options.given or options.export:
        return _exchange(ws, options)
    spec = RespondSpec(prompts=options.prompts).with_settings(options.settings)
    if options.job:
        return _work(ws, options, spec)
    from limit.responses.launch import launch_respond, wait_for_result

    started = launch_respond(ws, options.run_id, spec)
    return wait_for_result(ws, started) if options.wait else started


def _exchange(ws: Workspace, options: argparse.Namespace) -> Json:
    from limit.responses.outputs import import_outputs, write_outputs

    if options.given:
        return import_outputs(ws, options.run_id, options.prompts, Path(options.given).expanduser())
    return write_outputs(ws, options.run_id, options.prompts, Path(options.export))


def _work(ws: Workspace, options: argparse.Namespace, spec: RespondSpec) -> Json:
    from limit.jobs.context import open_context
    from limit.responses.worker import respond

    context = open_context(options.job)
    result = respond(ws, options.run_id, spec, context)
    context.result(result)
    return result


def respond_text(value: Json) -> str:
    """One sentence."""
    if "path" in value:
        left = f"; {value['unanswered']:,} prompts have none" if value.get("unanswered") else ""
        other = f"; {value['unknown']:,} answers to other prompts are left out" if value.get("unknown") else ""
        whose = f" of run {value['run_id']}" if "run_id" in value else ""
        return f"{value['n']:,} answers{whose} in {value['path']}{left}{other}"
    return f"job {value['job_id']} ({value['state']}) answers {value['prompt_set']} with run {value['run_id']}"
