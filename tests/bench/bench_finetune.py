"""Finetuning speed beside TRL and a plain padded loop, in one run: same model, samples, optimizer and precision.

    python -m tests.bench.bench_finetune                 # CPU: non-pad tokens per CPU second, one thread
    python -m tests.bench.bench_finetune --parity        # packed against one-by-one loss and gradient
    python -m tests.bench.bench_finetune --gpu           # one GPU: tokens/s and MFU, 1B and 7B, bf16
    python -m tests.bench.bench_finetune --gpu --sizes 1b --methods full,lora
    python -m tests.bench.bench_finetune --gpu --compile # beside it, ours with compiled layers
    python -m tests.bench.bench_finetune --gpu --sizes tiny    # the same code on a CPU as well: does it run here?

Needs torch and transformers; neither streamlit nor duckdb. Rows of TRL appear where it is installed, which `limit`
itself never needs. An environment that sees the project's and adds TRL:

    python -m venv --without-pip /tmp/trl
    python -c "import site; print(site.getsitepackages()[0])" > /tmp/trl/lib/python3.11/site-packages/limit.pth
    /tmp/trl/bin/python -m pip install --no-deps trl==1.16.0
    /tmp/trl/bin/python -m tests.bench.bench_finetune

The CPU part reads the real T0 and LIMA files of ../shared/data/sources where they are at hand, else texts of similar
lengths. Variants are interleaved and each keeps its best round; no test asserts a time.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers

from limit.encoding.packing import Example, fill, packed_row, sample_weights
from limit.encoding.template import NO_LOSS, encode_samples
from limit.finetune.architecture import prepare_model, to_device
from limit.finetune.layers import recompute_activations
from limit.finetune.metrics import Journal, flops_per_token, memory_gb, peak_flops
from limit.finetune.train import compile_model, training_arguments
from limit.finetune.trainer import Finetuner
from limit.recipes import load_recipe
from limit.settings import PROJECT
from limit.specs.run import Recipe

SOURCES = PROJECT.parent / "shared" / "data" / "sources"
MAX_LEN = 1024
VOCABULARY = 8000


def real_rows(terse: int, long: int) -> list[dict[str, Any]]:
    """Prompt and response rows of T0 and LIMA, or stand-ins of similar lengths without the files."""
    if not SOURCES.is_dir():
        generator = np.random.default_rng(0)
        words = ["which", "town", "is", "the", "home", "of", "the", "baker", "by", "the", "river", "and", "why"]
        lengths = [(60, 4)] * terse + [(30, int(generator.lognormal(5.9, 0.7))) for _ in range(long)]
        return [
            {"prompt": " ".join(words * (p // 5)), "response": " ".join(words * max(1, r // 5))} for p, r in lengths
        ]
    with (SOURCES / "t0_instruct.jsonl").open(encoding="utf-8") as file:
        t0 = [json.loads(line) for line in file]
    lima = [row for row in json.loads((SOURCES / "lima.json").read_text(encoding="utf-8")) if not row["history"]]
    generator = np.random.default_rng(17)
    some = [t0[int(i)] for i in generator.choice(len(t0), min(terse, len(t0)), replace=False)]
    rows = [{"prompt": row["prompt"], "response": row["response"].replace("<|endoftext|>", "")} for row in some]
    chosen = [lima[int(i)] for i in generator.choice(len(lima), min(long, len(lima)), replace=False)]
    return rows + [{"prompt": row["instruction"], "response": row["output"]} for row in chosen]


def make_tokenizer(folder: Path) -> Any:
    """A byte-level BPE of 8k tokens trained on the rows themselves."""
    from tests.small_tokenizers import train_tokenizer

    train_tokenizer([row["prompt"] + row["response"] for row in real_rows(500, 300)], folder, VOCABULARY)
    return transformers.AutoTokenizer.from_pretrained(folder)


def encoded(rows: list[dict[str, Any]], tokenizer: Any, max_len: int = MAX_LEN) -> list[Example]:
    made = []
    for sample in encode_samples(rows, tokenizer, "alpaca", max_len):
        example = Example(np.asarray(sample.ids, np.int32), np.asarray(sample.labels, np.int32), "bench")
        if example.loss_tokens:
            made.append(example)
    return made


def small_llama() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=688, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=2048, pad_token_id=2, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def bench_recipe(**changes: Any) -> Recipe:
    fixed = {"global_batch_size": 8, "micro_batch_size": 2, "max_seq_len": MAX_LEN, "epochs": 1.0, "warmup_steps": 0}
    return load_recipe("tiny").replace(**{**fixed, "template": "alpaca", **changes})


def ours(model: Any, examples: list[Example], folder: Path, recipe: Recipe | None = None) -> Finetuner:
    """Our trainer over encoded examples, without the worker around it."""
    recipe = recipe or bench_recipe()
    mode = prepare_model(model, recipe.packing, pad_id=2)
    journal = Journal(folder / "metrics.jsonl")
    arguments = training_arguments(folder, recipe, 17, ())
    from limit.finetune.optimizers import optimizer_class

    return Finetuner(
        model, arguments, recipe, examples, mode, journal, pad_id=2, flops=1.0, peak=None,
        optimizer_cls_and_kwargs=optimizer_class(recipe),
    )  # fmt: skip


def trl_trainer(model: Any, examples: list[Example], folder: Path, tokenizer: Any, **options: Any) -> Any:
    """TRL's SFTTrainer on the same token ids and labels."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_list([{"input_ids": e.ids.tolist(), "labels": e.labels.tolist()} for e in examples])
    gpu = torch.cuda.is_available()
    fixed = {
        "output_dir": str(folder), "num_train_epochs": 1, "learning_rate": 5e-4, "report_to": "none", "bf16": gpu,
        "use_cpu": not gpu, "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1, "max_length": MAX_LEN,
        "optim": "adamw_torch_fused", "dataset_num_proc": None,
    }  # fmt: skip
    config = SFTConfig(**{**fixed, **options})
    return SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)


