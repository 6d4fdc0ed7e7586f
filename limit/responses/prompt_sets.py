"""Open-ended prompts: read from text, JSON or JSONL, kept once per distinct text with their multiplicity.

Notable: LIMIT's two prompt files are one long text, split on the fixed preamble; a prompt that stands twice in a file
is one row with multiplicity 2, so that nothing downstream joins by text and multiplies rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from limit.access import require
from limit.core import Json, LimitError, atomic_path, content_id, explained, read_json, utc_now, write_json
from limit.responses.identity import prompt_id
from limit.settings import EVERYDAY_PROMPTS, EVERYDAY_SET, Workspace, safe_name

PREAMBLE = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
_BLOCK = re.compile(r"\s*###\s*Instruction:?[ \t]*\n(?P<text>.*?)\s*(?:###\s*Response:?\s*)?", re.DOTALL)
PROMPT_FIELDS = ("instruction", "prompt", "question", "text")
CATEGORY_FIELDS = ("category", "topic", "dataset", "subset")
MAX_CATEGORY_CHARS = 80
# Names under which the paper's own prompt files are known to its published counts.
PAPER_STEMS = {"lima_test_prompts": "lima", "instructv3_test_prompts": "instruct-v3"}
SHIPPED_SETS = {EVERYDAY_SET: EVERYDAY_PROMPTS}  # a hundred questions of this project's own
MAX_PROMPT_CHARS = 1_000_000
# Stands between the turns of a two-turn prompt, and between its two answers, so that a dialogue is one text to every
# reader after this: the judge sees both questions and, on each side, both answers.
TURN_MARK = "\n\n[second turn]\n\n"

_SCHEMA = pa.schema(
    [("prompt_id", pa.string()), ("position", pa.int64()), ("text", pa.string()), ("multiplicity", pa.int64())]
)
_TOPIC = pa.field("category", pa.string())  # in the files of sets whose prompts have topics


@dataclass(frozen=True)
class Prompt:
    """One distinct prompt; `position` is that of its first appearance, counted from 0."""

    prompt_id: str
    position: int
    text: str
    multiplicity: int
    category: str | None = None

    def turns(self) -> list[str]:
        """The one or two questions of this prompt."""
        return self.text.split(TURN_MARK, 1)


def ensure_prompt_set(ws: Workspace, name_or_path: str, name: str | None = None) -> str:
    """The name of a prompt set of the workspace, reading a file into it when `name_or_path` is one, or a shipped set's.

    Raises LimitError when there is neither such a set nor such a file, or the file cannot be read or may not be added.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        require("operator", "add prompts")
        stem = PAPER_STEMS.get(path.stem, re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "prompts")
        entries = read_entries(path)
        texts, topics = [entry[0] for entry in entries], [entry[1] for entry in entries]
        return save_prompt_set(ws, name or stem, texts, origin=path.name, categories=topics)
    if name_or_path in SHIPPED_SETS and name_or_path not in (entry["prompt_set"] for entry in list_prompt_sets(ws)):
        shipped = SHIPPED_SETS[name_or_path]
        return save_prompt_set(ws, name_or_path, read_prompts(shipped), origin=shipped.name)
    if path.suffix or "/" in name_or_path:
        raise LimitError(f"there is no prompt file {name_or_path!r}; give a .txt, .json or .jsonl file")
    if not (ws.prompts / safe_name(name_or_path, "prompt set") / "prompt_set.json").is_file():
        known = ", ".join(prompt_set_names(ws))
        raise LimitError(f"there is no prompt set {name_or_path!r}; known: {known}; or give a file of prompts")
    return name_or_path


def save_prompt_set(
    ws: Workspace, name: str, texts: Sequence[str], origin: str = "", categories: Sequence[str | None] = ()
) -> str:
    """Store prompts under `name` and return it; saving the same prompts again changes nothing.

    `categories` are the topics of the texts, where they have any; they are no part of the set's identity.
    Raises LimitError when other prompts have that name already or a prompt is empty.
    """
    folder = ws.prompts / safe_name(name, "prompt set")
    prompts = distinct(texts, categories)
    set_id = content_id([[prompt.prompt_id, prompt.multiplicity] for prompt in prompts])
    label = folder / "prompt_set.json"
    if label.is_file():
        if read_json(label).get("prompt_set_id") == set_id:
            return name
        raise LimitError(f"prompt set {name!r} exists with other prompts; give the file another name")
    schema = _SCHEMA.append(_TOPIC) if any(prompt.category for prompt in prompts) else _SCHEMA
    table = pa.Table.from_pylist([prompt.__dict__ for prompt in prompts], schema=schema)
    with atomic_path(folder / "prompts.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")
    facts = {"prompt_set": name, "prompt_set_id": set_id, "origin": origin, "prompts": len(texts)}
    write_json(label, {**facts, "distinct": len(prompts), "created": utc_now()})
    return name


def load_prompts(ws: Workspace, name: str) -> list[Prompt]:
    """The distinct prompts of a set in file order. Raises LimitError when there is no such set."""
    path = ws.prompts / ensure_prompt_set(ws, name) / "prompts.parquet"
    with explained(path):
        file = pq.ParquetFile(path)
        names = [name for name in (*_SCHEMA.names, _TOPIC.name) if name in file.schema_arrow.names]
        rows = file.read(columns=names).to_pylist()
    return [Prompt(**row) for row in sorted(rows, key=lambda row: row["position"])]


