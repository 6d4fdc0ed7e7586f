"""Which mixes the workspace holds, what is in one, and how two differ. Needs only pyarrow, so workers may use it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from limit.core import Json, LimitError, read_each, read_json, read_kept
from limit.settings import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from limit.specs import MixSpec


def list_mixes(ws: Workspace) -> list[Json]:
    """All mixes, the newest first, each as `load_mix` gives it; one that cannot be read is left out."""
    found = []
    for mix_id, manifest in read_each(ws.mixes, "mix.json").items():
        with contextlib.suppress(LimitError):  # a folder that cannot be the name of a mix
            found.append(_named(ws.mix(mix_id), manifest))
    return sorted(found, key=lambda mix: str(mix["created"]), reverse=True)


def load_mix(ws: Workspace, mix_id: str) -> Json:
    """A mix's manifest with `name`, `note`, `created` and `path`. Raises LimitError when there is no such mix."""
    folder = ws.mix(mix_id)
    if not (folder / "mix.json").is_file():
        known = sorted(path.parent.name for path in ws.mixes.glob("*/mix.json"))
        raise LimitError(
            f"mix {mix_id!r} does not exist; known are {', '.join(known[:20]) or 'none yet'}; "
            "build one with `mix build`"
        )
    return _named(folder, read_json(folder / "mix.json"))


def _named(folder: Path, manifest: Json) -> Json:
    """A manifest with what people call the mix."""
    human = {"name": folder.name, "note": "", "created": ""}
    with contextlib.suppress(LimitError):  # a damaged name: the mix itself is whole
        human |= read_kept(f"{folder}/label.json") or {}
    return {**manifest, **human, "path": str(folder)}


def mix_samples(ws: Workspace, mix_id: str, columns: list[str] | None = None) -> pa.Table:
    """The rows of a mix in draw order: the sample columns and `part`."""
    import pyarrow.parquet as pq

    load_mix(ws, mix_id)
    return pq.read_table(ws.mix(mix_id) / "samples.parquet", columns=columns)


def changed_sources(ws: Workspace, mix: Json) -> list[str]:
    """The sources of a mix that are gone, or hold other content than when it was drawn."""
    from limit.sources.listing import source_info_at

    now = {source: source_info_at(ws.source(source)) or {} for source in mix["sources"]}
    return [source for source, content in mix["sources"].items() if now[source].get("content_sha256") != content]


def shares_short_of(spec: MixSpec, rows: int) -> str | None:
    """What to say when parts given as shares leave a mix well short of, or beyond, the rows asked for."""
    if spec.total is None or abs(rows - spec.total) <= len(spec.parts):
        return None
    return f"the parts come to {rows / spec.total:.1%} of the {spec.total:,} asked for; change a share to fill them"


def diff(ws: Workspace, a: str, b: str) -> Json:
    """How mix `b` differs from mix `a`: {a, b, spec: {field: [a, b]}, rows, shared, only_a, only_b, counts, sources}.

    `counts` has one row per source and subset with the rows of each; `sources` those whose content differs.
    """
    first, second = load_mix(ws, a), load_mix(ws, b)
    ids = [set(mix_samples(ws, mix, ["sample_id"])["sample_id"].to_pylist()) for mix in (a, b)]
    tables = [{(row["source"], row["subset"]): row["rows"] for row in mix["counts"]} for mix in (first, second)]
    keys = sorted(tables[0].keys() | tables[1].keys())
    fields = sorted(first["spec"].keys() | second["spec"].keys())
    changed = {k: [first["spec"].get(k), second["spec"].get(k)] for k in fields}
    shared_sources = first["sources"].keys() & second["sources"].keys()
    return {
        "a": a,
        "b": b,
        "spec": {k: pair for k, pair in changed.items() if pair[0] != pair[1]},
        "rows": [first["rows"], second["rows"]],
        "shared": len(ids[0] & ids[1]),
        "only_a": len(ids[0] - ids[1]),
        "only_b": len(ids[1] - ids[0]),
        "counts": [
            {"source": s, "subset": u, "a": tables[0].get((s, u), 0), "b": tables[1].get((s, u), 0)} for s, u in keys
        ],
        "sources": [s for s in sorted(shared_sources) if first["sources"][s] != second["sources"][s]],
    }
