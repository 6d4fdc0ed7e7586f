"""`limit finetune`: train a model on a mix in the background; merge or push what came of it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from limit.cli import Verbs, command
from limit.core import Json, LimitError, quick_imports
from limit.finetune.metrics import LOGGERS
from limit.settings import Workspace, workspace
from limit.specs.run import Recipe, RunSpec


def add_parser(verbs: Verbs) -> None:
    """Add the verb."""
    parser = command(verbs, "finetune", run_finetune, "finetune a model on a mix in the background", text=as_words)
    parser.add_argument("--model", metavar="M", help="tiny, a folder, a hub id, or a run to go on from")
    parser.add_argument("--mix", metavar="ID", help="the mix to train on, as `limit mix build` named it")
    parser.add_argument("--recipe", metavar="R", default=None, help="preset in data/recipes (default: tiny or full)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help=_settings_help()
    )
    parser.add_argument("--seed", type=int, default=17, help="seed of data order, dropout and new weights (17)")
    parser.add_argument("--name", help="what people shall call the run")
    parser.add_argument("--gpus", type=int, default=None, help="GPUs to train on (default: one where there is one)")
    parser.add_argument("--after", action="append", default=[], metavar="JOB", help="start when this job has finished")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with this model")
    parser.add_argument(
        "--log-to", action="append", default=[], choices=list(LOGGERS),
        help="also log there, through transformers' own integration",
    )  # fmt: skip
    parser.add_argument("--estimate", action="store_true", help="say what it would cost, and start nothing")
    parser.add_argument("--wait", action="store_true", help="return only when the model is there")
    parser.add_argument(
        "--run", dest="run_id", metavar="ID", help="an existing run: go on with it, or use --merge or --push"
    )
    parser.add_argument("--merge", metavar="DIR", help="with --run: write its adapter merged into the base model")
    parser.add_argument("--push", metavar="REPO", help="with --run: upload its model to the hub (needs HF_TOKEN)")
    parser.add_argument("--job", metavar="DIR", help=argparse.SUPPRESS)


def _settings_help() -> str:
    return "change one recipe setting: " + ", ".join(info.name for info in Recipe.options())


def run_finetune(options: argparse.Namespace) -> Any:
    """Enqueue a finetune, do one of the things that concern a finished run, or work as a job."""
    ws = workspace().make()
    if options.job:
        done = _work(ws, options)
        from limit.finetune.ranks import leave

        leave(json.dumps(done, ensure_ascii=False) if options.json else as_words(done))
        return done
    if options.merge or options.push:
        return _export(ws, options)
    from limit.finetune.launch import launch_finetune

    spec = _spec(ws, options)
    if options.estimate:
        from limit.finetune.estimate import estimate_finetune

        return estimate_finetune(ws, spec, options.gpus).to_json()
    started = launch_finetune(
        ws, spec, name=options.name, gpus=options.gpus, after=options.after, loggers=options.log_to
    )
    return _wait(ws, started) if options.wait else started


def _spec(ws: Workspace, options: argparse.Namespace) -> RunSpec:
    from limit.recipes import load_recipe
    from limit.runs import load_run, run_spec

    if options.run_id:
        return run_spec(load_run(ws, options.run_id))
    if not options.model or not options.mix:
        raise LimitError("a finetune needs --model and --mix (or --run for one that exists)")
    name = options.recipe or ("tiny" if options.model == "tiny" else "full")
    return RunSpec(
        model=options.model,
        mix_id=options.mix,
        recipe_name=name,
        recipe=load_recipe(name).with_settings(options.settings),
        seed=options.seed,
        trust_remote_code=options.trust_remote_code,
    )


def _wait(ws: Workspace, started: Json) -> Json:
    """Block until the job has ended. Raises LimitError with its reason when it failed."""
    from limit import jobs

    status = jobs.wait(ws, started["job_id"], _show_progress if sys.stderr.isatty() else None)
    result = jobs.result(ws, started["job_id"]) or {}
    if status["state"] not in ("finished", "stopped"):
        reason = status.get("reason") or "no reason was recorded"
        raise LimitError(f"finetune of run {started['run_id']} {status['state']}: {reason} (job {started['job_id']})")
    return {**started, **result, "state": status["state"]}


def _show_progress(status: Json) -> None:
    step, total = status.get("step"), status.get("total")
    if total:
        end = "\n" if step == total else ""
        print(f"\r{status['state']}: step {step or 0:,} of {total:,}  ", end=end, file=sys.stderr, flush=True)


def _work(ws: Workspace, options: argparse.Namespace) -> Json:
    from limit.finetune import restarts

    if not options.run_id:
        raise LimitError("a finetune worker needs --run")
    if restarts.is_unasked(ws.run(options.run_id) / "train"):
        sys.exit(2)  # the attempt before has said why it failed
    from limit.jobs.context import open_context

    with quick_imports():
        from limit.finetune.train import finetune

    context = open_context(options.job)
    result = finetune(ws, options.run_id, context, options.log_to)
    context.result(result)
    return result


def _export(ws: Workspace, options: argparse.Namespace) -> Json:
    from limit.finetune.export import merge_adapter, push_model

    if not options.run_id:
        raise LimitError("--merge and --push need --run ID")
    if options.merge:
        return {"run_id": options.run_id, "path": str(merge_adapter(ws, options.run_id, Path(options.merge).resolve()))}
    return {"run_id": options.run_id, "url": push_model(ws, options.run_id, options.push)}


def as_words(value: Json) -> str:
    """One sentence for a person."""
    if "job_id" in value and "steps" not in value:
        return f"job {value['job_id']} ({value['state']}) trains run {value['run_id']}"
    if "state" in value:
        loss = "" if value.get("loss") is None else f", loss {value['loss']:.4f}"
        return f"run {value['run_id']} {value['state']} after {value['steps']:,} steps{loss}"
    return "\n".join(f"{key}: {item}" for key, item in value.items() if not isinstance(item, (dict, list)))
