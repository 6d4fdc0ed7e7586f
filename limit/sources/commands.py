"""`limit sources`: list, show, fetch, add, search, index and chart the topics of sources."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limit.cli import Verbs, command
from limit.core import Json, LimitError
from limit.settings import Workspace, workspace


def workspace_with(names: Sequence[str] = ()) -> Workspace:
    """The workspace, with the shipped sources put in place when one of `names` is theirs and is missing."""
    from limit import tiny

    ws = workspace()
    missing = [name for name in names if name in tiny.TITLES and not (ws.source(name) / "source.json").is_file()]
    if missing:
        tiny.ensure_sources(ws.make())
    return ws


def add_parser(verbs: Verbs) -> None:
    """Add the verb and its commands."""
    help = "list, show, fetch, add and search sources of samples"
    commands = verbs.add_parser("sources", help=help, description=help).add_subparsers(
        dest="command", metavar="COMMAND", required=True
    )
    listed = command(commands, "list", run_list, "sources in the workspace, and those that can be fetched", list_text)
    listed.add_argument("--catalog", action="store_true", help="show the catalogue of known data sets instead")
    shown = command(commands, "show", run_show, "one source: rows, subsets, licence, lengths")
    shown.add_argument("source", metavar="ID")
    shown.add_argument("--row", type=int, help="show this sample instead")
    _add_fetch(commands)
    _add_add(commands)
    _add_search(commands)
    for name, help in (
        ("topics", "cluster a source into named topics (a job)"),
        ("index", "build the full-text index of a large source (a job)"),
    ):
        parser = command(commands, name, run_work, help, job_text)
        parser.add_argument("source", metavar="ID")
        if name == "topics":
            parser.add_argument(
                "--embeddings", metavar="FOLDER", help="folder of a sentence-embedding model, instead of word counts"
            )
        _add_job_options(parser)


def _add_fetch(commands: Verbs) -> None:
    parser = command(commands, "fetch", run_fetch, "fetch a data set from the hub (a job)", job_text)
    parser.add_argument("source", metavar="ID", help="catalogue id, hub id, or a folder shaped like a hub data set")
    parser.add_argument("--name", help="name of the source in the workspace")
    parser.add_argument("--split", help="which split to read (default: train)")
    parser.add_argument("--config", help="which configuration of the data set to read")
    parser.add_argument("--from", dest="folder", metavar="DIR", help="read this local copy instead of the hub")
    _add_reading_options(parser)
    _add_job_options(parser)


def _add_add(commands: Verbs) -> None:
    parser = command(commands, "add", run_add, "add a file, a folder or a hub data set as a source", report_text)
    parser.add_argument("name", metavar="NAME", help="name of the source in the workspace")
    parser.add_argument("path", metavar="PATH", help="JSON, JSONL (also gz, zst), CSV, Parquet, a folder, or a hub id")
    parser.add_argument("--format", default="auto", help="auto, or the form of the records if auto is wrong")
    parser.add_argument("--prompt", metavar="COLUMN", help="column that holds the prompt")
    parser.add_argument("--response", metavar="COLUMN", help="column that holds the response")
    parser.add_argument("--subset", metavar="COLUMN", help="column that names the subset")
    parser.add_argument("--title", help="title for people")
    parser.add_argument("--licence", help="licence of the data; a mix inherits the strictest of its parts")
    parser.add_argument("--skip-broken", action="store_true", help="leave lines that cannot be parsed to rejects.jsonl")
    parser.add_argument("--preview", action="store_true", help="show how the first rows would be read, and add nothing")
    parser.add_argument("--job", metavar="DIR", help=argparse.SUPPRESS)
    _add_reading_options(parser)


def _add_search(commands: Verbs) -> None:
    from limit.sources.searching import MODES

    parser = command(commands, "search", run_search, "find samples by words, exact text or a pattern")
    parser.add_argument("source", metavar="ID")
    parser.add_argument("query", metavar="QUERY")
    parser.add_argument("--mode", choices=MODES, default="words", help="how to read the query")
    parser.add_argument("--limit", type=int, default=20, help="how many samples at most")
    parser.add_argument("--from-row", type=int, default=0, help="go on from this row")
    parser.add_argument("--seconds", type=float, default=30.0, help="time after which a scan returns what it has")


def _add_reading_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first-turn-only", action="store_true", help="keep only the first exchange of a dialogue")
    parser.add_argument("--replace", action="store_true", help="take the place of a source of the same name")


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="return only when it is done")
    parser.add_argument("--job", metavar="DIR", help=argparse.SUPPRESS)


def run_list(options: argparse.Namespace) -> Any:
    """Sources here, or the catalogue."""
    from limit import tiny
    from limit.sources import list_sources
    from limit.sources.catalog import catalog
    from limit.sources.listing import broken_sources

    if options.catalog:
        return catalog()
    for problem in broken_sources(workspace()).values():
        print(f"limit: {problem}", file=sys.stderr)
    return list_sources(workspace()) or list_sources(workspace_with(list(tiny.TITLES)))


def run_show(options: argparse.Namespace) -> Json:
    """A source's facts with its length distribution, or one of its samples."""
    from limit.sources import source_info
    from limit.sources.browsing import lengths, sample

    ws = workspace_with([options.source])
    if options.row is not None:
        return sample(ws, options.source, options.row)
    return {**source_info(ws, options.source), "response_chars": lengths(ws, options.source)}


