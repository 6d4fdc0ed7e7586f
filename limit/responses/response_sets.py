"""Response sets on disk: one Parquet file of answers and one JSON file of how they were made."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from limit.core import Json, LimitError, atomic_path, read_json, write_json
from limit.settings import Workspace, safe_name

SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("position", pa.int64()),
        ("prompt", pa.string()),
        ("text", pa.string()),
        ("n_chars", pa.int64()),
        ("n_tokens", pa.int64()),
        ("finish_reason", pa.string()),
    ]
)


def response_path(ws: Workspace, run_id: str, prompt_set: str, set_id: str) -> Path:
    """Where the answers of one response set lie; its facts stand beside it as .json."""
    return ws.run(run_id) / "responses" / safe_name(prompt_set, "prompt set") / f"{safe_name(set_id)}.parquet"


SOURCE = b"limit.source_rows"


def save_responses(path: Path, rows: list[Json], facts: Json, source: dict[str, Json] | None = None) -> None:
    """Write answers, then their facts: a set with facts is complete. Rows have the columns of SCHEMA.

    `source` holds, by prompt id, the fields that the rows of an imported file had beside prompt and answer.
    """
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    if source:
        table = table.replace_schema_metadata({SOURCE: json.dumps(source, ensure_ascii=False)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    write_json(path.with_suffix(".json"), facts)


def read_source(path: str | Path) -> dict[str, Json]:
    """What `save_responses` was given as `source`; nothing for answers that were made here."""
    kept: dict[str, Json] = json.loads((pq.read_schema(path).metadata or {}).get(SOURCE, b"{}"))
    return kept


def list_response_sets(ws: Workspace, run_id: str | None = None, prompt_set: str | None = None) -> list[Json]:
    """Facts of the complete response sets, oldest first, each with its `path`."""
    found = []
    for path in sorted(ws.runs.glob(f"{run_id or '*'}/responses/{prompt_set or '*'}/*.json")):
        if path.with_suffix(".parquet").is_file():
            with contextlib.suppress(LimitError):
                found.append({**read_json(path), "path": str(path.with_suffix(".parquet"))})
    return sorted(found, key=lambda facts: (str(facts.get("created", "")), str(facts.get("set_id", ""))))


def find_responses(ws: Workspace, run_id: str, prompt_set: str, set_id: str | None = None) -> Json:
    """The named response set, or the run's newest one on these prompts. Raises LimitError when there is none."""
    sets = list_response_sets(ws, run_id, prompt_set)
    chosen = [facts for facts in sets if set_id is None or facts.get("set_id") == set_id]
    if not chosen:
        raise LimitError(
            f"run {run_id} has no answers to {prompt_set!r} yet; "
            f"make them with `limit respond --run {run_id} --prompts {prompt_set}`"
        )
    return chosen[-1]


def read_responses(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a response set in prompt order. Raises LimitError when the file cannot be read."""
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, columns=SCHEMA.names).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise LimitError(
            f"{path} cannot be read as answers ({error}); delete it and answer the prompts again"
        ) from error
    return sorted(rows, key=lambda row: row["position"])
