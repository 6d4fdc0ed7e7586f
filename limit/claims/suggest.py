"""Claims that the numbers already support, in the paper's order: mixing helps, style wins the judge, data the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from limit.claims.evidence import evaluate_all
from limit.core import Json
from limit.store import Store
from limit.store.schema import Row

LABEL_CHARS = 70  # of a model's name in a suggested sentence
MOST_TRIED = 12  # models of one kind of claim


def suggestions(store: Store, rows: Sequence[Row], most: int = MOST_TRIED) -> list[Json]:
    """Claims about the models of one layer that the data support: {sentence, test, evidence, layer}.

    Each candidate test is run and only those are offered that hold or were published so; the words say no more than
    the test does. Of each kind of claim about scores `most` are tried.
    """
    models = {row["key"]: row for row in rows}
    candidates = _candidates(rows, most)
    found = evaluate_all(store, [test for test, _ in candidates], models)
    return [
        {"sentence": sentence, "test": test, "evidence": evidence}
        for (test, sentence), evidence in zip(candidates, found, strict=True)
        if evidence.outcome in ("supported", "as published")
    ]


def _candidates(models: Sequence[Row], most: int) -> list[tuple[Json, str]]:
    rows = [{**row, "label": short(row["label"])} for row in models]
    baseline = next((row for row in rows if row["is_baseline"]), None)
    tests: list[tuple[Json, str]] = []
    for row in rows:
        if row["y"] is None or row["is_baseline"] or baseline is None:
            continue
        tests += [
            (_liked(row, baseline, "above"), f"The judge prefers {row['label']} to {baseline['label']}."),
            (_liked(row, baseline, "below"), f"The judge prefers {baseline['label']} to {row['label']}."),
        ]
    return [*tests, *_score_candidates([row for row in rows if row["x"] is not None], baseline, most)]


def _score_candidates(scored: Sequence[Row], baseline: Row | None, most: int) -> list[tuple[Json, str]]:
    """Models that score above the judge's baseline (else the model that was not finetuned), and those like the largest.

    Of many models only the furthest above and the smallest are tried: each test reads thousands of items.
    """
    tests: list[tuple[Json, str]] = []
    below = baseline or next((row for row in scored if row["samples"] == 0), None)
    if below is not None and below["x"] is not None:
        higher = [row for row in scored if row["x"] > below["x"]]
        for row in _few(higher, most, lambda row: -row["x"]):
            words = f"{row['label']} scores above {below['label']} on the Gauntlet."
            tests.append((_test(row, "average", "above", below), words))
    full = max(scored, key=lambda row: row["samples"] or 0, default=None)
    if full is not None:
        smaller = [row for row in scored if row["samples"] and row["key"] != full["key"]]
        for row in _few(smaller, most, lambda row: row["samples"]):
            words = f"{row['label']} ({row['samples']:,} samples) cannot be told from {full['label']} on the Gauntlet."
            tests.append((_test(row, "average", "level", full), words))
    return tests


def _few(rows: Sequence[Row], most: int, order: Callable[[Row], float]) -> list[Row]:
    """The first `most` by `order`, in the order in which they stand."""
    kept = {row["key"] for row in sorted(rows, key=order)[:most]}
    return [row for row in rows if row["key"] in kept]


def short(label: str) -> str:
    """A name that leaves room for the rest of a sentence, on one line."""
    text = " ".join(str(label).split())
    return text if len(text) <= LABEL_CHARS else f"{text[: LABEL_CHARS - 1]}…"


def _test(a: Row, measure: str, relation: str, b: Row) -> Json:
    return {"kind": "model", "a": a["key"], "measure": measure, "relation": relation, "b": b["key"]}


def _liked(row: Row, baseline: Row, relation: str) -> Json:
    """A claim about a rate; it holds against this baseline only."""
    test = {"kind": "model", "a": row["key"], "measure": "preference", "relation": relation}
    return {**test, "baseline": baseline["key"]}


def chip(outcome: str) -> str:
    """The outcome as a short word."""
    words = {
        "supported": "holds",
        "as published": "as published",
        "unclear": "cannot tell",
        "contradicted": "contradicted",
        "no data": "no data",
    }
    return words[outcome]
