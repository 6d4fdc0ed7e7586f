"""The worker: finetune one run in this process, or go on where a killed attempt was."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PrinterCallback, TrainingArguments, set_seed

from limit.core import Json, LimitError, read_json, utc_now, write_json
from limit.finetune import checkpoints, layers, restarts
from limit.finetune.architecture import prepare_model, to_device
from limit.finetune.card import write_card
from limit.finetune.examples import Examples, load_examples
from limit.finetune.export import save_weights, saved_bytes
from limit.finetune.follow import Follow
from limit.finetune.loss import causal_lm
from limit.finetune.metrics import (
    PROJECT_NAME,
    Journal,
    flops_per_token,
    peak_flops,
    place_loggers,
    require_loggers,
)
from limit.finetune.optimizers import group_weight_decay, optimizer_class
from limit.finetune.ranks import parting
from limit.finetune.trainable import require_context, trainable_model
from limit.finetune.trainer import Finetuner
from limit.jobs.context import JobContext
from limit.models import ModelRef, load_tokenizer, resolve_model, torch_dtype
from limit.runs import load_run, run_spec
from limit.settings import Workspace
from limit.specs.run import Recipe, RunSpec

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def finetune(ws: Workspace, run_id: str, context: JobContext, loggers: Sequence[str] = ()) -> Json:
    """Train the run to its end and put the finished model at `runs/<run_id>/model`.

    Returns the summary that also stands in train/summary.json: {run_id, state, steps, epochs, loss, tokens, seconds,
    ...}; state is "stopped" when the job was asked to stop, and a checkpoint to go on from is there. A run whose
    model is finished is left alone. Raises LimitError for anything the user can fix.
    """
    quiet_libraries()
    spec = run_spec(load_run(ws, run_id))
    if spec.mix_id is None or spec.recipe is None:
        raise LimitError(f"run {run_id} is a base model; there is nothing to finetune")
    folder = ws.run(run_id)
    summary = folder / "train" / "summary.json"
    if (folder / "model").is_dir() and summary.exists():
        return read_json(summary)
    require_loggers(loggers)
    place_loggers(ws)
    with parting():
        return _train(ws, folder, spec, spec.recipe, context, loggers)


def _train(
    ws: Workspace, folder: Path, spec: RunSpec, recipe: Recipe, context: JobContext, loggers: Sequence[str]
) -> Json:
    started = time.monotonic()
    set_seed(spec.seed)
    ref = _reference(ws, spec)
    tokenizer = load_tokenizer(ref)
    examples = load_examples(ws.mix(spec.mix_id or ""), tokenizer, recipe)
    trainer, follow = _build(ws, folder, spec, recipe, ref, tokenizer, examples, context, loggers)
    wanted = saved_bytes(trainer) if trainer.args.should_save else 0
    with checkpoints.held_room(folder / "train", wanted) as room:
        _run(trainer, examples, folder / "train")
        result = _summary(trainer, follow, folder.name, examples, time.monotonic() - started)
        _finish(ws, trainer, result, folder, room)
    return result


def quiet_libraries() -> None:
    """Leave the log to what matters for this run."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _reference(ws: Workspace, spec: RunSpec) -> ModelRef:
    ref = resolve_model(ws, spec.model)
    return replace(ref, trust_remote_code=spec.trust_remote_code or ref.trust_remote_code)


def _build(
    ws: Workspace,
    folder: Path,
    spec: RunSpec,
    recipe: Recipe,
    ref: ModelRef,
    tokenizer: Any,
    examples: Examples,
    context: JobContext,
    loggers: Sequence[str],
) -> tuple[Finetuner, Follow]:
    arguments = training_arguments(folder / "train", recipe, spec.seed, loggers, load_run(ws, folder.name)["name"])
    device = arguments.device
    first = arguments.process_index == 0
    # Weights that will be sharded stay in host memory until each GPU takes its part.
    model = trainable_model(ref, recipe, "cpu" if arguments.fsdp else str(device))
    require_context(model, examples)
    # What stands behind a sample's end is neither seen nor learned, so any token will do.
    pad_id = next((token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None), 0)
    mode = prepare_model(model, recipe.packing, pad_id, max(example.length for example in examples.train))
    journal = Journal(folder / "train" / "metrics.jsonl", write=first)
    flops, peak = _work(model, examples, device, arguments.world_size)
    trainer = Finetuner(
        model,
        arguments,
        recipe,
        examples.train,
        mode,
        journal,
        pad_id=pad_id,
        flops=flops,
        peak=peak,
        processing_class=tokenizer,
        optimizer_cls_and_kwargs=optimizer_class(recipe),
    )

    if recipe.compile:
        trainer.compiled = compile_model(trainer)
    trainer.pop_callback(PrinterCallback)
    follow = Follow(trainer, examples, context, lambda number: _keep_epoch(trainer, number, ws, folder))
    trainer.add_callback(follow)
    return trainer, follow


