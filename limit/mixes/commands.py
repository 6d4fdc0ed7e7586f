"""`limit mix`: build, show, check, compare and export mixes."""

from __future__ import annotations

import argparse
from typing import Any

from limit.cli import Verbs, command
from limit.core import Json, LimitError
from limit.settings import Workspace, workspace
from limit.sources.commands import workspace_with


def add_parser(verbs: Verbs) -> None:
    """Add the verb and its commands."""
    help = "build, show, check and compare mixes"
    commands = verbs.add_parser("mix", help=help, description=help).add_subparsers(
        dest="command", metavar="COMMAND", required=True
    )
    _add_build(commands)
    command(commands, "list", run_list, "mixes in the workspace, the newest first", list_text)
    shown = command(commands, "show", run_show, "what a mix is and what it comes to", show_text)
    shown.add_argument("mix", metavar="ID")
    _add_token_options(shown)
    checked = command(commands, "check", run_check, "duplicates, leaks, odd responses, style, alignment", check_text)
    checked.add_argument("mix", metavar="ID")
    checked.add_argument("--data", metavar="DIR", help="folder of Gauntlet items, one folder per category")
    checked.add_argument("--job", metavar="DIR", help=argparse.SUPPRESS)
    compared = command(commands, "diff", run_diff, "how mix B differs from mix A")
    compared.add_argument("a", metavar="A")
    compared.add_argument("b", metavar="B")
    exported = command(commands, "export", run_export, "write a mix and its dataset card into a new folder")
    exported.add_argument("mix", metavar="ID")
    exported.add_argument("--out", required=True, metavar="DIR", help="the new folder")
    exported.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl", help="file format of the rows")


def _add_build(commands: Verbs) -> None:
    parser = command(commands, "build", run_build, "draw a mix from sources", built_text)
    parser.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="SOURCE[/SUBSET]:N",
        help="a part; N: rows, 'all', a share as 25%% (with --total), or tokens as 200000t",
    )
    parser.add_argument("--preset", metavar="ID", help="a mix of the paper instead of --part")
    parser.add_argument("--seed", type=int, help="seed of the draw (default 17)")
    parser.add_argument("--total", type=int, help="rows of the whole mix, for parts given as shares")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="SAMPLE_ID", help="never draw this sample (or SOURCE/ID)"
    )
    parser.add_argument("--exclude-marked", action="store_true", help="never draw samples marked 'exclude' by people")
    parser.add_argument("--exclude-flagged", action="store_true", help="never draw samples that bear a flag either")
    parser.add_argument("--drop-duplicates", action="store_true", help="draw others for exact and near duplicates")
    parser.add_argument("--name", help="name for people")
    parser.add_argument(
        "--tokenizer", metavar="MODEL", help="count tokens with this model's tokenizer, not by estimate"
    )


def _add_token_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tokenizer", metavar="MODEL", help="count tokens with this model's tokenizer, not by estimate"
    )
    parser.add_argument("--template", default="alpaca", help="prompt template around each sample")
    parser.add_argument("--max-seq-len", type=int, default=2048, help="tokens beyond which a sample is cut")
    parser.add_argument("--batch", type=int, default=48, help="samples in one optimizer step")


def run_build(options: argparse.Namespace) -> Json:
    """Draw and write the mix."""
    from limit.mixes import build_mix
    from limit.mixes.checks import free_of_duplicates

    ws = workspace_with([text.partition(":")[0].partition("/")[0] for text in options.part])
    spec = _spec(ws, options)
    spec = free_of_duplicates(ws, spec) if options.drop_duplicates else spec
    return build_mix(ws, spec, options.name, tokenizer=options.tokenizer)


def _spec(ws: Workspace, options: argparse.Namespace) -> Any:
    from limit.mixes.presets import preset_spec
    from limit.sources.marks import excluded_ids
    from limit.specs import MixPart, MixSpec

    if options.preset and options.part:
        raise LimitError(f"--preset {options.preset} and --part were both given; use one of them")
    if options.preset:
        spec = preset_spec(options.preset)
        spec = spec if options.seed is None else spec.replace(seed=options.seed)
    else:
        parts = tuple(MixPart.parse(text) for text in options.part)
        spec = MixSpec(parts=parts, seed=17 if options.seed is None else options.seed, total=options.total)
    exclude = [*options.exclude]
    if options.exclude_marked or options.exclude_flagged:
        exclude += excluded_ids(ws, [part.source for part in spec.parts], options.exclude_flagged)
    return spec.replace(exclude=exclude) if exclude else spec


