"""Text out of files as they come: plain, gz or zst, UTF-8 or UTF-16, damaged ones and other kinds named as such."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from limit.core import LimitError

HEAD_BYTES = 65_536
BLOCK_BYTES = 1 << 20
PACKED_BYTES = 1 << 14  # of a zst file at a time: a few of them can unfold to a hundred megabytes
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_OTHERS = (
    (b"PK\x03\x04", "is a zip archive or a spreadsheet: unpack it, or save the sheet as CSV"),
    (b"BZh", "is packed as bz2: unpack it"),
    (b"\xfd7zXZ", "is packed as xz: unpack it"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it"),
    (b"%PDF", "is a PDF document"),
    (b"SQLite format 3", "is an SQLite database: export the table as CSV"),
    (b"version https://git-lfs", "is a pointer of Git LFS and not the data: fetch the file with `git lfs pull`"),
)
CONTROL_SHARE = 0.1  # of a text's signs; with more it is no text


class DamagedFile(OSError):
    """A compressed file that stops before its end."""


class _Zst(io.RawIOBase):
    """A zst file of one or more frames; unlike the library's reader it tells an end from a cut."""

    def __init__(self, raw: IO[bytes]) -> None:
        import zstandard

        self._raw, self._library = raw, zstandard
        self._frame: Any = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._more():
                return 0
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _more(self) -> bool:
        """Decompress one block; False at a clean end. Raises DamagedFile when a frame is cut or broken."""
        unused = self._frame.unused_data if self._frame is not None and self._frame.eof else b""
        block = unused or self._raw.read(PACKED_BYTES)
        if self._frame is not None and self._frame.eof:
            self._frame = None
        if not block:
            if self._frame is not None:
                raise DamagedFile("it stops inside a frame")
            return False
        self._frame = self._frame or self._library.ZstdDecompressor().decompressobj()
        try:
            self._ready = self._frame.decompress(block)
        except self._library.ZstdError as error:
            raise DamagedFile(str(error)) from error
        return True

    def close(self) -> None:
        self._raw.close()
        super().close()


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where its first bytes say gz or zst."""
    raw = path.open("rb")
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(raw)  # type: ignore[return-value]
    if _is_zst(magic):
        return io.BufferedReader(_Zst(raw), BLOCK_BYTES)
    return raw


def _is_zst(magic: bytes) -> bool:
    """A frame of zst, or one that readers skip, with which parallel packers begin."""
    return magic == b"\x28\xb5\x2f\xfd" or (magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50)


def is_packed(path: Path) -> bool:
    """Whether a file's first bytes say gz or zst."""
    with path.open("rb") as file:
        magic = file.read(4)
    return magic[:2] == b"\x1f\x8b" or _is_zst(magic)


def head_of(path: Path) -> bytes:
    """The first bytes of a file, unpacked."""
    with open_bytes(path) as file:
        return file.read(HEAD_BYTES)


def text_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32 where the file's byte order mark says so, or every other byte is zero; else UTF-8."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.3 * len(head[1::2]) and even < 0.05 * len(head[0::2]):
        return "utf-16-le"
    if even > 0.3 * len(head[0::2]) and odd < 0.05 * len(head[1::2]):
        return "utf-16-be"
    return "utf-8-sig"


def kind_of_other(head: bytes, text: str) -> str | None:
    """What a file is that is neither JSON nor CSV, in words; None for text."""
    for magic, words in _OTHERS:
        if head.startswith(magic):
            return words
    if head[257:262] == b"ustar":
        return "is a tar archive: unpack it"
    if text[:200].lower().startswith(("<!doctype html", "<html")):
        return "is a web page and not the data"
    control = sum(sign < " " and sign not in "\t\r\n" for sign in text)
    return "is neither text nor Parquet" if control > CONTROL_SHARE * len(text) else None


def open_text(path: Path, encoding: str, lenient: bool = False) -> IO[str]:
    """The text of a file with its line ends as they are.

    `lenient` turns bytes that are no text into half surrogates, so that only the record that holds them is unusable.
    """
    buffered = io.BufferedReader(open_bytes(path), BLOCK_BYTES)  # type: ignore[type-var]
    errors = "surrogateescape" if lenient and encoding.startswith("utf-8") else "strict"
    return io.TextIOWrapper(buffered, encoding=encoding, newline="", errors=errors)


@contextlib.contextmanager
def reading_errors_in_words(path: Path) -> Iterator[None]:
    """Turn what reading a user's file raises into one sentence."""
    try:
        yield
    except UnicodeDecodeError as error:
        if not error.encoding.startswith("utf-8"):
            raise LimitError(f"{path} cannot be read as {error.encoding} ({error.reason}); save it as UTF-8") from error
        line = _line_that_is_no_text(path)
        where = f"line {line:,} has bytes that are not" if line else "it is not"
        raise LimitError(
            f"{path} cannot be read as text: {where} UTF-8 ({error.reason}); save it as UTF-8, or use --skip-broken to "
            "leave such lines out"
        ) from error
    except (EOFError, gzip.BadGzipFile, DamagedFile, zlib.error) as error:
        raise LimitError(f"{path} is a damaged compressed file ({error}); copy or download it again") from error
    except OSError as error:
        words = " ".join((error.strerror or str(error)).split())
        raise LimitError(f"cannot read {path}: {words}") from error


def _line_that_is_no_text(path: Path) -> int | None:
    """The first line of a file that is not UTF-8."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None
