"""Turn a file, a folder or a stream of records into a source of the workspace: all of it, or nothing.

A source is written into a hidden folder beside its place and renamed when complete. Rows that cannot be used go to
`rejects.jsonl` with their line and reason.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from limit.access import require
from limit.core import Json, LimitError, explained, read_json, sync_folder, utc_now, write_json
from limit.settings import Workspace, safe_name
from limit.sources.catalog import card_text, facts_for, is_non_commercial, licence_on_card
from limit.sources.exchanges import Stripped, convert
from limit.sources.jsontext import Record
from limit.sources.listing import source_info_at
from limit.sources.messages import Unusable
from limit.sources.readers import read_records, training_files, unread_files
from limit.sources.recordforms import Columns, Form, as_object, recognise
from limit.sources.samples import Exchange
from limit.sources.writing import SampleWriter

PEEK = 200  # records looked at to recognise the form
REJECT_CHARS = 200
REPLACED = ".old.tmp"  # what a source's folder is called while another takes its place
Progress = Callable[[int], None]
Records = Iterable[tuple[str, Record]]  # with the name of the file that each came from


@dataclass(frozen=True)
class About:
    """What is known of a source besides its rows; fields left empty are filled from the catalogue by name."""

    title: str | None = None
    licence: str | None = None
    description: str | None = None
    origin: str = ""
    catalog_id: str | None = None
    set_aside: tuple[str, ...] = ()  # files of a folder that are named for testing and were not read
    unread: tuple[str, ...] = ()  # files of a folder that are no data by their names


def add_source(
    ws: Workspace,
    name: str,
    path: Path | str,
    *,
    format: str = "auto",
    keep_turns: bool = True,
    title: str | None = None,
    licence: str | None = None,
    columns: Columns | None = None,
    skip_broken: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Json:
    """Read JSON, JSONL (also gz, zst), CSV, Parquet or a folder of these into `sources/<name>/`.

    Returns the report: `source.json` plus duplicates, rejects by reason, and the path. Adding the same content again
    changes nothing but the title and the licence, where they are given. Raises LimitError for input that cannot be
    used, and when another source has the name.
    """
    require("operator", "add sources")
    safe_name(name, "source")
    path = Path(path).expanduser()
    files, aside = training_files(path)
    licence = licence or licence_on_card(card_text(path / "README.md"))
    left = [tuple(str(file.relative_to(path)) for file in group) for group in (aside, unread_files(path))]
    about = About(title, licence, None, str(path.name), name, *left)

    name_of = {file: str(file.relative_to(path)) if path.is_dir() else file.name for file in files}

    def records() -> Iterator[tuple[str, Record]]:
        for file in files:
            before = file.stat()
            for record in read_records(file, skip_broken):
                yield name_of[file], record
            after = file.stat()
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise LimitError(f"{file} was changed while it was read; add it again when it is complete")

    return write_source(ws, name, records(), about, format, keep_turns, columns, replace, progress)


def preview_source(path: Path | str, format: str = "auto", columns: Columns | None = None, rows: int = 5) -> Json:
    """The form recognised in a file, the columns seen, and its first rows as they would be read.

    Returns {form, describes, columns, rows: [{line, prompt, response, subset, turns} or {line, reason}], set_aside,
    unread}. Raises LimitError as `add_source` does, except that a file without a known form is reported with `form`
    None.
    """
    files, aside = training_files(Path(path).expanduser())
    peek = list(itertools.islice(read_records(files[0], skip_broken=True), PEEK))
    dicts = _objects(peek)
    seen = list(dict.fromkeys(str(key) for record in dicts for key in record if key))
    unread = [file.name for file in unread_files(Path(path).expanduser())]
    rest: Json = {"set_aside": [file.name for file in aside], "unread": unread}
    if not dicts and peek and peek[0].problem:
        return {"form": None, "describes": f"line {peek[0].line}: {peek[0].problem}", "columns": [], "rows": [], **rest}
    try:
        form = recognise(dicts, files[0].name, columns, format)
    except LimitError as error:
        return {"form": None, "describes": str(error), "columns": seen, "rows": [], **rest}
    shown = [_preview_row(record, form, columns) for record in peek[:rows]]
    return {"form": form.name, "describes": form.describes, "columns": seen, "rows": shown, **rest}


def _objects(records: list[Record]) -> list[Json]:
    return [value for record in records if isinstance(value := as_object(record.value), dict)]


def _preview_row(record: Record, form: Form, columns: Columns | None) -> Json:
    try:
        if record.problem:
            raise Unusable(record.problem)
        item = convert(record.value, form, True, columns, Stripped())
    except Unusable as reason:
        return {"line": record.line, "reason": str(reason)}
    return {
        "line": record.line,
        "prompt": item.prompt,
        "response": item.response,
        "subset": item.subset,
        "turns": item.turns,
    }


def write_source(
    ws: Workspace,
    name: str,
    records: Records,
    about: About,
    format: str = "auto",
    keep_turns: bool = True,
    columns: Columns | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Json:
    """Write a stream of records as a source; see `add_source`."""
    target = ws.make().source(name)
    with explained(target):
        ws.sources.mkdir(exist_ok=True)
        _remove_leftovers(ws, name)
        folder = Path(tempfile.mkdtemp(prefix=f".{name}.{os.getpid()}.", suffix=".tmp", dir=ws.sources))
        try:
            report = _fill(folder, name, records, about, format, keep_turns, columns, progress)
            report["replaced"] = _put_in_place(folder, target, report, replace)
            if not report["replaced"] and (about.licence or about.title):
                _correct(target, report, about)
            return {**report, "path": str(target)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _fill(
    folder: Path,
    name: str,
    records: Records,
    about: About,
    format: str,
    keep_turns: bool,
    columns: Columns | None,
    progress: Progress | None,
) -> Json:
    stream = iter(records)
    first = list(itertools.islice(stream, PEEK))
    where = about.origin or name
    if not first:
        raise LimitError(f"{where} holds no records; nothing to add")
    form = recognise(_objects([record for _, record in first]), where, columns, format)
    stripped, reasons, read = Stripped(), Counter[str](), Counter[str]()
    with SampleWriter(folder, name) as writer, (folder / "rejects.jsonl").open("w", encoding="utf-8") as rejects:
        for number, (file, record) in enumerate(itertools.chain(first, stream), start=1):
            read[file] += 1
            try:
                writer.add(_converted(record, form, keep_turns, columns, stripped))
            except Unusable as reason:
                reasons[str(reason)] += 1
                _write_reject(rejects, file, read[file], record, str(reason))
            if progress and number % 2_000 == 0:
                progress(number)
    rejected = sum(reasons.values())
    if writer.rows == 0:
        raise LimitError(f"none of the {rejected:,} records of {where} can be used; most often: {_commonest(reasons)}")
    facts = facts_for(about.catalog_id)
    licence = about.licence or facts.get("licence")
    source: Json = {
        "source": name,
        "title": about.title or facts.get("title") or name,
        "origin": about.origin,
        "format": form.name,
        "rows": writer.rows,
        "subsets": dict(sorted(writer.subsets.items())),
        "turns_policy": "all turns" if keep_turns else "first turn only",
        "licence": licence,
        "licence_from": "given" if about.licence else (f"catalogue entry {about.catalog_id!r}" if licence else None),
        "non_commercial": is_non_commercial(licence),
        "description": about.description or facts.get("description") or "",
        "created": utc_now(),
        "files": writer.files(),
        "content_sha256": writer.content_sha256(),
        "rejected": rejected,
        "forms": dict(stripped.forms.most_common()),
        "set_aside": list(about.set_aside),
        "unread": list(about.unread),
        "stripped": stripped.as_dict(),
        "duplicates": writer.duplicates,
    }
    write_json(folder / "source.json", source)
    return {**source, "rejects_by_reason": dict(reasons.most_common(10))}


def _converted(record: Record, form: Form, keep_turns: bool, columns: Columns | None, stripped: Stripped) -> Exchange:
    if record.problem:
        raise Unusable(record.problem)
    return convert(record.value, form, keep_turns, columns, stripped)


def _write_reject(rejects: IO[str], file: str, number: int, record: Record, reason: str) -> None:
    """One line: where the record stands (its line, and which record of its file it is), and why it cannot be used."""
    shown: Any = record.value
    if not isinstance(shown, str):
        shown = json.dumps(shown, ensure_ascii=True, default=str)
    text = shown[:REJECT_CHARS].encode("utf-8", "replace").decode()
    row = {"line": record.line, "reason": reason, "text": text, "file": file, "record": number}
    rejects.write(json.dumps(row, ensure_ascii=False) + "\n")


def _commonest(reasons: Counter[str]) -> str:
    return "; ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(3))


def _put_in_place(folder: Path, target: Path, report: Json, replace: bool) -> bool:
    """Rename the finished folder; True when something else stood there before."""
    folder.chmod(0o755)
    if not target.exists():
        try:
            folder.rename(target)
        except OSError:
            if not (target / "source.json").is_file():  # not another process that was faster
                raise
        else:
            sync_folder(target.parent)
            return False
    old = source_info_at(target)
    if old is not None and old["content_sha256"] == report["content_sha256"]:
        return False
    if not replace:
        raise LimitError(
            f"source {report['source']!r} exists already with other content; choose another name or use --replace"
        )
    aside = folder.with_suffix(REPLACED)
    if (target / "marks.jsonl").exists():
        shutil.copy2(target / "marks.jsonl", folder / "marks.jsonl")
    if (target / "grades").is_dir():
        shutil.copytree(target / "grades", folder / "grades")
    target.rename(aside)
    folder.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _correct(target: Path, report: Json, about: About) -> None:
    """Put a title or a licence that was given now into a source of the same content that stood there before."""
    facts = read_json(target / "source.json")
    given = ("licence", "licence_from", "non_commercial") if about.licence else ()
    names = (*given, *(("title",) if about.title else ()))
    if any(facts[name] != report[name] for name in names):
        write_json(target / "source.json", {**facts, **{name: report[name] for name in names}})


def _remove_leftovers(ws: Workspace, name: str) -> None:
    """Delete what a killed attempt at the same source left behind; bring back what it was about to replace."""
    for folder in ws.sources.glob(f".{name}.*.tmp"):
        pid = folder.name.removeprefix(f".{name}.").split(".")[0]
        if not pid.isdecimal() or psutil.pid_exists(int(pid)):
            continue
        if folder.name.endswith(REPLACED) and not ws.source(name).exists() and (folder / "source.json").is_file():
            folder.rename(ws.source(name))
        else:
            shutil.rmtree(folder, ignore_errors=True)
