"""Which samples of a source to show: by subset, length, turns, what people and judges said of them, and topic.

A filter is resolved once against the marks, grades and topics of its source; it then reads as SQL for pages and as a
mask over a table for searches, and both mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from limit.core import LimitError
from limit.settings import Workspace
from limit.sources.grades import read_grades
from limit.sources.marks import read_marks

Mark = Literal["flag", "exclude", "note", "none"]
MARKS: tuple[Mark, ...] = ("flag", "exclude", "note", "none")
COLUMNS = ["row", "sample_id", "subset", "turns", "n_prompt_chars", "n_response_chars"]


@dataclass(frozen=True)
class Filter:
    """Which samples to show; lengths are characters of prompt, response, or both together.

    `marks` are labels of which a sample must bear one, "none" meaning no label at all; `note` is text in its note;
    grades are the mean of what judges gave it, and a sample without a grade does not fit a range of grades.
    """

    subset: str | None = None
    min_chars: int | None = None
    max_chars: int | None = None
    length_of: Literal["prompt", "response", "both"] = "response"
    min_turns: int | None = None
    max_turns: int | None = None
    marks: tuple[Mark, ...] = ()
    note: str | None = None
    min_grade: float | None = None
    max_grade: float | None = None
    topic: int | None = None

    @property
    def is_empty(self) -> bool:
        return self == Filter(length_of=self.length_of)

    @property
    def is_subset_alone(self) -> bool:
        return self == Filter(subset=self.subset, length_of=self.length_of)


@dataclass(frozen=True)
class Resolved:
    """A filter with the sample ids and rows that its labels, grades and topic come to; None where not asked."""

    where: Filter
    ids: frozenset[str] | None = None
    other_than: frozenset[str] | None = None  # samples that bear any label; `ids` or anything outside of these fit
    graded: frozenset[str] | None = None
    rows: tuple[int, ...] | None = None

    def sql(self) -> tuple[str, list[Any]]:
        """A condition over the sample columns and the values of its parameters."""
        tests: list[str] = []
        values: list[Any] = []
        for test, value in (*self._numbers(), ("subset = ?", self.where.subset)):
            if value is not None:
                tests.append(test)
                values.append(value)
        if self.ids is not None:
            known = "sample_id in (select unnest(?::varchar[]))"
            tests.append(known if self.other_than is None else f"({known} or not {known})")
            values += [sorted(part) for part in (self.ids, self.other_than) if part is not None]
        if self.graded is not None:
            tests.append("sample_id in (select unnest(?::varchar[]))")
            values.append(sorted(self.graded))
        if self.rows is not None:
            tests.append("row in (select unnest(?::bigint[]))")
            values.append(list(self.rows))
        return " and ".join(tests) or "true", values

    @property
    def order(self) -> str:
        """What keeps rows in order: looking ids up in a list is a join, and a join keeps no order of its own."""
        looks_up = any(part is not None for part in (self.ids, self.graded, self.rows))
        return "order by row" if looks_up else ""

    def _numbers(self) -> list[tuple[str, int | None]]:
        length = {"prompt": "n_prompt_chars", "response": "n_response_chars"}.get(
            self.where.length_of, "n_prompt_chars + n_response_chars"
        )
        return [
            (f"{length} >= ?", self.where.min_chars),
            (f"{length} <= ?", self.where.max_chars),
            ("turns >= ?", self.where.min_turns),
            ("turns <= ?", self.where.max_turns),
        ]

    def mask(self, table: pa.Table) -> Any:
        """Which rows of a table that holds COLUMNS fit, as one boolean array."""
        where, tests = self.where, []
        prompt, response = table["n_prompt_chars"], table["n_response_chars"]
        length = {"prompt": prompt, "response": response}.get(where.length_of)
        length = pc.add(prompt, response) if length is None else length
        for column, low, high in ((length, where.min_chars, where.max_chars), _turns(table, where)):
            tests += [pc.greater_equal(column, low)] if low is not None else []
            tests += [pc.less_equal(column, high)] if high is not None else []
        if where.subset is not None:
            tests.append(pc.equal(table["subset"], where.subset))
        if self.ids is not None:
            fits = pc.is_in(table["sample_id"], pa.array(sorted(self.ids), pa.string()))
            if self.other_than is not None:
                marked = pc.is_in(table["sample_id"], pa.array(sorted(self.other_than), pa.string()))
                fits = pc.or_(fits, pc.invert(marked))
            tests.append(fits)
        if self.graded is not None:
            tests.append(pc.is_in(table["sample_id"], pa.array(sorted(self.graded), pa.string())))
        if self.rows is not None:
            tests.append(pc.is_in(table["row"], pa.array(self.rows, pa.int64())))
        found = pa.chunked_array([pa.array([True] * len(table), pa.bool_())])
        for test in tests:
            found = pc.and_(found, test)
        return found


def _turns(table: pa.Table, where: Filter) -> tuple[Any, int | None, int | None]:
    return table["turns"], where.min_turns, where.max_turns


def resolve_filter(ws: Workspace, source: str, where: Filter) -> Resolved:
    """Look up labels, grades and topic. Raises LimitError for an unknown label, or a topic before topics are made."""
    unknown = [kind for kind in where.marks if kind not in MARKS]
    if unknown:
        raise LimitError(f"label {unknown[0]!r} is not known; choose among {', '.join(MARKS)}")
    ids = other_than = graded = None
    if where.marks or where.note is not None:
        marks = read_marks(ws, source)
        labelled = {key for key, held in marks.items() if any(held.get(kind) for kind in where.marks)}
        if where.note is not None:
            noted = {
                key for key, held in marks.items() if where.note.casefold() in str(held.get("note", "")).casefold()
            }
            noted = {key for key in noted if marks[key].get("note")}
            ids = frozenset(labelled & noted if where.marks else noted)
        else:
            ids = frozenset(labelled)
            other_than = frozenset(marks) if "none" in where.marks else None
    if where.min_grade is not None or where.max_grade is not None:
        low, high = where.min_grade or 0.0, 10.0 if where.max_grade is None else where.max_grade
        graded = frozenset(key for key, grade in read_grades(ws, source).items() if low <= grade <= high)
    rows = None
    if where.topic is not None:
        from limit.sources.topics import topic_rows

        rows = tuple(topic_rows(ws, source, where.topic))
    return Resolved(where, ids, other_than, graded, rows)
