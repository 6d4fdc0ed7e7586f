"""`limit judge`: import, run, summarise and check judgments."""

from __future__ import annotations

import argparse
from typing import Any

from limit.cli import Verbs, command
from limit.core import Json
from limit.formats import count, percent_interval
from limit.settings import workspace


def add_parser(verbs: Verbs) -> None:
    """Add the verb and its commands."""
    parser = verbs.add_parser("judge", help="import, run and summarise judgments")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_import(commands)
    command(commands, "summary", run_summary, "wins, losses, ties and preference of each comparison", text=summary_text)


def _add_import(commands: Verbs) -> None:
    parser = command(commands, "import", run_import, "read AlpacaEval annotation files", text=import_text)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="annotations.json; the seeds of a pair may come together"
    )
    parser.add_argument("--baseline", help="name of the model behind output_1 (default: from the file)")
    parser.add_argument("--candidate", help="name of the model behind output_2 (default: from the file)")
    parser.add_argument("--prompts", help="name of the prompt set (default: from the file)")
    parser.add_argument(
        "--seed", type=int, help="training or decoding seed of these answers (default: from the file name)"
    )


def run_import(options: argparse.Namespace) -> Json:
    """Import the files into the workspace."""
    from limit.judge.annotations import import_files

    return import_files(
        workspace().make(),
        options.files,
        baseline=options.baseline,
        candidate=options.candidate,
        prompt_set=options.prompts,
        seed=options.seed,
    )


def import_text(value: Json) -> str:
    """One sentence."""
    return (
        f"{count(value['rows'])} judgments, {count(value['invalid'])} without a verdict, "
        f"in comparisons {', '.join(value['comparisons'])}"
    )


def run_summary(options: argparse.Namespace) -> list[Json]:
    """Summaries of all comparisons."""
    from limit.judge.summary import summarise_all

    return summarise_all(workspace().make())


def summary_text(value: list[Json]) -> str:
    """One line per comparison."""
    return "\n".join(_summary_line(row) for row in value) or "no comparisons yet; `limit judge import` reads some"


def _summary_line(row: dict[str, Any]) -> str:
    rate = percent_interval(row["preference_pct"], row["ci_low"], row["ci_high"])
    return (
        f"{row['comparison']}  {row['candidate']} against {row['baseline']} on {row['prompt_set']}: {rate}  "
        f"{count(row['wins'])} won, {count(row['losses'])} lost, {count(row['ties'])} tied, "
        f"{count(row['invalid'])} invalid, {count(row['n_prompts'])} prompts, judge {row['judge']}"
    )
