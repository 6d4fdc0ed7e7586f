"""`limit judge`: import, run, summarise and check judgments."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from limit.cli import Verbs, command
from limit.core import Json, LimitError
from limit.judge.wording import (
    agree_text,
    check_text,
    export_text,
    import_text,
    judge_text,
    length_text,
    samples_text,
    show_text,
    summary_text,
)
from limit.settings import Workspace, workspace

if TYPE_CHECKING:
    from limit.jobs.context import JobContext
    from limit.specs.judge import JudgeSpec


def add_parser(verbs: Verbs) -> None:
    """Add the verb and its commands."""
    parser = verbs.add_parser("judge", help="import, run and summarise judgments")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_import(commands)
    _add_run(commands)
    _add_check(commands)
    _add_samples(commands)
    agree = command(commands, "agree", run_agree, "agreement of two judges on the pairs both judged", text=agree_text)
    agree.add_argument("first", metavar="A", help="comparison id")
    agree.add_argument("second", metavar="B", help="comparison id")
    show = command(commands, "show", run_show, "all that qualifies one comparison's rate", text=show_text)
    show.add_argument("comparison", metavar="ID", help="comparison id")
    length = command(
        commands,
        "length",
        run_length,
        "AlpacaEval 2's length-controlled win rate, from its published files",
        text=length_text,
    )
    length.add_argument("comparison", metavar="ID", help="comparison on AlpacaEval's prompts")
    length.add_argument("--gamed", required=True, metavar="FILE", help="df_gamed.csv of tatsu-lab/alpaca_eval")
    length.add_argument(
        "--prompts", required=True, metavar="FILE", help="a model_outputs.json with AlpacaEval's prompts in order"
    )
    export = command(commands, "export", run_export, "write AlpacaEval's annotations.json", text=export_text)
    export.add_argument("comparison", metavar="ID", help="comparison id")
    export.add_argument("--out", required=True, metavar="FILE", help="file to write")
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


def _add_run(commands: Verbs) -> None:
    parser = command(commands, "run", run_judge, "compare two runs' answers by a judge", text=judge_text)
    parser.add_argument("--baseline", required=True, metavar="RUN", help="run to compare with")
    parser.add_argument("--candidate", required=True, metavar="RUN", help="run to be judged")
    parser.add_argument("--prompts", required=True, metavar="SET", help="prompt set that both have answered")
    parser.add_argument("--baseline-set", metavar="ID", help="response set of the baseline (default: its newest)")
    parser.add_argument("--candidate-set", metavar="ID", help="response set of the candidate (default: its newest)")
    parser.add_argument("--estimate", action="store_true", help="say what it would take, and ask nothing")
    _add_judge(parser)


def _add_check(commands: Verbs) -> None:
    parser = command(commands, "check", run_check, "run a judge on pairs judged before, and compare", text=check_text)
    parser.add_argument("comparison", metavar="ID", help="comparison by GPT-4, people or another judge")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="how many pairs, drawn by hash")
    _add_judge(parser)


def _add_samples(commands: Verbs) -> None:
    parser = command(commands, "samples", run_samples, "grade training samples from 1 to 10", text=samples_text)
    parser.add_argument("source", metavar="SOURCE", help="source whose samples are graded")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="how many samples, drawn at random")
    parser.add_argument("--flag-below", type=int, metavar="G", help="flag samples graded lower, for mixes to leave out")
    _add_judge(parser)


def _add_judge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--judge",
        required=True,
        metavar="J",
        help="rubric, openai:MODEL, local:PATH, panel:A+B, KEY=VALUE,... or a JSON file of settings",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help=_settings_help()
    )
    parser.add_argument("--budget", type=float, metavar="USD", help="stop before more than this is spent")
    parser.add_argument("--budget-tokens", type=int, metavar="N", help="stop before more tokens than this are used")
    parser.add_argument("--wait", action="store_true", help="return only when all is judged")
    parser.add_argument("--job", metavar="DIR", help=argparse.SUPPRESS)


def _settings_help() -> str:
    from limit.specs.judge import JudgeSpec

    return f"one setting of the judge: {JudgeSpec.settings_help('backend', 'model')}"


def run_judge(options: argparse.Namespace) -> Any:
    """Enqueue a comparison, or judge it in this process when started as a job's worker."""
    from limit.judge.requests import parse_judge

    ws = workspace().make()
    judge = parse_judge(options.judge, options.settings)
    if options.job:
        return _work(ws, options, judge)
    if options.estimate:
        return _estimate(ws, options, judge)
    from limit.judge.requests import launch_judge
    from limit.responses.launch import wait_for_result

    started = launch_judge(
        ws,
        options.baseline,
        options.candidate,
        options.prompts,
        judge,
        budget_usd=options.budget,
        budget_tokens=options.budget_tokens,
        baseline_set=options.baseline_set,
        candidate_set=options.candidate_set,
    )
    return wait_for_result(ws, started) if options.wait else started


