"""Crash-safe files, content ids and errors in words."""

from __future__ import annotations

import errno
import gc
import importlib
import json
import multiprocessing
import sys
from pathlib import Path

import pytest

from limit import core
from limit.core import LimitError


def test_equal_values_have_equal_ids_whatever_the_key_order() -> None:
    assert core.content_id({"a": 1, "b": [2, "é"]}) == core.content_id({"b": [2, "é"], "a": 1})


def test_id_is_pinned_so_that_old_workspaces_stay_readable() -> None:
    assert core.content_id({}) == "44136fa355b3"


def test_nan_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="JSON"):
        core.canonical_json({"x": float("nan")})


def test_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    core.write_atomic(target, "old")
    with pytest.raises(RuntimeError), core.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_said_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    with pytest.raises(LimitError, match="disk full") as caught, core.atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))
    assert str(target) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_fails_names_where_it_was_to_go(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "from"), None, str(tmp_path / "to"))
    assert f"writing {tmp_path / 'to'};" in str(core.explain_os_error(error, tmp_path))


def test_full_device_is_noticed_by_a_journal() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(LimitError, match="disk full"):
        core.append_jsonl(Path("/dev/full"), [{"a": 1}])


def test_folder_in_place_of_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LimitError, match="folder"):
        core.write_atomic(tmp_path / "file" / "inside.json", "x")


def test_journal_with_a_torn_end_keeps_what_was_whole_and_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    core.append_jsonl(journal, [{"n": 1}, {"n": 2}])
    with journal.open("a") as file:
        file.write('{"n": 3, "tex')
    core.append_jsonl(journal, [{"n": 4}])
    assert [row["n"] for row in core.read_jsonl(journal)] == [1, 2, 4]


def test_missing_journal_is_empty(tmp_path: Path) -> None:
    assert list(core.read_jsonl(tmp_path / "none.jsonl")) == []


def _append(path: Path, name: int) -> None:
    for n in range(50):
        core.append_jsonl(path, [{"name": name, "n": n, "pad": "x" * 300}], sync=False)


def test_concurrent_appends_never_mix(tmp_path: Path) -> None:
    journal = tmp_path / "j.jsonl"
    workers = [multiprocessing.get_context("fork").Process(target=_append, args=(journal, k)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = journal.read_bytes().splitlines()
    assert len(lines) == 200
    assert len({(row["name"], row["n"]) for row in map(json.loads, lines)}) == 200


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00", '{"a": 1'])
def test_unreadable_json_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(LimitError, match=r"broken\.json"):
        core.read_json(path)


def test_imports_rest_the_collector_and_keep_what_they_made_out_of_its_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "limit_test_module.py").write_text("held = [[n] for n in range(5000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = gc.get_freeze_count()
    with core.quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() == before
    with pytest.raises(ZeroDivisionError), core.quick_imports():
        importlib.import_module("limit_test_module")
        _ = 1 / 0
    assert gc.isenabled() and gc.get_freeze_count() > before + 5000
    monkeypatch.delitem(sys.modules, "limit_test_module")
