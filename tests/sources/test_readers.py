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
