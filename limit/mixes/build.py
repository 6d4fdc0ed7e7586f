"""Build a mix: draw its parts, write its manifest and its rows, once and for all.

The bytes of `mix.json` and `samples.parquet` depend on the request and the content of the sources alone: no time, no
name, no path. The human part (name, note) lies beside them in `label.json`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from limit.access import require
from limit.core import Json, LimitError, content_id, explained, read_json, sync_folder, utc_now, write_json
from limit.mixes.draw import CHARS_PER_TOKEN, Rows, draw_parts, load_keys
from limit.settings import Workspace
from limit.sources.listing import source_info
from limit.sources.rows import read_rows
from limit.sources.samples import DICTIONARY_COLUMNS, ROW_GROUP, SCHEMA, STATISTICS_COLUMNS
from limit.specs import MixSpec

SLAB_CHARS = 100_000_000  # text held at a time while a mix is written
MIX_SCHEMA = SCHEMA.append(pa.field("part", pa.int32()))


def build_mix(
    ws: Workspace, spec: MixSpec, name: str | None = None, note: str = "", tokenizer: str | None = None
) -> Json:
    """Draw and write a mix; building the same one again changes nothing but its name.

    Returns {mix_id, rows, tokens, tokens_from, path, name, spec, counts, ...}. `tokens` is counted with `tokenizer`
    where one is given, else estimated at four characters a token; `tokens_from` says which. Raises LimitError when a
    source is missing or too small.
    """
    require("analyst", "build mixes")
    mix_id, infos, hashes = _identify(ws, spec)
    target = ws.make().mix(mix_id)
    if not (target / "mix.json").is_file():
        _write(ws, target, mix_id, spec, infos, hashes)
    if name is not None or not (target / "label.json").is_file():
        label_mix(ws, mix_id, name or spec.label(), note)
    return with_tokens(ws, mix_id, tokenizer)


def plan_mix(ws: Workspace, spec: MixSpec) -> tuple[str, int, int]:
    """(mix_id, rows, characters) of a mix as `build_mix` would make it; nothing is written. Raises LimitError."""
    mix_id, infos, _ = _identify(ws, spec)
    drawn = draw_parts(infos, spec)
    return mix_id, sum(len(rows) for rows in drawn), _chars(spec, infos, drawn)


def _identify(ws: Workspace, spec: MixSpec) -> tuple[str, dict[str, Json], dict[str, str]]:
    """The id that request and sources give a mix, what is known of its sources, and their hashes."""
    infos = {part.source: source_info(ws, part.source) for part in spec.parts}
    hashes = {source: info["content_sha256"] for source, info in sorted(infos.items())}
    return content_id({"spec": spec.to_dict(), "sources": hashes}), infos, hashes


def _chars(spec: MixSpec, infos: dict[str, Json], drawn: list[Rows]) -> int:
    return sum(int(load_keys(infos[p.source]).chars(r).sum()) for p, r in zip(spec.parts, drawn, strict=True))


def with_tokens(ws: Workspace, mix_id: str, tokenizer: str | None) -> Json:
    """A mix's manifest with `tokens`, and `tokens_from` that says whether they were counted or estimated."""
    from limit.mixes.listing import load_mix

    mix = load_mix(ws, mix_id)
    if tokenizer is None:
        return {**mix, "tokens": round(mix["chars"] / CHARS_PER_TOKEN), "tokens_from": "estimate: 4 characters a token"}
    from limit.mixes.tokens import count_mix_tokens

    return {**mix, "tokens": int(count_mix_tokens(ws, mix_id, tokenizer).total.sum()), "tokens_from": tokenizer}


def label_mix(ws: Workspace, mix_id: str, name: str, note: str = "") -> None:
    """Give a mix a name and a note. Raises LimitError for an empty name."""
    require("analyst", "name mixes")
    if not name.strip():
        raise LimitError("a mix needs a name that is not empty; for example 'LIMA 1,000'")
    path = ws.mix(mix_id) / "label.json"
    created = read_json(path)["created"] if path.is_file() else utc_now()
    write_json(path, {"name": " ".join(name.split())[:200], "note": note, "created": created})


