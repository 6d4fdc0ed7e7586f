"""Topics of a source: named clusters and a map, made once by a job and kept beside the source.

TF-IDF of words in 50 dimensions by SVD, or sentence embeddings where the user has a model; then k-means. A topic is
named by the words that set it apart. The map is a t-SNE of a few thousand samples; distances on it are only good for
neighbourhoods.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limit.core import Json, LimitError, atomic_path, read_json, write_json
from limit.jobs.context import JobContext
from limit.settings import Workspace
from limit.sources.embeddings import embed, model_name
from limit.sources.listing import source_info
from limit.sources.vectors import texts_of

CLUSTERED = 20_000  # samples at most, drawn at random from a larger source
MAPPED = 2_500
FEWEST = 20
STEPS = 4


def make_topics(
    ws: Workspace, source: str, context: JobContext, topics: int | None = None, embeddings: str | Path | None = None
) -> Json:
    """Cluster a source. Writes `topics.json` and `topics.parquet` (row, topic, x, y; x and y only where mapped).

    `embeddings` is the folder of a sentence-embedding model to use instead of word counts. Returns {source, samples,
    method, topics: [{topic, name, words, rows}]}. Raises LimitError for a source of under 20 samples or such a folder
    that cannot be used.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    info = source_info(ws, source)
    if info["rows"] < FEWEST:
        raise LimitError(f"source {source!r} has {info['rows']} samples; topics need at least {FEWEST}")
    rows, texts = texts_of(ws, source, CLUSTERED)
    context.progress(1, STEPS)
    vectorizer = TfidfVectorizer(
        sublinear_tf=True, stop_words="english", min_df=2, max_df=0.5, max_features=30_000, dtype=np.float32
    )
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:
        raise LimitError(f"source {source!r} shares too few words between samples to have topics") from None
    if embeddings is None:
        method = "TF-IDF, SVD"
        space = normalize(TruncatedSVD(min(50, min(matrix.shape) - 1), random_state=0).fit_transform(matrix))
    else:
        method = f"sentence embeddings by {model_name(embeddings)}"
        space = embed(Path(embeddings), texts, context)
    context.progress(2, STEPS)
    count = topics or int(np.clip(round(np.sqrt(len(rows) / 25)), 3, 24))
    labels = MiniBatchKMeans(count, random_state=0, n_init=5).fit_predict(space)
    context.progress(3, STEPS)
    x, y = _map(space)
    named = _named(matrix, labels, vectorizer.get_feature_names_out(), count)
    table = pa.table(
        {
            "row": pa.array(rows),
            "topic": pa.array(labels.astype(np.int32)),
            "x": pa.array(x, from_pandas=True),
            "y": pa.array(y, from_pandas=True),
        }
    )
    result: Json = {"source": source, "samples": len(rows), "method": method, "topics": named}
    _write(Path(info["path"]), table, result)
    context.progress(STEPS, STEPS)
    return result


def load_topics(ws: Workspace, source: str) -> Json | None:
    """The kept topics with `points`: [{row, topic, x, y}] of the map; None when none were made."""
    folder = Path(source_info(ws, source)["path"])
    if not (folder / "topics.json").is_file() or not (folder / "topics.parquet").is_file():
        return None
    table = pq.read_table(folder / "topics.parquet")
    mapped = table.filter(pc.is_valid(table["x"]))
    return {**read_json(folder / "topics.json"), "points": mapped.to_pylist()}


def topic_rows(ws: Workspace, source: str, topic: int) -> list[int]:
    """Row numbers of the samples of a topic."""
    path = Path(source_info(ws, source)["path"]) / "topics.parquet"
    table = pq.read_table(path, columns=["row"], filters=[("topic", "=", topic)])
    rows: list[int] = table["row"].to_pylist()
    return rows


def _map(space: Any) -> tuple[Any, Any]:
    """Places of the first MAPPED of a random order; NaN elsewhere."""
    from sklearn.manifold import TSNE

    chosen = np.random.default_rng(0).permutation(len(space))[:MAPPED]
    places = np.full((len(space), 2), np.nan)
    perplexity = min(30.0, max(2.0, (len(chosen) - 1) / 4))
    places[chosen] = TSNE(2, perplexity=perplexity, init="pca", random_state=0, max_iter=400).fit_transform(
        space[chosen]
    )
    return places[:, 0], places[:, 1]


def _named(matrix: Any, labels: Any, words: Any, count: int) -> list[Json]:
    """Each topic's name: the three words whose mean weight lies furthest above the source's."""
    overall = np.asarray(matrix.mean(axis=0)).ravel()
    found = []
    for topic in range(count):
        members = np.flatnonzero(labels == topic)
        if len(members) == 0:
            continue
        above = np.asarray(matrix[members].mean(axis=0)).ravel() - overall
        top = [str(words[i]) for i in np.argsort(-above, kind="stable")[:8]]
        found.append({"topic": topic, "name": ", ".join(top[:3]), "words": top, "rows": len(members)})
    return sorted(found, key=lambda entry: -int(entry["rows"]))


def _write(folder: Path, table: pa.Table, result: Json) -> None:
    """The table first: topics count as made once `topics.json` is there."""
    with atomic_path(folder / "topics.parquet") as temporary:
        pq.write_table(table, temporary)
    write_json(folder / "topics.json", result)