class PaddedLoop:
    """The plain loop that many repositories carry: random batches of 8, padded to the longest, whole logits."""

    def __init__(self, model: Any, examples: list[Example]) -> None:
        self.model, self.examples = model, examples

    def train(self) -> None:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-4, fused=True)
        order = torch.randperm(len(self.examples), generator=torch.Generator().manual_seed(17)).tolist()
        self.model.train()
        for start in range(0, len(order), 8):
            batch = [self.examples[index] for index in order[start : start + 8]]
            longest = max(example.length for example in batch)
            ids, labels = torch.full((len(batch), longest), 2), torch.full((len(batch), longest), NO_LOSS)
            mask = torch.zeros(len(batch), longest, dtype=torch.long)
            for line, example in enumerate(batch):
                ids[line, : example.length] = torch.from_numpy(example.ids)
                labels[line, : example.length] = torch.from_numpy(example.labels)
                mask[line, : example.length] = 1
            self.model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()


def cpu_variants(examples: list[Example], tokenizer: Any, folder: Path) -> dict[str, Callable[[], Any]]:
    variants: dict[str, Callable[[], Any]] = {
        "limit, packed": lambda: ours(small_llama(), examples, folder),
        "limit, packing off (grouped by length)": lambda: ours(
            small_llama(), examples, folder, bench_recipe(packing=False)
        ),
        "padded loop, batches of 8": lambda: PaddedLoop(small_llama(), examples),
    }
    if importlib.util.find_spec("trl"):
        variants["TRL default (pads, recomputes)"] = lambda: trl_trainer(small_llama(), examples, folder, tokenizer)
        variants["TRL packing, no recompute"] = lambda: trl_trainer(
            small_llama(), examples, folder, tokenizer, packing=True, gradient_checkpointing=False,
            per_device_train_batch_size=1, gradient_accumulation_steps=2,
        )  # fmt: skip
    return variants