def compile_model(trainer: Finetuner) -> str:
    """What became of the wish to compile, in words that begin with `compiled` where it did."""
    if trainer.args.fsdp:
        return "not compiled: weights are sharded"
    rows = trainer.rows_of(trainer.examples[:2], [1.0, 1.0])
    with trainer.compute_loss_context_manager():
        why_not = layers.compile_layers(trainer.model, to_device(rows[0], trainer.args.device))
    return f"not compiled: {why_not}" if why_not else "compiled: torch.compile, layer by layer"


def _keep_epoch(trainer: Finetuner, number: int, ws: Workspace, folder: Path) -> None:
    """A checkpoint that stays and can be evaluated; without room for it the run goes on."""
    try:
        _keep(trainer, folder / "train" / f"epoch-{number}", ws, folder.name)
    except LimitError as error:
        trainer.journal.note(trainer.state.global_step, f"epoch {number} was not kept: {error}")


def training_arguments(
    output: Path, recipe: Recipe, seed: int, loggers: Sequence[str], name: str | None = None
) -> TrainingArguments:
    """The recipe in transformers' words; `name` is what loggers call the run."""
    gpu = torch.cuda.is_available()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    # Adapters are small and their base has another number format, so they are replicated. So is everything on CPUs:
    # accelerate shards on accelerators only.
    sharded: Json = {"fsdp": True, "fsdp_config": {"version": 2}} if world > 1 and recipe.method == "full" else {}
    arguments = TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=recipe.global_batch_size,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        learning_rate=recipe.learning_rate,
        weight_decay=group_weight_decay(recipe),
        lr_scheduler_type=SCHEDULES[recipe.schedule],
        warmup_steps=recipe.warmup_steps,
        max_grad_norm=recipe.grad_clip_norm,
        seed=seed,
        bf16=torch_dtype(recipe.precision, "cuda" if gpu else "cpu") == torch.bfloat16,
        use_cpu=not gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=list(loggers) or "none",
        run_name=name,
        project=PROJECT_NAME,
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        **sharded,
    )
    if sharded and arguments.bf16:
        arguments.fsdp_plugin_args["mixed_precision_policy"] = _sharded_precision()
    return arguments


