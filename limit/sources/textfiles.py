"""Text out of files as they come: plain, gz or zst, UTF-8 or UTF-16 with its mark, damaged ones named as such."""

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
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


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
    if magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(_Zst(raw), BLOCK_BYTES)
    return raw


def head_of(path: Path) -> bytes:
    """The first bytes of a file, unpacked."""
    with open_bytes(path) as file:
        return file.read(HEAD_BYTES)


def text_encoding(head: bytes) -> str:
    """UTF-16 where the file's byte order mark says so, else UTF-8 with or without its mark."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8-sig")


def open_text(path: Path, encoding: str, lenient: bool = False) -> IO[str]:
    """The text of a file with its line ends as they are.

    `lenient` turns bytes that are no text into half surrogates, so that only the record that holds them is unusable.
    """
    buffered = io.BufferedReader(open_bytes(path), BLOCK_BYTES)  # type: ignore[type-var]
    errors = "surrogateescape" if lenient and encoding != "utf-16" else "strict"
    return io.TextIOWrapper(buffered, encoding=encoding, newline="", errors=errors)


@contextlib.contextmanager
def reading_errors_in_words(path: Path) -> Iterator[None]:
    """Turn what reading a user's file raises into one sentence."""
    try:
        yield
    except UnicodeDecodeError as error:
        line = _line_that_is_no_text(path)
        where = f"line {line:,} has bytes that are not" if line else "it is not"
        raise LimitError(
            f"{path} cannot be read as text: {where} UTF-8 ({error.reason}); save it as UTF-8, or use --skip-broken to "
            "leave such lines out"
        ) from error
    except (EOFError, gzip.BadGzipFile, DamagedFile, zlib.error) as error:
        raise LimitError(f"{path} is a damaged compressed file ({error}); copy or download it again") from error
    except OSError as error:
        raise LimitError(f"cannot read {path}: {error.strerror or error}") from error


def _line_that_is_no_text(path: Path) -> int | None:
    """The first line of a file that is not UTF-8."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None
