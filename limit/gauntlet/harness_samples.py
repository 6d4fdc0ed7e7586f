"""Sample lines of lm-evaluation-harness as items and scored choices.

Notable: a schema task (one continuation after several contexts) is told by its requests; its options are the ends of
its contexts. A target may be a choice's number or its text.
"""

from __future__ import annotations

import glob
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError

VERSION = "lm-eval"


def number_of(value: Any) -> float | None:
    """A finite number, also one written as text; None for anything else, such as `N/A`."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def whole_of(value: Any) -> int | None:
    """A whole number of at least 0."""
    number = number_of(value)
    return int(number) if number is not None and number >= 0 and number == int(number) else None


def file_name(label: str) -> str:
    """A task's name as a part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", label)


def sample_paths(file: Path, task: str, tasks: list[str]) -> list[Path]:
    """The newest sample lines of a task beside its results, if any; `mmlu` is not `mmlu_anatomy`."""
    longer = tuple(f"samples_{file_name(name)}_" for name in tasks if name.startswith(f"{task}_"))
    found = sorted(file.parent.glob(f"samples_{glob.escape(file_name(task))}_*.jsonl"))
    return [path for path in found if not (longer and path.name.startswith(longer))][-1:]


def sample_rows(paths: list[Path], row: Json) -> tuple[list[Json], list[Json]]:
    """Items and choices of a task's sample lines; where several filters stand in the file, those of the task's.

    Raises LimitError naming a line that is no sample.
    """
    items: list[Json] = []
    choices: list[Json] = []
    for path in paths:
        for number, line in _lines(path):
            try:
                sample = json.loads(line)
                if sample.get("filter", row["filter"]) != row["filter"]:
                    continue
                item, scored = _item(row, sample)
            except (TypeError, LookupError, ValueError, AttributeError, RecursionError) as error:
                raise LimitError(f"{path}, line {number}: not a sample of lm-evaluation-harness ({error!r})") from error
            items.append(item)
            choices += scored
    return items, choices


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LimitError(f"{path} cannot be read as UTF-8 text: {error}") from error
    yield from ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _item(row: Json, sample: Any) -> tuple[Json, list[Json]]:
    """One sample as an item and its scored choices."""
    pairs = _pairs(sample)
    scores = [(float(total), str(greedy) == "True") for total, greedy in _scores(sample)]
    texts = [text for _, text in pairs]
    target = sample.get("target")
    options, continuation = _options([context for context, _ in pairs], texts)
    prediction = likeliest([total for total, _ in scores]) if len(scores) > 1 else None
    common = {
        "version": VERSION,
        "protocol": VERSION,
        "task": row["task"],
        "category": VERSION,
        "subcategory": "",
        "idx": int(sample["doc_id"]),
    }
    item = {
        **common,
        "num_fewshot": row["num_fewshot"],
        "correct": int(float(sample[row["harness_metric"]]) > 0),
        "prediction": prediction,
        "gold": _gold(target, options) if len(scores) > 1 else None,
        "margin": None,
        "near_tie": False,
        "nan": any(math.isnan(total) for total, _ in scores),
        "n_cut": None,
        "context": pairs[0][0] if pairs else "",
        "continuation": continuation,
        "choices": options if scores else _accepted(target),
        "generated": None if scores else _generated(sample),
    }
    return item, [_choice(common, number, *both) for number, both in enumerate(zip(scores, texts, strict=False))]


def _choice(common: Json, number: int, score: tuple[float, bool], text: str) -> Json:
    """A scored choice; how many tokens it has is not in the sample."""
    return {
        **common,
        "choice": number,
        "n_tokens": None,
        "n_chars": len(text),
        "n_bytes": len(text.encode("utf-8", "surrogatepass")),
        "sum_logprob": score[0],
        "greedy": score[1],
        "request_sha1": None,
    }


def _pairs(sample: Any) -> list[tuple[str, str]]:
    """(context, continuation without the space that joins them) of each request; generation has no continuation."""
    arguments = sample.get("arguments") or {}
    pairs = list(arguments.values()) if isinstance(arguments, dict) else arguments
    texts = [list(pair.values()) if isinstance(pair, dict) else list(pair) for pair in pairs]
    endings = (pair[1] if len(pair) > 1 and isinstance(pair[1], str) else "" for pair in texts)
    return [(str(pair[0]), ending.removeprefix(" ")) for pair, ending in zip(texts, endings, strict=True) if pair]


def _scores(sample: Any) -> list[Any]:
    return [response[0] for response in sample.get("resps") or [] if isinstance(response[0], list)]


def _generated(sample: Any) -> str | None:
    return next((r[0] for r in sample.get("resps") or [] if isinstance(r[0], str)), None)


def _options(contexts: Sequence[str], texts: list[str]) -> tuple[list[str], str | None]:
    """(what is chosen between, what is scored after each where that is the same text after different contexts)."""
    if len(texts) < 2 or len(set(texts)) > 1 or len(set(contexts)) < 2:
        return texts, None
    first, last = min(contexts), max(contexts)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    begin = first.rfind("\n", 0, same) + 1
    return [context[begin:] for context in contexts], texts[0]


def likeliest(sums: Sequence[float]) -> int:
    """numpy's argmax, by which the harness picks: the first of the largest, and NaN counts as the largest."""
    return max(range(len(sums)), key=lambda i: math.inf if math.isnan(sums[i]) else sums[i])


def _gold(target: Any, options: list[str]) -> int | None:
    """The right choice: its number, or its text."""
    first = target[0] if isinstance(target, list) and target else target
    if isinstance(first, str) and first.strip() in [option.strip() for option in options]:
        return [option.strip() for option in options].index(first.strip())
    number = whole_of(first)
    return number if number is not None and number < len(options) else None


def _accepted(target: Any) -> list[str]:
    return [] if target is None else [str(one) for one in (target if isinstance(target, list) else [target])]
