"""The alignment meter: which tests the prompts of a mix look like. LIMIT's finding is that the mix must match them.

Measure: a logistic regression on TF-IDF of words, word pairs and punctuation marks learns to tell the groups of
references apart (each Gauntlet category, each open-ended prompt set; templates stripped, groups weighted equally,
tasks within a category capped equally). A mix's share of a group is the mean probability that its prompts are given;
the shares sum to 1. Intervals are bootstrap percentiles over the mix's samples. The classifier's accuracy on held-out
references stands beside them: with accuracy near 1/groups the meter means nothing.
Limits: it sees wording and form of prompts, not whether answers are right, and a prompt unlike every group still adds
up to 1.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from limit.core import Json, content_id
from limit.mixes.reference import Reference, items_from, load_references
from limit.settings import Workspace
from limit.sources.clean import strip_template

NOT_COMPARED = ("safety", "programming")  # no category of the paper's average
PER_GROUP = 600
SAMPLED = 1_000
PROMPT_CHARS = 2_000
DRAWS = 500


@dataclass(frozen=True)
class Meter:
    """A trained classifier with its held-out accuracy."""

    vectorizer: Any
    classifier: Any
    groups: tuple[tuple[str, str], ...]  # (kind, group) in the classifier's class order
    accuracy: float
    trained_on: int

    def probabilities(self, prompts: list[str]) -> Any:
        """(n, groups) probabilities."""
        texts = [strip_template(prompt)[0][:PROMPT_CHARS] for prompt in prompts]
        return self.classifier.predict_proba(self.vectorizer.transform(texts))


def align(ws: Workspace, table: pa.Table, data: str | Path | None = None) -> Json:
    """How the prompts in `table` are shared out among the references.

    Returns {groups: [{kind, group, share, low, high}], gauntlet, open_ended, n, accuracy, trained_on, items_from}, or
    groups empty when there are fewer than two groups to compare with. `gauntlet` and `open_ended` are {share, low,
    high}; `items_from` says which Gauntlet items it was.
    """
    meter = load_meter(ws, data)
    if meter is None or len(table) == 0:
        nothing: Json = {"groups": [], "n": 0, "accuracy": None, "trained_on": 0, "gauntlet": None, "open_ended": None}
        return {**nothing, "items_from": items_from(ws, data)}
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(table))[:SAMPLED]
    shares = meter.probabilities(table["prompt"].take(pa.array(np.sort(rows))).to_pylist())
    means = np.stack([shares[rng.integers(0, len(shares), len(shares))].mean(axis=0) for _ in range(DRAWS)])

    def facts(columns: list[int]) -> Json:
        drawn = means[:, columns].sum(axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        return {"share": float(shares[:, columns].sum(axis=1).mean()), "low": float(low), "high": float(high)}

    groups = [{"kind": kind, "group": group, **facts([i])} for i, (kind, group) in enumerate(meter.groups)]
    by_kind = {kind: [i for i, (k, _) in enumerate(meter.groups) if k == kind] for kind in ("gauntlet", "prompts")}
    return {
        "groups": groups,
        "n": len(rows),
        "accuracy": meter.accuracy,
        "trained_on": meter.trained_on,
        "gauntlet": facts(by_kind["gauntlet"]),
        "open_ended": facts(by_kind["prompts"]),
        "items_from": items_from(ws, data),
    }


def load_meter(ws: Workspace, data: str | Path | None = None) -> Meter | None:
    """The classifier for a data folder and the workspace's prompt sets; trained once and kept in memory."""
    chosen = _balanced(load_references(ws, data))
    if len({group for group, _ in chosen}) < 2:
        return None
    return _trained(content_id([[list(group), text] for group, text in chosen]), tuple(chosen))


@functools.lru_cache(maxsize=4)
def _trained(fingerprint: str, chosen: tuple[tuple[tuple[str, str], str], ...]) -> Meter:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    texts = [text for _, text in chosen]
    names = sorted({group for group, _ in chosen})
    labels = np.array([names.index(group) for group, _ in chosen])
    train, held_out, train_labels, held_out_labels = train_test_split(texts, labels, test_size=0.25, random_state=0)
    vectorizer = TfidfVectorizer(
        sublinear_tf=True, ngram_range=(1, 2), min_df=2, max_features=20_000, token_pattern=r"(?u)\w+|[^\w\s]"
    )
    classifier = LogisticRegression(C=10, class_weight="balanced", max_iter=100, tol=1e-3)
    classifier.fit(vectorizer.fit_transform(train), train_labels)
    accuracy = float(classifier.score(vectorizer.transform(held_out), held_out_labels))
    seen = tuple(names[label] for label in classifier.classes_)
    return Meter(vectorizer, classifier, seen, accuracy, len(train))


def _balanced(references: list[Reference]) -> list[tuple[tuple[str, str], str]]:
    """Up to PER_GROUP questions of each group, spread evenly over its tasks; groups of fewer than 8 are left out."""
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    for item in references:
        if item.kind == "gauntlet" and item.group in NOT_COMPARED:
            continue
        text = strip_template(item.question)[0][:PROMPT_CHARS]
        groups.setdefault((item.kind, item.group), {}).setdefault(item.task, []).append(text)
    rng = np.random.default_rng(0)
    chosen = []
    for group, tasks in sorted(groups.items()):
        if sum(len(texts) for texts in tasks.values()) < 8:
            continue
        for _, texts in sorted(tasks.items()):
            picked = rng.permutation(len(texts))[: max(1, PER_GROUP // len(tasks))]
            chosen += [(group, texts[i]) for i in sorted(picked)]
    return chosen
