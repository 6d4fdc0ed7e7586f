"""The store: one read-write DuckDB connection over an index that the files can always rebuild.

Notable: a cursor per call (a shared connection refuses concurrent use), one lock around ingest, one transaction per
refresh. If another process holds the file, the same index is built in memory and `note` names the holder.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb
import pyarrow as pa

from limit.core import file_sha256
from limit.settings import SHIPPED, Workspace
from limit.store.files import RESULTS, Found, scan
from limit.store.read import read_rows
from limit.store.schema import FILES, TABLES, Row, arrow_rows, ddl, version

QUICK_S = 0.05  # a look at the disk that a page may wait for
MOST_HELD = 256  # values that were computed from many rows: of a whole Gauntlet some 0.3 MB each
FLUSH_ROWS = 100_000  # rows held in Python before they go to DuckDB

Held = TypeVar("Held")


class Store:
    """Tables over a workspace, its shipped results and the published numbers. Open it with `Store.open`."""

    def __init__(self, ws: Workspace, connection: Any, note: str | None, shipped: Path | None, published: Path | None):
        self.ws = ws
        self.note = note
        self.version = 0
        self._shipped, self._published = shipped, published
        self._connection = connection
        self._lock = threading.Lock()
        self._users = 1
        self._scanned, self._scan_s = 0.0, 0.0
        self._memory: dict[str, tuple[int, list[Row]]] = {}
        self._held: dict[str, tuple[int, Any]] = {}
        self._holding = threading.Lock()
        self._known = {row["file"]: row for row in self.rows("select * from files")}

    @classmethod
    def open(cls, ws: Workspace, shipped: Path | None = None, published: Path | None = None) -> Store:
        """The store of a workspace, up to date; a second call in one process shares it.

        Never raises for what lies on disk: a corrupt or outdated index is rebuilt, a locked or unwritable one is
        replaced by an index in memory, and `note` says so.
        """
        with _OPENING:
            key = ws.index.resolve()
            store = _OPEN.get(key)
            if store is None:
                connection, note = _connect(key)
                store = _OPEN[key] = cls(ws, connection, note, shipped, published)
            else:
                store._users += 1
        store.refresh()
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up one `open`; the last one closes the file."""
        with _OPENING:
            self._users -= 1
            if self._users == 0:
                _OPEN.pop(self.ws.index.resolve(), None)
                self._connection.close()

    def rows(self, sql: str, parameters: Sequence[Any] | dict[str, Any] | None = None) -> list[Row]:
        """Run one query and return its rows as dictionaries. Values are bound, never pasted into `sql`."""
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]

    def columns(self, sql: str, parameters: Sequence[Any] | dict[str, Any] | None = None) -> dict[str, Any]:
        """Run one query and return its columns as numpy arrays, for what is computed over many rows."""
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, parameters)
            found: dict[str, Any] = cursor.fetchnumpy()
            return found

    def path_of(self, file: str) -> Path:
        """Where the file of an indexed row lies."""
        origin, colon, name = file.partition(":")
        if colon and origin == "shipped":
            return (self._shipped or RESULTS) / name
        if colon and origin == "published":
            return (self._published or SHIPPED / "published") / name
        return self.ws.root / file

    def remember(self, key: str, make: Callable[[], list[Row]]) -> list[Row]:
        """What `make` returns, computed once for the data at hand; rows are copied, so a caller may change them."""
        now = self.version
        held = self._memory.get(key)
        if held is None or held[0] != now:
            held = self._memory[key] = (now, make())
        return [dict(row) for row in held[1]]

    def recall(self, key: str, make: Callable[[], list[Row]]) -> list[Row]:
        """As `remember`, for rows that depend on a choice: kept with the values of `hold`, the last used ones alone."""
        return [dict(row) for row in self.hold([key], lambda _: {key: make()})[0]]

    def hold(self, keys: Sequence[str], make: Callable[[list[str]], dict[str, Held]]) -> list[Held]:
        """A value for each key, those that are not at hand from one call of `make`; none is to be changed.

        Kept for the data at hand, the `MOST_HELD` last used.
        """
        now = self.version
        with self._holding:
            known = {key: self._held[key] for key in keys if self._held.get(key, (None,))[0] == now}
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        made: dict[str, Held] = make(missing) if missing else {}
        with self._holding:
            for key in dict.fromkeys(keys):
                self._held.pop(key, None)
                self._held[key] = known.get(key) or (now, made[key])
            while len(self._held) > MOST_HELD:
                del self._held[next(iter(self._held))]
        return [known[key][1] if key in known else made[key] for key in keys]

    def refresh(self) -> bool:
        """Bring the index up to date with the files; True if anything changed.

        Files that cannot be read are listed in the table `problems` with the reason, and read again when they change.
        """
        with self._lock:
            started = time.monotonic()
            found, unreadable = scan(self.ws, self._shipped, self._published)
            changed = [f for f in found.values() if not self._is_known(f)]
            removed = [name for name in self._known if name not in found]
            folders = self._folder_problems(unreadable)
            if changed or removed or folders:
                self._ingest(changed, removed, unreadable if folders else None)
                self.version += 1
            self._scanned, self._scan_s = time.monotonic(), time.monotonic() - started
            return bool(changed or removed or folders)

    def follow(self) -> None:
        """Like `refresh`, for a page that must not wait: where a look takes long, the next one is behind its back.

        Its news then shows on the next rerun; such looks take at most a twentieth of the time.
        """
        if self._scan_s < QUICK_S:
            self.refresh()
        elif time.monotonic() - self._scanned > 20 * self._scan_s and not self._lock.locked():
            threading.Thread(target=self._refresh_quietly).start()  # no daemon: DuckDB aborts a process that ends in it

    def _refresh_quietly(self) -> None:
        with contextlib.suppress(duckdb.Error, OSError):  # the next rerun tries again; a closing store ends here
            self.refresh()

    def _is_known(self, found: Found) -> bool:
        known = self._known.get(found.name)
        return known is not None and (known["size"], known["mtime_ns"]) == (found.size, found.mtime_ns)

    def _folder_problems(self, unreadable: list[str]) -> bool:
        stored = self.rows("select problem from problems where file = '' order by problem")
        return [row["problem"] for row in stored] != sorted(unreadable)

    def _ingest(self, changed: list[Found], removed: list[str], unreadable: list[str] | None) -> None:
        """One transaction: rows of changed and removed files out, new rows in; a touched file keeps its rows."""
        entries = {found.name: _entry(found) for found in changed}
        fresh = [f for f in changed if not self._holds(f.name, entries[f.name]["sha256"])]
        stale = removed + [f.name for f in fresh if f.name in self._known]
        with _transaction(self._connection) as cursor:
            _delete(cursor, TABLES, stale)
            _delete(cursor, ["files"], [name for name in (*removed, *entries) if name in self._known])
            _insert_rows(cursor, fresh)
            cursor.register("incoming", pa.Table.from_pylist(list(entries.values()), schema=_FILES_ARROW))
            cursor.execute("insert into files select * from incoming")
            if unreadable is not None:
                cursor.execute("delete from problems where file = ''")
                rows = [{"problem": problem} for problem in unreadable]
                _flush(cursor, {"problems": [arrow_rows("problems", rows, "", "workspace")]})
        kept = {name: row for name, row in self._known.items() if name not in removed}
        self._known = kept | entries

    def _holds(self, name: str, sha256: str | None) -> bool:
        known = self._known.get(name)
        return known is not None and sha256 is not None and known["sha256"] == sha256


