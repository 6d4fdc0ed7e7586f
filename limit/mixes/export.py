"""Write a mix as a folder that anyone can load: data.jsonl or data.parquet, and a dataset card."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from limit import __version__
from limit.core import Json, LimitError, explained, file_sha256
from limit.mixes.listing import load_mix
from limit.settings import Workspace
from limit.sources.samples import messages_of

LICENCE_NAMES = {True: "non-commercial", False: "licences-of-its-parts", None: "unknown"}
FILES = {"jsonl": "data.jsonl", "parquet": "data.parquet"}


def export_mix(ws: Workspace, mix_id: str, out: Path | str, format: Literal["jsonl", "parquet"] = "jsonl") -> Json:
    """Write the mix into the new folder `out`. Returns {path, rows, files: [{name, bytes, sha256}]}.

    Raises LimitError when the folder exists and is not empty, or cannot be written.
    """
    if format not in FILES:
        raise LimitError(f"export format {format!r} is not known; choose one of {', '.join(FILES)}")
    mix, target = load_mix(ws, mix_id), Path(out).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise LimitError(f"{target} exists already; name a new or empty folder")
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            data = folder / FILES[format]
            if format == "parquet":
                shutil.copyfile(ws.mix(mix_id) / "samples.parquet", data)
            else:
                _write_jsonl(ws.mix(mix_id) / "samples.parquet", data)
            (folder / "README.md").write_text(card(mix, FILES[format]), encoding="utf-8")
            folder.chmod(0o755)
            if target.exists():
                target.rmdir()
            folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    files = [{"name": f.name, "bytes": f.stat().st_size, "sha256": file_sha256(f)} for f in sorted(target.iterdir())]
    return {"path": str(target), "mix_id": mix_id, "rows": mix["rows"], "files": files}


def _write_jsonl(samples: Path, target: Path) -> None:
    with pq.ParquetFile(samples) as parquet, target.open("w", encoding="utf-8") as file:
        for batch in parquet.iter_batches(batch_size=2_048):
            for row in batch.to_pylist():
                line = {key: row[key] for key in ("prompt", "response", "source", "subset", "sample_id")}
                if row["turns"] > 1:
                    line["messages"] = messages_of(row["meta"], row["prompt"], row["response"])
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def card(mix: Json, data_file: str) -> str:
    """The dataset card: what is in it, under which terms, and how to draw it again."""
    head = [
        "---",
        "license: other",  # no tag of the hub says "the strictest of several"
        f"license_name: {LICENCE_NAMES[mix['non_commercial']]}",
        "configs:",
        "- config_name: default",
        f"  data_files: {data_file}",
        "---",
    ]
    terms = {
        True: "Non-commercial use only",
        False: "Commercial use is allowed by the licences of all parts",
        None: "The licence of a part is unknown; ask before you publish",
    }[mix["non_commercial"]]
    lines = [
        f"# {_cell(mix['name'])}",
        "",
        f"{mix['rows']:,} samples drawn with seed {mix['spec']['seed']} by LIMIT {__version__}; mix `{mix['mix_id']}`.",
        "",
        f"Licence: {terms}, because of {', '.join(mix['licence_because_of'])} ({mix['licence'] or 'unknown'}).",
        "",
        "| source | subset | rows | licence of the source |",
        "| --- | --- | ---: | --- |",
    ]
    for row in mix["counts"]:
        licence = mix.get("licences", {}).get(row["source"]) or "unknown"
        lines.append(f"| {row['source']} | {_cell(row['subset'])} | {row['rows']:,} | {_cell(licence)} |")
    request = json.dumps(mix["spec"], indent=1, ensure_ascii=False)
    lines += ["", "The request, which draws the same rows again:", "", "```json", request, "```", ""]
    hashes = [f"- `{source}`: content sha256 `{digest}`" for source, digest in mix["sources"].items()]
    return "\n".join([*head, *lines, "Sources:", "", *hashes, ""])


def _cell(text: str) -> str:
    """Text of others inside a table: no sign in it acts on the table, on the order of letters, or as HTML."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    for sign in "\\|<>[]`":
        shown = shown.replace(sign, f"\\{sign}")
    return shown
