"""What a mix comes to before anything is trained: rows, tokens, truncation, padding, packing, steps, composition.

`describe_spec` works on the narrow columns alone, so it answers while a slider moves; `describe` reads a built mix and
can count with the tokenizer itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from limit.core import Json
from limit.mixes.draw import Keys, Rows, draw_parts, load_keys
from limit.mixes.listing import mix_samples
from limit.mixes.tokens import Counts, Rate, TokenCounts, calibrate, count_mix_tokens
from limit.settings import Workspace
from limit.sources.listing import source_info
from limit.specs import MixSpec

EXACT_PACKING_ROWS = 4_000  # beyond, packing is measured on this many rows
SUBSETS_SHOWN = 12
ESTIMATED = "estimate: 4 characters a token"


@dataclass(frozen=True)
class Measure:
    """By what a mix is measured: whose tokens, in which template, cut where, and how many samples make a step."""

    model: str | None = None  # None estimates tokens from characters
    template: str = "alpaca"
    max_seq_len: int = 2048
    batch: int = 48
    epochs: float = 1.0


def describe_spec(ws: Workspace, spec: MixSpec, by: Measure = Measure()) -> Json:
    """What a request would come to, unbuilt; see `summary` for the fields. Raises LimitError as a build does."""
    infos = {part.source: source_info(ws, part.source) for part in spec.parts}
    drawn = draw_parts(infos, spec)
    keys = [load_keys(infos[part.source]) for part in spec.parts]
    rates = [calibrate(ws, infos[part.source], by.model, by.template) for part in spec.parts]
    counted = [rate.apply(k, rows) for rate, k, rows in zip(rates, keys, drawn, strict=True)]
    counts = TokenCounts(np.concatenate([c.total for c in counted]), np.concatenate([c.loss for c in counted]))
    kept = [np.minimum(c.total, by.max_seq_len) for c in counted]
    composition = []
    for number, (part, k, rows) in enumerate(zip(spec.parts, keys, drawn, strict=True)):
        composition += _composition(number, part.source, infos[part.source]["rows"], k, rows, kept[number])
    how = ESTIMATED if by.model is None else f"estimate from {rates[0].counted} samples a source"
    return {
        **summary(counts, by),
        "tokens_from": how,
        "composition": composition,
        "parts": [
            {
                "source": p.source,
                "subset": p.subset,
                "rows": len(r),
                "of": infos[p.source]["rows"],
                "tokens": int(tokens.sum()),
            }
            for p, r, tokens in zip(spec.parts, drawn, kept, strict=True)
        ],
    }


def describe(ws: Workspace, mix_id: str, by: Measure = Measure()) -> Json:
    """What the rows of a built mix come to, whatever became of its sources; with a model every token is counted.

    Fields as `describe_spec`, without how much the sources hold. Raises LimitError when there is no such mix.
    """
    table = mix_samples(ws, mix_id, ["part", "source", "subset", "n_prompt_chars", "n_response_chars"])
    if by.model is None:
        counts = Rate().of_chars(*(table[name].to_numpy() for name in ("n_prompt_chars", "n_response_chars")))
    else:
        counts = count_mix_tokens(ws, mix_id, by.model, by.template)
    tokens = pa.array(np.minimum(counts.total, by.max_seq_len))
    table = table.append_column("tokens", tokens).append_column("rows", pa.array(np.ones(len(table), np.int64)))
    return {
        **summary(counts, by),
        "tokens_from": ESTIMATED if by.model is None else f"counted with {by.model}",
        "mix_id": mix_id,
        "composition": _grouped(table, ["part", "source", "subset"]),
        "parts": _grouped(table, ["part", "source"]),
    }


def _grouped(table: pa.Table, keys: list[str]) -> list[Json]:
    """Rows and tokens of each group, in the order of the keys."""
    sums = table.group_by(keys).aggregate([("rows", "sum"), ("tokens", "sum")])
    sums = sums.sort_by([(key, "ascending") for key in keys])
    return [
        {**{key: row[key] for key in keys}, "rows": row["rows_sum"], "tokens": row["tokens_sum"]}
        for row in sums.to_pylist()
    ]


def summary(counts: TokenCounts, by: Measure) -> Json:
    """The figures of a mix; lengths in tokens, shares between 0 and 1.

    Returns {rows, tokens, response_tokens, truncated, truncated_share, lost_tokens, padding_share, packing_fill,
    packed_rows, steps_per_epoch, steps, longest, median_response_tokens}.
    `padding_share` is what would be padding if batches of `batch` rows were padded to their longest; `packing_fill` the
    real share of rows of `max_seq_len` filled best-fit. Steps drop no last batch.
    """
    from limit.encoding.packing import fill

    length, batch = by.max_seq_len, by.batch
    kept = np.minimum(counts.total, length)
    truncated = int((counts.total > length).sum())
    shuffled = kept[np.random.default_rng(0).permutation(len(kept))]
    sample = shuffled[:EXACT_PACKING_ROWS]
    filled = fill(sample.tolist(), length)
    steps = -(-len(kept) // batch)
    return {
        "rows": len(kept),
        "tokens": int(kept.sum()),
        "response_tokens": int(np.maximum(counts.loss - np.maximum(counts.total - length, 0), 0).sum()),
        "truncated": truncated,
        "truncated_share": truncated / len(kept),
        "lost_tokens": int((counts.total - kept).sum()),
        "padding_share": _padding_share(shuffled, batch),
        "packing_fill": filled,
        "packed_rows": max(1, round(int(kept.sum()) / (filled * length))),
        "steps_per_epoch": steps,
        "steps": round(steps * by.epochs),
        "longest": int(counts.total.max()),
        "median_response_tokens": int(np.median(counts.loss)),
    }


def _padding_share(shuffled: Counts, batch: int) -> float:
    """Share of a padded epoch that is padding, with rows in random order."""
    whole = -(-len(shuffled) // batch) * batch
    padded = np.zeros(whole, np.int64)
    padded[: len(shuffled)] = shuffled
    longest = padded.reshape(-1, batch).max(axis=1)
    sizes = np.full(len(longest), batch)
    sizes[-1] = len(shuffled) - batch * (len(longest) - 1)
    space = int((longest * sizes).sum())
    return 1 - int(shuffled.sum()) / space if space else 0.0


def _composition(part: int, source: str, of: int, keys: Keys, rows: Rows, tokens: Counts) -> list[Json]:
    """Rows and tokens by subset, the largest first; small ones beyond a dozen are summed."""
    codes = keys.subset[rows]
    n = np.bincount(codes, minlength=len(keys.subsets))
    weight = np.bincount(codes, weights=tokens, minlength=len(keys.subsets))
    order = [int(code) for code in np.argsort(-n, kind="stable") if n[code]]
    shown = [
        {
            "part": part,
            "source": source,
            "subset": keys.subsets[code],
            "rows": int(n[code]),
            "of": of,
            "tokens": int(weight[code]),
        }
        for code in order[:SUBSETS_SHOWN]
    ]
    rest = order[SUBSETS_SHOWN:]
    if rest:
        name = f"{len(rest)} smaller subsets"
        shown.append(
            {
                "part": part,
                "source": source,
                "subset": name,
                "rows": int(n[rest].sum()),
                "of": of,
                "tokens": int(weight[rest].sum()),
            }
        )
    return shown
