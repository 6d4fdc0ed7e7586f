"""Check a built mix: duplicates, leaks, odd responses, licence, style and alignment. Kept beside the mix."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from limit.core import Json, LimitError, read_json, write_json
from limit.jobs.context import JobContext
from limit.mixes.alignment import align
from limit.mixes.build import build_mix
from limit.mixes.draw import draw_parts
from limit.mixes.duplicates import find_duplicates
from limit.mixes.leaks import find_leaks
from limit.mixes.listing import changed_sources, load_mix, mix_samples
from limit.mixes.reference import load_references, reference_facts
from limit.mixes.style import style_of
from limit.settings import Workspace
from limit.sources.listing import source_info
from limit.sources.rows import read_rows
from limit.specs import MixSpec

LONG_CHARS = 8_000  # about 2,000 tokens: such a response alone fills the paper's 2,048
SHOWN = 100
SHOWN_CHARS = 200


def check(ws: Workspace, mix_id: str, data: str | Path | None = None, context: JobContext | None = None) -> Json:
    """Every check of a mix; the result is also kept as `check.json` in the mix's folder.

    Returns {mix_id, rows, duplicates, leaks, responses, licence, style, alignment, compared_with, data}. `data` is a
    folder of Gauntlet items; without it the fetched or the shipped ones are used. Raises LimitError for an unknown mix
    or folder.
    """
    context = context or JobContext(None)
    mix = load_mix(ws, mix_id)
    references = load_references(ws, data)
    table = mix_samples(ws, mix_id)
    samples = table.select(["row", "sample_id", "source", "subset", "part", "prompt", "response", "meta"]).to_pylist()
    result: Json = {
        "mix_id": mix_id,
        "rows": mix["rows"],
        "duplicates": find_duplicates(samples, context),
        "leaks": find_leaks(samples, references, context),
        "responses": odd_responses(table),
        "licence": {key: mix[key] for key in ("licence", "licence_because_of", "non_commercial")},
        "style": style_of(table),
        "alignment": align(ws, table, data),
        "compared_with": reference_facts(references),
        "data": str(data) if data else None,
    }
    write_json(ws.mix(mix_id) / "check.json", result)
    return result


def kept_check(ws: Workspace, mix_id: str) -> Json | None:
    """What the last check of a mix found, or None."""
    path = ws.mix(mix_id) / "check.json"
    return read_json(path) if path.is_file() else None


def odd_responses(table: pa.Table) -> Json:
    """{empty, over_long, long_chars, rows}: responses without letter or digit, and those that fill a context alone.

    Each of `rows` has the beginning of its prompt and response.
    """
    empty = pc.invert(pc.match_substring_regex(table["response"], r"[\pL\pN]"))
    long = pc.greater(table["n_response_chars"], LONG_CHARS)
    rows = table.filter(pc.or_(empty, long)).slice(0, SHOWN)
    shown = rows.select(["row", "sample_id", "source", "subset", "n_response_chars"])
    for name in ("prompt", "response"):
        shown = shown.append_column(name, pc.utf8_slice_codeunits(rows[name], 0, SHOWN_CHARS))
    return {
        "empty": pc.sum(empty).as_py() or 0,
        "over_long": pc.sum(long).as_py() or 0,
        "long_chars": LONG_CHARS,
        "rows": shown.to_pylist(),
    }


def free_of_duplicates(ws: Workspace, spec: MixSpec) -> MixSpec:
    """The request with every duplicate that it draws excluded, and those among what is drawn in their place.

    Raises LimitError when so few samples are left that it cannot be filled.
    """
    infos = {part.source: source_info(ws, part.source) for part in spec.parts}
    while True:
        samples = [
            {**sample, "part": number}
            for number, (part, rows) in enumerate(zip(spec.parts, draw_parts(infos, spec), strict=True))
            for sample in read_rows(infos[part.source], rows).to_pylist()
        ]
        found = find_duplicates(samples, JobContext(None))["drop"]
        if not found:
            return spec
        spec = spec.replace(exclude=sorted({*spec.exclude, *found}))


def without(ws: Workspace, mix_id: str, sample_ids: list[str], duplicates_too: bool = False) -> Json:
    """Build the same mix with these samples excluded; freed places go to the next in rank. Returns the new mix.

    With `duplicates_too` those that are drawn in their place are no duplicates either.

    Raises LimitError when a source is gone or has changed, because other samples would then be drawn.
    """
    mix = load_mix(ws, mix_id)
    if other := changed_sources(ws, mix):
        raise LimitError(
            f"source {other[0]!r} is gone or has changed since mix {mix_id} was drawn, so the rest of it cannot be "
            "drawn again; build a new mix from the sources as they are"
        )
    spec = MixSpec.from_dict(mix["spec"])
    changed = spec.replace(exclude=sorted({*spec.exclude, *sample_ids}))
    changed = free_of_duplicates(ws, changed) if duplicates_too else changed
    return build_mix(ws, changed, f"{mix['name']} without {len(changed.exclude):,}")
