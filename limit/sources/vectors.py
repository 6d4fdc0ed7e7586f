"""Samples as TF-IDF vectors: nearest neighbours of one, and the base of topics."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from limit.core import Json
from limit.settings import Workspace
from limit.sources.browsing import sample
from limit.sources.listing import source_info
from limit.sources.rows import read_rows

COMPARED = 20_000  # samples of a larger source that a sample is compared with, drawn at random
TEXT_CHARS = 4_000


def neighbours(ws: Workspace, source: str, row: int, n: int = 5) -> Json:
    """The samples whose prompt and response share most words with sample `row`, by cosine of TF-IDF.

    Returns {rows: [{...sample, similarity}], compared}. Raises LimitError for an unknown row.
    """
    wanted = sample(ws, source, row)
    return nearest(ws, source, f"{wanted['prompt']}\n{wanted['response']}", n, skip_row=row)


def nearest(ws: Workspace, source: str, text: str, n: int = 5, skip_row: int | None = None) -> Json:
    """The samples of a source nearest to any text; see `neighbours`."""
    info = source_info(ws, source)
    rows, vectorizer, idf, matrix = _vectors(ws, source, info["content_sha256"])
    similarity = (matrix @ idf.transform(vectorizer.transform([text[:TEXT_CHARS]])).T).toarray().ravel()
    if skip_row is not None:
        similarity[rows == skip_row] = -1
    best = np.argsort(-similarity, kind="stable")[:n]
    best = best[similarity[best] > 0]
    found = read_rows(info, rows[best]).to_pylist()
    similar = [round(float(value), 3) for value in similarity[best]]
    return {
        "rows": [{**item, "similarity": value} for item, value in zip(found, similar, strict=True)],
        "compared": len(rows),
    }


@functools.lru_cache(maxsize=2)
def _vectors(ws: Workspace, source: str, content: str) -> tuple[npt.NDArray[np.int64], Any, Any, Any]:
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    rows, texts = texts_of(ws, source, COMPARED)
    vectorizer = HashingVectorizer(n_features=2**18, alternate_sign=False, norm=None, dtype=np.float32)
    idf = TfidfTransformer(sublinear_tf=True)
    matrix = idf.fit_transform(vectorizer.transform(texts))
    return rows, vectorizer, idf, matrix


def texts_of(ws: Workspace, source: str, most: int) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Row numbers and texts (prompt and response, cut) of all samples, or of `most` at random, in row order."""
    info = source_info(ws, source)
    total = int(info["rows"])
    rows = np.arange(total)
    if total > most:
        rows = np.sort(np.random.default_rng(0).choice(total, most, replace=False))
    table = read_rows(info, rows, ["prompt", "response"])
    pairs = zip(table["prompt"].to_pylist(), table["response"].to_pylist(), strict=True)
    return rows, [f"{prompt[:TEXT_CHARS]}\n{response[:TEXT_CHARS]}" for prompt, response in pairs]
