"""AlpacaEval's model_outputs.json in and out: answers that were made elsewhere become a run's, and a run's leave.

Answers are joined to prompts by their text. What a file repeats counts once, and what it does not answer stays open.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limit.access import require
from limit.core import Json, LimitError, content_id, utc_now, write_atomic
from limit.responses.identity import prompt_id
from limit.responses.prompt_sets import ensure_prompt_set, load_prompts
from limit.responses.response_sets import find_responses, read_responses, read_source, response_path, save_responses
from limit.runs import ensure_outside_run, load_run
from limit.settings import Workspace

MAX_BYTES = 2_000_000_000


def read_bytes(path: Path) -> bytes:
    """A file's contents. Raises LimitError when it is missing, a folder, unreadable or beyond 2 GB."""
    if path.is_dir():
        raise LimitError(f"{path} is a folder; name the files inside it")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LimitError(f"{path} is larger than 2 GB; split it by seed or model")
        return path.read_bytes()
    except FileNotFoundError:
        raise LimitError(f"{path} does not exist") from None
    except OSError as error:
        raise LimitError(f"{path} cannot be read: {error.strerror}") from error


def parse_array(path: Path, data: bytes, what: str = "annotation rows") -> list[Json]:
    """The rows of a JSON array, cleaned of what cannot be stored. Raises LimitError naming file and place."""
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise LimitError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8 JSON") from None
    except json.JSONDecodeError as error:
        raise LimitError(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}; AlpacaEval's files "
            "are one array of objects"
        ) from None
    except (RecursionError, ValueError) as error:
        raise LimitError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, list):
        raise LimitError(f"{path} holds a JSON {json_type(value)}, expected an array of {what}")
    if not value:
        raise LimitError(f"{path} holds no rows; expected an array of {what}")
    return [_storable(row) for row in value]


def _storable(value: Any) -> Any:
    """NaN and infinity become null and lone surrogates question marks: neither can be written as JSON in UTF-8."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


def json_type(value: Any) -> str:
    """JSON's own word for a value's type."""
    names = {dict: "object", list: "array", str: "string", bool: "true/false", int: "number", float: "number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def read_outputs(path: Path) -> tuple[str, dict[str, str]]:
    """Generator and {instruction: output} of a model_outputs.json. Raises LimitError naming the file and row."""
    generator, rows = _read_rows(path)
    return generator, {instruction: str(row["output"]) for instruction, row in rows.items()}


def _read_rows(path: Path) -> tuple[str, dict[str, Json]]:
    """Generator and {instruction: row} of a model_outputs.json, the first answer where one is repeated.

    Raises LimitError naming the file and row.
    """
    rows = parse_array(path, read_bytes(path), "objects with instruction and output")
    outputs: dict[str, Json] = {}
    for index, row in enumerate(rows):
        wrong = not isinstance(row, dict) or not all(
            isinstance(row.get(name), str) for name in ("instruction", "output")
        )
        if wrong:
            raise LimitError(f"{path} row {index + 1} needs 'instruction' and 'output' as text")
        outputs.setdefault(row["instruction"], row)
    generators = {str(row.get("generator") or path.stem) for row in rows}
    if len(generators) > 1:
        raise LimitError(f"{path} mixes the outputs of {len(generators)} generators; give one file for each")
    return generators.pop(), outputs


def import_outputs(ws: Workspace, run_id: str, prompts: str, path: Path) -> Json:
    """Take the answers of a file as a run's answers to a prompt set; the same file again changes nothing.

    Returns {run_id, prompt_set, set_id, path, n, unanswered, unknown}: prompts without an answer, and answers to other
    prompts. A name that is no run's id stands for a model that ran elsewhere: it gets a run of that name. Raises
    LimitError when the run or prompts are not there, or no answer fits.
    """
    require("operator", "import answers")
    prompt_set = ensure_prompt_set(ws, prompts)
    generator, outputs = _read_rows(path)
    given = {prompt_id(instruction): row for instruction, row in reversed(outputs.items())}
    texts = {id_: str(row["output"]) for id_, row in given.items()}
    known = load_prompts(ws, prompt_set)
    rows = [
        {"prompt_id": p.prompt_id, "position": p.position, "prompt": p.text, "text": texts[p.prompt_id]}
        | {"n_chars": len(texts[p.prompt_id]), "finish_reason": "imported"}
        for p in known
        if p.prompt_id in texts
    ]
    if not rows:
        raise LimitError(
            f"{path} answers none of the {len(known):,} prompts of {prompt_set!r}; give its own prompt set"
        )
    run_id = ensure_outside_run(ws, run_id)
    digest = hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
    set_id = content_id({"run_id": run_id, "prompts": prompt_set, "answers": digest})
    target = response_path(ws, run_id, prompt_set, set_id)
    facts = {"set_id": set_id, "run_id": run_id, "prompt_set": prompt_set, "n": len(rows), "generator": generator}
    if not target.with_suffix(".json").is_file():
        source = {p.prompt_id: _without_texts(given[p.prompt_id]) for p in known if p.prompt_id in given}
        save_responses(target, rows, {**facts, "origin": path.name, "created": utc_now()}, source)
    counts = {"unanswered": len(known) - len(rows), "unknown": len(texts) - len(rows)}
    return {**facts, "path": str(target), **counts}


def _without_texts(row: Json) -> Json:
    return {name: value for name, value in row.items() if name not in ("instruction", "output")}


def export_outputs(
    rows: Sequence[Json], generator: str, dataset: str, source: Mapping[str, Json] | None = None
) -> list[Json]:
    """AlpacaEval model_outputs.json rows of one response set (rows as `read_responses` gives them).

    What an imported file had in its rows, its generator's name too, goes out as it came in.
    """
    named = {"generator": generator, "dataset": dataset}
    return [
        {
            "instruction": row["prompt"],
            "output": row["text"],
            **named,
            **(source or {}).get(row.get("prompt_id", ""), {}),
        }
        for row in rows
    ]


def write_outputs(ws: Workspace, run_id: str, prompts: str, path: Path, set_id: str | None = None) -> Json:
    """Write a run's answers as model_outputs.json; returns {path, n}. Raises LimitError when it has none."""
    name = str(load_run(ws, run_id)["name"])
    found = find_responses(ws, run_id, prompts, set_id)
    rows = export_outputs(read_responses(found["path"]), name, prompts, read_source(found["path"]))
    path = path.expanduser().absolute()
    write_atomic(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    return {"path": str(path), "n": len(rows)}
