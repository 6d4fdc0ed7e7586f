"""CPU seconds and tokens of the Gauntlet engine beside lm-evaluation-harness, same model and strings, one run.

The peer is no dependency of the project. Put it into an environment of its own that sees this one's packages:

    python -m venv /tmp/lmeval
    echo "$PWD/.venv/lib/python3.11/site-packages" > /tmp/lmeval/lib/python3.11/site-packages/parent.pth
    /tmp/lmeval/bin/pip install --no-deps lm_eval==0.4.13
    OMP_NUM_THREADS=1 /tmp/lmeval/bin/python tests/bench/bench_gauntlet.py ../shared/data/gauntlet [records] [task ...]
    python tests/bench/bench_gauntlet.py ../shared/data/gauntlet count v0.1      (tokens of whole files; no peer needed)
    python tests/bench/bench_gauntlet.py ../shared/data/gauntlet shots 100       (10 shots beside none; no peer needed)
    python tests/bench/bench_gauntlet.py ../shared/data/gauntlet answers 16      (generation beside a plain loop)

The model is a random Llama of 6 x 384 with 8,192 tokens, made on the spot; `mpt:piqa` takes a random MPT of that size,
whose ALiBi bends no mask to trees. Times are process CPU seconds, best of two interleaved rounds; the peer's is its
best batch size. Ours include building and encoding prompts, as the peer's do. With fixed shots the examples are
computed once for all records, so the ratio grows with the records; by tokens it can be at most (whole file at hand)
arc_easy 20.8 at 20 records (26.7 at 300), piqa 9.2 at 20 and 11.6 at 60 (13.3), siqa 5.5 at 20 (10.1), boolq 4.5 at 20
(6.8: a passage of its own stands in every record). Without records named, 20 are taken, of piqa 60 with fixed shots.
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
sys.path.insert(0, str(ROOT))

from limit.gauntlet.engine import Engine  # noqa: E402
from limit.gauntlet.packs import plan, prefix_tokens  # noqa: E402
from limit.gauntlet.prompts import Encoder, Item, build_items  # noqa: E402
from limit.gauntlet.records import load_records, task_path  # noqa: E402
from limit.gauntlet.score import CPU_BUDGET  # noqa: E402
from limit.gauntlet.tasks import Task, load_version  # noqa: E402
from limit.specs.gauntlet import GauntletSpec  # noqa: E402

MAX_SEQ_LEN = 2048
CASES = {"arc_easy": 10, "piqa": 10, "boolq": 10, "siqa": 10, "winogrande": 5, "mpt:arc_easy": 10, "mpt:piqa": 10}
RECORDS = {"piqa": 60, "mpt:piqa": 60}


def make_model(data: Path, folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, MptConfig, MptForCausalLM

    from tests.small_tokenizers import train_tokenizer

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
    shape = MptConfig(vocab_size=8192, d_model=384, n_layers=6, n_heads=6, max_seq_len=MAX_SEQ_LEN)
    MptForCausalLM(shape).save_pretrained(folder / "mpt")


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


def few_shots(data: Path, tokenizer: Any, model: Any, n: int) -> None:
    """Ten shared examples beside none: CPU seconds and tokens of the first n records."""
    tasks = {task.name: task for task in load_version("v0.1", data).tasks}
    ours = Ours(model, tokenizer)
    for name in ("arc_easy", "piqa", "boolq", "siqa"):
        groups = load_records(tasks[name], data)
        best: dict[int, tuple[float, int]] = {}
        for _ in range(2):
            for shots in (0, 10):
                task = replace(tasks[name], num_fewshot=shots)
                seconds, (tokens, _found) = timed(lambda t=task, g=groups: ours.run(t, g, "fixed", n))
                best[shots] = min(best.get(shots, (1e9, 0)), (seconds, tokens))
        (none, none_tokens), (ten, ten_tokens) = best[0], best[10]
        print(
            f"{name:12s} {n:4d} records  0-shot {none:7.2f} s {none_tokens:7d} tokens  10-shot {ten:7.2f} s "
            f"{ten_tokens:7d} tokens  ratio {ten / none:5.2f} s {ten_tokens / none_tokens:5.2f} tokens",
            flush=True,
        )


def answers(data: Path, tokenizer: Any, model: Any, n: int) -> None:
    """Generation tasks beside transformers' own greedy loop, one prompt at a time: CPU seconds, and equal answers."""
    import torch

    ours = Ours(model, tokenizer)
    for task in load_version("v0.1", data).tasks:
        if task.type != "generation_task_with_answers" or task_path(task, data) is None:
            continue
        items = items_of(task, load_records(task, data), tokenizer, "paper", n)
        works = list(enumerate(ours.engine.packs(task, items)))
        seconds, found = timed(lambda w=works: [v for _, _, v in ours.engine.run(w, lambda: False)])
        written = {item: text for values in found for item, text in values["answers"]}
        started, same = time.process_time(), 0
        for index, item in enumerate(items):
            ids = torch.tensor([item.requests[0].context])
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=2,
                                 max_new_tokens=item.max_new_tokens, eos_token_id=tokenizer.eos_token_id)  # fmt: skip
            same += written[index] == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        plain = time.process_time() - started
        print(
            f"{task.key:28s} {n:4d} records, up to {items[0].max_new_tokens:4d} tokens  loop {plain:7.2f} s  ours "
            f"{seconds:7.2f} s  ratio {plain / seconds:5.2f}  equal {same}/{len(items)}",
            flush=True,
        )


