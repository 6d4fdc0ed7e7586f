"""Leaks: samples that share long word runs with what the model will be tested on.

An item whose question has 13 or more words leaks into a sample that holds one of its 13-word runs (the window of Brown
et al. 2020, appendix C); one of 6 to 12 words leaks where all its words stand in the sample as one run. A shorter
question counts with its right answer; what is still shorter than 6 words cannot be told from ordinary language and is
counted as not checked. Case, punctuation and the way Unicode writes a letter do not matter. Runs that stand in more
than 10 items are the wording of a task, not its content, and do not count. `overlap` is the share of an item's runs
that the sample holds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limit.core import Json
from limit.jobs.context import JobContext
from limit.mixes.ngrams import WordHasher, grams, owners, run_of
from limit.mixes.reference import Reference
from limit.sources.samples import Words, spoken

RUN = 13
SHORTEST = 6
BOILERPLATE = 10
SHOWN = 300


@dataclass(frozen=True)
class _Runs:
    """Sorted run hashes of the references for one run length, and whose they are."""

    n: int
    hashes: Words
    items: npt.NDArray[np.int64]


def find_leaks(samples: list[Json], references: list[Reference], context: JobContext) -> Json:
    """Which samples hold text of which references.

    Returns {groups: [{kind, group, items, checked, leaked_items, samples}], leaks: [{sample_id, source, subset, row,
    prompt, kind, group, task, index, question, overlap, shared}], samples: number of leaking samples, drop:
    [sample_id]}; `shared` is the first run of words that sample and item have in common, as the sample writes it.
    """
    hasher = WordHasher()
    words = [_words_of(item, hasher) for item in references]
    runs = _reference_runs(words)
    sizes = [max(1, len(w) - RUN + 1) for w in words]
    hits: list[tuple[int, int, float]] = []
    for number, sample in enumerate(samples):
        for item, shared in _shared(hasher.words(spoken(sample)), runs).items():
            hits.append((number, item, min(1.0, shared / sizes[item])))
        if number % 500 == 0:
            context.progress(number, len(samples))
    hits.sort(key=lambda hit: (-hit[2], hit[0], hit[1]))
    return {
        "groups": _by_group(references, words, hits),
        "leaks": [
            _row(samples[s], references[i], overlap, _first_shared(samples[s], words[i], hasher))
            for s, i, overlap in hits[:SHOWN]
        ],
        "pairs": len(hits),
        "samples": len({s for s, _, _ in hits}),
        "drop": sorted({samples[s]["sample_id"] for s, _, _ in hits}),
    }


def _words_of(item: Reference, hasher: WordHasher) -> Words:
    """The words by which an item is recognised."""
    asked = hasher.words(item.asked())
    return asked if len(asked) >= SHORTEST else np.concatenate([asked, hasher.words(item.answer)])


def _reference_runs(words: list[Words]) -> list[_Runs]:
    by_length: dict[int, list[tuple[int, Words]]] = defaultdict(list)
    for item, text in enumerate(words):
        if len(text) >= SHORTEST:
            n = min(RUN, len(text))
            by_length[n].append((item, np.unique(grams(text, n))))
    found = []
    for n, entries in sorted(by_length.items()):
        hashes = np.concatenate([runs for _, runs in entries])
        items = np.array([item for item, _ in entries])[owners([len(runs) for _, runs in entries])]
        order = np.argsort(hashes, kind="stable")
        hashes, items = hashes[order], items[order]
        _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        keep = counts[inverse] <= BOILERPLATE
        found.append(_Runs(n, hashes[keep], items[keep]))
    return found


def _shared(text: Words, runs: list[_Runs]) -> dict[int, int]:
    """How many runs of which items a text holds."""
    shared: dict[int, int] = defaultdict(int)
    for group in runs:
        mine = np.unique(grams(text, group.n))
        if len(mine) == 0 or len(group.hashes) == 0:
            continue
        low = np.searchsorted(group.hashes, mine, "left")
        high = np.searchsorted(group.hashes, mine, "right")
        for start, end in zip(low[high > low], high[high > low], strict=True):
            for item in group.items[start:end]:
                shared[int(item)] += 1
    return shared


def _first_shared(sample: Json, item: Words, hasher: WordHasher) -> str:
    text, n = spoken(sample), min(RUN, len(item))
    places = np.flatnonzero(np.isin(grams(hasher.words(text), n), grams(item, n)))
    return run_of(text, int(places[0]), n) if len(places) else ""


def _by_group(references: list[Reference], words: list[Words], hits: list[tuple[int, int, float]]) -> list[Json]:
    groups: dict[tuple[str, str], list[int]] = {}
    for item, reference in enumerate(references):
        groups.setdefault((reference.kind, reference.group), []).append(item)
    samples: dict[tuple[str, str], set[int]] = defaultdict(set)
    items: dict[tuple[str, str], set[int]] = defaultdict(set)
    for sample, item, _ in hits:
        key = (references[item].kind, references[item].group)
        samples[key].add(sample)
        items[key].add(item)
    return [
        {
            "kind": kind,
            "group": group,
            "items": len(members),
            "checked": sum(len(words[i]) >= SHORTEST for i in members),
            "leaked_items": len(items[kind, group]),
            "samples": len(samples[kind, group]),
        }
        for (kind, group), members in groups.items()
    ]


def _row(sample: Json, item: Reference, overlap: float, shared: str) -> Json:
    return {
        **{key: sample[key] for key in ("sample_id", "source", "subset", "row")},
        "prompt": sample["prompt"][:400],
        "kind": item.kind,
        "group": item.group,
        "task": item.task,
        "index": item.index,
        "question": item.question[:400],
        "overlap": round(overlap, 3),
        "shared": shared[:400],
    }
