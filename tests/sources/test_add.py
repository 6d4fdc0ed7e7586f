"""Adding a source: all of it or nothing, the same ids whatever the file looked like, a report of what was left out."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from limit.core import LimitError, file_sha256, read_jsonl
from limit.settings import Workspace
from limit.sources import add_source, list_sources, preview_source, source_info, writing
from limit.sources.listing import rejected_rows
from limit.sources.samples import SCHEMA, DuplicateCounter, ids_as_words

ROWS = [
    {"prompt": f"Question {n % 40}?", "response": f"Answer {n % 40}.", "source": f"part{n % 3}"} for n in range(120)
]


def write(folder: Path, rows: list[dict[str, object]], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(ws: Workspace, name: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for file in sorted(ws.source(name).glob("samples-*.parquet")):
        assert pq.read_schema(file).names == SCHEMA.names
        rows += pq.read_table(file).to_pylist()
    return rows


def test_rows_are_dense_and_ids_unique_even_for_equal_samples(ws: Workspace, tmp_path: Path) -> None:
    report = add_source(ws, "twins", write(tmp_path, [{"prompt": "Q", "response": "A"}] * 5))
    rows = table(ws, "twins")
    assert [row["row"] for row in rows] == list(range(5))
    assert len({row["sample_id"] for row in rows}) == 5
    assert report["duplicates"] == 4


def test_ids_and_content_hash_do_not_depend_on_file_order_or_form(ws: Workspace, tmp_path: Path) -> None:
    shuffled = ROWS.copy()
    random.Random(3).shuffle(shuffled)
    first = add_source(ws, "a", write(tmp_path, ROWS))
    second = add_source(ws, "b", write(tmp_path, shuffled, "other.jsonl"))
    (tmp_path / "c.json").write_text(json.dumps(ROWS))
    third = add_source(ws, "c", tmp_path / "c.json")
    ids = [{row["sample_id"] for row in table(ws, name)} for name in "abc"]
    assert ids[0] == ids[1] == ids[2]
    assert first["content_sha256"] == second["content_sha256"] == third["content_sha256"]
    assert first["subsets"] == {"part0": 40, "part1": 40, "part2": 40}


def test_equal_texts_with_other_fields_keep_their_ids_in_any_order(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "FILE_ROWS", 16)
    monkeypatch.setattr(writing, "BATCH_ROWS", 8)
    rows = [{"prompt": f"Q{n % 9}", "response": "A", "id": n, "source": "ab"[n % 2]} for n in range(60)]
    shuffled = rows.copy()
    random.Random(3).shuffle(shuffled)
    add_source(ws, "a", write(tmp_path, rows))
    add_source(ws, "b", write(tmp_path, shuffled, "other.jsonl"))
    named = [
        {row["sample_id"]: (row["prompt"], row["subset"], row["meta"]) for row in table(ws, name)} for name in "ab"
    ]
    assert named[0] == named[1]
    assert len(named[0]) == 60
    assert [row["row"] for row in table(ws, "b")] == list(range(60))
    assert source_info(ws, "b")["files"][0]["sha256"] == file_sha256(ws.source("b") / "samples-00000.parquet")


def test_other_outer_white_space_is_other_content_under_the_same_ids(ws: Workspace, tmp_path: Path) -> None:
    first = add_source(ws, "a", write(tmp_path, [{"prompt": "Q", "response": "A"}]))
    second = add_source(ws, "b", write(tmp_path, [{"prompt": "Q", "response": "  A"}]))
    assert table(ws, "a")[0]["sample_id"] == table(ws, "b")[0]["sample_id"]
    assert first["content_sha256"] != second["content_sha256"]


def test_a_changed_subset_is_other_content(ws: Workspace, tmp_path: Path) -> None:
    first = add_source(ws, "a", write(tmp_path, ROWS))
    changed = [{**row, "source": "new"} if n == 0 else row for n, row in enumerate(ROWS)]
    second = add_source(ws, "b", write(tmp_path, changed))
    assert first["content_sha256"] != second["content_sha256"]


def test_rejects_have_line_and_reason_and_nothing_is_lost(ws: Workspace, tmp_path: Path) -> None:
    rows = [
        {"prompt": "Q", "response": "A"},
        {"prompt": "Q"},
        {"prompt": "Q", "response": "</s>"},
        {"prompt": 1, "response": [1]},
    ]
    report = add_source(ws, "mixed", write(tmp_path, rows))  # type: ignore[arg-type]
    rejects = list(read_jsonl(ws.source("mixed") / "rejects.jsonl"))
    assert (report["rows"], report["rejected"]) == (1, 3)
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (2, "column response is missing"),
        (3, "response is empty"),
        (4, "response is a list, expected text"),
    ]
    assert all(len(r["text"]) <= 200 for r in rejects)
    assert rejected_rows(ws.source("mixed"), most=2) == rejects[:2]


def test_rejects_of_one_long_line_and_of_inner_folders_say_which_record(ws: Workspace, tmp_path: Path) -> None:
    good, bad = {"prompt": "Q", "response": "A"}, {"prompt": "Q", "response": ""}
    for part in ("x", "y"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "rows.json").write_text(json.dumps([good, bad, good, bad]))
    add_source(ws, "nested", tmp_path)
    rejects = list(read_jsonl(ws.source("nested") / "rejects.jsonl"))
    assert [(r["file"], r["record"]) for r in rejects] == [
        (f"{part}/rows.json", record) for part in ("x", "y") for record in (2, 4)
    ]


def test_adding_the_same_again_changes_nothing(ws: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    add_source(ws, "a", path)
    before = {file.name: file.stat().st_mtime_ns for file in ws.source("a").iterdir()}
    add_source(ws, "a", path)
    assert {file.name: file.stat().st_mtime_ns for file in ws.source("a").iterdir()} == before


def test_a_licence_given_later_is_taken(ws: Workspace, tmp_path: Path) -> None:
    first = add_source(ws, "a", write(tmp_path, ROWS))
    again = add_source(ws, "a", tmp_path / "rows.jsonl", licence="MIT")
    assert (again["replaced"], again["non_commercial"]) == (False, False)
    assert source_info(ws, "a")["licence"] == "MIT"
    add_source(ws, "a", tmp_path / "rows.jsonl", title="A")
    held = source_info(ws, "a")
    assert (held["title"], held["licence"], held["created"]) == ("A", "MIT", first["created"])


def test_another_content_needs_replace_and_marks_survive(ws: Workspace, tmp_path: Path) -> None:
    add_source(ws, "a", write(tmp_path, ROWS))
    (ws.source("a") / "marks.jsonl").write_text('{"sample_id": "x"}\n')
    (ws.source("a") / "grades" / "judge").mkdir(parents=True)
    other = write(tmp_path, ROWS[:50], "other.jsonl")
    with pytest.raises(LimitError, match="exists already with other content"):
        add_source(ws, "a", other)
    assert source_info(ws, "a")["rows"] == 120
    assert add_source(ws, "a", other, replace=True)["rows"] == 50
    assert (ws.source("a") / "marks.jsonl").exists()
    assert (ws.source("a") / "grades" / "judge").is_dir()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ('{"prompt": "Q", "response": "A"}\n{"prompt": "Q", \n', "line 2: broken JSON"),
        ('{"text": "Q"}\n', "columns seen: 'text'"),
        ('{"prompt": "Q", "response": ""}\n', "none of the 1 records"),
        ("[]", "holds no records"),
        ("[1, 2, 3]", "columns seen: none"),
    ],
)
def test_bad_files_leave_nothing_behind(ws: Workspace, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(LimitError, match=words):
        add_source(ws, "bad", path)
    assert list_sources(ws) == []
    assert not ws.sources.exists() or list(ws.sources.iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a" * 200, "con\nrol"])
def test_names_that_are_no_folder_are_refused(ws: Workspace, tmp_path: Path, name: str) -> None:
    with pytest.raises(LimitError, match="cannot be used"):
        add_source(ws, name, write(tmp_path, ROWS))


def test_a_full_disk_leaves_nothing_behind(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    with pytest.raises(LimitError, match="disk full"):
        add_source(ws, "a", write(tmp_path, ROWS))
    assert list(ws.sources.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_workspace_that_cannot_be_written_says_so(ws: Workspace, tmp_path: Path) -> None:
    ws.root.chmod(0o500)
    try:
        with pytest.raises(LimitError, match="no permission"):
            add_source(ws, "a", write(tmp_path, ROWS))
    finally:
        ws.root.chmod(0o700)


def test_leftovers_of_a_killed_attempt_are_removed(ws: Workspace, tmp_path: Path) -> None:
    dead = ws.sources / ".a.999999999.x.tmp"
    dead.mkdir(parents=True)
    (dead / "samples-00000.parquet").write_text("half")
    assert list_sources(ws) == []
    add_source(ws, "a", write(tmp_path, ROWS))
    assert not dead.exists()


def test_a_source_that_was_killed_between_old_and_new_comes_back(ws: Workspace, tmp_path: Path) -> None:
    add_source(ws, "a", write(tmp_path, ROWS))
    aside = ws.sources / ".a.999999999.x.old.tmp"
    ws.source("a").rename(aside)
    other = write(tmp_path, ROWS[:50], "other.jsonl")
    with pytest.raises(LimitError, match="exists already with other content"):
        add_source(ws, "a", other)
    assert source_info(ws, "a")["rows"] == 120
    assert not aside.exists()


def test_another_process_may_be_faster(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_source(ws, "first", write(tmp_path, ROWS))
    exists = Path.exists

    def late(path: Path) -> bool:  # the other's folder appears just after it was looked for
        if path == ws.source("a") and not exists(path):
            shutil.copytree(ws.source("first"), path)
            return False
        return exists(path)

    monkeypatch.setattr(Path, "exists", late)
    assert add_source(ws, "a", tmp_path / "rows.jsonl")["replaced"] is False
    shutil.rmtree(ws.source("a"))
    with pytest.raises(LimitError, match="exists already with other content"):
        add_source(ws, "a", write(tmp_path, ROWS[:50], "other.jsonl"))
    assert [folder.name for folder in ws.sources.iterdir() if folder.name.startswith(".")] == []


def test_a_file_that_changes_while_it_is_read_is_not_added(ws: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, ROWS * 20)

    def grow(number: int) -> None:
        with path.open("a") as file:
            file.write('{"prompt": "later", "response": "x"}\n')

    with pytest.raises(LimitError, match="changed while it was read"):
        add_source(ws, "a", path, progress=grow)
    assert list(ws.sources.iterdir()) == []


def test_licence_comes_from_the_catalogue_by_name_unless_given(ws: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    assert add_source(ws, "lima", path)["non_commercial"] is True
    assert add_source(ws, "mine", path)["non_commercial"] is None
    assert add_source(ws, "open", path, licence="MIT")["non_commercial"] is False
    assert add_source(ws, "closed", path, licence="CC-BY-NC-4.0")["non_commercial"] is True


def test_preview_shows_the_mapping_and_adds_nothing(ws: Workspace, tmp_path: Path) -> None:
    seen = preview_source(write(tmp_path, [{"q": "Q", "a": "A"}]))
    assert (seen["form"], seen["columns"]) == (None, ["q", "a"])
    seen = preview_source(write(tmp_path, [{"question": "Q", "answer": "A"}, {"question": "Q"}]))
    assert seen["form"] == "question-answer"
    assert seen["rows"][0]["response"] == "A"
    assert seen["rows"][1] == {"line": 2, "reason": "column answer is missing"}
    assert list_sources(ws) == []


def test_hostile_texts_survive_unchanged(ws: Workspace, tmp_path: Path) -> None:
    texts = [
        "<script>alert(1)</script>",
        "\u202eright to left",
        "nul \x00 and bell \x07",
        "x" * 1_000_000,
        "🙂é你好",
        "    indented",
    ]
    add_source(ws, "hostile", write(tmp_path, [{"prompt": t, "response": t} for t in texts]))
    assert [row["response"] for row in table(ws, "hostile")] == texts


def test_counter_counts_across_batches_like_a_dictionary() -> None:
    rng = np.random.default_rng(0)
    counter, seen = DuplicateCounter(), dict[int, int]()
    for size in (1, 500, 3, 1000, 1, 70):
        batch = rng.integers(0, 400, size).astype(np.uint64)
        expected = []
        for value in batch.tolist():
            expected.append(seen.get(value, 0))
            seen[value] = seen.get(value, 0) + 1
        assert counter.add(batch).tolist() == expected


def test_ids_become_the_numbers_that_they_spell() -> None:
    import pyarrow as pa

    ids = ["0123456789abcdef", "ffffffffffffffff", "0" * 16, "00000000000000ff"]
    expected = [int(i, 16) for i in ids]
    assert ids_as_words(pa.array(ids)).tolist() == expected
    assert ids_as_words(pa.array(["x" * 16, *ids])[1:]).tolist() == expected
    assert ids_as_words(pa.chunked_array([ids[:1], ids[1:]])).tolist() == expected


def test_real_sources(ws: Workspace, shared_data: Path) -> None:
    lima = add_source(ws, "lima", shared_data / "sources" / "lima.json")
    assert (lima["rows"], lima["rejected"], lima["format"]) == (1029, 0, "alpaca")
    assert sum(row["turns"] == 1 for row in table(ws, "lima")) == 1000  # type: ignore[misc]
    t0 = add_source(ws, "t0", shared_data / "sources" / "t0_instruct.jsonl")
    assert t0["rows"] + t0["rejected"] == 12_468
    assert t0["stripped"]["end_tokens"] == 12_468
    assert not any("<|endoftext|>" in str(row["response"]) for row in table(ws, "t0"))
    gsm = add_source(ws, "gsm8k", shared_data / "sources" / "gsm8k_train.jsonl")
    assert (gsm["rows"], gsm["format"]) == (7_473, "question-answer")


def test_a_folder_of_several_forms_is_read_and_its_test_split_set_aside(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    write(folder, [{"prompt": "p", "response": "r"}] * 3, "train-a.jsonl")
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    write(folder, [{"messages": talk}], "train-b.jsonl")
    write(folder, [{"prompt": "secret", "response": "r"}], "test.jsonl")
    for name in ("rows.jsonl.bz2", "README.md", "LICENSE", "dataset_info.json"):
        (folder / name).write_text("{}")
    report = add_source(ws, "hub", folder)
    assert (report["rows"], report["rejected"], report["set_aside"]) == (4, 0, ["test.jsonl"])
    assert report["forms"] == {"prompt-response": 3, "messages": 1}
    assert preview_source(folder)["set_aside"] == ["test.jsonl"]
    assert report["unread"] == preview_source(folder)["unread"] == ["rows.jsonl.bz2"]


@pytest.mark.parametrize("content", ["{ not json", "[]", "{}", '{"source": "bad", "rows": "many"}'])
def test_a_damaged_source_is_named_and_takes_no_other_away(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    from limit.cli import main
    from limit.sources.listing import broken_sources
    from tests.pages import open_page

    (tmp_path / "good.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    add_source(ws, "good", tmp_path / "good.jsonl")
    ws.source("bad").mkdir(parents=True)
    (ws.source("bad") / "source.json").write_text(content)
    assert [source["source"] for source in list_sources(ws)] == ["good"] and list(broken_sources(ws)) == ["bad"]
    assert main(["sources", "list"]) == 0
    shown = capsys.readouterr()
    assert "good" in shown.out and "source 'bad' is left out" in shown.err
    for page in ("samples", "mix"):
        app = open_page(page)
        assert not app.error and not app.exception and len(app.warning) == 1 and "bad" in app.warning[0].value
