"""The command line: a thin skin over the same functions that the pages call.

Each domain has a `commands` module with `add_parser(verbs)`; only the module of the verb that was typed is imported,
so a worker on a bare GPU node needs neither streamlit nor duckdb. A command is a function from parsed arguments to a
JSON value; `main` prints it as JSON (`--json`) or lets the command's `text` function say it in words.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from limit import __version__
from limit.core import LimitError, explain_os_error

Verbs = Any  # argparse's sub-parser action has no public type

VERBS: dict[str, tuple[str, str]] = {
    "doctor": ("limit.doctor", "what this machine has and lacks"),
    "sources": ("limit.sources.commands", "list, show, fetch, add and search sources of samples"),
    "mix": ("limit.mixes.commands", "build, show, check and compare mixes"),
    "finetune": ("limit.finetune.commands", "finetune a model on a mix in the background"),
    "gauntlet": ("limit.gauntlet.commands", "score a model on the Eval Gauntlet"),
    "respond": ("limit.responses.commands", "answer a prompt set with a run"),
    "judge": ("limit.judge.commands", "import, run and summarise judgments"),
    "jobs": ("limit.jobs.commands", "list, show, follow, stop and resume jobs"),
    "study": ("limit.studies.commands", "run and show a grid of mixes, sizes and seeds"),
    "export": ("limit.export.commands", "write results as HTML, PowerPoint, CSV or Parquet"),
    "serve": ("limit.serve", "open the dashboard"),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are LimitErrors: one line, exit code 2."""

    def error(self, message: str) -> Any:
        raise LimitError(f"{message}; see `{self.prog} --help`")


def command(
    verbs: Verbs,
    name: str,
    run: Callable[[argparse.Namespace], Any],
    help: str,
    text: Callable[[Any], str] | None = None,
) -> argparse.ArgumentParser:
    """Add one command. `run` returns JSON-able data; `text` turns it into words for a person."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=help, description=help)
    parser.add_argument("--json", action="store_true", help="print one JSON value on stdout, logs on stderr")
    parser.set_defaults(run=run, text=text)
    return parser


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """The whole parser; only `verb`'s own arguments are filled in, the others are listed by name."""
    parser = Parser(prog="limit", description="Which small mix of instruction data makes a model good at both?")
    parser.add_argument("--version", action="version", version=f"limit {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for name, (module, help) in VERBS.items():
        if name == verb:
            importlib.import_module(module).add_parser(verbs)
        else:
            verbs.add_parser(name, help=help, add_help=False)
    return parser


def as_text(value: Any) -> str:
    """A plain rendering for commands without words of their own."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, or 2 after one line on stderr for a problem that the user can fix."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((word for word in words if word in VERBS), None)
    try:
        options = build_parser(verb).parse_args(words)
        value = options.run(options)
        wants_json = getattr(options, "json", False)
        if value is not None:
            say = options.text or as_text
            print(json.dumps(value, ensure_ascii=False) if wants_json else say(value))
        sys.stdout.flush()
        return 0
    except LimitError as error:
        print(" ".join(f"limit: {error}".split()), file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"limit: {explain_os_error(error, error.filename or '')}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("limit: interrupted", file=sys.stderr)
        return 130
