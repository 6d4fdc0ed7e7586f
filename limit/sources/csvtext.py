"""Records out of CSV: with whatever separator, quotes over several lines, and faults named by their line."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

from limit.sources.jsontext import RECORD_CHARS, SHOWN_CHARS, Record

START_CHARS = 65_536
DELIMITERS = ",;\t|"
TRIED_ROWS = 20
_STATED = re.compile(r"sep=(.)\r?\n")  # the first line that Excel understands


def csv_rows(file: IO[str]) -> Iterator[Record]:
    """The rows below the header, each with the line on which it starts."""
    csv.field_size_limit(RECORD_CHARS)
    start = file.read(START_CHARS)
    stated = _STATED.match(start)
    start = start[stated.end() :] if stated else start
    delimiter = stated[1] if stated else delimiter_of(start)
    head = start.split("\n", 1)[0]
    spaced = head.count(delimiter) == head.count(delimiter + " ") > 0
    lines = _Lines(start, file)
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=spaced)
    reader.fieldnames = distinct([name.strip() for name in reader.fieldnames or []])
    before = 1 if stated else 0
    while True:
        line = reader.line_num + 1 + before
        try:
            row: Any = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(line, "", f"broken CSV ({error})")
            continue
        if lines.ended:  # a record that is whole never reads beyond its last line
            held = reader.line_num + 1 + before - line
            problem = f"a quote is opened and never closed, so that {held:,} lines are one record"
            yield Record(line, str(row)[:SHOWN_CHARS], problem)
            return
        yield Record(line, row)


def delimiter_of(start: str) -> str:
    """The sign that cuts most of the first rows into as many fields as the header, two or more; a comma if none."""
    best, best_fit = ",", (0.0, 1)
    for sign in DELIMITERS:
        rows = []
        try:
            for row in csv.reader(io.StringIO(start, newline=""), delimiter=sign):
                rows += [len(row)] if row else []
                if len(rows) > TRIED_ROWS:
                    break
        except csv.Error:
            continue
        width = rows[0] if rows else 0
        fit = (sum(row == width for row in rows) / max(1, len(rows)), width)
        if width > 1 and fit > best_fit:
            best, best_fit = sign, fit
    return best


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
