"""The index equals what the files say, whatever happened to it or to them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from limit.core import append_jsonl, write_json
from limit.settings import PROJECT, Workspace
from limit.store import Store, queries_models, schema
from limit.store.files import scan
from limit.store.schema import TABLES
from tests.store.study import MIXES, nothing, run_id, write_comparison, write_eval, write_job, write_run, write_study


@pytest.fixture
def store(ws: Workspace, tmp_path: Path) -> Iterator[Store]:
    write_study(ws)
    write_job(ws, "job-0000000001", "finished", run_id("aaaaaaaaaaa1", 1))
    with Store.open(ws, shipped=nothing(tmp_path)) as opened:
        yield opened


def contents(store: Store) -> dict[str, list[str]]:
    """Every row of every table, in an order of its own."""
    return {table: sorted(map(repr, store.rows(f"select * from {table}"))) for table in (*TABLES, "files")}


def reopened(ws: Workspace, tmp_path: Path) -> dict[str, list[str]]:
    with Store.open(ws, shipped=nothing(tmp_path)) as again:
        return contents(again)


def count(store: Store, table: str) -> int:
    return int(store.rows(f"select count(*) as n from {table}")[0]["n"])


def test_every_kind_of_file_is_indexed(store: Store) -> None:
    expected = {"mixes": 3, "mix_counts": 4, "runs": 7, "gauntlet_evals": 7, "gauntlet_items": 7 * 5 * 40, "jobs": 1,
                "comparisons": 4, "judgments": 120, "preferences": 4, "training_metrics": 6 * 21}  # fmt: skip
    assert {table: count(store, table) for table in expected} == expected
    assert count(store, "problems") == 0


def test_a_second_refresh_changes_nothing(store: Store) -> None:
    before, version = contents(store), store.version
    assert store.refresh() is False
    assert (contents(store), store.version) == (before, version)


def test_deleting_the_index_gives_identical_tables(store: Store, ws: Workspace, tmp_path: Path) -> None:
    write_comparison(ws, "aaaaaaaaaaa2", 9)
    store.refresh()
    before = contents(store)
    store.close()
    ws.index.unlink()
    assert reopened(ws, tmp_path) == before
    Store.open(ws, shipped=nothing(tmp_path))


def test_reopening_reads_no_file_again(store: Store, ws: Workspace, tmp_path: Path) -> None:
    store.close()
    with Store.open(ws, shipped=nothing(tmp_path)) as again:
        assert again.version == 0
    Store.open(ws, shipped=nothing(tmp_path))


def test_a_removed_run_disappears(store: Store, ws: Workspace) -> None:
    gone = run_id("aaaaaaaaaaa1", 1)
    for path in sorted(ws.run(gone).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert store.refresh()
    assert store.rows("select * from runs where run_id = ?", [gone]) == []
    assert (
        store.rows("select * from gauntlet_items i join gauntlet_evals e using (eval_id) where run_id = ?", [gone])
        == []
    )
    assert count(store, "gauntlet_items") == 6 * 5 * 40


def test_a_growing_journal_is_read_anew(store: Store, ws: Workspace) -> None:
    append_jsonl(
        ws.run(run_id("aaaaaaaaaaa1", 1)) / "train" / "metrics.jsonl", [{"kind": "train", "step": 21, "loss": 0.1}]
    )
    store.refresh()
    assert count(store, "training_metrics") == 6 * 21 + 1


def test_a_touched_file_keeps_its_rows(store: Store, ws: Workspace) -> None:
    path = ws.mix("aaaaaaaaaaa1") / "mix.json"
    os.utime(path, ns=(1, 1))
    assert store.refresh()
    assert count(store, "mixes") == 3
    assert store.rows("select mtime_ns from files where file like '%aaaaaaaaaaa1/mix.json'") == [{"mtime_ns": 1}]


@pytest.mark.parametrize("damage", [b"", b"no database", b"\x00" * 100_000])
def test_a_corrupt_index_is_rebuilt(store: Store, ws: Workspace, tmp_path: Path, damage: bytes) -> None:
    before = contents(store)
    store.close()
    ws.index.write_bytes(damage)
    with Store.open(ws, shipped=nothing(tmp_path)) as again:
        assert contents(again) == before
        assert again.note is None
    Store.open(ws, shipped=nothing(tmp_path))


def test_an_index_of_another_version_is_rebuilt(store: Store, ws: Workspace, tmp_path: Path) -> None:
    before = contents(store)
    store.close()
    with duckdb.connect(str(ws.index)) as connection:
        connection.execute("update schema_version set version = 'another'")
        connection.execute("delete from runs")
    assert reopened(ws, tmp_path) == before
    Store.open(ws, shipped=nothing(tmp_path))


def test_a_column_that_comes_or_goes_changes_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = schema.version()
    monkeypatch.setitem(TABLES["runs"], "colour", "VARCHAR")
    assert schema.version() != before


def test_while_another_process_holds_the_file_the_index_is_in_memory(ws: Workspace, tmp_path: Path) -> None:
    write_study(ws)
    hold = "import duckdb,sys; c=duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(ws.index)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with Store.open(ws, shipped=nothing(tmp_path)) as store:
            assert str(holder.pid) in (store.note or "")
            assert count(store, "runs") == 7
        holder.communicate()


def test_a_folder_in_place_of_the_index_is_said_and_survived(ws: Workspace, tmp_path: Path) -> None:
    ws.index.mkdir()
    write_study(ws)
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        assert "in memory" in (store.note or "")
        assert count(store, "runs") == 7


HOSTILE = {
    "runs/r1/run.json": b"{",
    "runs/r2/run.json": b"[]",
    "runs/r3/run.json": b"\xff\xfe\x00",
    "runs/r4/run.json": b"[" * 100_000,
    "runs/r5/train/metrics.jsonl": b'{"kind":"train","step":"x","loss":NaN}\n{"step":1e999}\nnot json\n{"kind":"tra',
    "runs/r6/gauntlet/e1/eval.json": b'{"tasks": "none", "categories": [1, null, {"category": 5, "score": "high"}], '
    b'"averages": [{"name": "core_average", "score": 0.5, "categories": "text"}]}',
    "runs/r6/gauntlet/e1/items.parquet": b"PAR1 but not really",
    "runs/r7/responses/p/s.parquet": b"",
    "mixes/m1/mix.json": b'{"counts": {"a": 1}, "rows": 99999999999999999999999, "spec": []}',
    "mixes/m2/label.json": b'{"name": "\\ud800<script>alert(1)</script>"}',
    "comparisons/c1/judgments.jsonl": b'{"judgement_key": "k", "verdict": ["2"], "prompt_id": {"a": 1}}\n',
    "votes/v.jsonl": b"\x00\x01\x02\n",
    "jobs/j1/status.json": b"null",
    "jobs/j2/job.json": b'{"subject": "text", "title": 5}',
    "sources/s/source.json": b'{"subsets": ["a"], "rows": true}',
}


def test_files_that_cannot_be_read_are_listed_and_the_others_go_on(ws: Workspace, tmp_path: Path) -> None:
    write_study(ws)
    for name, data in HOSTILE.items():
        path = ws.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        listed = {row["file"] for row in store.rows("select file from problems")}
        assert {f"runs/r{i}/run.json" for i in (1, 2, 3, 4)} <= listed
        assert {"runs/r6/gauntlet/e1/items.parquet", "runs/r7/responses/p/s.parquet", "jobs/j1/status.json"} <= listed
        assert count(store, "gauntlet_evals") == 8
        assert store.rows("select rows from mixes where mix_id = 'm1'") == [{"rows": None}]
        assert store.rows("select step, loss from training_metrics where run_id = 'r5'") == [
            {"step": None, "loss": None},
            {"step": None, "loss": None},
        ]
        assert queries_models.own_rows(store)
        (ws.root / "runs/r1/run.json").write_text('{"run_id": "r1", "name": "mended"}')
        store.refresh()
        assert store.rows("select name from runs where run_id = 'r1'") == [{"name": "mended"}]
        assert "runs/r1/run.json" not in {row["file"] for row in store.rows("select file from problems")}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_without_permission_is_listed(ws: Workspace, tmp_path: Path) -> None:
    write_study(ws)
    ws.comparisons.chmod(0)
    try:
        with Store.open(ws, shipped=nothing(tmp_path)) as store:
            assert "Permission denied" in store.rows("select problem from problems")[0]["problem"]
    finally:
        ws.comparisons.chmod(0o755)


def test_shipped_results_are_marked_and_hidden_by_ones_own(ws: Workspace, tmp_path: Path) -> None:
    shipped = Workspace(tmp_path / "shipped").make()
    write_study(shipped, seeds=1)
    run = write_run(ws, "aaaaaaaaaaa1", 1)
    with Store.open(ws, shipped=shipped.root) as store:
        assert store.rows("select origin from runs where run_id = ?", [run]) == [{"origin": "workspace"}]
        assert store.rows("select distinct origin from gauntlet_evals") == [{"origin": "shipped"}]
        (ws.run(run) / "run.json").unlink()
        store.refresh()
        assert store.rows("select origin from runs where run_id = ?", [run]) == [{"origin": "shipped"}]


def test_readers_are_not_disturbed_by_ingest(store: Store, ws: Workspace) -> None:
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                assert count(store, "mixes") == len(MIXES)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for seed in range(20, 30):
        write_eval(ws, write_run(ws, "aaaaaaaaaaa1", seed), "aaaaaaaaaaa1", seed=seed)
        store.refresh()
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert count(store, "runs") == 17


def test_a_failed_ingest_leaves_the_index_as_it_was(
    store: Store, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(store)
    write_json(ws.run("aaaaaaaaaaaa") / "run.json", {"name": "new"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("limit.store.index._flush", full)
    with pytest.raises(OSError, match="No space"):
        store.refresh()
    assert contents(store) == before
    monkeypatch.undo()
    assert store.refresh()
    assert store.rows("select name from runs where run_id = 'aaaaaaaaaaaa'") == [{"name": "new"}]


def test_the_walk_never_looks_into_models_or_checkpoints(ws: Workspace, tmp_path: Path) -> None:
    write_study(ws)
    run = ws.run(run_id("aaaaaaaaaaa1", 1))
    for name in ("model/run.json", "train/checkpoint-5/metrics.jsonl", "train/epoch-1/run.json"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    found, _ = scan(ws, nothing(tmp_path))
    assert not [name for name in found if "model" in name or "checkpoint" in name or "epoch" in name]


def test_the_store_of_a_process_is_shared(ws: Workspace, tmp_path: Path) -> None:
    with Store.open(ws, nothing(tmp_path)) as first, Store.open(ws, nothing(tmp_path)) as second:
        assert first is second


def test_import_needs_no_streamlit() -> None:
    code = "import sys, limit.store, limit.charts; sys.exit('streamlit' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0
