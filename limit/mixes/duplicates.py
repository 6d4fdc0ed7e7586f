"""Exact and near duplicates within and across the parts of a mix.

Exact: equal texts after folding case and white space. Near: Jaccard similarity of 3-word shingles of all turns of at
least 0.8, found by MinHash LSH (datasketch) and confirmed on the shingles themselves, so the hash makes
no false pair. Of each group the sample drawn first is kept.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from limit.core import Json
from limit.jobs.context import JobContext
from limit.mixes.ngrams import WordHasher, grams
from limit.sources.samples import Words, messages_of, spoken

THRESHOLD = 0.8
SHINGLE = 3
PERMUTATIONS = 64
BANDS = (16, 4)  # bands of the LSH and hashes in each: of the pairs at THRESHOLD 2 in 10,000 are missed
SHOWN = 200


def find_duplicates(samples: list[Json], context: JobContext) -> Json:
    """Groups of duplicates among samples (with sample_id, source, subset, part, prompt, response, meta).

    Returns {exact, near, across, drop, groups: [{kind, similarity, samples: [...]}], threshold}: `exact`
    and `near` count the samples beyond the first of each group, `across` those whose first lies in another part. `drop`
    has the ids of these samples, as SOURCE/ID where a sample of another source that is kept has the same id.
    """
    groups = _Groups(len(samples))
    exact = _exact(samples, groups)
    shingles = _shingles(samples)
    similarity = _near(shingles, groups, context)
    found = groups.members()
    dropped: list[int] = []
    listed: list[Json] = []
    across = 0
    for members in found:
        dropped += members[1:]
        across += sum(samples[i]["part"] != samples[members[0]]["part"] for i in members[1:])
        kind = "exact" if all(i in exact for i in members[1:]) else "near"
        closest = min((similarity.get((members[0], i), 1.0) for i in members[1:]), default=1.0)
        shown = [_short(samples[i]) for i in members[:8]]
        listed.append({"kind": kind, "similarity": round(closest, 3), "samples": shown, "size": len(members)})
    listed.sort(key=lambda group: -int(group["size"]))
    return {
        "exact": len(exact),
        "near": len(dropped) - len(exact),
        "across": across,
        "drop": _named(samples, set(dropped)),
        "groups": listed[:SHOWN],
        "group_count": len(listed),
        "threshold": THRESHOLD,
    }


def _named(samples: list[Json], dropped: set[int]) -> list[str]:
    kept = {sample["sample_id"] for i, sample in enumerate(samples) if i not in dropped}
    names = ((samples[i]["source"], samples[i]["sample_id"]) for i in dropped)
    return sorted(f"{source}/{sample_id}" if sample_id in kept else sample_id for source, sample_id in names)


class _Groups:
    """Union-find over sample positions; the smallest position leads its group."""

    def __init__(self, n: int) -> None:
        self._leader = list(range(n))

    def find(self, i: int) -> int:
        while self._leader[i] != i:
            self._leader[i] = self._leader[self._leader[i]]
            i = self._leader[i]
        return i

    def join(self, a: int, b: int) -> None:
        first, second = sorted((self.find(a), self.find(b)))
        self._leader[second] = first

    def members(self) -> list[list[int]]:
        """Groups of two and more, in order of their first member."""
        groups: dict[int, list[int]] = {}
        for i in range(len(self._leader)):
            groups.setdefault(self.find(i), []).append(i)
        return [group for group in groups.values() if len(group) > 1]


def _exact(samples: list[Json], groups: _Groups) -> set[int]:
    first: dict[bytes, int] = {}
    later = set()
    for i, sample in enumerate(samples):
        turns = messages_of(sample.get("meta"), sample["prompt"], sample["response"])
        folded = "\x1f".join(" ".join(turn["content"].casefold().split()) for turn in turns)
        key = hashlib.blake2b(folded.encode(), digest_size=16).digest()
        if (leader := first.setdefault(key, i)) != i:
            groups.join(leader, i)
            later.add(i)
    return later


def _shingles(samples: list[Json]) -> list[Words]:
    hasher = WordHasher()
    found = []
    for sample in samples:
        words = hasher.words(spoken(sample))
        found.append(np.unique(grams(words, SHINGLE)) if len(words) >= SHINGLE else np.unique(words))
    return found


def _near(shingles: list[Words], groups: _Groups, context: JobContext) -> dict[tuple[int, int], float]:
    """Join near duplicates; returns the similarity of each confirmed pair (earlier, later)."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS)
    base = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=_as_is)
    confirmed: dict[tuple[int, int], float] = {}
    for i, mine in enumerate(shingles):
        if len(mine) == 0:
            continue
        signature = base.copy()
        signature.update_batch((mine >> np.uint64(32)).tolist())
        for other in index.query(signature):
            if groups.find(other) == groups.find(i):
                continue
            similarity = jaccard(mine, shingles[other])
            if similarity >= THRESHOLD:
                groups.join(other, i)
                confirmed[(other, i)] = similarity
        index.insert(i, signature, check_duplication=False)
        if i % 500 == 0:
            context.progress(i, len(shingles))
    return confirmed


def _as_is(value: Any) -> Any:
    """Shingles are hashes already."""
    return value


def jaccard(a: Words, b: Words) -> float:
    """Similarity of two sorted arrays of distinct values."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - shared
    return shared / union if union else 1.0


def _short(sample: Json) -> Json:
    return {
        **{key: sample[key] for key in ("sample_id", "source", "subset", "part", "row")},
        "prompt": sample["prompt"][:300],
        "response": sample["response"][:300],
    }