def run_add(options: argparse.Namespace) -> Any:
    """Add a file or folder; a hub id is fetched."""
    from limit.jobs.context import open_context
    from limit.sources import Columns, add_source, preview_source
    from limit.sources.fetch import HUB_ID

    columns = Columns(options.prompt, options.response, options.subset)
    if options.preview:
        return preview_source(options.path, options.format, columns)
    if not Path(options.path).exists() and HUB_ID.fullmatch(options.path) and not Path(options.path).suffix:
        return _fetch_now(workspace(), options, options.path, options.name)
    context = open_context(options.job)
    report = add_source(
        workspace(),
        options.name,
        options.path,
        format=options.format,
        keep_turns=not options.first_turn_only,
        title=options.title,
        licence=options.licence,
        columns=columns,
        skip_broken=options.skip_broken,
        replace=options.replace,
        progress=lambda rows: context.progress(rows, None),
    )
    context.result({key: report[key] for key in ("source", "rows", "rejected", "path")})
    return report


def _fetch_now(ws: Workspace, options: argparse.Namespace, source: str, name: str | None) -> Json:
    from limit.jobs.context import open_context
    from limit.sources.fetch import fetch_source, resolve

    context = open_context(getattr(options, "job", None))
    wanted = resolve(source, name, getattr(options, "split", None))
    folder = getattr(options, "folder", None)
    result = fetch_source(
        ws,
        wanted,
        context,
        folder=Path(folder) if folder else None,
        config=getattr(options, "config", None),
        keep_turns=not options.first_turn_only,
        replace=options.replace,
    )
    context.result(result)
    return result


def run_fetch(options: argparse.Namespace) -> Json:
    """Enqueue a fetch, or do it when started as a job's worker."""
    from limit.sources.fetch import resolve

    ws = workspace().make()
    if options.job:
        return _fetch_now(ws, options, options.source, options.name)
    from limit.sources.launch import launch_fetch

    wanted = resolve(options.source, options.name, options.split)
    return _started(ws, options, launch_fetch(ws, wanted, options))


def run_work(options: argparse.Namespace) -> Json:
    """Enqueue the index or the topics of a source, or make them when started as a job's worker."""
    ws = workspace_with([options.source]).make()
    embeddings = getattr(options, "embeddings", None)
    if not options.job:
        from limit.sources.launch import launch_work

        return _started(ws, options, launch_work(ws, options.command, options.source, embeddings))
    from limit.jobs.context import open_context

    context = open_context(options.job)
    if options.command == "index":
        from limit.sources.searching import build_index

        result = build_index(ws, options.source, context)
    else:
        from limit.sources.topics import make_topics

        result = make_topics(ws, options.source, context, embeddings=embeddings)
    context.result(result)
    return result


def run_search(options: argparse.Namespace) -> Json:
    """Samples that match."""
    from limit.sources.searching import search

    if options.limit < 1:
        raise LimitError(f"--limit is {options.limit}; give at least 1")
    ws = workspace_with([options.source])
    return search(ws, options.source, options.query, options.mode, options.limit, options.from_row, options.seconds)


def _started(ws: Workspace, options: argparse.Namespace, started: Json) -> Json:
    if not options.wait:
        return started
    from limit.sources.launch import wait_for

    return {**started, **wait_for(ws, started["job_id"])}


def list_text(value: list[Json]) -> str:
    """One line a source."""
    lines = [
        f"{entry.get('source') or entry['id']:24} {entry['rows'] or 0:>12,} rows  "
        f"{'non-commercial' if entry['non_commercial'] else entry['licence'] or 'licence unknown'}"
        for entry in value
    ]
    return "\n".join(lines) or "no sources yet; add one with `sources add NAME PATH` or see `sources list --catalog`"


def report_text(value: Json) -> str:
    """What was read, stripped and rejected."""
    if "stripped" not in value:
        from limit.cli import as_text

        return as_text(value)
    stripped = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in value["stripped"].items() if count)
    parts = [f"{value['source']}: {value['rows']:,} samples of the form {value['format']}"]
    parts += [f"stripped {stripped}"] if stripped else []
    parts += [f"{value['rejected']:,} rejected (see {value['path']}/rejects.jsonl)"] if value["rejected"] else []
    aside = value.get("set_aside") or []
    parts += [f"{len(aside):,} files named for testing were set aside, such as {aside[0]}"] if aside else []
    unread = value.get("unread") or []
    parts += [f"{len(unread):,} files are no data by their names, such as {unread[0]}"] if unread else []
    return "; ".join(parts)


def job_text(value: Json) -> str:
    """One sentence."""
    return f"job {value['job_id']} ({value['state']})" if "job_id" in value else report_text(value)
