from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from limit.core import LimitError, file_sha256, read_json
from limit.gauntlet import fetch as module
from limit.gauntlet.fetch import fetch
from limit.gauntlet.tasks import DEFINITIONS, data_folder, load_version
from limit.settings import Workspace

FILE = "commonsense_reasoning/copa.jsonl"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, honours `Range: bytes=N-`, and remembers what was asked for."""

    asked: list[str | None] = []  # noqa: RUF012

    def log_message(self, *words: object) -> None:
        return None

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        asked = self.headers.get("Range")
        Quiet.asked.append(asked)
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A server on this machine with a copa file of the right size, number of records and checksum."""
    root = tmp_path / "mirror"
    path = root / FILE
    path.parent.mkdir(parents=True)
    lines = [json.dumps({"query": "q", "choices": ["a", "b"], "gold": 0, "pad": ""}) for _ in range(100)]
    filler = 14627 - sum(len(line) + 1 for line in lines)
    lines[0] = lines[0].replace('"pad": ""', f'"pad": "{"x" * filler}"')
    path.write_text("\n".join(lines) + "\n")
    sums = tmp_path / "checksums.json"
    sums.write_text(json.dumps({FILE: hashlib.sha256("\n".join(lines).encode()).hexdigest()}))
    monkeypatch.setattr(module, "CHECKSUMS", sums)
    Quiet.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", path
    server.shutdown()
    server.server_close()


def test_files_arrive_checked_and_stay(ws: Workspace, mirror: tuple[str, Path]) -> None:
    url, path = mirror
    found = fetch(ws, "v0", ("copa",), source=url)
    there = data_folder(ws, "v0", None) / FILE
    assert found == {"path": str(ws.root / "gauntlet"), "files": [FILE], "failed": {}}
    assert there.read_bytes() == path.read_bytes()
    assert read_json(ws.root / "gauntlet" / "fetched.json")[FILE]["sha256"] == file_sha256(path)
    asked = len(Quiet.asked)
    fetch(ws, "v0", ("copa",), source=url)
    assert len(Quiet.asked) == asked
    there.write_text("broken")
    fetch(ws, "v0", ("copa",), source=url)
    assert there.read_bytes() == path.read_bytes()


def test_a_broken_download_goes_on_where_it_stopped(ws: Workspace, mirror: tuple[str, Path]) -> None:
    url, path = mirror
    part = ws.root / "gauntlet" / f"{FILE}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(path.read_bytes()[:5000])
    fetch(ws, "v0", ("copa",), source=url)
    assert Quiet.asked == ["bytes=5000-"]
    assert (ws.root / "gauntlet" / FILE).read_bytes() == path.read_bytes()
    assert not part.exists()


@pytest.mark.parametrize(
    ("content", "word"), [("<html>sign in</html>", "not the task's records"), ('{"query": "q"}\n', "1 records came")]
)
def test_what_is_not_the_file_is_not_kept(ws: Workspace, mirror: tuple[str, Path], content: str, word: str) -> None:
    url, path = mirror
    path.write_text(content)
    with pytest.raises(LimitError, match=word):
        fetch(ws, "v0", ("copa",), source=url)
    assert not list((ws.root / "gauntlet").rglob("*.*"))


def test_a_file_that_is_not_there_is_named_and_others_come(ws: Workspace, mirror: tuple[str, Path]) -> None:
    found = fetch(ws, "v0", ("copa", "piqa"), source=mirror[0])
    assert found["files"] == [FILE]
    assert "404" in found["failed"]["commonsense_reasoning/piqa.jsonl"]


def test_offline_says_what_to_do(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 2)
    with pytest.raises(LimitError, match=r"no connection.*--data"):
        fetch(ws, "v0", ("copa",), source="http://127.0.0.1:9/nothing")


def test_a_file_of_the_right_size_with_another_checksum_is_not_kept(ws: Workspace, mirror: tuple[str, Path]) -> None:
    url, path = mirror
    path.write_text(path.read_text().replace('"q"', '"k"', 1))
    with pytest.raises(LimitError, match="another checksum"):
        fetch(ws, "v0", ("copa",), source=url)
    assert not list((ws.root / "gauntlet").rglob("copa*"))


def test_a_checksum_is_that_of_the_file_at_hand() -> None:
    known = read_json(module.CHECKSUMS)
    tasks = {task.file for name in ("v0", "v0.1", "v0.3") for task in load_version(name, DEFINITIONS).tasks}
    assert set(known) <= tasks
    assert all(len(value) == 64 for value in known.values())


@pytest.mark.parametrize("source", ["notaurl", "ftp://x", "/folder", "http://[broken"])
def test_a_place_that_is_no_web_address_is_named(ws: Workspace, source: str) -> None:
    with pytest.raises(LimitError, match=r"web address|no connection"):
        fetch(ws, "v0", ("copa",), source=source)