def _sharded_precision() -> Any:
    """Compute in bf16; gradients are added up, and the loss and its weights kept, in fp32 (accelerate takes bf16)."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)


def _work(model: Any, examples: Examples, device: torch.device, world: int) -> tuple[float, float | None]:
    """FLOP per token of this model on these lengths, and the peak of all its devices."""
    inner = causal_lm(model)
    config = inner.config.get_text_config()
    head = inner.get_output_embeddings().weight
    tables = {id(weight): weight.numel() for weight in (head, inner.get_input_embeddings().weight)}
    body = sum(p.numel() for p in inner.parameters()) - sum(tables.values())
    tokens = sum(example.length for example in examples.train)
    labelled = sum(example.loss_tokens for example in examples.train) / tokens
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    context = sum(example.length**2 for example in examples.train) / tokens
    flops = flops_per_token(
        body + int(head.numel() * labelled),
        config.num_hidden_layers,
        config.hidden_size,
        context,
        min(1.0, trained / max(body, 1)),
    )
    peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return flops, None if peak is None else peak * world


def _run(trainer: Finetuner, examples: Examples, train: Path) -> None:
    """Train from the newest checkpoint that is whole, or from the start."""
    points = checkpoints.resume_points(train)
    checkpoints.prune(train, trainer.recipe.keep_checkpoints)
    step = 0
    if points:
        trainer.restore_progress(points[0])
        step = checkpoints.step_of(points[0])
    trainer.row_tokens = min(trainer.row_tokens, restarts.asked_rows(train) or trainer.row_tokens)
    trainer.journal.rewind(step if points else -1)
    trainer.journal.note(step, f"resumed from step {step}" if points else trainer.mode.reason)
    lost = "" if points else examples.lost(trainer.recipe.max_seq_len)
    for words in filter(None, (trainer.compiled, lost)):
        trainer.journal.note(step, words)
    try:
        with layers.lenient_compiler() if trainer.compiled else contextlib.nullcontext():
            trainer.train(resume_from_checkpoint=str(points[0]) if points else None)
    except OSError as error:
        if checkpoints.is_disk_full(error):
            raise checkpoints.disk_full_error(train) from error
        raise


def _summary(trainer: Finetuner, follow: Follow, run_id: str, examples: Examples, seconds: float) -> Json:
    rows = [row for row in trainer.journal.rows() if row.get("kind") == "train"]
    return {
        "run_id": run_id,
        "state": "stopped" if follow.stopped else "finished",
        "steps": trainer.state.global_step,
        "epochs": round(float(trainer.state.epoch or 0), 4),
        "loss": rows[-1]["loss"] if rows else None,
        "tokens": trainer.tokens_seen,
        "seconds": round(seconds, 2),
        "samples": len(examples.train),
        "held_out": {source: len(kept) for source, kept in examples.held_out.items()},
        "truncated": examples.truncated,
        "without_loss": examples.without_loss,
        "loss_weighting": trainer.recipe.loss_weighting,
        "mode": trainer.mode.reason,
        "compiled": trainer.compiled.startswith("compiled"),
        "tokens_per_s": rows[-1]["tokens_per_s"] if rows else None,
        "steps_s": round(trainer.speed.seconds, 3),
        "steps_tokens": trainer.speed.tokens,
        "memory_gb": max((row["memory_gb"] for row in rows), default=None),
        "row_tokens": trainer.row_tokens,
        "device": str(trainer.args.device),
        "processes": trainer.args.world_size,
        "ended": utc_now(),
    }


def _finish(ws: Workspace, trainer: Finetuner, summary: Json, folder: Path, room: checkpoints.Room) -> None:
    """Put the finished model in its place; the resume checkpoints of a finished run are only ballast."""
    finished, first = summary["state"] == "finished", trainer.args.should_save
    if finished:
        room.release()
        _put_model(ws, trainer, folder)
    if first:
        _write_summary(folder / "train", summary)
    if finished and first:
        checkpoints.prune(folder / "train", keep=0)
        trainer.journal.flush()
        restarts.forget(folder / "train")


def _put_model(ws: Workspace, trainer: Finetuner, folder: Path) -> None:
    """Write the finished model. Raises LimitError where it does not fit, with the run resumable from its end."""
    train, first = folder / "train", trainer.args.should_save
    for attempt in range(2):
        full = False
        try:
            _keep(trainer, folder / "model", ws, folder.name)
        except LimitError as error:
            if not checkpoints.is_disk_full(error):
                raise
            full = True
        if not trainer.on_any_process(full):
            return
        if first and not attempt:
            checkpoints.prune(train, keep=1)
    trainer.save_for_resume()
    short = checkpoints.no_room(folder, saved_bytes(trainer), shutil.disk_usage(folder).free)
    step, last = trainer.resume_step(), trainer.state.global_step
    rest = "all that is left is to write the model" if step == last else f"it goes on from step {step} of {last}"
    raise LimitError(f"disk full after the last step: {short}; then resume the run: {rest}")


def _write_summary(train: Path, summary: Json) -> None:
    """A finished run that is short of the room for this file gives up its checkpoints, which it needs no more."""
    try:
        write_json(train / "summary.json", summary)
    except LimitError as error:
        if summary["state"] != "finished" or not checkpoints.is_disk_full(error):
            raise
        checkpoints.prune(train, keep=0)
        write_json(train / "summary.json", summary)


def _keep(trainer: Finetuner, target: Path, ws: Workspace, run_id: str) -> None:
    """Write a loadable model or adapter with its card. Raises LimitError when the disk is full."""
    try:
        if not trainer.args.should_save:
            save_weights(trainer, target)  # sharded weights are gathered from all processes
            return
        with checkpoints.staged_folder(target) as staging:
            save_weights(trainer, staging)
            write_card(ws, run_id, staging)
    except Exception as error:
        if checkpoints.is_disk_full(error):
            raise checkpoints.disk_full_error(target) from error
        raise
