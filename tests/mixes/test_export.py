"""An exported mix loads with `datasets`, reads back as a source, and carries its card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from limit.core import LimitError
from limit.mixes import build_mix, export_mix
from limit.settings import Workspace
from limit.sources import add_source
from tests.mixes.conftest import write_rows
from tests.mixes.test_build import spec


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_the_folder_loads_as_a_data_set(stocked: Workspace, tmp_path: Path, format: str) -> None:
    import datasets

    mix = build_mix(stocked, spec("short:20", "long:all"), "My | mix")
    report = export_mix(stocked, mix["mix_id"], tmp_path / "out", format)  # type: ignore[arg-type]
    assert [file["name"] for file in report["files"]] == sorted(["README.md", f"data.{format}"])
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 120
    card = (tmp_path / "out" / "README.md").read_text()
    assert mix["mix_id"] in card
    assert "unknown" in card and "| short | task0 |" in card
    assert mix["sources"]["short"] in card


def test_an_export_can_be_added_as_a_source(stocked: Workspace, tmp_path: Path) -> None:
    mix = build_mix(stocked, spec("long:all"))
    export_mix(stocked, mix["mix_id"], tmp_path / "out")
    again = add_source(stocked, "again", tmp_path / "out")
    assert again["rows"] == 100


def test_a_card_keeps_the_licences_and_its_text_acts_on_nothing(stocked: Workspace, tmp_path: Path) -> None:
    row = {"prompt": "Q", "response": "A", "source": "x|<b>\u202e[y](z)\u2028"}
    add_source(stocked, "odd", write_rows(tmp_path / "odd.jsonl", [row]), licence="CC-BY-NC-SA-4.0")
    mix = build_mix(stocked, spec("odd:all", "short:5"), "<script>")
    add_source(stocked, "odd", tmp_path / "odd.jsonl", licence="MIT", replace=True)
    shutil.rmtree(stocked.source("odd"))
    export_mix(stocked, mix["mix_id"], tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: other\nlicense_name: non-commercial\n" in card
    assert "| odd | x\\|\\<b\\> \\[y\\](z) | 1 | CC-BY-NC-SA-4.0 |" in card
    assert "# \\<script\\>" in card
    assert all(sign.isprintable() for sign in card.replace("\n", ""))
    again = add_source(stocked, "again", tmp_path / "out")
    assert again["non_commercial"] is True


def test_an_export_overwrites_nothing(stocked: Workspace, tmp_path: Path) -> None:
    mix = build_mix(stocked, spec("short:5"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(LimitError, match="exists already"):
        export_mix(stocked, mix["mix_id"], tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]
    with pytest.raises(LimitError, match="format 'xml'"):
        export_mix(stocked, mix["mix_id"], tmp_path / "new", "xml")  # type: ignore[arg-type]