def run_list(options: argparse.Namespace) -> list[Json]:
    """All mixes."""
    from limit.mixes import list_mixes

    return list_mixes(workspace())


def run_show(options: argparse.Namespace) -> Json:
    """Manifest and contents."""
    from limit.mixes import load_mix
    from limit.mixes.contents import Measure, describe
    from limit.mixes.listing import changed_sources

    for name, value in (("--max-seq-len", options.max_seq_len), ("--batch", options.batch)):
        if value < 1:
            raise LimitError(f"{name} is {value}; give at least 1")
    ws = workspace()
    mix = load_mix(ws, options.mix)
    by = Measure(options.tokenizer, options.template, options.max_seq_len, options.batch)
    return {**mix, **describe(ws, options.mix, by), "changed_sources": changed_sources(ws, mix)}


def run_check(options: argparse.Namespace) -> Json:
    """Check the mix, here and now."""
    from limit.jobs.context import open_context
    from limit.mixes.checks import check

    context = open_context(options.job)
    result = check(workspace(), options.mix, options.data, context)
    context.result({key: result[key] for key in ("mix_id", "rows")})
    return result


def run_diff(options: argparse.Namespace) -> Json:
    """Compare two mixes."""
    from limit.mixes import diff

    return diff(workspace(), options.a, options.b)


def run_export(options: argparse.Namespace) -> Json:
    """Write the folder."""
    from limit.mixes.export import export_mix

    return export_mix(workspace(), options.mix, options.out, options.format)


def built_text(value: Json) -> str:
    """One sentence."""
    from limit.mixes.listing import shares_short_of
    from limit.specs import MixSpec

    terms = {True: "non-commercial", False: "commercial use allowed", None: "licence unknown"}[value["non_commercial"]]
    short = shares_short_of(MixSpec.from_dict(value["spec"]), value["rows"])
    return (
        f"mix {value['mix_id']}: {value['rows']:,} samples{f' ({short})' if short else ''}, {value['tokens']:,} tokens "
        f"({value['tokens_from']}), {terms}; in {value['path']}"
    )


def list_text(value: list[Json]) -> str:
    """One line a mix."""
    lines = [f"{mix['mix_id']}  {mix['rows']:>9,} rows  {mix['name']}" for mix in value]
    return "\n".join(lines) or "no mixes yet; build one with `mix build --part SOURCE:N`"


def show_text(value: Json) -> str:
    """The mix in a few lines."""
    counts = [
        f"  {row['rows']:>9,}  {row['source']}{'/' + row['subset'] if row['subset'] else ''}"
        for row in value["composition"]
    ]
    facts = (
        f"{value['tokens']:,} tokens ({value['tokens_from']}), {value['response_tokens']:,} with loss, "
        f"{value['truncated_share']:.1%} truncated, {value['steps_per_epoch']:,} steps an epoch"
    )
    changed = [f"changed or gone since it was drawn: {', '.join(value['changed_sources'])}"]
    lines = [f"{value['mix_id']}  {value['name']}  {value['rows']:,} rows", facts, *counts]
    return "\n".join(lines + (changed if value["changed_sources"] else []))


def check_text(value: Json) -> str:
    """What the checks found."""
    double, odd = value["duplicates"], value["responses"]
    lines = [
        f"duplicates: {double['exact']:,} exact, {double['near']:,} near, {double['across']:,} across parts",
        f"responses: {odd['empty']:,} empty, {odd['over_long']:,} over {odd['long_chars']:,} characters",
        f"licence: {value['licence']['licence'] or 'unknown'}",
    ]
    for group in value["leaks"]["groups"]:
        lines.append(
            f"leaks, {group['group']}: {group['samples']:,} samples hold {group['leaked_items']:,} of "
            f"{group['checked']:,} checked items"
        )
    for group in value["alignment"]["groups"]:
        lines.append(f"looks like {group['group']}: {group['share']:.1%} [{group['low']:.1%}, {group['high']:.1%}]")
    return "\n".join(lines)