def prompt_set_facts(ws: Workspace, name: str) -> Json:
    """The contents of prompt_set.json. Raises LimitError when there is no such set."""
    return read_json(ws.prompts / ensure_prompt_set(ws, name) / "prompt_set.json")


def list_prompt_sets(ws: Workspace) -> list[Json]:
    """prompt_set.json of every set, by name."""
    return [read_json(path) for path in sorted(ws.prompts.glob("*/prompt_set.json"))]


def prompt_set_names(ws: Workspace) -> list[str]:
    """Sets of the workspace by name, then those that ship and were not used yet."""
    mine = [str(entry["prompt_set"]) for entry in list_prompt_sets(ws)]
    return [*mine, *(name for name in SHIPPED_SETS if name not in mine)]


def distinct(texts: Sequence[str], categories: Sequence[str | None] = ()) -> list[Prompt]:
    """Prompts with copies counted; the first spelling, position and topic stand. Raises LimitError on an empty one."""
    if not texts:
        raise LimitError("the prompt set is empty; give at least one prompt")
    rows: dict[str, list[Any]] = {}
    for position, text in enumerate(texts):
        if not text.strip():
            raise LimitError(f"prompt {position + 1} is empty; remove it or write it out")
        if len(text) > MAX_PROMPT_CHARS:
            raise LimitError(f"prompt {position + 1} has {len(text):,} characters; at most {MAX_PROMPT_CHARS:,} work")
        topic = categories[position] if position < len(categories) else None
        rows.setdefault(prompt_id(text), [position, text, 0, topic])[2] += 1
    return [Prompt(id_, *facts) for id_, facts in rows.items()]


def read_prompts(path: Path) -> list[str]:
    """The prompts of a .txt, .json or .jsonl file, in order. Raises LimitError naming the file and the place."""
    return [text for text, _ in read_entries(path)]


def category_of(item: Any) -> str | None:
    """The topic that an object of a file gives its prompt: its `category`, else AlpacaEval's `dataset`, on one line."""
    if not isinstance(item, dict):
        return None
    named = next((item[name] for name in CATEGORY_FIELDS if isinstance(item.get(name), str) and item[name].strip()), "")
    return " ".join(named.split())[:MAX_CATEGORY_CHARS] or None


def read_entries(path: Path) -> list[tuple[str, str | None]]:
    """Each prompt of a file with its topic, None where it has none. Raises LimitError as `read_prompts` does."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LimitError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise LimitError(f"{path} cannot be read: {error.strerror}") from error
    reader = {".json": _read_array, ".jsonl": _read_lines}.get(path.suffix.lower(), _read_text)
    prompts = reader(path, text.replace("\r\n", "\n"))
    if not prompts:
        raise LimitError(f"{path} holds no prompts")
    return prompts


def _read_text(path: Path, text: str) -> list[tuple[str, str | None]]:
    """Blocks behind the preamble, or without any preamble one prompt a line."""
    if PREAMBLE not in text:
        return [(line.strip(), None) for line in text.splitlines() if line.strip()]
    head, *blocks = text.split(PREAMBLE)
    if head.strip():
        raise LimitError(f"{path} has text before its first {PREAMBLE[:30]!r}; remove {head.strip()[:40]!r}")
    return [(_from_block(path, number, block), None) for number, block in enumerate(blocks, 1)]


def _from_block(path: Path, number: int, block: str) -> str:
    found = _BLOCK.fullmatch(block)
    if not found or not found["text"].strip():
        raise LimitError(f"{path} prompt {number} has no '### Instruction' with text after it: {block.strip()[:60]!r}")
    return found["text"].rstrip()


def _read_array(path: Path, text: str) -> list[tuple[str, str | None]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LimitError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, list):
        raise LimitError(f"{path} holds no JSON array; give an array of prompts or of objects with 'instruction'")
    return [(_prompt_of(f"{path} row {number}", item), category_of(item)) for number, item in enumerate(value, 1)]


def _read_lines(path: Path, text: str) -> list[tuple[str, str | None]]:
    prompts: list[tuple[str, str | None]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LimitError(f"{path} line {number} is not JSON: {error}") from None
        prompts.append((_prompt_of(f"{path} line {number}", item), category_of(item)))
    return prompts


def _prompt_of(where: str, item: Any) -> str:
    found = item if isinstance(item, str) else None
    if isinstance(item, dict):
        found = _turns_of(where, item["turns"]) if "turns" in item else _first_text(item)
    if found is None or not found.strip():
        raise LimitError(f"{where} has no prompt; give text, or an object with one of {', '.join(PROMPT_FIELDS)}")
    return found.encode("utf-8", "replace").decode()


def _first_text(item: Json) -> str | None:
    return next((item[name] for name in PROMPT_FIELDS if isinstance(item.get(name), str)), None)


def _turns_of(where: str, turns: Any) -> str:
    """One or two turns as MT-Bench's question.jsonl has them, as one text."""
    usable = isinstance(turns, list) and len(turns) in (1, 2) and all(isinstance(t, str) and t.strip() for t in turns)
    if not usable:
        raise LimitError(
            f"{where} has 'turns' that are not one or two questions as text; a third turn is not supported"
        )
    return TURN_MARK.join(turns)
