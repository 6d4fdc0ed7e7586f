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
from limit.sources import readers
from limit.sources.readers import data_files, read_records

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
        ("short.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000)[:50], "damaged|empty"),
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
    monkeypatch.setattr(readers, "CHUNK_CHARS", 64)
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
