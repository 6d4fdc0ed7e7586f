"""`limit respond`: answer a prompt set with a run."""

from __future__ import annotations

import argparse
from typing import Any

from limit.cli import Verbs, command
from limit.core import Json
from limit.settings import Workspace, workspace
from limit.specs.judge import RespondSpec


def add_parser(verbs: Verbs) -> None:
    """Add the verb."""
    parser = command(verbs, "respond", run_respond, "answer a prompt set with a run", text=respond_text)
    parser.add_argument("--run", required=True, dest="run_id", metavar="RUN", help="run that answers")
    parser.add_argument("--prompts", required=True, metavar="SET", help="prompt set, or a .txt, .json or .jsonl file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help=_settings_help()
    )
    parser.add_argument("--wait", action="store_true", help="return only when the answers are there")
    parser.add_argument("--job", metavar="DIR", help=argparse.SUPPRESS)


def _settings_help() -> str:
    options = [f"{o.name} ({o.help}; {o.default})" for o in RespondSpec.options() if o.name != "prompts"]
    return ("one generation setting: " + ", ".join(options)).replace("%", "%%")


def run_respond(options: argparse.Namespace) -> Any:
    """Enqueue the answers, or make them in this process when started as a job's worker."""
    ws = workspace().make()
    spec = RespondSpec(prompts=options.prompts).with_settings(options.settings)
    if options.job:
        return _work(ws, options, spec)
    from limit.responses.launch import launch_respond, wait_for_result

    started = launch_respond(ws, options.run_id, spec)
    return wait_for_result(ws, started) if options.wait else started


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
        return f"{value['n']:,} answers in {value['path']}"
    return f"job {value['job_id']} ({value['state']}) answers {value['prompt_set']} with run {value['run_id']}"
