"""Records out of files that users bring: JSON, JSON lines (plain, gz, zst), CSV, Parquet, Arrow, or a folder of these.

Every record comes with its line (JSON lines, CSV, JSON array) or row (Parquet, Arrow), counted from 1. The content
decides what a file is, not its name. Memory stays bounded: a file is never read whole, except a single record of it.
Bytes and compression are the business of `limit.sources.textfiles`, JSON that of `jsontext`, CSV that of `csvtext`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from limit.core import LimitError
from limit.sources.csvtext import csv_rows, distinct
from limit.sources.jsontext import Record, has_dialogues_in_lines, json_array, json_lines, short
from limit.sources.textfiles import head_of, is_packed, kind_of_other, open_text, reading_errors_in_words, text_encoding

BATCH_ROWS = 2_048  # of a Parquet or Arrow file at a time
DATA_SUFFIXES = (
    ".jsonl",
    ".json",
    ".ndjson",
    ".csv",
    ".tsv",
    ".parquet",
    ".arrow",
    ".jsonl.gz",
    ".json.gz",
    ".csv.gz",
    ".jsonl.zst",
    ".json.zst",
    ".csv.zst",
)
ABOUT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # what `datasets` adds
_SPLITS = {
    "train": re.compile(r"(?<![a-z])train(ing)?(?![a-z])"),
    "test": re.compile(r"(?<![a-z])(test|testing|eval|evaluation)(?![a-z])"),
    "validation": re.compile(r"(?<![a-z])(validation|valid|val|dev)(?![a-z])"),
}


def data_files(path: Path) -> list[Path]:
    """The files of a source: the file itself, or all data files below a folder in name order. Raises LimitError."""
    if path.is_file():
        return [path]
    if not path.exists():
        raise LimitError(f"{path} does not exist; give a JSON, JSONL, CSV or Parquet file, or a folder of them")
    if not path.is_dir():
        raise LimitError(f"{path} is neither a file nor a folder; give a JSON, JSONL, CSV or Parquet file")
    files = sorted(file for file in _below(path) if file.name.lower().endswith(DATA_SUFFIXES))
    files = [file for file in files if file.name not in ABOUT_DATA]
    if lost := next((file for file in files if not file.exists()), None):
        raise LimitError(f"{lost} is a link that leads nowhere; put the file there or remove the link")
    files = [file for file in files if file.is_file()]
    if not files:
        raise LimitError(f"{path} holds no data files; expected names that end in {', '.join(DATA_SUFFIXES[:6])}")
    return files


def unread_files(path: Path) -> list[Path]:
    """The files of a folder that are no data by their names; texts about the data are not among them."""
    files = _below(path) if path.is_dir() else ()
    about = re.compile(r"(readme|licen[cs]e|citation)[^/]*|.*\.md", re.IGNORECASE)
    return sorted(
        file
        for file in files
        if not (file.name.lower().endswith(DATA_SUFFIXES) or file.name in ABOUT_DATA or about.fullmatch(file.name))
    )


def _below(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is not hidden; links to folders are followed, each folder once."""
    seen = set()
    for name, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(name)
        folders[:] = [inner for inner in folders if not inner.startswith(".")] if real not in seen else []
        if real not in seen:
            yield from (Path(name) / file for file in files if not file.startswith("."))
        seen.add(real)


def training_files(path: Path) -> tuple[list[Path], list[Path]]:
    """`data_files`, parted into those to train on and those that a folder sets aside for testing by their names.

    Nothing is set aside from a folder without files named for training.
    """
    files = data_files(path)
    splits = [_split_of(file.relative_to(path) if path.is_dir() else Path()) for file in files]
    if "train" not in splits:
        return files, []
    aside = [file for file, split in zip(files, splits, strict=True) if split in ("test", "validation")]
    return [file for file in files if file not in aside], aside


def _split_of(file: Path) -> str | None:
    """The split that a file's folders or name tell, as the hub reads them; None where they tell none or several."""
    told = {split for split, words in _SPLITS.items() if words.search(file.as_posix().lower())}
    return told.pop() if len(told) == 1 else None


def read_records(path: Path, skip_broken: bool = False) -> Iterator[Record]:
    """Yield the records of one file.

    Raises LimitError when the file is empty, unreadable or, unless `skip_broken`, holds a line that cannot be parsed.
    """
    with reading_errors_in_words(path):
        for record in _records(path, head_of(path), skip_broken):
            if record.problem and not skip_broken:
                raise LimitError(
                    f"{path} line {record.line}: {record.problem}; repair that line, or use --skip-broken to leave "
                    "such lines out and list them in rejects.jsonl"
                )
            yield record


def _records(path: Path, head: bytes, lenient: bool) -> Iterator[Record]:
    if head.startswith(b"PAR1"):
        yield from _parquet(path)
    elif head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        yield from _arrow(path)
    elif not head.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00"):
        raise LimitError(f"{path} is empty; nothing to add")
    else:
        encoding = text_encoding(head)
        reader = _text_reader(head, encoding, path)
        with open_text(path, encoding, lenient) as file:
            yield from reader(file)


def _text_reader(head: bytes, encoding: str, path: Path) -> Callable[[IO[str]], Iterator[Record]]:
    text = head.decode(encoding, "ignore").lstrip("\ufeff \t\r\n")
    if text.startswith("["):
        return json_lines if has_dialogues_in_lines(text) else json_array
    if text.startswith("{"):
        return json_lines
    if other := kind_of_other(head, text):
        raise LimitError(
            f"{path} {other}; give JSON, JSONL, CSV (as UTF-8 or UTF-16), Parquet or Arrow, text also packed as gz or "
            "zst"
        )
    return csv_rows


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if is_packed(path):
        raise LimitError(f"{path} is a Parquet file packed once more; unpack it")
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows == 0:
                raise LimitError(f"{path} is empty; nothing to add")
            yield from _rows(file.iter_batches(batch_size=BATCH_ROWS))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LimitError(f"{path} is no readable Parquet file ({short(error)}); write it again") from error


def _arrow(path: Path) -> Iterator[Record]:
    """Arrow's file format, and its stream format, in which `datasets` saves."""
    import pyarrow as pa

    if is_packed(path):
        raise LimitError(f"{path} is an Arrow file packed once more; unpack it")
    try:
        with pa.OSFile(str(path)) as source:  # not mapped: a file that is cut meanwhile would end the process
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            if is_file:
                file = pa.ipc.open_file(source)
                batches = (file.get_batch(number) for number in range(file.num_record_batches))
            else:
                batches = iter(pa.ipc.open_stream(source))
            none = True
            for record in _rows(batches):
                none = False
                yield record
            if none:
                raise LimitError(f"{path} is empty; nothing to add")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LimitError(f"{path} is no readable Arrow file ({short(error)}); write it again") from error


def _rows(batches: Iterator[Any]) -> Iterator[Record]:
    """Rows of record batches; one whose text is not UTF-8 is a problem of its own."""
    number = 0
    for batch in batches:
        batch = batch.rename_columns(distinct(batch.schema.names))
        for start in range(0, len(batch), BATCH_ROWS):
            piece = batch.slice(start, BATCH_ROWS)
            try:
                values = piece.to_pylist()
            except UnicodeDecodeError:
                values = [_row_or_none(piece.slice(place, 1)) for place in range(len(piece))]
            for value in values:
                number += 1
                problem = "text that is not UTF-8" if value is None else None
                yield Record(number, value, problem)


def _row_or_none(one: Any) -> Any:
    try:
        return one.to_pylist()[0]
    except UnicodeDecodeError:
        return None
