"""From the rows of a mix to encoded examples: what is trained on, and what each source keeps back to be watched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from limit.core import Json, LimitError
from limit.encoding.packing import Example
from limit.encoding.template import encode_samples
from limit.specs.run import Recipe

_COLUMNS = ("source", "prompt", "response", "meta", "part")
_BATCH = 1000

# A part gives up at most a twentieth of its samples, so that small mixes stay what they are called.
HELD_OUT_SHARE = 20


class Examples(NamedTuple):
    """`train` in draw order; `held_out` by source; `prompts` of three samples for generations along the way."""

    train: list[Example]
    held_out: dict[str, list[Example]]
    prompts: list[Json]
    truncated: int
    without_loss: int

    def lost(self, max_seq_len: int) -> str:
        """What `max_seq_len` cost, in words; empty when it cost nothing."""
        if not self.truncated and not self.without_loss:
            return ""
        return (
            f"{self.truncated:,} samples are longer than max_seq_len={max_seq_len:,} and cut; "
            f"{self.without_loss:,} have no response left and are not trained on"
        )


def load_examples(mix_folder: Path, tokenizer: Any, recipe: Recipe) -> Examples:
    """Read and encode a mix. Raises LimitError when it is missing or nothing in it carries loss."""
    train: list[Example] = []
    held_out: dict[str, list[Example]] = {}
    kept: list[Json] = []
    truncated = without_loss = 0
    rows = list(_read_rows(mix_folder))
    held = held_out_rows([int(row.get("part") or 0) for row in rows], recipe.held_out_per_part)
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        encoded = encode_samples(batch, tokenizer, recipe.template, recipe.max_seq_len)
        for offset, (row, sample) in enumerate(zip(batch, encoded, strict=True)):
            ids, labels = (np.asarray(values, dtype=np.int32) for values in (sample.ids, sample.labels))
            example = Example(ids, labels, str(row["source"]))
            truncated += sample.truncated
            if example.loss_tokens == 0:
                without_loss += 1
            elif start + offset in held:
                held_out.setdefault(example.source, []).append(example)
                kept.append(row)
            else:
                train.append(example)
    if not rows:
        raise LimitError(f"mix {mix_folder.name} holds no sample; build it again with `limit mix build`")
    if not train:
        raise LimitError(
            f"no sample of mix {mix_folder.name} keeps a response within {recipe.max_seq_len} tokens; raise max_seq_len"
        )
    return Examples(train, held_out, _three_prompts([*kept, *rows]), truncated, without_loss)


def _read_rows(mix_folder: Path) -> Iterator[Json]:
    import pyarrow
    import pyarrow.parquet

    path = mix_folder / "samples.parquet"
    if not path.exists():
        raise LimitError(f"mix {mix_folder.name} has no samples ({path}); build it again with `limit mix build`")
    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = [name for name in _COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_BATCH, columns=names):
            yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise LimitError(f"mix {mix_folder.name} cannot be read ({error}); build it again") from error


def held_out_rows(parts: list[int], per_part: int) -> frozenset[int]:
    """Rows kept out of training: the last of each part in draw order, `per_part` or a twentieth if that is fewer."""
    held: list[int] = []
    for part in sorted(set(parts)):
        rows = [index for index, value in enumerate(parts) if value == part]
        count = min(per_part, len(rows) // HELD_OUT_SHARE)
        held += rows[len(rows) - count :]
    return frozenset(held)


def _three_prompts(rows: list[Json]) -> list[Json]:
    """Three rows to generate for, the first of each source where there are several."""
    firsts = {str(row["source"]): row for row in reversed(rows)}
    chosen = list(firsts.values())[::-1][:3]
    chosen += [row for row in rows if row not in chosen][: 3 - len(chosen)]
    return chosen