_OPENING = threading.Lock()
_OPEN: dict[Path, Store] = {}
_FILES_ARROW = pa.schema([(n, pa.int64() if kind == "BIGINT" else pa.string()) for n, kind in FILES.items()])


def _connect(path: Path) -> tuple[Any, str | None]:
    """An index of this version at `path`, or in memory with a note when the file cannot be used."""
    note = None
    for _ in range(2):
        try:
            connection = duckdb.connect(str(path))
        except duckdb.Error as error:
            note = _why_not(path, str(error))
            if "not a valid" in str(error) and _discard(path):
                continue
            break
        if _is_current(connection):
            return connection, None
        connection.close()
        if not _discard(path):
            note = f"{path} is of another version and cannot be replaced; the index is kept in memory"
            break
    connection = duckdb.connect(":memory:")
    connection.execute(ddl())
    return connection, note


def _is_current(connection: Any) -> bool:
    """Whether the tables are there in this version; an empty database gets them."""
    try:
        tables = connection.execute("select count(*) from duckdb_tables()").fetchone()[0]
        if tables == 0:
            connection.execute(ddl())
            return True
        stored = connection.execute("select version from schema_version").fetchall()
    except duckdb.Error:
        return False
    return bool(stored == [(version(),)])


def _discard(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
        path.with_name(path.name + ".wal").unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _why_not(path: Path, reason: str) -> str:
    holder = re.search(r"held in (.+?) \(PID (\d+)\)", reason)
    if holder:
        program = Path(holder[1]).name
        return f"{program} (process {holder[2]}) holds {path.name}; this process keeps its own index in memory"
    first = reason.strip().splitlines()[0] if reason.strip() else "unknown reason"
    return f"{path.name} cannot be used ({first}); the index is kept in memory"


@contextlib.contextmanager
def _transaction(connection: Any) -> Iterator[Any]:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.begin()
        try:
            yield cursor
            cursor.commit()
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                cursor.rollback()
            raise


def _entry(found: Found) -> Row:
    try:
        sha256 = file_sha256(Path(found.path))
    except OSError:
        sha256 = None
    fields = ("origin", "kind", "size", "mtime_ns")
    return {"file": found.name, **{name: getattr(found, name) for name in fields}, "sha256": sha256}


def _delete(cursor: Any, tables: Iterable[str], names: list[str]) -> None:
    if not names:
        return
    cursor.register("gone", pa.table({"file": names}))
    for table in tables:
        cursor.execute(f"delete from {table} where file in (select file from gone)")


def _insert_rows(cursor: Any, files: list[Found]) -> None:
    """Read files one by one; what cannot be read becomes a problem and the others go on."""
    waiting: dict[str, list[pa.Table]] = {}
    held = 0
    for found in files:
        for table, rows in _read(found).items():
            waiting.setdefault(table, []).append(rows)
            held += len(rows)
        if held >= FLUSH_ROWS:
            _flush(cursor, waiting)
            held = 0
    _flush(cursor, waiting)


def _read(found: Found) -> dict[str, pa.Table]:
    try:
        rows = read_rows(found)
        return {table: arrow_rows(table, value, found.name, found.origin) for table, value in rows.items()}
    except Exception as error:  # a hostile file may fail in any way; it must cost only itself
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:500]
        return {"problems": arrow_rows("problems", [{"problem": reason}], found.name, found.origin)}


def _flush(cursor: Any, waiting: dict[str, list[pa.Table]]) -> None:
    for table, parts in waiting.items():
        cursor.register("incoming", pa.concat_tables(parts))
        cursor.execute(f"insert into {table} select * from incoming")
    waiting.clear()
