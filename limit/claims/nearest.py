"""The training samples of a mix that are closest in words to a test item, by TF-IDF cosine over prompt and response."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from limit.core import LimitError
from limit.settings import Workspace
from limit.store.schema import Row

TEXT_CHARS = 1500  # of prompt and of response each; beyond it a sample's words repeat themselves


class Nearest:
    """An index of one mix's samples in memory; made once, asked often."""

    def __init__(self, ws: Workspace, mix_id: str) -> None:
        """Read the mix and weigh its words. Raises LimitError when its samples are not on this machine."""
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer

        path = ws.mix(mix_id) / "samples.parquet"
        if not path.is_file():
            raise LimitError(
                f"the samples of mix {mix_id} are not on this machine; build the mix again to look into it"
            )
        table = pq.read_table(path, columns=["sample_id", "source", "subset", "prompt", "response"])
        self.rows: list[Row] = table.to_pylist()
        texts = [f"{_cut(row['prompt'])} {_cut(row['response'])}" for row in self.rows]
        self._words = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, token_pattern=r"\w+", max_features=200_000)
        try:
            self._matrix: Any = self._words.fit_transform(texts)
        except ValueError:  # no words at all
            self._matrix = None

    def to(self, text: str, count: int = 3) -> list[Row]:
        """The `count` closest samples with their `similarity` (0-1), closest first; one shared word is the least."""
        if self._matrix is None or not self.rows:
            return []
        similarity = (self._matrix @ self._words.transform([_cut(text)]).T).toarray()[:, 0]
        best = similarity.argsort()[::-1][:count]
        return [{**self.rows[i], "similarity": float(similarity[i])} for i in best if similarity[i] > 0]


def _cut(text: str | None) -> str:
    return (text or "")[:TEXT_CHARS]
