"""Fetching: from hub-shaped folders, resumed after a stop, explained when the hub is out of reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from limit.core import LimitError
from limit.jobs.context import JobContext
from limit.settings import Workspace
from limit.sources import browse, fetch, list_sources
from limit.sources.catalog import catalog, catalog_entry, is_non_commercial, licence_on_card, paper_mixes
from limit.sources.fetch import card_of, fetch_source, resolve

CARD = """---
license: cc-by-sa-3.0
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---
"""


def hub_folder(folder: Path, rows: list[dict[str, Any]], files: int = 2) -> Path:
    """A folder as the hub serves it: a card and Parquet shards."""
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    size = -(-len(rows) // files)
    for n in range(files):
        part = pa.Table.from_pylist(rows[n * size : (n + 1) * size])
        pq.write_table(part, folder / "data" / f"train-{n:05d}-of-{files:05d}.parquet")
    return folder


def rows(n: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Q{i}", "response": f"A{i}", "source": "spider"} for i in range(n)]


def test_a_hub_shaped_folder_becomes_a_source(ws: Workspace, tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "my-data", rows(57))
    report = fetch_source(ws, resolve(str(folder)), JobContext(None))
    assert (report["source"], report["rows"], report["fetched"]) == ("my-data", 57, 57)
    assert (report["licence"], report["non_commercial"]) == ("cc-by-sa-3.0", False)
    assert not list(ws.sources.glob(".fetch-*"))


@pytest.mark.parametrize(
    ("source", "row"),
    [
        ("lima", {"conversations": ["Q", "A"], "source": "wikihow"}),
        ("instruct-v3", {"prompt": "Q", "response": "A", "source": "duorc"}),
        ("hh-rlhf", {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}),
        ("dolly-15k", {"instruction": "Q", "context": "", "response": "A", "category": "open_qa"}),
        (
            "tulu-3",
            {
                "id": "1",
                "messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
                "source": "x",
            },
        ),
        ("flan-v2", {"inputs": "Q", "targets": "A", "task": "cot"}),
    ],
)
def test_catalogue_sets_are_read_from_a_local_copy(
    ws: Workspace, tmp_path: Path, source: str, row: dict[str, Any]
) -> None:
    folder = hub_folder(tmp_path / "copy", [row] * 3, files=1)
    report = fetch_source(ws, resolve(source), JobContext(None), folder=folder)
    entry = catalog_entry(source)
    assert (report["source"], report["rows"], report["licence"]) == (source, 3, entry["licence"])
    assert report["format"] == entry["format"]


def test_a_stopped_fetch_goes_on_where_it_was(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PART_ROWS", 10)
    folder = hub_folder(tmp_path / "data-set", rows(55))
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "cancel").touch()
    stopped = fetch_source(ws, resolve(str(folder)), JobContext(tmp_path / "job"))
    assert stopped == {"stopped": True, "rows": 10}
    assert list_sources(ws) == []
    seen = []
    original = fetch._batches

    def watched(stream: Any) -> Any:
        for batch in original(stream):
            seen.append(batch[0]["prompt"])
            yield batch

    monkeypatch.setattr(fetch, "_batches", watched)
    report = fetch_source(ws, resolve(str(folder)), JobContext(None))
    assert seen[0] == "Q10"
    assert report["rows"] == 55


def test_an_unreachable_hub_is_explained(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Couldn't reach the hub")

    monkeypatch.setattr(fetch, "_open_stream", refuse)
    with pytest.raises(LimitError, match="cannot be reached for GAIR/lima"):
        fetch_source(ws, resolve("lima"), JobContext(None))


def test_a_gated_set_names_the_token(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class GatedRepoError(Exception):
        pass

    def refuse(*_: Any, **__: Any) -> Any:
        raise GatedRepoError("403")

    monkeypatch.setattr(fetch, "_open_stream", refuse)
    with pytest.raises(LimitError, match="HF_TOKEN"):
        fetch_source(ws, resolve("lima"), JobContext(None))


@pytest.mark.parametrize("source", ["no such", "a/b/c", "../x"])
def test_unknown_sets_list_the_catalogue(source: str) -> None:
    with pytest.raises(LimitError, match="lima"):
        resolve(source)


def test_a_missing_split_is_explained(ws: Workspace, tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "data-set", rows(3), files=1)
    with pytest.raises(LimitError, match="split"):
        fetch_source(ws, resolve(str(folder), split="nothing"), JobContext(None))


def test_catalogue_facts_are_whole() -> None:
    for entry in catalog():
        assert {"id", "title", "hub_id", "columns", "rows", "licence", "description", "format", "trust"} <= entry.keys()
    assert sum(catalog_entry("instruct-v3")["subsets"].values()) == catalog_entry("instruct-v3")["rows"] == 56_167
    assert catalog_entry("lima")["non_commercial"] is True
    ids = {entry["id"] for entry in catalog()}
    assert {part.split(":")[0] for mix in paper_mixes() for part in mix["parts"]} <= ids


@pytest.mark.parametrize(
    ("licence", "answer"),
    [
        ("CC BY-NC-SA 4.0", True),
        ("cc_by_nc", True),
        ("non-commercial use only", True),
        ("MIT", False),
        ("CC-BY-SA-3.0", False),
        ("Apache-2.0", False),
        ("ask me", None),
        ("for academic use only", True),
        ("GPL-3.0", False),
        ("MIT; ask me", None),
        ("MIT; ask me; cc-by-nc-4.0", True),
        (None, None),
        ("", None),
    ],
)
def test_licences_are_read(licence: str | None, answer: bool | None) -> None:
    assert is_non_commercial(licence) is answer


@pytest.mark.parametrize(
    ("head", "licence", "non_commercial"),
    [
        ("license: mit", "mit", False),
        ("license:\n- mit\n- cc-by-nc-4.0", "mit; cc-by-nc-4.0", True),
        ("license: other\nlicense_name: llama-3-nc", "other; llama-3-nc", True),
        ("license: [broken", None, None),
        ("title: x", None, None),
    ],
)
def test_all_licences_of_a_card_count(
    ws: Workspace, tmp_path: Path, head: str, licence: str | None, non_commercial: bool | None
) -> None:

    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# A card\nlicense: apache-2.0\n")
    assert licence_on_card(card_of(str(tmp_path))) == licence
    assert is_non_commercial(licence) is non_commercial


def test_the_card_on_the_hub_is_asked_and_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    (tmp_path / "card.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: str(tmp_path / "card.md"))
    assert licence_on_card(card_of("owner/name")) == "cc-by-nc-sa-4.0"

    def gone(*words: object, **options: object) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", gone)
    assert licence_on_card(card_of("owner/name")) is None


def test_a_set_without_records_says_so(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("")
    with pytest.raises(LimitError, match="without a single record"):
        fetch_source(ws, resolve(str(tmp_path / "set")), JobContext(None))


def test_configurations_of_a_hub_shaped_folder_are_told_apart(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        row = json.dumps({"prompt": f"from {name}", "response": "r"})
        (folder / name / "train.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(f"{row}\n".encode()))
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.zst\n" for name in ("one", "two"))
    (folder / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{configs}---\n")
    with pytest.raises(LimitError, match=r"'one', 'two'.*choose another --split or --config"):
        fetch_source(ws, resolve(str(folder), "none"), JobContext(None))
    assert fetch_source(ws, resolve(str(folder), "two"), JobContext(None), config="two")["licence"] == "mit"
    assert browse(ws, "two")["rows"][0]["prompt"] == "from two"
