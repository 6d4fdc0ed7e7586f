"""Records out of files that users bring: JSON, JSON lines (plain, gz, zst), CSV, Parquet, or a folder of these.

Every record comes with its line (JSON lines, CSV, JSON array) or row (Parquet), counted from 1. The content decides
what a file is, not its name. Memory stays bounded: a file is never read whole, except a single record of it. Bytes and
compression are the business of `limit.sources.textfiles`.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from limit.core import LimitError
from limit.sources.textfiles import head_of, open_text, reading_errors_in_words, text_encoding

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
    with reading_errors_in_words(path):
        head = head_of(path)
        if head.startswith(b"PAR1"):
            yield from _parquet(path)
            return
        if not head.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00"):
            raise LimitError(f"{path} is empty; nothing to add")
        reader = _text_reader(head, path)
        with open_text(path, text_encoding(head), lenient=skip_broken) as file:
            for record in reader(file):
                if record.problem and not skip_broken:
                    raise LimitError(
                        f"{path} line {record.line}: {record.problem}; repair that line, or use --skip-broken to leave "
                        "such lines out and list them in rejects.jsonl"
                    )
                yield record


def _text_reader(head: bytes, path: Path) -> Callable[[IO[str]], Iterator[Record]]:
    text = head.decode(text_encoding(head), "ignore").lstrip("\ufeff \t\r\n")
    if text.startswith("["):
        return _json_array
    if text.startswith("{"):
        return _json_lines
    if "\x00" in text:
        raise LimitError(
            f"{path} is neither text nor Parquet; give JSON, JSONL, CSV (as UTF-8, or UTF-16 with its byte order mark) "
            "or Parquet, plain or packed as gz or zst"
        )
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
    """A pretty-printed object, or several one after the other as `jq` prints them."""
    decoder, position, line, held = json.JSONDecoder(), 0, first_line, []
    while True:
        position, line = _skip_space(text, position, line)
        if position == len(text):
            break
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            before = text.count("\n", 0, position) if isinstance(error, json.JSONDecodeError) else 0
            at = line + (error.lineno - 1 - before if isinstance(error, json.JSONDecodeError) else 0)
            held.append(Record(at, text[position : position + 200], f"broken JSON ({_short(error)})"))
            break
        held.append(Record(line, value))
        line += text.count("\n", position, end)
        position = end
    yield from _expanded(held[0]) if len(held) == 1 and not held[0].problem else held


def _expanded(record: Record) -> Iterator[Record]:
    """The rows of an object that wraps one list of rows, such as {"data": [...]}, or columns of equal length.

    Any other object is itself the only row. Raises LimitError where several lists of rows could be meant.
    """
    fields = record.value if isinstance(record.value, dict) else {}
    lists = {name: v for name, v in fields.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
    tables = [name for name, rows in lists.items() if not rows[0].keys() & {"role", "from"}]
    if len(tables) > 1:
        names = ", ".join(repr(str(name)[:40]) for name in tables[:10])
        raise LimitError(f"the file holds several lists of records ({names}); put the one you want into its own file")
    if len(tables) == 1:
        yield from (Record(number, item) for number, item in enumerate(lists[tables[0]], start=1))
    elif _is_columns(fields):
        for number, row in enumerate(zip(*fields.values(), strict=True), start=1):
            yield Record(number, dict(zip(fields, row, strict=True)))
    else:
        yield record


def _is_columns(fields: dict[str, Any]) -> bool:
    """Whether an object is a table turned on its side: two or more lists of plain values, all as long."""
    columns = list(fields.values())
    plain = all(isinstance(c, list) and c and not any(isinstance(v, (list, dict)) for v in c) for c in columns)
    return len(columns) > 1 and plain and len({len(column) for column in columns}) == 1


def _json_array(file: IO[str]) -> Iterator[Record]:
    """Items of one JSON array, decoded as they are read; `line` is where an item starts."""
    decoder, buffer, line, size = json.JSONDecoder(), file.read(CHUNK_CHARS).lstrip(), 1, CHUNK_CHARS
    position, expects_comma = 1, False
    while True:
        position, line = _skip_space(buffer, position, line)
        if position < len(buffer) and buffer[position] == "]":
            rest = (buffer[position + 1 :] + file.read(CHUNK_CHARS)).lstrip()
            if rest:
                yield Record(line, rest[:200], "broken JSON (more text after the end of the array)")
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
    head = start.split("\n", 1)[0]
    try:
        delimiter = csv.Sniffer().sniff(head, delimiters=",\t;|").delimiter
    except csv.Error:
        delimiter = ","
    spaced = head.count(delimiter) == head.count(delimiter + " ") > 0
    lines = _Lines(start, file)
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=spaced)
    reader.fieldnames = distinct([name.strip() for name in reader.fieldnames or []])
    while True:
        line = reader.line_num + 1
        try:
            row: Any = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(line, "", f"broken CSV ({error})")
            continue
        if lines.ended:  # a record that is whole never reads beyond its last line
            problem = f"a quote is opened and never closed, so that {reader.line_num - line + 1:,} lines are one record"
            yield Record(line, str(row)[:200], problem)
            return
        yield Record(line, row)


def distinct(names: list[str]) -> list[str]:
    """Column names of which none stands twice: later ones are numbered, `prompt (2)`."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


class _Lines:
    """Lines of a file whose first part was read already; `ended` once more was asked for than there is."""

    def __init__(self, start: str, file: IO[str]) -> None:
        self._first = iter(_cut_lines(start + (file.readline() if start and not start.endswith("\n") else "")))
        self._file = file
        self.ended = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._first, None) or self._file.readline()
        if not line:
            self.ended = True
            raise StopIteration
        return line


def _cut_lines(text: str) -> list[str]:
    """Lines with their ends, cut as a file opened with newline='' cuts them: not at every sign that Unicode knows."""
    return io.StringIO(text, newline="").readlines()


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows == 0:
                raise LimitError(f"{path} is empty; nothing to add")
            number, names = 0, distinct(file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=PARQUET_BATCH):
                for value in batch.rename_columns(names).to_pylist():
                    number += 1
                    yield Record(number, value)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LimitError(f"{path} is no readable Parquet file ({_short(error)}); write it again") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
