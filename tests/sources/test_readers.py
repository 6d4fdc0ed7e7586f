"""Files that users bring: every form is read, and every fault is named with its line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from limit.core import LimitError
from limit.sources import jsontext
from limit.sources.readers import data_files, read_records, training_files

ROWS = [{"prompt": f"question {n}", "response": f'answer {n}\nwith "quotes", commas'} for n in range(5)]


def values(path: Path, **options: bool) -> list[object]:
    return [record.value for record in read_records(path, **options)]


def as_jsonl(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_all_forms(folder: Path) -> list[Path]:
    text = as_jsonl(ROWS)
    (folder / "a.jsonl").write_text(text)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "c.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(text.encode()))
    (folder / "d.json").write_text(json.dumps(ROWS, indent=2))
    (folder / "e.json").write_text(json.dumps({"version": 1, "data": ROWS}))
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "f.parquet")
    quoted = "".join('"{}","{}"\n'.format(r["prompt"], r["response"].replace('"', '""')) for r in ROWS)
    (folder / "g.csv").write_text("prompt,response\n" + quoted)
    (folder / "h.data").write_text(text)  # the name says nothing; the content decides
    (folder / "i.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS).encode())
    (folder / "j.jsonl").write_text("\n\n" + text.replace("\n", "\r\n"))
    return sorted(folder.iterdir())


def test_every_form_gives_the_same_records(tmp_path: Path) -> None:
    for path in write_all_forms(tmp_path):
        assert values(path) == ROWS, path.name


def test_records_carry_the_line_where_they_start(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n {"a": 1},\n\n {"a":\n 2},\n {"a": 3}]')
    assert [record.line for record in read_records(path)] == [2, 4, 6]


def test_a_csv_with_line_breaks_inside_fields_counts_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt,response\n"one\ntwo",x\nthree,y\n')
    assert [(record.line, record.value["prompt"]) for record in read_records(path)] == [(2, "one\ntwo"), (4, "three")]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": 2}\n{"a": 3\n{"a": 4}\n', 3),
        ("a.json", '[{"a": 1},\n{"a": 2},\n{"a": oops}]', 3),
        ("a.json", '[{"a": 1},\n{"a": 2}\n{"a": 3}]', 3),
        ("a.json", '[{"a": 1},\n{"a": 2},\n{"a": 3}', 3),
        ("a.json", '{\n "a": 1,\n "b" 2\n}', 3),
        ("a.jsonl", '{"a": 1}\n' + "[" * 100_000 + "\n", 2),
        ("a.jsonl", '{"a": 1}\n{"a": ' + "9" * 5_000 + "}\n", 2),
    ],
)
def test_broken_json_names_its_line(tmp_path: Path, name: str, text: str, line: int) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(LimitError, match=f"line {line}: broken JSON"):
        values(path)


def test_broken_lines_can_be_left_to_the_rejects(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\nnot json\n{"a": 3}\n')
    found = list(read_records(path, skip_broken=True))
    assert [record.problem is None for record in found] == [True, False, True]
    assert found[1].line == 2


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.jsonl", b"", "is empty"),
        ("blank.json", b" \n\n ", "is empty"),
        ("bom.json", b"\xef\xbb\xbf", "is empty"),
        ("latin.jsonl", '{"prompt": "caf\xe9"}'.encode("latin-1"), "not UTF-8"),
        ("short.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:50], "damaged|empty"),
        ("not.parquet", b"PAR1 and nothing of the kind", "Parquet"),
        ("binary.bin", b"\x7fELF\x00\x00\x01\x02", "neither text nor Parquet"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(LimitError, match=words):
        values(path)


def test_an_empty_parquet_file_is_empty(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "a.parquet")
    with pytest.raises(LimitError, match="is empty"):
        values(tmp_path / "a.parquet")


def test_a_large_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsontext, "CHUNK_CHARS", 64)
    rows = [{"n": n, "text": "x" * (n * 7 % 300)} for n in range(200)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, indent=1))
    assert values(path) == rows


def test_a_folder_is_read_in_name_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", ".hidden.jsonl", "notes.txt"):
        (tmp_path / name).write_text("{}")
    assert [path.name for path in data_files(tmp_path)] == ["a.jsonl", "b.jsonl"]
    with pytest.raises(LimitError, match="does not exist"):
        data_files(tmp_path / "nothing")
    (tmp_path / "sub").mkdir()
    with pytest.raises(LimitError, match="holds no data files"):
        data_files(tmp_path / "sub")


@pytest.mark.parametrize("frames", [1, 3])
def test_zst_files_of_one_or_more_frames_are_read_whole(tmp_path: Path, frames: int) -> None:
    lines = [b'{"a": %d}\n' % n for n in range(3_000)]
    cut = len(lines) // frames
    pieces = [b"".join(lines[n * cut : (n + 1) * cut]) for n in range(frames)]
    (tmp_path / "a.zst").write_bytes(b"".join(zstandard.ZstdCompressor().compress(piece) for piece in pieces))
    assert values(tmp_path / "a.zst") == [{"a": n} for n in range(3_000)]


def test_a_zst_file_cut_between_two_records_is_damaged_not_short(tmp_path: Path) -> None:
    packer = zstandard.ZstdCompressor().compressobj()
    whole = packer.compress(b'{"a": 1}\n') + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    (tmp_path / "a.zst").write_bytes(whole)
    with pytest.raises(LimitError, match="damaged"):
        list(read_records(tmp_path / "a.zst", skip_broken=True))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_files_with_a_byte_order_mark_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes("prompt\tresponse\r\ncaf\xe9\tb\r\n".encode(encoding))
    assert values(tmp_path / "a.csv") == [{"prompt": "caf\xe9", "response": "b"}]
    (tmp_path / "a.jsonl").write_bytes('{"prompt": "caf\xe9"}\n{"prompt": "b"}\n'.encode(encoding))
    assert values(tmp_path / "a.jsonl") == [{"prompt": "caf\xe9"}, {"prompt": "b"}]


def test_a_line_that_is_no_text_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    lines = [b'{"prompt": "a", "response": "b"}\n'] * 40_000
    lines[30_000] = b'{"prompt": "caf\xe9", "response": "b"}\n'
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(LimitError, match="line 30,001 has bytes that are not UTF-8"):
        values(tmp_path / "a.jsonl")
    assert len(list(read_records(tmp_path / "a.jsonl", skip_broken=True))) == 40_000


def test_the_index_column_that_pandas_writes_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",prompt,response\n0,a,b\n1,c,d\n")
    assert values(tmp_path / "a.csv")[1] == {"": "1", "prompt": "c", "response": "d"}


def test_columns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,prompt,response\na,b,c\n")
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    pq.write_table(twice, tmp_path / "a.parquet")
    assert values(tmp_path / "a.csv") == [{"prompt": "a", "prompt (2)": "b", "response": "c"}]
    assert values(tmp_path / "a.parquet") == [{"prompt": "a", "prompt (2)": "b"}]


def test_spaces_around_column_names_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt, response\na, "b, c"\n')
    assert values(tmp_path / "a.csv") == [{"prompt": "a", "response": "b, c"}]


def test_a_quote_that_never_closes_is_named_with_what_it_swallows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,response\na,b\n"c,d\ne,f\ng,h\n')
    with pytest.raises(LimitError, match=r"line 3: .*never closed, so that 3 lines"):
        values(tmp_path / "a.csv")
    found = list(read_records(tmp_path / "a.csv", skip_broken=True))
    assert [record.problem is None for record in found] == [True, False]


def test_text_after_an_array_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"a": 1}]\n[{"a": 2}]\n')
    with pytest.raises(LimitError, match="after the end of the array"):
        values(tmp_path / "a.json")


def test_pretty_printed_objects_in_a_row_are_records(tmp_path: Path) -> None:
    text = "\n".join(json.dumps({"a": n, "b": [n]}, indent=2) for n in range(3))
    (tmp_path / "a.json").write_text(text)
    assert values(tmp_path / "a.json") == [{"a": n, "b": [n]} for n in range(3)]
    assert [record.line for record in read_records(tmp_path / "a.json")] == [1, 7, 13]


def test_a_table_on_its_side_is_turned_and_two_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"prompt": ["a", "b"], "response": ["c", "d"]}))
    assert values(tmp_path / "a.json") == [{"prompt": "a", "response": "c"}, {"prompt": "b", "response": "d"}]
    (tmp_path / "b.json").write_text(json.dumps({"train": [{"a": 1}], "test": [{"a": 2}]}))
    with pytest.raises(LimitError, match="several lists of records"):
        values(tmp_path / "b.json")


@pytest.mark.parametrize(
    "table",
    [
        {"id": [1, 2], "messages": [["a", "b"], ["c", "d"]]},
        {"columns": ["id", "messages"], "index": [0, 1], "data": [[1, ["a", "b"]], [2, ["c", "d"]]]},
        {"id": {"0": 1, "1": 2}, "messages": {"0": ["a", "b"], "1": ["c", "d"]}},
        {"x": {"id": 1, "messages": ["a", "b"]}, "y": {"id": 2, "messages": ["c", "d"]}},
        {"data": {"train": [{"id": 1, "messages": ["a", "b"]}, {"id": 2, "messages": ["c", "d"]}]}},
    ],
)
def test_tables_in_one_object_are_read_in_every_layout(tmp_path: Path, table: dict[str, object]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(table, indent=2))
    assert values(tmp_path / "a.json") == [{"id": 1, "messages": ["a", "b"]}, {"id": 2, "messages": ["c", "d"]}]


def test_one_record_of_lists_and_objects_is_no_table(tmp_path: Path) -> None:
    record = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "tags": ["x", "y"]}
    (tmp_path / "a.json").write_text(json.dumps(record))
    assert values(tmp_path / "a.json") == [record]


def test_reading_goes_on_behind_a_broken_item_of_an_array(tmp_path: Path) -> None:
    rows = [json.dumps({"n": n, "text": "{x}"}, indent=1).replace("\n", "\n ") for n in range(50)]
    rows[20] = rows[20].replace('"text": ', '"text" ')
    (tmp_path / "a.json").write_text("[\n " + ",\n ".join(rows) + "\n]\n")
    found = list(read_records(tmp_path / "a.json", skip_broken=True))
    assert [record.value["n"] for record in found if not record.problem] == [n for n in range(50) if n != 20]
    assert [record.line for record in found if record.problem] == [2 + 20 * 4 + 2]
    assert [record.line for record in found if not record.problem] == [2 + n * 4 for n in range(50) if n != 20]


def test_what_cannot_be_read_of_a_file_on_one_line_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"n": 1}, {"n" 2}, {"n": 3}]')
    found = list(read_records(tmp_path / "a.json", skip_broken=True))
    assert [record.value for record in found if not record.problem] == [{"n": 1}]
    assert "the rest of the file cannot be read" in str(found[-1].problem)


def test_a_broken_item_far_from_its_end_keeps_little_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsontext, "CHUNK_CHARS", 64)
    monkeypatch.setattr(jsontext, "RECORD_CHARS", 200)
    lines = [json.dumps({"n": n}) for n in range(400)]
    lines[10] = '{"n": "' + "never closed " * 100
    (tmp_path / "a.json").write_text("[\n" + ",\n".join(lines) + "\n]")
    found = list(read_records(tmp_path / "a.json", skip_broken=True))
    assert [record.value["n"] for record in found if not record.problem] == [n for n in range(400) if n != 10]
    assert [record.line for record in found if not record.problem][-1] == 401


def test_objects_between_commas_are_records_also_behind_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1},\n{"n": 2},\n{"n" 3},\n{"n": 4},\n')
    found = list(read_records(tmp_path / "a.jsonl", skip_broken=True))
    assert [(record.line, record.problem is None) for record in found] == [(1, True), (2, True), (3, False), (4, True)]


def test_dialogues_on_lines_of_their_own_are_records(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(talk)}\n{json.dumps(talk)}\n")
    assert values(tmp_path / "a.jsonl") == [talk, talk]
    (tmp_path / "b.json").write_text(json.dumps([talk, talk]))
    assert values(tmp_path / "b.json") == [talk, talk]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_wide_text_is_read_also_without_a_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes("prompt,response\ncaf\xe9,\u201cb\u201d\n".encode(encoding))
    assert values(tmp_path / "a.csv") == [{"prompt": "caf\xe9", "response": "\u201cb\u201d"}]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("prompt;response\na, b;c, d\n", {"prompt": "a, b", "response": "c, d"}),
        ("prompt;response;notes, further\na;b;c\n", {"prompt": "a", "response": "b", "notes, further": "c"}),
        ("prompt\tresponse\na, b; c\td\n", {"prompt": "a, b; c", "response": "d"}),
        ("sep=|\r\nprompt|response\r\na|b\r\n", {"prompt": "a", "response": "b"}),
        ("prompt,response\na\x00b,c\n", {"prompt": "a\x00b", "response": "c"}),
    ],
)
def test_the_separator_of_a_csv_is_found(tmp_path: Path, text: str, row: dict[str, str]) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert values(tmp_path / "a.csv") == [row]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04....", "zip archive or a spreadsheet"),
        (b"BZh91AY&SY", "bz2"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html>Not found</html>", "web page"),
        (gzip.compress(b"PAR1....", mtime=0), "packed once more"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    with pytest.raises(LimitError, match=words):
        values(tmp_path / "a.jsonl")


def test_arrow_files_and_streams_are_read(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(tmp_path / "b.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert values(tmp_path / "a.arrow") == values(tmp_path / "b.arrow") == ROWS
    (tmp_path / "c.arrow").write_bytes((tmp_path / "b.arrow").read_bytes()[:300])
    with pytest.raises(LimitError, match="Arrow"):
        values(tmp_path / "c.arrow")


def test_a_parquet_row_that_is_no_text_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pa.py_buffer(b"ok\xff\xfe")
    bad = pa.Array.from_buffers(pa.string(), 2, [None, offsets, data])
    pq.write_table(pa.table({"prompt": bad}), tmp_path / "a.parquet")
    with pytest.raises(LimitError, match="line 2: text that is not UTF-8"):
        values(tmp_path / "a.parquet")
    found = list(read_records(tmp_path / "a.parquet", skip_broken=True))
    assert [(record.value, record.problem is None) for record in found] == [({"prompt": "ok"}, True), (None, False)]


def test_a_zst_file_that_begins_with_a_frame_to_skip_is_read(tmp_path: Path) -> None:
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    (tmp_path / "a.zst").write_bytes(skipped + zstandard.ZstdCompressor().compress(b'{"a": 1}\n'))
    assert values(tmp_path / "a.zst") == [{"a": 1}]


def test_links_are_followed_once_and_a_broken_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.jsonl").write_text("{}")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "data").symlink_to(tmp_path / "there")
    (tmp_path / "there" / "back").symlink_to(tmp_path / "here")
    assert [path.name for path in data_files(tmp_path / "here")] == ["a.jsonl"]
    (tmp_path / "here" / "b.jsonl").symlink_to(tmp_path / "gone.jsonl")
    with pytest.raises(LimitError, match=r"b\.jsonl is a link that leads nowhere"):
        data_files(tmp_path / "here")


def test_files_named_for_testing_are_set_aside_where_others_are_for_training(tmp_path: Path) -> None:
    names = ("one/train-00000-of-00001.jsonl", "one/test-00000-of-00001.jsonl", "two/train.jsonl", "dev.jsonl")
    for name in (*names, "dataset_info.json", "extra.jsonl", "train_and_test.jsonl", "contest.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    read, aside = training_files(tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in aside] == ["dev.jsonl", names[1]]
    assert {file.name for file in read} >= {"extra.jsonl", "train_and_test.jsonl", "contest.jsonl", "train.jsonl"}
    assert all(file.name != "dataset_info.json" for file in [*read, *aside])
    for name in (names[0], names[2]):
        (tmp_path / name).unlink()
    assert training_files(tmp_path)[1] == []


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_in_an_object_too_long_to_hold_is_read_item_by_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None
) -> None:
    monkeypatch.setattr(jsontext, "CHUNK_CHARS", 64)
    monkeypatch.setattr(jsontext, "RECORD_CHARS", 200)
    rows = [{"n": n, "text": "x" * 50} for n in range(40)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": "1.1", "n": 2, "data": rows}, indent=indent))
    assert values(path) == rows
    path.write_text(json.dumps({"train": rows, "test": rows}, indent=indent))
    with pytest.raises(LimitError, match="more text after the end of the array"):
        values(path)
    path.write_text(json.dumps({"text": "x" * 300}))
    with pytest.raises(LimitError, match="line 1 is longer than 200 characters"):
        values(path)


def test_a_single_record_with_a_list_inside_is_that_record(tmp_path: Path) -> None:
    record = {"prompt": "Q", "response": "A", "evidence": [{"page": 1}, {"page": 2}]}
    (tmp_path / "one.jsonl").write_text(json.dumps(record) + "\n")
    assert [found.value for found in read_records(tmp_path / "one.jsonl")] == [record]
