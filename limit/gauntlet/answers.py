"""When a generated text counts as right: llm-foundry's order of steps, so that its quirks are kept and can be seen."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from limit.gauntlet.tasks import Task

_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))


def normalize(text: str) -> str:
    """TriviaQA's normal form: lower case, punctuation and articles gone, single spaces."""
    text = text.replace("_", " ").lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def extract(task: Task, text: str) -> str:
    """The part of a generated text that is compared: before the first stop string, after the last delimiter."""
    if task.early_stopping_criteria:
        text = re.split("|".join(map(re.escape, task.early_stopping_criteria)), text)[0]
    if task.cot_delimiter:
        text = text.split(task.cot_delimiter)[-1]
    return normalize(text) if task.do_normalization else text.strip()


def is_right(task: Task, text: str, accepted: Sequence[str]) -> bool:
    """Whether the compared part starts with any accepted answer; one that normalises to nothing fits everything."""
    prediction = extract(task, text)
    return any(
        prediction.startswith(normalize(answer) if task.do_normalization else answer.strip()) for answer in accepted
    )
