"""The tables of the index, in one place: what DuckDB creates, what arrow carries, what a row may hold.

Every table starts with `file` (where the row came from) and `origin` (`workspace`, `shipped` or `published`), so a
file that changes or disappears takes exactly its own rows with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from limit.core import content_id

REVISION = 6  # raise it when rows are read differently; a change of columns is noticed without

Row = dict[str, Any]
Rows = dict[str, list[Row] | pa.Table]  # by table; arrow for what comes in columns

TEXT, INT, REAL, BOOL, JSON, BYTES = "VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "VARCHAR /* JSON */", "BLOB"


def _columns(
    text: str = "", int: str = "", real: str = "", bool: str = "", json: str = "", bytes: str = ""
) -> dict[str, str]:
    groups = ((text, TEXT), (int, INT), (real, REAL), (bool, BOOL), (json, JSON), (bytes, BYTES))
    return {name: kind for names, kind in groups for name in names.split()}


_INTERVAL = "score ci_low ci_high"
_MODEL_KEY = "model_size series"

TABLES: dict[str, dict[str, str]] = {
    "sources": _columns(
        text="source title format turns_policy licence description created content_sha256",
        int="rows rejected",
        bool="non_commercial",
    ),
    "source_subsets": _columns(text="source subset", int="rows"),
    "mixes": _columns(text="mix_id licence", int="rows chars seed", bool="non_commercial", json="spec sources"),
    "mix_labels": _columns(text="mix_id name note created"),
    "mix_counts": _columns(text="mix_id source subset", int="part rows"),
    "runs": _columns(
        text="run_id kind name model mix_id recipe_name created",
        int="seed",
        bool="trust_remote_code",
        json="recipe recipe_changes versions",
    ),
    "train_summaries": _columns(text="run_id", int="steps tokens", real="epochs loss seconds", json="summary"),
    "training_metrics": _columns(
        text="run_id kind source text prompt time",
        int="line step tokens n",
        real="epoch loss grad_norm lr tokens_per_s mfu memory_gb eta_s",
    ),
    "jobs": _columns(
        text="job_id kind title run_id eval_id comparison_id source mix_id study request_id created created_by",
        json="arguments",
    ),
    "job_status": _columns(
        text="job_id state host reason heartbeat", int="step total exit_code", real="eta_s", json="gpus"
    ),
    "gauntlet_evals": _columns(
        text="eval_id run_id model version shots dtype tokenizer created",
        int="draws max_seq_len item_limit tokens_computed",
        real="seconds",
        bool="complete",
        json="protocol",
    ),
    "gauntlet_tasks": _columns(
        text="eval_id task category metric questions",
        int="num_fewshot n near_ties nan",
        real=f"accuracy baseline {_INTERVAL} stderr acc_sum acc_norm",
    ),
    "gauntlet_categories": _columns(
        text="eval_id category", real=f"{_INTERVAL} partial_score", bool="partial", json="tasks missing"
    ),
    "gauntlet_averages": _columns(text="eval_id name", real=_INTERVAL, json="categories"),
    "gauntlet_items": _columns(
        text="eval_id task category subcategory", int="num_fewshot idx correct", real="margin", bool="near_tie nan"
    ),
    "gauntlet_scores": _columns(text="eval_id task category subcategory", int="num_fewshot", bytes="idx correct"),
    "prompt_sets": _columns(text="prompt_set title licence created", int="n", json="description"),
    "prompts": _columns(text="prompt_set prompt_id text", int="position multiplicity"),
    "response_sets": _columns(text="set_id prompt_set run_id created", json="config"),
    "responses": _columns(text="set_id prompt_set run_id prompt_id finish_reason", int="position n_chars n_tokens"),
    "comparisons": _columns(
        text="comparison_id kind baseline candidate baseline_run candidate_run prompt_set judge made_from created",
        json="seeds answer_order config",
    ),
    "judgments": _columns(
        text="comparison_id judgement_key prompt_id answer_order first_response status verdict extraction "
        "model_reported created",
        int="line seed n_chars_1 n_chars_2 prompt_tokens completion_tokens attempts",
        real="p_first p_tie cost_usd latency_s",
    ),
    "preferences": _columns(
        text="comparison_id",
        int="wins losses ties invalid n_prompts",
        real="preference_pct ci_low ci_high longer_wins_pct",
        json="per_seed prompts",
        bytes="scores",
    ),
    "votes": _columns(text="prompt_set voter prompt_id verdict created", int="line", json="vote"),
    "studies": _columns(text="study title created", json="plan"),
    "published_models": _columns(
        text=f"{_MODEL_KEY} base_model name dataset yaml trust source", int="samples judged_epoch"
    ),
    "published_recipes": _columns(
        text="model_size optimizer schedule precision hardware trust source",
        int="warmup_steps epochs global_batch_size micro_batch_size max_seq_len seed save_every_epochs",
        real="learning_rate beta1 beta2 epsilon weight_decay grad_clip_norm",
        bool="packing",
    ),
    "published_gauntlet": _columns(text=f"{_MODEL_KEY} category figures version trust source", real="score error"),
    "published_judgments": _columns(
        text=f"{_MODEL_KEY} prompt_set baseline_series candidate baseline judge generator_1 generator_2 path trust "
        "source",
        int="seed rows prompts wins_baseline wins_candidate ties invalid empty_1 empty_2",
        real="mean_words_1 mean_words_2 longer_answer_wins_pct judge_cost_usd",
        json="invalid_codes",
    ),
    "published_preferences": _columns(
        text=f"{_MODEL_KEY} prompt_set interval trust source", real="ci_low_pct ci_high_pct published_pct"
    ),
    "published_datasets": _columns(
        text="id name licence trust source",
        int="train_rows test_rows bytes_per_row",
        bool="non_commercial",
        json="columns",
    ),
    "published_dataset_parts": _columns(
        text="dataset part trust source", int="rows prompt_tokens response_tokens", real="tokens_m"
    ),
    "published_scores": _columns(text="model version benchmark trust source", real="score"),
    "problems": _columns(text="problem"),
}
for _table in TABLES.values():
    _head = {"file": TEXT, "origin": TEXT}
    _rest = dict(_table)
    _table.clear()
    _table.update(_head | _rest)

FILES = {"file": TEXT, "origin": TEXT, "kind": TEXT, "size": INT, "mtime_ns": INT, "sha256": TEXT}

_ARROW = {
    TEXT: pa.string(),
    JSON: pa.string(),
    INT: pa.int64(),
    REAL: pa.float64(),
    BOOL: pa.bool_(),
    BYTES: pa.binary(),
}


def ddl() -> str:
    """The statements that create an empty index of this version."""
    tables = {**TABLES, "files": FILES}
    lines = ["create table schema_version (version varchar);"]
    lines += [f"create table {name} ({_column_list(columns)});" for name, columns in tables.items()]
    return "\n".join([*lines, f"insert into schema_version values ('{version()}');"])


def version() -> str:
    """Names the columns and the way rows are read; a stored index of another version is built anew from the files."""
    return content_id([REVISION, TABLES, FILES])


def _column_list(columns: Mapping[str, str]) -> str:
    return ", ".join(f'"{name}" {kind}' for name, kind in columns.items())


def arrow_schema(table: str) -> pa.Schema:
    """The columns of a table as arrow types."""
    return pa.schema([(name, _ARROW[kind]) for name, kind in TABLES[table].items()])


def arrow_rows(table: str, rows: list[Row] | pa.Table, file: str, origin: str) -> pa.Table:
    """Rows in a table's columns, stamped with where they came from; a value that does not fit becomes null."""
    head = {"file": file, "origin": origin}
    data: dict[str, Any] = {name: pa.repeat(pa.scalar(text, pa.string()), len(rows)) for name, text in head.items()}
    for name, kind in TABLES[table].items():
        if name in head:
            continue
        if isinstance(rows, pa.Table):
            data[name] = _cast(rows, name, _ARROW[kind])
        else:
            fit = _FIT[kind]
            data[name] = [fit(row.get(name)) for row in rows]
    return pa.table(data, schema=arrow_schema(table))