def bench_cpu(rounds: int, terse: int, long: int) -> None:
    """Tables for the 2:1 mix and for LIMA alone."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = make_tokenizer(folder / "tokenizer")
        for title, rows in (
            (f"2:1, {terse} T0 + {long} LIMA", real_rows(terse, long)),
            (f"LIMA alone, {long}", real_rows(0, long)),
        ):
            examples = encoded(rows, tokenizer)
            tokens = sum(example.length for example in examples)
            labelled = sum(example.loss_tokens for example in examples)
            print(f"\n{title}: {len(examples)} samples, {tokens:,} tokens, {labelled / tokens:.0%} with loss")
            table = run_rounds(cpu_variants(examples, tokenizer, folder), rounds)
            print_ratios(table, tokens)
        print_fill(tokenizer)


def run_rounds(variants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each variant's `train`, every round running each once."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, build in variants.items():
            trainer = build()
            if hasattr(trainer, "pop_callback"):
                trainer.pop_callback(transformers.PrinterCallback)
            started = time.process_time()
            trainer.train()
            seconds[name].append(time.process_time() - started)
            del trainer
            gc.collect()
    return seconds


def print_ratios(seconds: dict[str, list[float]], tokens: int) -> None:
    mine = min(seconds["limit, packed"])
    print(f"{'variant':42} {'CPU s, each round':>24} {'tok/CPU-s':>10} {'limit is':>9}")
    for name, spent in seconds.items():
        rounds = " / ".join(f"{value:.1f}" for value in spent)
        print(f"{name:42} {rounds:>24} {tokens / min(spent):>10,.0f} {'x' + format(min(spent) / mine, '.2f'):>9}")


def print_fill(tokenizer: Any) -> None:
    """Share of best-fit-decreasing rows that is real, and seconds to pack 60,000 samples."""
    print(f"\nrows of {MAX_LEN} tokens, best-fit decreasing (training pads nothing: its rows end with their content)")
    for title, terse, long in (("LIMA 1,000", 0, 1000), ("T0 2,000 + LIMA 1,000", 2000, 1000),
                               ("T0 5,000 + LIMA 1,000", 5000, 1000)):  # fmt: skip
        lengths = [example.length for example in encoded(real_rows(terse, long), tokenizer)]
        print(f"{title:24} fill {fill(lengths, MAX_LEN):.2%}")
    many = np.random.default_rng(0).integers(20, MAX_LEN, 60_000).tolist()
    started = time.perf_counter()
    fill(many, MAX_LEN)
    print(f"{'60,000 samples':24} {time.perf_counter() - started:.2f} s")


def bench_parity() -> None:
    """Largest relative difference of loss and gradient, packed against each sample alone."""
    from tests.finetune.models import CONFIGS, random_model
    from tests.finetune.test_exactness import gradients, one_by_one, relative, row_of

    generator = np.random.default_rng(3)
    examples = []
    for length in (23, 7, 40, 12, 5):
        ids = generator.integers(3, 300, length).astype(np.int32)
        labels = np.where(np.arange(length) < length // 3, NO_LOSS, ids).astype(np.int32)
        examples.append(Example(ids, labels, "s"))
    print(f"{'architecture':18} {'rows':8} {'loss':>9} {'gradient':>9}")
    for name in CONFIGS:
        model = random_model(name).eval()
        loss, grads = one_by_one(model, examples)
        mode = prepare_model(model, want_packing=True, pad_id=0)
        model.zero_grad()
        found = model(row=row_of(examples, mode.packed))
        found.backward()
        error = abs(float(found.detach()) - loss) / loss
        kind = "packed" if mode.packed else "padded"
        print(f"{name:18} {kind:8} {error:9.1e} {relative(gradients(model), grads):9.1e}")


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 500},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "num_key_value_heads": 8, "vocab_size": 128_256},
    "7b": {"hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 32, "vocab_size": 32_000},
}  # fmt: skip


def gpu_examples(vocabulary: int, samples: int, max_len: int) -> list[Example]:
    """Random tokens with the lengths of a 2:1 mix: two terse samples to each long one, prompts without loss."""
    generator = np.random.default_rng(17)
    made = []
    for index in range(samples):
        prompt, answer = (150, 8) if index % 3 else (60, int(np.clip(generator.lognormal(5.9, 0.8), 50, max_len - 60)))
        ids = generator.integers(3, vocabulary, prompt + answer).astype(np.int32)
        labels = ids.copy()
        labels[:prompt] = NO_LOSS
        made.append(Example(ids, labels, "bench"))
    return made


def gpu_model(size: str, method: str, recompute: bool) -> Any:
    """A random Llama-shaped model on the GPU, weights as `limit finetune` holds them."""
    from limit.finetune.trainable import add_adapter

    transformers.set_seed(0)
    config = transformers.LlamaConfig(
        **SIZES[size], max_position_embeddings=8192, pad_token_id=2, bos_token_id=0, eos_token_id=1
    )
    dtype = torch.float32 if method == "full" else torch.bfloat16
    with torch.device(DEVICE):
        torch.set_default_dtype(dtype)
        model = transformers.LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    model = add_adapter(model, load_recipe("lora")) if method == "lora" else model
    if recompute:
        recompute_activations(model)
        if method == "lora":
            model.enable_input_require_grads()
    return model


def bench_gpu(sizes: list[str], methods: list[str], row_tokens: int, steps: int, compiled: bool) -> None:
    """Tokens/s and MFU over non-pad tokens after a warm-up; ours beside TRL with packing where TRL is installed."""
    transformers.logging.set_verbosity_error()
    device = torch.cuda.get_device_name(0) if DEVICE == "cuda" else "CPU"
    peak = peak_flops(device)
    print(
        f"{device}, torch {torch.__version__}, transformers {transformers.__version__}, rows of {row_tokens:,} tokens"
    )
    print(
        f"{'model':6} {'method':6} {'recompute':>9} {'trainer':12} {'tok/s':>9} {'MFU':>7} {'peak GB':>8} {'s/step':>7}"
    )
    for size in sizes:
        for method in methods:
            recompute = size == "7b" and method == "full"
            peer = "TRL packing" if importlib.util.find_spec("trl") else "padded"
            for name in ("limit", *(["compiled"] if compiled else []), peer):
                line = gpu_line(name, size, method, recompute, row_tokens, steps, peak)
                print(f"{size:6} {method:6} {recompute!s:>9} {name:12} {line}", flush=True)


def gpu_line(
    name: str, size: str, method: str, recompute: bool, row_tokens: int, steps: int, peak: float | None
) -> str:
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = gpu_model(size, method, recompute)
    shape = SIZES[size]
    examples = gpu_examples(shape["vocab_size"], 48 * (steps + 3), 2048)
    tokens_each = [sum(e.length for e in examples[i : i + 48]) for i in range(0, len(examples), 48)]
    try:
        ours_too = name in ("limit", "compiled")
        seconds = (gpu_limit if ours_too else gpu_peer)(name, model, examples, row_tokens, method)
    except torch.OutOfMemoryError as error:
        return f"out of memory ({str(error).splitlines()[0][:80]})"
    except Exception as error:  # device time is short: one variant that fails must not cost the lines of the others
        return f"failed ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]})"
    done = seconds[3:]
    rate = float(np.mean(tokens_each)) * len(done) / sum(done)
    tokens = sum(example.length for example in examples)
    body = (
        sum(p.numel() for p in model.parameters() if p.dtype.is_floating_point)
        - 2 * shape["vocab_size"] * shape["hidden_size"]
    )
    labelled = sum(example.loss_tokens for example in examples) / tokens
    context = sum(example.length**2 for example in examples) / tokens
    flops = flops_per_token(
        body + int(shape["vocab_size"] * shape["hidden_size"] * labelled), shape["num_hidden_layers"],
        shape["hidden_size"], context, 1.0 if method == "full" else 0.0,
    )  # fmt: skip
    mfu = "n/a" if peak is None else f"{rate * flops / peak:.1%}"
    memory = memory_gb(torch.device(DEVICE))
    return f"{rate:9,.0f} {mfu:>7} {memory:8.1f} {float(np.mean(done)):7.2f}"


def wait_for_device() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class Clock(transformers.TrainerCallback):
    """Seconds of each optimizer step, the GPU waited for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        wait_for_device()
        self.started = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        wait_for_device()
        self.seconds.append(time.perf_counter() - self.started)


