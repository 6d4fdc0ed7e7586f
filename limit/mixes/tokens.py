"""How many tokens samples have: counted by the code that trains, or estimated from characters.

Counting runs `limit.encoding.template`, so template, end token and loss mask are those of training. For the live panel
a few hundred samples per source are counted and the rest is estimated by a line through them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from limit.core import Json
from limit.mixes.draw import CHARS_PER_TOKEN, Keys, Rows, load_keys, ranks
from limit.settings import Workspace
from limit.sources.rows import read_rows

CALIBRATION_ROWS = 300
WHOLE = 1 << 40  # longer than any sample: nothing is cut while counting
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenCounts:
    """Per sample: all tokens of the rendered text, and those that carry loss."""

    total: Counts
    loss: Counts


@dataclass(frozen=True)
class Rate:
    """Tokens from characters: overhead of the template plus tokens per character, of prompts and of responses."""

    overhead: float = 0.0
    per_prompt_char: float = 1 / CHARS_PER_TOKEN
    per_response_char: float = 1 / CHARS_PER_TOKEN
    counted: int = 0  # samples that the rate was measured on

    def apply(self, keys: Keys, rows: Rows) -> TokenCounts:
        """Counts of some rows of a source."""
        return self.of_chars(keys.prompt_chars[rows], keys.response_chars[rows])

    def of_chars(self, prompt_chars: npt.NDArray[np.int32], response_chars: npt.NDArray[np.int32]) -> TokenCounts:
        """Counts of samples whose lengths in characters are known."""
        loss = response_chars * self.per_response_char + 1
        total = self.overhead + prompt_chars * self.per_prompt_char + loss
        return TokenCounts(np.rint(total).astype(np.int64), np.rint(loss).astype(np.int64))


def count_tokens(samples: list[Json], tokenizer: Any, template: str) -> TokenCounts:
    """Exact counts of sample rows."""
    from limit.encoding.template import encode_samples

    encoded = list(encode_samples(samples, tokenizer, template, WHOLE))
    return TokenCounts(
        np.array([len(item.ids) for item in encoded], np.int64),
        np.array([item.loss_tokens for item in encoded], np.int64),
    )


def count_mix_tokens(ws: Workspace, mix_id: str, model: str, template: str = "alpaca") -> TokenCounts:
    """Exact counts of every row of a built mix, in draw order. Raises LimitError when there is no such tokenizer."""
    tokenizer = open_tokenizer(ws, model)
    totals, losses = [], []
    with pq.ParquetFile(ws.mix(mix_id) / "samples.parquet") as parquet:
        for batch in parquet.iter_batches(batch_size=2_048, columns=["prompt", "response", "meta"]):
            counts = count_tokens(batch.to_pylist(), tokenizer, template)
            totals.append(counts.total)
            losses.append(counts.loss)
    return TokenCounts(np.concatenate(totals), np.concatenate(losses))


def open_tokenizer(ws: Workspace, model: str) -> Any:
    """The tokenizer of a model by name, folder, hub id or run. Raises LimitError when it cannot be had."""
    from limit.models import load_tokenizer, resolve_model

    return load_tokenizer(resolve_model(ws, model))


def calibrate(ws: Workspace, info: Json, model: str | None, template: str = "alpaca") -> Rate:
    """A source's rate: measured on a seeded draw with the model's tokenizer, or four characters a token without one."""
    if model is None:
        return Rate()
    return _measured(ws, info["source"], info["content_sha256"], model, template)


@functools.lru_cache(maxsize=64)
def _measured(ws: Workspace, source: str, content: str, model: str, template: str) -> Rate:
    from limit.sources.listing import source_info

    info = source_info(ws, source)
    keys = load_keys(info)
    rows = np.argsort(ranks(keys.ids, 0))[:CALIBRATION_ROWS]
    counts = count_tokens(read_rows(info, rows).to_pylist(), open_tokenizer(ws, model), template)
    prompt_tokens = counts.total - counts.loss
    empty = count_tokens([{"prompt": "", "response": "", "meta": "{}"}], open_tokenizer(ws, model), template)
    overhead = float(empty.total[0] - empty.loss[0])
    per_prompt = (prompt_tokens.sum() - overhead * len(rows)) / max(1, int(keys.prompt_chars[rows].sum()))
    per_response = (counts.loss.sum() - len(rows)) / max(1, int(keys.response_chars[rows].sum()))
    return Rate(overhead, float(max(per_prompt, 0.0)), float(per_response), len(rows))
