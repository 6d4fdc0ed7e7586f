"""How each side's answers read: how long they are, what habits they have, how they open.

A preference is partly a preference for a style; these figures stand beside it for both models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from limit.core import Json
from limit.mixes.style import style_of

OPENING_WORDS, OPENINGS = 3, 5
NOT_ANSWERS = ("multiple_choice",)  # a habit of prompts
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def answer_style(rows: Sequence[Json], side: int) -> Json:
    """Style of the distinct answers of one side (1 baseline, 2 candidate) of judgments.

    {n, empty, response_chars: {p10, p50, p90, mean}, habits: [{key, name, share, low, high}], openings: [{words,
    share, n}]}: `empty` counts answers without a letter or sign, `openings` are the commonest first three words of
    the answers that have any, in lower case.
    """
    answers = sorted({(row.get("prompt") or "", row.get(f"text_{side}") or "") for row in rows})
    texts = [text for _, text in answers]
    table = {"prompt": [prompt for prompt, _ in answers], "response": texts}
    style = style_of(pa.table({name: pa.array(values, pa.string()) for name, values in table.items()}))
    return {
        "n": len(texts),
        "empty": sum(not text.strip() for text in texts),
        "response_chars": style["response_chars"],
        "habits": [habit for habit in style["habits"] if habit["key"] not in NOT_ANSWERS],
        "openings": common_openings(texts),
    }


def common_openings(texts: Sequence[str]) -> list[Json]:
    """The commonest first words of texts, {words, share, n}, those that open at least two of them."""
    starts = [" ".join(_WORD.findall(text[:400])[:OPENING_WORDS]).lower() for text in texts]
    known = [start for start in starts if start]
    common = sorted(Counter(known).items(), key=lambda entry: (-entry[1], entry[0]))[:OPENINGS]
    return [{"words": words, "share": n / len(known), "n": n} for words, n in common if n > 1]