def main() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    data, folder = Path(sys.argv[1]).resolve(), Path(tempfile.mkdtemp())
    make_model(data, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if sys.argv[2:3] == ["count"]:
        count(data, tokenizer, sys.argv[3])
        return
    load = AutoModelForCausalLM.from_pretrained
    if sys.argv[2:3] in (["shots"], ["answers"]):
        part = few_shots if sys.argv[2] == "shots" else answers
        part(data, tokenizer, load(folder).eval(), int(sys.argv[3]))
        return
    asked = int(sys.argv[2]) if len(sys.argv) > 2 else None
    head = f"{'task':14s} {'shots':6s} {'records':>7s} {'peer s':>8s} {'ours s':>8s} {'ratio':>6s} {'peer tok':>9s} "
    print(head + f"{'our tok':>9s} {'ratio':>6s} {'max diff':>9s}")
    engines: dict[Path, tuple[Ours, dict[int, Peer]]] = {}
    for name in sys.argv[3:] or list(CASES):
        where = folder / "mpt" if name.startswith("mpt:") else folder
        if where not in engines:
            model = load(where).eval()
            engines[where] = Ours(model, tokenizer), {size: Peer(model, tokenizer, size) for size in (1, 8)}
        for shots in ("paper", "fixed"):
            n = asked or (RECORDS.get(name, 20) if shots == "fixed" else 20)
            compare(data, name, shots, n, tokenizer, *engines[where])


def compare(data: Path, name: str, shots: str, n: int, tokenizer: Any, ours: Ours, peers: dict[int, Peer]) -> None:
    """One row: the peer's best batch size and ours, two interleaved rounds."""
    tasks = {task.name: task for task in load_version("v0.1", data).tasks}
    known = tasks[name.removeprefix("mpt:")]
    task = replace(known, num_fewshot=CASES.get(name, known.num_fewshot))
    groups = load_records(task, data)
    pairs = strings(task, items_of(task, groups, tokenizer, shots, n))
    best: dict[str, float] = {}
    for _ in range(2):
        for peer in peers.values():
            seconds, (peer_tokens, values) = timed(lambda peer=peer: peer.run(pairs))
            best["peer"] = min(best.get("peer", 1e9), seconds)
            best["tokens"] = min(best.get("tokens", 1e12), peer_tokens)
        seconds, (tokens, found) = timed(lambda: ours.run(task, groups, shots, n))
        best["ours"] = min(best.get("ours", 1e9), seconds)
    mine = [found[key] for key in sorted(found)]
    gap = max(abs(a - b) for a, b in zip(mine, values, strict=True))
    print(
        f"{name:14s} {shots:6s} {n:7d} {best['peer']:8.2f} {best['ours']:8.2f} "
        f"{best['peer'] / best['ours']:6.2f} {best['tokens']:9.0f} {tokens:9d} "
        f"{best['tokens'] / tokens:6.2f} {gap:9.1e}",
        flush=True,
    )


if __name__ == "__main__":
    main()
