"""What the responses of a mix teach in style, as shares with intervals: the paper's story is about style.

Each habit is a regular expression over prompt or response, run in RE2; they are rough on purpose and named as such.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from limit.core import Json
from limit.settings import Workspace
from limit.sources.browsing import random_samples
from limit.sources.listing import source_info
from limit.sources.samples import answers_of

SAMPLED = 2_000
SAMPLED_OF_LARGE = 500
LARGE_ROWS = 1_000_000
# (key, words for people, column, pattern)
HABITS = (
    (
        "multiple_choice",
        "multiple choice",
        "prompt",
        r"(?im)(?:^|\n)\s*[-*(]?\s*(?:[aA][.):]|\(?[aA]\))\s.*\n\s*[-*(]?\s*(?:[bB][.):]|\(?[bB]\))\s|"
        r"\b(?:choose|select|pick) (?:one |the (?:best|correct|right) )?.{0,30}(?:from|option|choice|answer)|"
        r"\b(?:options|choices|possible answers):",
    ),
    ("one_word", "answers of one or two words", "response", r"^\s*\S+(?:\s+\S+)?\s*$"),
    (
        "step_by_step",
        "step by step",
        "response",
        r"(?i)\bstep by step\b|\bstep 1\b|\bfirst(?:ly)?,[\s\S]*\b(?:then|second(?:ly)?|next|finally),|"
        r"(?:^|\n)\s*1[.)]\s[\s\S]*\n\s*2[.)]\s",
    ),
    ("lists", "lists", "response", r"(?m)^\s*(?:[-*•]|\d{1,2}[.)])\s+\S"),
    ("markdown", "Markdown", "response", r"(?m)^#{1,4} [A-Za-z*]|\*\*\S|```|^\|.*\|\s*$"),
    (
        "code",
        "code",
        "response",
        r"(?m)```|^\s*(?:def|class|import|public|private|function|#include|SELECT)\b.*[({;:]|</\w+>",
    ),
    (
        "refusals",
        "refusals",
        "response",
        r"(?i)^\s*(?:i(?:'m| am) sorry,? (?:but )?|sorry,? (?:but )?|unfortunately,? )?"
        r"(?:i (?:can(?:no|')t|am (?:unable|not able)|won't|do not feel comfortable)|as an ai\b)",
    ),
    ("questions_back", "questions back", "response", r"\?\s*$"),
    ("first_person", "first person", "response", r"\b(?:I|I'm|I'd|I've|my|My)\b"),
)


def style_of(table: pa.Table) -> Json:
    """{n, habits: [{key, name, share, low, high}], response_chars: {p10, p50, p90, mean}} of prompts and responses.

    `n` counts responses: where `table` has a column `meta`, each response of a dialogue counts, with the turn that it
    answers. Shares lie between 0 and 1; intervals are Wilson's at 95 %.
    """
    table = _with_later_turns(table) if "meta" in table.column_names else table
    n = len(table)
    habits = []
    for key, name, column, pattern in HABITS:
        hits = int(pc.sum(pc.match_substring_regex(table[column], pattern)).as_py() or 0)
        low, high = wilson(hits, n)
        habits.append({"key": key, "name": name, "share": hits / n if n else None, "low": low, "high": high})
    chars = pc.utf8_length(table["response"]).to_numpy()
    quantiles = np.percentile(chars, [10, 50, 90]) if n else [0, 0, 0]
    sizes = dict(zip(("p10", "p50", "p90"), (float(q) for q in quantiles), strict=True))
    return {"n": n, "habits": habits, "response_chars": {**sizes, "mean": float(chars.mean()) if n else 0.0}}


def source_style(ws: Workspace, source: str, subset: str | None = None) -> Json:
    """Style of up to 2,000 random samples of a source; 500 of a large one, where each costs a row group to read."""
    n = SAMPLED if source_info(ws, source)["rows"] <= LARGE_ROWS else SAMPLED_OF_LARGE
    columns = ["prompt", "response", "meta"]
    rows = random_samples(ws, source, n, seed=0, subset=subset, columns=columns)
    return style_of(pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns}))


def _with_later_turns(table: pa.Table) -> pa.Table:
    """Prompt and response of each turn of each sample."""
    rows = table.select(["prompt", "response", "meta"]).to_pylist()
    pairs = [pair for row in rows for pair in answers_of(row["meta"], row["prompt"], row["response"])]
    columns = zip(("prompt", "response"), zip(*pairs, strict=True) if pairs else ((), ()), strict=True)
    return pa.table({name: pa.array(texts, pa.string()) for name, texts in columns})


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    share, spread = hits / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
