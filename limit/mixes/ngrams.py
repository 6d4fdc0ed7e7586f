"""Word n-grams of texts as 64-bit hashes in numpy: the common ground of near-duplicate and leak search."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from limit.sources.samples import Words

_WORD = re.compile(r"[^\W_]+")
_MIX = np.uint64(0x9E3779B97F4A7C15)


class WordHasher:
    """Texts to arrays of word hashes; a word's hash is the same on any machine."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def words(self, text: str) -> Words:
        """Hashes of the words of a text in order, whatever their case and however Unicode writes their letters."""
        known, found = self._known, [word.casefold() for word in _WORD.findall(_plain(text))]
        for word in found:
            if word not in known:
                known[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        return np.array([known[word] for word in found], np.uint64)


def _plain(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def run_of(text: str, first: int, n: int) -> str:
    """The stretch of a text from word number `first` on, `n` words long."""
    spans = [match.span() for match in _WORD.finditer(_plain(text))][first : first + n]
    return _plain(text)[spans[0][0] : spans[-1][1]] if spans else ""


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
