"""CPU seconds and tokens of the Gauntlet engine beside lm-evaluation-harness, same model and strings, one run.

The peer is no dependency of the project. Put it into an environment of its own that sees this one's packages:

    python -m venv /tmp/lmeval
    echo "$PWD/.venv/lib/python3.11/site-packages" > /tmp/lmeval/lib/python3.11/site-packages/parent.pth
    /tmp/lmeval/bin/pip install --no-deps lm_eval==0.4.13
    OMP_NUM_THREADS=1 /tmp/lmeval/bin/python tests/bench/bench_gauntlet.py ../shared/data/gauntlet [n] [task ...]
    python tests/bench/bench_gauntlet.py ../shared/data/gauntlet count v0.1      (tokens of whole files; no peer needed)

The model is a random Llama of 6 x 384 with 8,192 tokens, made on the spot. Times are process CPU seconds, best of two
interleaved rounds; the peer's is its best batch size. Ours include building and encoding prompts, as the peer's do.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from limit.gauntlet.engine import Engine  # noqa: E402
from limit.gauntlet.packs import plan, prefix_tokens  # noqa: E402
from limit.gauntlet.prompts import Encoder, Item, build_items  # noqa: E402
from limit.gauntlet.records import load_records, task_path  # noqa: E402
from limit.gauntlet.score import CPU_BUDGET  # noqa: E402
from limit.gauntlet.tasks import Task, load_version  # noqa: E402
from limit.specs.gauntlet import GauntletSpec  # noqa: E402

MAX_SEQ_LEN = 2048
CASES = {"arc_easy": 10, "piqa": 10, "boolq": 10, "siqa": 10, "winogrande": 5}


def make_model(data: Path, folder: Path) -> None:
    import torch
    from conftest import train_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    texts = []
    for path in sorted(data.glob("*/*.jsonl")):
        lines = path.read_text().splitlines()[:200]
        texts += [" ".join(str(value) for value in json.loads(line).values())[:1500] for line in lines]
    train_tokenizer(texts, folder, vocab_size=8192)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=8192, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
        max_position_embeddings=MAX_SEQ_LEN, bos_token_id=0, eos_token_id=1, pad_token_id=2, initializer_range=0.05,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def items_of(task: Task, groups: Any, tokenizer: Any, shots: str, n: int) -> list[Item]:
    chunks = build_items(task, groups, Encoder(tokenizer), max_seq_len=MAX_SEQ_LEN, shots=shots, limit=n)
    return [item for chunk in chunks for item in chunk]


def strings(task: Task, items: list[Item]) -> list[tuple[str, str]]:
    """What the peer gets: the same context and the continuation with its leading space."""
    pairs = []
    for item in items:
        for option, text in zip(item.options, item.texts, strict=True):
            head = item.prompt[: -len(item.options[0])] + option if task.type == "schema" else item.prompt
            pairs.append((head, " " + text))
    return pairs


class Ours:
    def __init__(self, model: Any, tokenizer: Any) -> None:
        spec = GauntletSpec(max_seq_len=MAX_SEQ_LEN)
        self.engine, self.tokenizer = Engine(model, tokenizer, spec, add_space=False), tokenizer

    def run(self, task: Task, groups: Any, shots: str, n: int) -> tuple[int, dict[tuple[int, int], float]]:
        items = items_of(task, groups, self.tokenizer, shots, n)
        works = self.engine.packs(task, items)
        tokens, found = 0, {}
        for _, _, values in self.engine.run(list(enumerate(works)), lambda: False):
            tokens += values["tokens"]
            found |= {(item, choice): total for item, choice, total, _, _ in values["scores"]}
        return tokens, found


class Peer:
    def __init__(self, model: Any, tokenizer: Any, batch_size: int) -> None:
        from lm_eval.models.huggingface import HFLM

        self.lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=MAX_SEQ_LEN)
        self.model, self.tokens = model, 0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _: Any, args: Any, kwargs: Any) -> None:
        ids = args[0] if args else kwargs["input_ids"]
        self.tokens += ids.numel()

    def run(self, pairs: list[tuple[str, str]]) -> tuple[int, list[float]]:
        from lm_eval.api.instance import Instance

        self.tokens = 0
        made = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        values = [value for value, _ in self.lm.loglikelihood(made, disable_tqdm=True)]
        return self.tokens, values


def count(data: Path, tokenizer: Any, version: str) -> None:
    """Tokens of every scored task at hand, all records, without running a model.

    The peer computes each distinct input once (its cache serves choices of one token), with no padding counted.
    """
    total = {"peer": 0, "paper": 0, "fixed": 0}
    for task in load_version(version, data).tasks:
        if task_path(task, data) is None or task.type in ("generation_task_with_answers", "code_evaluation"):
            continue
        found = dict.fromkeys(total, 0)
        for shots in ("paper", "fixed"):
            groups = load_records(task, data)
            for items in build_items(task, groups, Encoder(tokenizer), max_seq_len=MAX_SEQ_LEN, shots=shots):
                packs = plan(items, CPU_BUDGET, trees=True, prefixes=True)
                found[shots] += sum(pack.tokens for pack in packs) + prefix_tokens(packs)
                if shots == "paper":
                    inputs = ({r.context + r.continuation[:-1] for r in item.requests} for item in items)
                    found["peer"] += sum(len(ids) for distinct in inputs for ids in distinct)
        total = {key: total[key] + found[key] for key in total}
        print(f"{task.key:48s} " + " ".join(f"{key} {value:10,d}" for key, value in found.items()), flush=True)
    ratios = {key: total["peer"] / total[key] for key in ("paper", "fixed")}
    print(f"{version}: peer {total['peer']:,}; paper x{ratios['paper']:.2f}; fixed x{ratios['fixed']:.2f}")


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    value = run()
    return time.process_time() - started, value


def main() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    data = Path(sys.argv[1]).resolve()
    if sys.argv[2:3] == ["count"]:
        folder = Path(tempfile.mkdtemp())
        make_model(data, folder)
        count(data, AutoTokenizer.from_pretrained(folder), sys.argv[3])
        return
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    wanted = sys.argv[3:] or list(CASES)
    folder = Path(tempfile.mkdtemp())
    make_model(data, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ours = Ours(model, tokenizer)
    peers = {size: Peer(model, tokenizer, size) for size in (1, 8)}
    tasks = {task.name: task for task in load_version("v0.1", data).tasks}
    head = f"{'task':12s} {'shots':6s} {'n':>4s} {'peer s':>8s} {'ours s':>8s} {'ratio':>6s} {'peer tok':>9s} "
    print(head + f"{'our tok':>9s} {'ratio':>6s} {'max diff':>9s}")
    for name in wanted:
        task = replace(tasks[name], num_fewshot=CASES.get(name, tasks[name].num_fewshot))
        groups = load_records(task, data)
        for shots in ("paper", "fixed"):
            pairs = strings(task, items_of(task, groups, tokenizer, shots, n))
            best: dict[str, float] = {}
            for _ in range(2):
                for size, peer in peers.items():
                    seconds, (peer_tokens, values) = timed(lambda peer=peer, pairs=pairs: peer.run(pairs))
                    best["peer"] = min(best.get("peer", 1e9), seconds)
                    best["tokens"] = min(best.get("tokens", 1e12), peer_tokens)
                    assert size
                seconds, (tokens, found) = timed(lambda t=task, g=groups, s=shots: ours.run(t, g, s, n))
                best["ours"] = min(best.get("ours", 1e9), seconds)
            mine = [found[key] for key in sorted(found)]
            gap = max(abs(a - b) for a, b in zip(mine, values, strict=True))
            print(
                f"{name:12s} {shots:6s} {n:4d} {best['peer']:8.2f} {best['ours']:8.2f} "
                f"{best['peer'] / best['ours']:6.2f} {best['tokens']:9.0f} {tokens:9d} "
                f"{best['tokens'] / tokens:6.2f} {gap:9.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
