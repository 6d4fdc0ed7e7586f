"""Word n-grams of texts as 64-bit hashes in numpy: the common ground of near-duplicate and leak search."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from limit.sources.samples import Words

_WORD = re.compile(r"\w+")
_MIX = np.uint64(0x9E3779B97F4A7C15)


class WordHasher:
    """Texts to arrays of word hashes; a word's hash is the same on any machine."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def words(self, text: str) -> Words:
        """Hashes of the lower-cased words of a text, in order."""
        known, found = self._known, _WORD.findall(text.lower())
        for word in found:
            if word not in known:
                known[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        return np.array([known[word] for word in found], np.uint64)


def grams(words: Words, n: int) -> Words:
    """Hashes of the runs of `n` words, in order; empty for a shorter text."""
    length = len(words) - n + 1
    if length <= 0:
        return np.empty(0, np.uint64)
    total = np.zeros(length, np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(n):
            total = (total ^ (words[offset : offset + length] >> np.uint64(7))) * _MIX + words[offset : offset + length]
    return total


def owners(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    """For arrays laid end to end, the index of the one that each entry came from."""
    return np.repeat(np.arange(len(lengths)), lengths)