def _estimate(ws: Workspace, options: argparse.Namespace, judge: JudgeSpec) -> Json:
    from limit.judge.estimate import estimate
    from limit.judge.requests import build_request
    from limit.judge.worker import pair_answers

    sets = (options.baseline_set, options.candidate_set)
    request = build_request(ws, options.baseline, options.candidate, options.prompts, judge, *sets)
    return {"comparison": request.comparison_id(), **estimate(ws, judge, pair_answers(ws, request)[0])}


def _work(ws: Workspace, options: argparse.Namespace, judge: JudgeSpec) -> Json:
    from limit.jobs.context import open_context
    from limit.judge.requests import build_request
    from limit.judge.worker import judge_request

    request = build_request(
        ws,
        options.baseline,
        options.candidate,
        options.prompts,
        judge,
        options.baseline_set,
        options.candidate_set,
    )
    context = open_context(options.job)
    return _finish(context, judge_request(ws, request, context, options.budget, options.budget_tokens))


def _finish(context: JobContext, result: Json) -> Json:
    """Record a result; raises LimitError when questions are left that another attempt may answer."""
    context.result(result)
    if result["errors"]:
        raise LimitError(
            f"{result['errors']:,} of {result['total']:,} judgments got no reply after several tries; "
            "the others are kept: resume the job to ask again"
        )
    return result


def run_check(options: argparse.Namespace) -> Any:
    """Enqueue a check, or make it in this process when started as a job's worker."""
    from limit.judge import checks
    from limit.judge.requests import parse_judge
    from limit.responses.launch import wait_for_result

    ws = workspace().make()
    judge = parse_judge(options.judge, options.settings)
    if options.limit < 1:
        raise LimitError(f"--limit is {options.limit}; give at least 1 pair")
    if options.job:
        from limit.jobs.context import open_context

        context = open_context(options.job)
        result = checks.run_check(
            ws, options.comparison, judge, options.limit, context, options.budget, options.budget_tokens
        )
        return _finish(context, result)
    budgets = {"budget_usd": options.budget, "budget_tokens": options.budget_tokens}
    started = checks.launch_check(ws, options.comparison, judge, options.limit, **budgets)
    return wait_for_result(ws, started) if options.wait else started


def run_samples(options: argparse.Namespace) -> Any:
    """Enqueue the grading of samples, or do it in this process when started as a job's worker."""
    from limit.judge import sample_grades
    from limit.judge.requests import parse_judge
    from limit.responses.launch import wait_for_result

    ws = workspace().make()
    judge = parse_judge(options.judge, options.settings)
    if options.limit < 1:
        raise LimitError(f"--limit is {options.limit}; give at least 1 sample")
    given = {
        "flag_below": options.flag_below,
        "budget_usd": options.budget,
        "budget_tokens": options.budget_tokens,
    }
    if options.job:
        from limit.jobs.context import open_context

        context = open_context(options.job)
        result = sample_grades.grade_samples(ws, options.source, judge, options.limit, context, **given)
        context.result(result)
        return result
    started = sample_grades.launch_grading(ws, options.source, judge, options.limit, **given)
    return wait_for_result(ws, started) if options.wait else started


def run_show(options: argparse.Namespace) -> Json:
    """The whole report of one comparison, with its judge's agreement with others."""
    from dataclasses import asdict

    from limit.judge.categories import by_category, prompt_categories
    from limit.judge.judgments import load_comparison, read_judgments
    from limit.judge.quality import check_judge, is_checked, report

    ws = workspace().make()
    comparison, rows = load_comparison(ws, options.comparison), read_judgments(ws, options.comparison)
    facts, checks = report(comparison, rows), check_judge(ws, comparison, rows)
    return {
        **facts,
        "length_control": asdict(facts["length_control"]),
        "categories": by_category(comparison, rows, prompt_categories(rows)),
        "checks": checks,
        "is_checked": is_checked(comparison, checks),
    }


def run_length(options: argparse.Namespace) -> Json:
    """The rate and weights of AlpacaEval's own model."""
    from pathlib import Path

    from limit.judge.alpaca_length import published_length_control

    gamed, prompts = Path(options.gamed).expanduser(), Path(options.prompts).expanduser()
    return published_length_control(workspace().make(), options.comparison, gamed, prompts)


def run_export(options: argparse.Namespace) -> Json:
    """Write the annotations; returns {path, rows}."""
    import json
    from pathlib import Path

    from limit.core import write_atomic
    from limit.judge.alpaca_eval import export_annotations

    rows = export_annotations(workspace().make(), options.comparison)
    path = Path(options.out).expanduser().absolute()
    write_atomic(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    return {"path": str(path), "rows": len(rows)}


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


def run_summary(options: argparse.Namespace) -> list[Json]:
    """Summaries of all comparisons."""
    from limit.judge.summary import summarise_all

    return summarise_all(workspace().make())


def run_agree(options: argparse.Namespace) -> Json:
    """Agreement of two comparisons."""
    from limit.judge.quality import agree

    return agree(workspace().make(), options.first, options.second)
