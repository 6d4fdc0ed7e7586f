"""Claims that the numbers already support, in the paper's order: mixing helps, style wins the judge, data the tests."""

from __future__ import annotations

from collections.abc import Sequence

from limit.claims.evidence import evaluate
from limit.core import Json
from limit.store import Store
from limit.store.schema import Row

LABEL_CHARS = 70  # of a model's name in a suggested sentence


def suggestions(store: Store, rows: Sequence[Row]) -> list[Json]:
    """Claims about the models of one layer that the data support: {sentence, test, evidence, layer}.

    Each candidate test is run and only those are offered that hold or were published so; the words say no more than
    the test does.
    """
    models = {row["key"]: row for row in rows}
    found = []
    for test, sentence in _candidates(rows):
        evidence = evaluate(store, test, models)
        if evidence.outcome in ("supported", "as published"):
            found.append({"sentence": sentence, "test": test, "evidence": evidence})
    return found


def _candidates(models: Sequence[Row]) -> list[tuple[Json, str]]:
    rows = [{**row, "label": short(row["label"])} for row in models]
    baseline = next((row for row in rows if row["is_baseline"]), None)
    tests: list[tuple[Json, str]] = []
    for row in rows:
        if row["y"] is None or row["is_baseline"] or baseline is None:
            continue
        tests += [
            (_test(row, "preference", "above"), f"The judge prefers {row['label']} to {baseline['label']}."),
            (_test(row, "preference", "below"), f"The judge prefers {baseline['label']} to {row['label']}."),
        ]
    scored = [row for row in rows if row["x"] is not None]
    if baseline is not None and baseline["x"] is not None:
        for row in scored:
            if row["key"] != baseline["key"]:
                words = f"{row['label']} scores above {baseline['label']} on the Gauntlet."
                tests.append((_test(row, "average", "above", baseline), words))
    full = max(scored, key=lambda row: row["samples"] or 0, default=None)
    for row in scored:
        if full is not None and row["key"] != full["key"] and row["samples"]:
            words = f"{row['label']} ({row['samples']:,} samples) cannot be told from {full['label']} on the Gauntlet."
            tests.append((_test(row, "average", "level", full), words))
    return tests


def short(label: str) -> str:
    """A name that leaves room for the rest of a sentence, on one line."""
    text = " ".join(str(label).split())
    return text if len(text) <= LABEL_CHARS else f"{text[: LABEL_CHARS - 1]}…"


def _test(a: Row, measure: str, relation: str, b: Row | None = None) -> Json:
    test = {"kind": "model", "a": a["key"], "measure": measure, "relation": relation}
    return test if b is None else {**test, "b": b["key"]}


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
