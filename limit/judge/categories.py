"""Topics of prompts, where a file says them, and what a comparison came to on each.

A topic comes with an annotation row (AlpacaEval's `dataset` names the collection that a prompt is from) or with the
prompt set (`category`, as MT-Bench's question.jsonl has it). One topic for all prompts tells nothing and is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limit.core import Json
from limit.judge.judgments import Comparison
from limit.judge.summary import summarise
from limit.responses.prompt_sets import category_of


def prompt_categories(rows: Sequence[Json], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """{prompt_id: topic} of the prompts behind judgments; `known` are those of the prompt set. Empty below two topics.

    A prompt that comes with several topics has the first one.
    """
    found: dict[str, str] = {}
    for row in rows:
        named = (known or {}).get(row["prompt_id"]) or category_of(row.get("source_row"))
        if named:
            found.setdefault(row["prompt_id"], named)
    return found if len(set(found.values())) > 1 else {}


def of_category(rows: Sequence[Json], categories: Mapping[str, str], category: str | None) -> list[Json]:
    """The rows on one topic's prompts; all of them for None."""
    return [row for row in rows if category is None or categories.get(row["prompt_id"]) == category]


def by_category(comparison: Comparison, rows: Sequence[Json], categories: Mapping[str, str]) -> list[Json]:
    """A summary for each topic with its `category`, most prompts first. Prompts without a topic are left out."""
    summaries = [
        {"category": name, **summarise(comparison, of_category(rows, categories, name))}
        for name in sorted(set(categories.values()))
    ]
    return sorted(summaries, key=lambda entry: -entry["n_prompts"])