def gpu_limit(name: str, model: Any, examples: list[Example], row_tokens: int, method: str) -> list[float]:
    recipe = load_recipe("full").replace(
        global_batch_size=48,
        micro_batch_size=max(1, row_tokens // 2048),
        max_seq_len=2048,
        epochs=1.0,
        precision="bf16",
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = ours(model, examples, Path(folder), recipe)
        if name == "compiled":
            trainer.compiled = compile_model(trainer)
            print(trainer.compiled)
        trainer.pop_callback(transformers.PrinterCallback)
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
    return clock.seconds


def gpu_peer(name: str, model: Any, examples: list[Example], row_tokens: int, method: str) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        if name == "padded":
            arguments = training_arguments(
                Path(folder), load_recipe("full").replace(epochs=1.0, precision="bf16"), 17, ()
            )
            arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps = 8, 6
            data = [{"input_ids": e.ids.tolist(), "labels": e.labels.tolist()} for e in examples]
            trainer = transformers.Trainer(
                model=model, args=arguments, train_dataset=data, data_collator=_pad_right  # type: ignore[arg-type]
            )  # fmt: skip
        else:
            tokenizer = make_tokenizer(Path(folder) / "tokenizer")
            trainer = trl_trainer(
                model, examples, Path(folder), tokenizer, packing=True, gradient_checkpointing=False, max_length=2048,
                per_device_train_batch_size=max(1, row_tokens // 2048), gradient_accumulation_steps=1,
            )  # fmt: skip
        trainer.pop_callback(transformers.PrinterCallback)
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
    return clock.seconds


def _pad_right(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    pads = [longest - len(row["input_ids"]) for row in rows]
    return {
        "input_ids": torch.tensor([row["input_ids"] + [2] * pad for row, pad in zip(rows, pads, strict=True)]),
        "labels": torch.tensor([row["labels"] + [NO_LOSS] * pad for row, pad in zip(rows, pads, strict=True)]),
        "attention_mask": torch.tensor(
            [[1] * len(row["input_ids"]) + [0] * pad for row, pad in zip(rows, pads, strict=True)]
        ),
    }


def check_varlen() -> None:
    """On a GPU, the packed kernel must agree with one document at a time before any speed counts."""
    model = gpu_model_tiny()
    examples = gpu_examples(300, 6, 64)
    mode = prepare_model(model, want_packing=True, pad_id=2)
    with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16):
        together = float(model(row=to_device(packed_row(examples, sample_weights(examples, "sample")), model.device)))
        alone = [
            float(model(row=to_device(packed_row([e], sample_weights([e], "sample")), model.device))) for e in examples
        ]
    print(f"varlen: {mode.reason}; packed {together:.5f}, alone {float(np.mean(alone)):.5f}")


def gpu_model_tiny() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=300, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=2, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).to(DEVICE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--terse", type=int, default=48)
    parser.add_argument("--long", type=int, default=24)
    parser.add_argument("--parity", action="store_true")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--sizes", default="1b,7b")
    parser.add_argument("--methods", default="full,lora")
    parser.add_argument("--row-tokens", type=int, default=16_384)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--compile", action="store_true", help="beside it, ours with compiled layers")
    options = parser.parse_args()
    if options.parity:
        bench_parity()
    elif options.gpu:
        if DEVICE == "cpu" and options.sizes != "tiny":
            parser.error("--gpu needs an NVIDIA GPU; with --sizes tiny it runs on a CPU too, to see that it does")
        check_varlen()
        methods = options.methods.split(",")
        bench_gpu(options.sizes.split(","), methods, options.row_tokens, options.steps, options.compile)
    else:
        bench_cpu(options.rounds, options.terse, options.long)


if __name__ == "__main__":
    main()
