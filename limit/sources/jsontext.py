"""Records out of JSON text: one a line, one array, objects one after the other, or a table in one object.

Texts are decoded as they are read; only a single value is ever held whole. After a broken item reading goes on where
the next one begins, or the reason says that the rest could not be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from limit.core import Json, LimitError
from limit.sources.recordforms import is_record

RECORD_CHARS = 64_000_000  # a longer record is taken for a file without an end
CHUNK_CHARS = 1 << 20
SHOWN_CHARS = 200
_WRAPPED_LIST = re.compile(
    r'\s*\{(?:\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[\w.+-]+)\s*,)*\s*"[^"\\]*"\s*:\s*\[(?=\s*\{)'
)  # plain fields, then a list of objects
_SPACE = re.compile(r"[ \t\r\n]*")
_SPACE_AND_COMMAS = re.compile(r"[ \t\r\n,]*")
_ROLE_KEYS = {"role", "from", "speaker"}


@dataclass(frozen=True)
class Record:
    """One record as it stands in a file; `problem` says why it could not even be parsed."""

    line: int
    value: Any
    problem: str | None = None


def json_lines(file: IO[str]) -> Iterator[Record]:
    """One JSON value a line. A file that is a single object, on one line or many, is that object or its one list."""
    first: Record | None = None
    for number, line in enumerate(iter(lambda: file.readline(RECORD_CHARS), ""), start=1):
        if len(line) == RECORD_CHARS and first is None and _WRAPPED_LIST.match(line):
            yield from _objects(line, file, number)
            return
        if len(line) == RECORD_CHARS:
            raise LimitError(f"line {number} is longer than {RECORD_CHARS:,} characters; one record a line is expected")
        text = line.removeprefix("\ufeff")  # where one file was put behind another
        if not text.strip():
            continue
        try:
            record = Record(number, json.loads(text))
        except (ValueError, RecursionError) as error:
            if first is None and text.strip()[-1] in "{[,":
                yield from _objects(text, file, number)
                return
            record = Record(number, text.rstrip("\r\n"), f"broken JSON ({short(error)})")
        if first is None:
            first = record
            continue
        if first.line:
            yield first
            first = Record(0, None)
        yield record
    if first is not None and first.line:
        yield from [first] if first.problem else _expanded(first)


def json_array(file: IO[str]) -> Iterator[Record]:
    """Items of one JSON array, decoded as they are read; `line` is where an item starts."""
    start = file.read(CHUNK_CHARS)
    before = start[: start.index("[") + 1]
    yield from _Items(start[len(before) :], file, 1 + before.count("\n"), array=True)


def has_dialogues_in_lines(head: str) -> bool:
    """Whether a text that starts with `[` has one list of messages on each line, not one array for all."""
    lines = [line for line in head.split("\n")[:50] if line.strip()]
    if len(lines) < 2 or not lines[1].lstrip().startswith("["):
        return False
    try:
        first = json.loads(lines[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(first, list) and is_dialogue(first)


def is_dialogue(value: list[Any]) -> bool:
    """Whether a list is one of messages, not of records."""
    return bool(value) and isinstance(value[0], dict) and bool(value[0].keys() & _ROLE_KEYS)


def _objects(start: str, file: IO[str], line: int) -> Iterator[Record]:
    """A pretty-printed object, or several one after the other as `jq` prints them, with or without commas between.

    A list of records inside an object that is too long to be held whole is read item by item.
    """
    start += file.read(RECORD_CHARS - len(start))
    if len(start) == RECORD_CHARS and (match := _WRAPPED_LIST.match(start)):
        yield from _Items(start[match.end() :], file, line + match[0].count("\n"), array=True, behind="}")
        return
    items = iter(_Items(start, file, line, array=False))
    first = next(items, None)
    second = next(items, None)
    if first is None:
        return
    if second is None:
        yield from [first] if first.problem else _expanded(first)
        return
    yield from (first, second)
    yield from items


class _Items:
    """Values of an array behind its `[`, or of objects in a row, each with the line on which it starts."""

    def __init__(self, buffer: str, file: IO[str], line: int, array: bool, behind: str = "") -> None:
        self._buffer, self._file, self._line, self._array = buffer, file, line, array
        self._behind = behind  # what may stand behind the `]`
        self._position, self._resumed = 0, False
        self._lead: str | None = None  # white space between the start of a line and an item, once seen
        self._decoder = json.JSONDecoder()

    def __iter__(self) -> Iterator[Record]:
        expects_comma = False
        while self._has_more():
            sign = self._buffer[self._position]
            if self._array and sign == "]":
                self._move(self._position + 1)
                if self._has_more() and self._buffer[self._position] == self._behind:
                    self._move(self._position + 1)
                if self._has_more():
                    yield self._problem("more text after the end of the array", resumes=False)
                return
            if expects_comma and sign != ",":
                yield self._problem("expected ',' between items")
            elif expects_comma:
                self._move(self._position + 1)
            else:
                yield self._value()
                expects_comma = self._array and not self._resumed
                continue
            expects_comma = False
        if self._array:
            yield Record(self._line, "", "broken JSON (the array is not closed: the file stops before its end)")

    def _has_more(self) -> bool:
        """Skip white space, reading on where needed; False at the end of the file."""
        while True:
            self._move((_SPACE if self._array else _SPACE_AND_COMMAS).match(self._buffer, self._position).end())  # type: ignore[union-attr]
            if self._position < len(self._buffer):
                return True
            if not self._read(CHUNK_CHARS):
                return False

    def _value(self) -> Record:
        """The value at the present position, or what is wrong with it."""
        self._resumed = False
        self._note_lead()
        size = CHUNK_CHARS
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
                if end == len(self._buffer) and not isinstance(value, (dict, list, str)) and self._read(size):
                    continue  # a number may go on
            except (ValueError, RecursionError) as error:
                if len(self._buffer) - self._position < RECORD_CHARS and self._read(size):
                    size *= 2
                    continue
                return self._problem(short(error), error=error)
            record = Record(self._line, value)
            self._move(end)
            return record

    def _problem(self, words: str, error: Exception | None = None, resumes: bool = True) -> Record:
        """A record that says what is wrong; goes on at the next item that starts a line as the last ones did."""
        line = self._line
        if isinstance(error, json.JSONDecodeError):
            line += error.lineno - 1 - self._buffer.count("\n", 0, self._position)
        text = self._buffer[self._position : self._position + SHOWN_CHARS]
        rest = "" if not resumes or self._resume() else "; the rest of the file cannot be read"
        return Record(line, text, f"broken JSON ({words}{rest})")

    def _resume(self) -> bool:
        """Move to the next line that starts as the items before did; else to the end, and False if items are lost."""
        self._resumed = True
        mark = None if self._lead is None else f"\n{self._lead}{{"
        lost = False
        self._move(self._position + 1)
        while True:
            found = -1 if mark is None else self._buffer.find(mark, self._position)
            if found >= 0 and mark is not None:
                self._move(found + len(mark) - 1)
                return True
            lost = lost or "{" in self._buffer[self._position :]
            self._move(max(self._position, len(self._buffer) - len(mark or "")))
            self._buffer, self._position = self._buffer[self._position :], 0
            if not self._read(CHUNK_CHARS):
                self._buffer, self._array = "", False
                return not lost

    def _note_lead(self) -> None:
        """Remember how far items are indented, if they start lines; cut off what was decoded long ago."""
        before = self._buffer.rfind("\n", 0, self._position)
        lead = self._buffer[before + 1 : self._position]
        starts_line = before >= 0 or (self._position == 0 and not self._array)
        if starts_line and not lead.strip() and self._buffer[self._position] == "{":
            self._lead = lead
        if self._position > CHUNK_CHARS:
            self._buffer, self._position = self._buffer[self._position :], 0

    def _move(self, position: int) -> None:
        self._line += self._buffer.count("\n", self._position, position)
        self._position = position

    def _read(self, size: int) -> bool:
        more = self._file.read(size)
        self._buffer += more
        return bool(more)


def _expanded(record: Record) -> Iterator[Record]:
    """The rows of an object that wraps one list of rows, such as {"data": [...]}, or a table by columns.

    Any other object is itself the only row. Raises LimitError where several lists of rows could be meant.
    """
    fields = record.value if isinstance(record.value, dict) and not is_record(record.value) else {}
    while len(fields) == 1 and isinstance(inner := next(iter(fields.values())), dict) and inner:
        fields = inner
    lists = {name: v for name, v in fields.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
    tables = [name for name, rows in lists.items() if not is_dialogue(rows)]
    if len(tables) > 1:
        names = ", ".join(repr(str(name)[:40]) for name in tables[:10])
        raise LimitError(f"the file holds several lists of records ({names}); put the one you want into its own file")
    rows = lists[tables[0]] if tables else _turned(fields)
    if rows is None:
        yield record
    else:
        yield from (Record(number, row) for number, row in enumerate(rows, start=1))


def _turned(fields: Json) -> list[Any] | None:
    """The rows of a table that stands on its side: lists of equal length, or one of pandas' other layouts."""
    columns = list(fields.values())
    if fields.keys() >= {"columns", "data"} and all(isinstance(fields[name], list) for name in ("columns", "data")):
        names = [str(name) for name in fields["columns"]]
        fits = all(isinstance(row, list) and len(row) == len(names) for row in fields["data"])
        return [dict(zip(names, row, strict=True)) for row in fields["data"]] if fits else None
    if columns and all(isinstance(column, list) and column for column in columns):
        whole = any(isinstance(column[0], list) for column in columns) or len(columns) > 1
        plain = not any(isinstance(value, dict) for column in columns for value in column)
        if whole and plain and len({len(column) for column in columns}) == 1:
            return [dict(zip(fields, row, strict=True)) for row in zip(*columns, strict=True)]
        return None
    if len(columns) > 1 and all(isinstance(column, dict) and column for column in columns):
        return _of_objects(fields)
    return None


def _of_objects(fields: Json) -> list[Any] | None:
    """Objects in an object: columns of numbered rows as pandas writes them, else rows by name."""
    keys = list(next(iter(fields.values())))
    if all(key.isascii() and key.isdecimal() for key in keys):
        same = all(list(column) == keys for column in fields.values())
        return [{name: column[key] for name, column in fields.items()} for key in keys] if same else None
    return list(fields.values())


def short(error: Exception) -> str:
    """An error's words on one line."""
    return " ".join(str(error).split())[:160]
