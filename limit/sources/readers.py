"""Records out of files that users bring: JSON, JSON lines (plain, gz, zst), CSV, Parquet, or a folder of these.

Every record comes with its line (JSON lines, CSV, JSON array) or row (Parquet), counted from 1. The content decides
what a file is, not its name. Memory stays bounded: a file is never read whole, except a single record of it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from limit.core import LimitError

RECORD_CHARS = 64_000_000  # a longer record is taken for a file without an end
CHUNK_CHARS = 1 << 20
PARQUET_BATCH = 2_048
DATA_SUFFIXES = (
    ".jsonl",
    ".json",
    ".ndjson",
    ".csv",
    ".tsv",
    ".parquet",
    ".jsonl.gz",
    ".json.gz",
    ".csv.gz",
    ".jsonl.zst",
    ".json.zst",
    ".csv.zst",
)


@dataclass(frozen=True)
class Record:
    """One record as it stands in a file; `problem` says why it could not even be parsed."""

    line: int
    value: Any
    problem: str | None = None


def data_files(path: Path) -> list[Path]:
    """The files of a source: the file itself, or all data files below a folder in name order. Raises LimitError."""
    if path.is_file():
        return [path]
    if not path.exists():
        raise LimitError(f"{path} does not exist; give a JSON, JSONL, CSV or Parquet file, or a folder of them")
    found = [f for f in sorted(path.rglob("*")) if f.is_file() and f.name.lower().endswith(DATA_SUFFIXES)]
    files = [f for f in found if not any(part.startswith(".") for part in f.relative_to(path).parts)]
    if not files:
        raise LimitError(f"{path} holds no data files; expected names that end in {', '.join(DATA_SUFFIXES[:6])}")
    return files


def read_records(path: Path, skip_broken: bool = False) -> Iterator[Record]:
    """Yield the records of one file.

    Raises LimitError when the file is empty, unreadable or, unless `skip_broken`, holds a line that cannot be parsed.
    """
    try:
        head = _head(path)
        if head.startswith(b"PAR1"):
            yield from _parquet(path)
            return
        if not head.strip(b"\xef\xbb\xbf \t\r\n\x00"):
            raise LimitError(f"{path} is empty; nothing to add")
        with _open_text(path) as file:
            for record in _text_reader(head, path)(file):
                if record.problem and not skip_broken:
                    raise LimitError(
                        f"{path} line {record.line}: {record.problem}; repair that line, or use --skip-broken to leave "
                        "such lines out and list them in rejects.jsonl"
                    )
                yield record
    except UnicodeDecodeError as error:
        raise LimitError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except (EOFError, gzip.BadGzipFile) as error:
        raise LimitError(f"{path} is a damaged compressed file ({error}); copy or download it again") from error
    except OSError as error:
        raise LimitError(f"cannot read {path}: {error.strerror or error}") from error


def _open_bytes(path: Path) -> IO[bytes]:
    raw = path.open("rb")
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(raw)  # type: ignore[return-value]
    if magic == b"\x28\xb5\x2f\xfd":
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return raw


def _head(path: Path) -> bytes:
    with _open_bytes(path) as file:
        return file.read(65_536)


def _open_text(path: Path) -> IO[str]:
    buffered = io.BufferedReader(_open_bytes(path), 1 << 20)  # type: ignore[type-var]
    return io.TextIOWrapper(buffered, encoding="utf-8-sig", newline="")


def _text_reader(head: bytes, path: Path) -> Callable[[IO[str]], Iterator[Record]]:
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first == b"[":
        return _json_array
    if first == b"{":
        return _json_lines
    if b"\x00" in head:
        raise LimitError(f"{path} is neither text nor Parquet; give JSON, JSONL, CSV or Parquet")
    return _csv


def _json_lines(file: IO[str]) -> Iterator[Record]:
    """One JSON value a line. A file that is a single object, on one line or many, is that object or its one list."""
    first: Record | None = None
    for number, line in enumerate(iter(lambda: file.readline(RECORD_CHARS), ""), start=1):
        if len(line) == RECORD_CHARS:
            raise LimitError(f"line {number} is longer than {RECORD_CHARS:,} characters; one record a line is expected")
        if not line.strip():
            continue
        try:
            record = Record(number, json.loads(line))
        except (ValueError, RecursionError) as error:
            if first is None and line.strip()[-1] in "{[,":
                yield from _one_object(line + file.read(RECORD_CHARS), number)
                return
            record = Record(number, line.rstrip("\r\n"), f"broken JSON ({_short(error)})")
        if first is None:
            first = record
            continue
        if first.line:
            yield first
            first = Record(0, None)
        yield record
    if first is not None and first.line:
        yield from [first] if first.problem else _expanded(first)


def _one_object(text: str, first_line: int) -> Iterator[Record]:
    try:
        yield from _expanded(Record(first_line, json.loads(text)))
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        yield Record(first_line + line - 1, text[:200], f"broken JSON ({_short(error)})")


def _expanded(record: Record) -> Iterator[Record]:
    """The rows of an object that wraps a single list of rows, such as {"data": [...]}; else the object itself."""
    fields = record.value.values() if isinstance(record.value, dict) else []
    lists = [value for value in fields if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(lists) != 1 or lists[0][0].keys() & {"role", "from"}:
        yield record
        return
    for number, item in enumerate(lists[0], start=1):
        yield Record(number, item)


def _json_array(file: IO[str]) -> Iterator[Record]:
    """Items of one JSON array, decoded as they are read; `line` is where an item starts."""
    decoder, buffer, line, size = json.JSONDecoder(), file.read(CHUNK_CHARS).lstrip(), 1, CHUNK_CHARS
    position, expects_comma = 1, False
    while True:
        position, line = _skip_space(buffer, position, line)
        if position < len(buffer) and buffer[position] == "]":
            return
        if position < len(buffer) and expects_comma:
            if buffer[position] != ",":
                yield Record(line, buffer[position : position + 200], "broken JSON (expected ',' between items)")
                return
            position, expects_comma = position + 1, False
            continue
        try:
            value, end = decoder.raw_decode(buffer, position)
            if end == len(buffer) and not isinstance(value, (dict, list, str)):
                raise json.JSONDecodeError("item may go on", buffer, end)
        except (ValueError, RecursionError) as error:
            more = file.read(size) if len(buffer) - position < RECORD_CHARS else ""
            if not more:
                at = line + (error.lineno - 1 - buffer.count("\n", 0, position) if hasattr(error, "lineno") else 0)
                yield Record(at, buffer[position : position + 200], f"broken JSON ({_short(error)})")
                return
            buffer, position, size = buffer[position:] + more, 0, size * 2
            continue
        yield Record(line, value)
        line += buffer.count("\n", position, end)
        position, expects_comma, size = end, True, CHUNK_CHARS
        if len(buffer) - position < CHUNK_CHARS // 2:
            buffer, position = buffer[position:] + file.read(CHUNK_CHARS), 0


def _skip_space(text: str, position: int, line: int) -> tuple[int, int]:
    while position < len(text) and text[position] in " \t\r\n":
        line += text[position] == "\n"
        position += 1
    return position, line


def _csv(file: IO[str]) -> Iterator[Record]:
    csv.field_size_limit(RECORD_CHARS)
    start = file.read(65_536)
    try:
        dialect: Any = csv.Sniffer().sniff(start.split("\n", 1)[0], delimiters=",\t;|")
    except csv.Error:
        dialect = csv.excel
    delimiter = dialect.delimiter
    reader = csv.DictReader(_joined(start, file), delimiter=delimiter, restkey="", restval=None)
    header = reader.fieldnames or []
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(line, "", f"broken CSV ({error})")
            return
        extra = row.pop("", None) if "" not in header else None
        yield Record(line, {**row, "": extra} if extra is not None else row)


def _joined(start: str, file: IO[str]) -> Iterator[str]:
    """Lines of `file` whose first part was read already."""
    lines = start.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += file.readline()
    yield from lines
    yield from file


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows == 0:
                raise LimitError(f"{path} is empty; nothing to add")
            number = 0
            for batch in file.iter_batches(batch_size=PARQUET_BATCH):
                for value in batch.to_pylist():
                    number += 1
                    yield Record(number, value)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LimitError(f"{path} is no readable Parquet file ({_short(error)}); write it again") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
