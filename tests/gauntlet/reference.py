"""A second, plain reading of the Gauntlet's rules: one tokenizer call and one forward pass at a time.

It shares no code with `limit.gauntlet`, so the two can be held against each other. Nothing here is fast.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any


def read_file(path: Path, by_category: bool = False) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            record = {k: v.strip() if isinstance(v, str) else v for k, v in json.loads(line).items()}
            groups.setdefault(record["category"] if by_category else "", []).append(record)
    return groups


def draw_all(n: int, k: int, seed: int = 1234) -> list[list[int]]:
    rng = random.Random(seed)
    shots = []
    for i in range(n):
        if k == 0:
            shots.append([])
            continue
        chosen = set(rng.sample(range(0, n), min(n - 1, k)))
        if i in chosen:
            chosen.remove(i)
            if len(chosen) < n - 1:
                pick = rng.choice(range(0, n))
                while pick in chosen or pick == i:
                    pick = rng.choice(range(0, n))
                chosen.add(pick)
        shots.append(list(chosen))
    return shots


def gold_text(kind: str, record: dict[str, Any], cot_delimiter: str, has_cot: bool) -> str:
    if kind == "multiple_choice":
        return record["choices"][record["gold"]]
    if kind == "language_modeling":
        return record["continuation"]
    if has_cot:
        return record.get("chain_of_thought", "") + cot_delimiter + record["answer"]
    return record["answer"]


def requests(tokenizer: Any, settings: dict[str, Any], records: list[dict[str, Any]], k: int, max_len: int, upto: int):
    """[(record, choice, context ids, continuation ids)] of the first `upto` records."""
    kind = settings["type"]
    delimiter = settings.get("continuation_delimiter", " ")
    pre = settings.get("prelimiter", "")
    cot = settings.get("cot_delimiter", "")
    has_cot = any("chain_of_thought" in record for record in records)
    needs_space = len(tokenizer(" a", add_special_tokens=False)["input_ids"]) == 1
    longest = 0
    if kind == "generation_task_with_answers":
        for record in records:
            for answer in [record["answer"], *(record.get("aliases") or [])]:
                text = record.get("chain_of_thought", "") + cot + answer if has_cot else answer
                longest = max(longest, len(tokenizer(text)["input_ids"]))
        longest += 10 if cot else 0
    made = []
    for i, shots in enumerate(draw_all(len(records), k)[:upto]):
        text = ""
        for j in shots:
            other = records[j]
            text += "\n" if text else ""
            if kind == "schema":
                text += other["context_options"][other["gold"]] + delimiter + other["continuation"]
            else:
                body = other["query"] if kind == "multiple_choice" else other["context"]
                text += pre + body + delimiter + gold_text(kind, other, cot, has_cot)
        head = tokenizer(text)["input_ids"]
        if len(head) > 1 and tokenizer.eos_token_id is not None and head[-1] == tokenizer.eos_token_id:
            head = head[:-1]
        record = records[i]
        lead = "\n" if text else ""
        if kind == "schema":
            contexts = [lead + o + delimiter.rstrip() if text else o for o in record["context_options"]]
            answers = [record["continuation"]] * len(contexts)
        else:
            body = record["query"] if kind == "multiple_choice" else record["context"]
            contexts = [(lead + pre + body + delimiter).rstrip()]
            answers = record["choices"] if kind == "multiple_choice" else [record.get("continuation", "")]
            contexts = contexts * len(answers)
        for choice, (context, answer) in enumerate(zip(contexts, answers, strict=True)):
            ids = head + tokenizer(context, add_special_tokens=False)["input_ids"]
            if kind == "generation_task_with_answers":
                room = max_len - longest
                made.append((i, choice, ids[len(ids) - room :] if 0 < room < len(ids) else ids, []))
                continue
            if needs_space and not answer.startswith(" "):
                answer = " " + answer
            tail = tokenizer(answer, add_special_tokens=False)["input_ids"]
            if len(ids) + len(tail) > max_len:
                ids = ids[len(ids) - (max_len - len(tail)) :]
            made.append((i, choice, ids, tail))
    return made


def sha1(context: list[int], continuation: list[int]) -> str:
    return hashlib.sha1(json.dumps(context + continuation).encode()).hexdigest()[:16]


def logprob(model: Any, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """Summed log-probability and whether every token is the argmax, by one whole forward pass."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([context + continuation])).logits[0].float()
    rows = torch.log_softmax(logits, dim=-1)[len(context) - 1 : -1]
    wanted = torch.tensor(continuation)
    return float(rows[torch.arange(len(wanted)), wanted].sum()), bool((rows.argmax(dim=-1) == wanted).all())


def greedy(model: Any, context: list[int], limit: int, end: int | None) -> list[int]:
    """The likeliest next token, again and again, a whole forward pass each; the token that ends it is kept."""
    import torch

    written: list[int] = []
    while len(written) < limit and (not written or written[-1] != end):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([context + written])).logits[0, -1].float()
        written.append(int(logits.argmax()))
    return written