def _cast(rows: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    """A column as `kind`; one that is missing or of a type that cannot be cast is all null."""
    if name in rows.column_names:
        try:
            column = rows[name].cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return pa.nulls(len(rows), kind)
        return _finite(column) if pa.types.is_floating(kind) else column
    return pa.nulls(len(rows), kind)


def _finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float64()))


def as_text(value: Any) -> str | None:
    """Text that any UTF-8 reader takes: lone surrogates are replaced, other types are written as JSON."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def as_json_text(value: Any) -> str | None:
    """Any value as JSON; one that JSON cannot hold (NaN) is null, so that queries may look into the column."""
    if value is None:
        return None
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace").decode()
    except ValueError:
        return None


def as_int(value: Any) -> int | None:
    """A whole number of 64 bits, else None."""
    number = as_real(value)
    if number is None or number != int(number) or abs(number) >= 2**63:
        return None
    return int(value) if isinstance(value, int) else int(number)


def as_real(value: Any) -> float | None:
    """A finite number, else None; text and booleans are no numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_bool(value: Any) -> bool | None:
    """True or False, else None."""
    return value if isinstance(value, bool) else None


def as_bytes(value: Any) -> bytes | None:
    """Bytes, else None."""
    return value if isinstance(value, bytes) else None


_FIT: dict[str, Callable[[Any], Any]] = {
    TEXT: as_text,
    JSON: as_json_text,
    INT: as_int,
    REAL: as_real,
    BOOL: as_bool,
    BYTES: as_bytes,
}