def _write(
    ws: Workspace, target: Path, mix_id: str, spec: MixSpec, infos: dict[str, Json], hashes: dict[str, str]
) -> None:
    drawn = draw_parts(infos, spec)
    with explained(target):
        ws.mixes.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{mix_id}.", suffix=".tmp", dir=ws.mixes))
        try:
            counts = _write_samples(folder / "samples.parquet", spec, infos, drawn)
            manifest: Json = {
                "mix_id": mix_id,
                "spec": spec.to_dict(),
                "sources": hashes,
                "rows": sum(len(rows) for rows in drawn),
                "counts": [{"source": s, "subset": u, "rows": n} for (s, u), n in sorted(counts.items())],
                "chars": _chars(spec, infos, drawn),
                **strictest_licence(list(infos.values())),
                "licences": {source: info["licence"] for source, info in sorted(infos.items())},
            }
            write_json(folder / "mix.json", manifest)
            folder.chmod(0o755)
            try:
                folder.rename(target)
            except OSError:
                if not (target / "mix.json").is_file():  # not the other builder of the same mix, who was faster
                    raise
            sync_folder(target.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _write_samples(path: Path, spec: MixSpec, infos: dict[str, Json], drawn: list[Rows]) -> Counter[tuple[str, str]]:
    """Write the parts one after the other; returns how many rows came from each source and subset."""
    counts: Counter[tuple[str, str]] = Counter()
    written = 0
    held: dict[str, pa.Table] = {}
    with pq.ParquetWriter(
        path, MIX_SCHEMA, compression="zstd", use_dictionary=DICTIONARY_COLUMNS, write_statistics=STATISTICS_COLUMNS
    ) as writer:
        for number, (part, _draw) in enumerate(zip(spec.parts, drawn, strict=True)):
            for table in texts_of_part(infos, spec, drawn, number, held):
                order = pa.array(np.arange(written, written + len(table)))
                table = table.set_column(0, MIX_SCHEMA.field("row"), order)
                table = table.append_column(MIX_SCHEMA.field("part"), pa.array([number] * len(table), pa.int32()))
                writer.write_table(table, row_group_size=ROW_GROUP)
                counts.update((part.source, subset) for subset in table["subset"].to_pylist())
                written += len(table)
    return counts


def texts_of_part(
    infos: dict[str, Json], spec: MixSpec, drawn: list[Rows], number: int, held: dict[str, pa.Table]
) -> Iterator[pa.Table]:
    """The samples of one part, in pieces that fit in memory; all parts of a source are read in one pass if they fit.

    `held` keeps what was read of a source for its other parts.
    """
    source = spec.parts[number].source
    mine = [i for i, part in enumerate(spec.parts) if part.source == source]
    keys = load_keys(infos[source])
    if sum(int(keys.chars(drawn[i]).sum()) for i in mine) > SLAB_CHARS:
        for rows in slabs(drawn[number], keys.chars(drawn[number])):
            yield read_rows(infos[source], rows)
        return
    if source not in held:
        held[source] = read_rows(infos[source], np.concatenate([drawn[i] for i in mine]))
    before = sum(len(drawn[i]) for i in mine if i < number)
    yield held[source].slice(before, len(drawn[number]))


def slabs(rows: Rows, chars: Rows) -> list[Rows]:
    """The drawn rows in pieces whose text fits in memory, however long the samples are."""
    pieces = np.cumsum(chars) // SLAB_CHARS
    return np.split(rows, np.flatnonzero(np.diff(pieces)) + 1)


def strictest_licence(infos: list[Json]) -> Json:
    """The licence a mix inherits: non-commercial before unknown before open, with the sources it comes from."""
    for wanted in (True, None, False):
        bound = sorted(info["source"] for info in infos if info["non_commercial"] is wanted)
        if bound:
            texts = sorted({info["licence"] or "unknown" for info in infos if info["non_commercial"] is wanted})
            return {"licence": "; ".join(texts), "licence_because_of": bound, "non_commercial": wanted}
    raise AssertionError("a mix has at least one source")
