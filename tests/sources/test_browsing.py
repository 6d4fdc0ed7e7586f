"""Pages, filters, marks, search, neighbours and topics of a source."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from limit.core import LimitError
from limit.jobs.context import JobContext
from limit.settings import Workspace
from limit.sources import Filter, add_source, browse, sample, search, searching, writing
from limit.sources import samples as samples_module
from limit.sources.browsing import count_samples, find_sample, lengths, random_samples
from limit.sources.embeddings import embed, embedding_folder, model_name
from limit.sources.launch import launch_work
from limit.sources.marks import excluded_ids, mark, read_marks
from limit.sources.searching import build_index, count_words
from limit.sources.topics import load_topics, make_topics, topic_rows
from limit.sources.vectors import neighbours

WORDS = ["apple", "bread", "cloud", "dance", "eagle", "flame", "grape", "house", "island", "jungle"]
N = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a source of 300 samples in several files and many row groups."""
    rows = [
        {
            "prompt": f"number {n} {WORDS[n % 10]} and {WORDS[n // 10 % 10]}",
            "response": "word " * (n % 20) + f"end{n}",
            "source": f"s{n % 4}",
        }
        for n in range(N)
    ]
    folder = tmp_path_factory.mktemp("made")
    path = folder / "big.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ws = Workspace(folder / "workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "FILE_ROWS", 100)
        patch.setattr(writing, "BATCH_ROWS", 50)
        patch.setattr(writing, "ROW_GROUP", 7)
        add_source(ws, "big", path)
    assert len(list(ws.source("big").glob("samples-*"))) == 3
    return ws.source("big")


@pytest.fixture
def big(ws: Workspace, made: Path) -> Workspace:
    """A workspace with the source `big`."""
    shutil.copytree(made, ws.source("big"))
    return ws


def test_pages_hold_every_sample_once_in_order(big: Workspace) -> None:
    seen = [row["row"] for page in range(1, 13) for row in browse(big, "big", page)["rows"]]
    assert seen == list(range(N))
    assert browse(big, "big", 999)["page"] == 12
    assert browse(big, "big", -5)["page"] == 1


def test_a_page_may_come_before_its_count(big: Workspace) -> None:
    where = Filter(min_chars=17)
    first = browse(big, "big", 1, where=where, counted=False)
    assert (first["total"], first["pages"]) == (None, None)
    beyond = browse(big, "big", 999, where=where, counted=False)
    known = browse(big, "big", 1, where=where, counted=False)
    assert known == browse(big, "big", 1, where=where)
    assert (known["rows"], known["total"]) == (first["rows"], count_samples(big, "big", where))
    assert beyond == browse(big, "big", known["pages"], where=where)


def test_filters_agree_with_a_scan(big: Workspace) -> None:
    where = Filter(subset="s1", min_chars=20, max_chars=60)
    found = browse(big, "big", 1, size=500, where=where)
    everything = browse(big, "big", 1, size=500)["rows"]
    expected = [r["row"] for r in everything if r["subset"] == "s1" and 20 <= r["n_response_chars"] <= 60]
    assert [row["row"] for row in found["rows"]] == expected
    assert found["total"] == len(expected) > 0
    assert browse(big, "big", where=Filter(subset="'; drop table samples; --"))["total"] == 0


def test_one_sample_by_row_and_by_id(big: Workspace) -> None:
    third = sample(big, "big", 3)
    assert third["prompt"].startswith("number 3 ")
    assert find_sample(big, "big", third["sample_id"]) == third
    for row in (-1, N):
        with pytest.raises(LimitError, match="has no row"):
            sample(big, "big", row)
    with pytest.raises(LimitError, match="did you mean 'big'"):
        sample(big, "bg", 0)


def test_lengths_count_every_sample(big: Workspace) -> None:
    facts = lengths(big, "big")
    assert facts["n"] == sum(facts["counts"]) == N
    sizes = [row["n_response_chars"] for row in browse(big, "big", 1, size=500)["rows"]]
    quantiles = np.quantile(sizes, [0.1, 0.5, 0.9]).tolist()
    assert [facts["p10"], facts["p50"], facts["p90"]] == pytest.approx(quantiles)
    assert (facts["mean"], facts["max"]) == (pytest.approx(np.mean(sizes)), max(sizes))
    assert lengths(big, "big", "s0")["n"] == N // 4
    assert lengths(big, "big", "none such")["n"] == 0


def test_random_samples_repeat_with_the_seed(big: Workspace) -> None:
    first, again, other = (random_samples(big, "big", 5, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert {row["subset"] for row in random_samples(big, "big", 5, 1, "s2")} == {"s2"}


def test_marks_keep_their_history_and_the_last_holds(big: Workspace) -> None:
    ids = [row["sample_id"] for row in browse(big, "big")["rows"][:3]]
    mark(big, "big", ids, "exclude", True)
    mark(big, "big", ids[:1], "exclude", False)
    mark(big, "big", ids[1:2], "note", "odd <b>")
    assert excluded_ids(big, ["big"]) == sorted(ids[1:])
    assert read_marks(big, "big")[ids[1]] == {"exclude": True, "note": "odd <b>"}
    assert browse(big, "big", where=Filter(marks=("exclude",)))["total"] == 2
    with (big.source("big") / "marks.jsonl").open("a") as file:
        file.write('{"sample_id": "torn')
    assert len(read_marks(big, "big")) == 2


@pytest.mark.parametrize("indexed", [False, True])
def test_later_turns_of_dialogues_are_found(ws: Workspace, tmp_path: Path, indexed: bool) -> None:
    talks = [["Hi", "Hello", f"Tell me of Zanzibar {n}", "Spices."] for n in range(3)]
    rows = [{"conversations": talk} for talk in (["Zanzibar?", "No."], ["Hi", "Hello"], *talks)]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    add_source(ws, "talks", tmp_path / "talks.jsonl")
    if indexed:
        build_index(ws, "talks", JobContext(None))
    modes = {"words": "zanz", "exact": "Zanzibar", "regex": "Zan[z]ibar"}
    for mode, query in modes.items():
        found = search(ws, "talks", query, mode)  # type: ignore[arg-type]
        assert [row["row"] for row in found["rows"]] == [0, 2, 3, 4], mode
    assert search(ws, "talks", "content")["rows"] == []


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("apple", "words"),
        ("apple grape", "words"),
        ("end29", "words"),
        ("end29", "exact"),
        (r"end2\d\b", "regex"),
        ("(?i)APPLE and", "regex"),
        ("Apple", "exact"),
    ],
)
def test_search_finds_what_a_plain_loop_finds(big: Workspace, query: str, mode: str) -> None:
    import re

    rows = browse(big, "big", 1, size=500)["rows"]

    def fits(row: dict[str, str]) -> bool:
        texts = (row["prompt"], row["response"])
        if mode == "words":
            return all(any(re.search(rf"(?i)\b{w}", t) for t in texts) for w in query.split())
        return any(query in t if mode == "exact" else re.search(query, t) for t in texts)

    expected = [row["row"] for row in rows if fits(row)]
    found = search(big, "big", query, mode, limit=500, seconds=60)  # type: ignore[arg-type]
    assert [row["row"] for row in found["rows"]] == expected
    assert found["complete"]


def test_search_goes_on_where_it_stopped(big: Workspace) -> None:
    rows, start = [], 0
    while start is not None:
        found = search(big, "big", "apple", limit=7, start_row=start, seconds=60)
        rows += [row["row"] for row in found["rows"]]
        start = found["next_row"]
    assert rows == [row["row"] for row in search(big, "big", "apple", limit=500, seconds=60)["rows"]]


def test_a_scan_stops_in_time_and_when_asked(big: Workspace) -> None:
    found = search(big, "big", "nowhere", "exact", seconds=0.0)
    assert not found["complete"]
    assert 0 < found["next_row"] < N
    assert not search(big, "big", "nowhere", "exact", stop=lambda: True)["complete"]


def test_the_index_gives_what_the_scan_gives(big: Workspace) -> None:
    scanned = [search(big, "big", query, limit=500, seconds=60)["rows"] for query in ("apple", "number 29", "end1")]
    built = build_index(big, "big", JobContext(None))
    assert built["rows"] == N
    for query, rows in zip(("apple", "number 29", "end1"), scanned, strict=True):
        found = search(big, "big", query, limit=500, seconds=60)
        assert found["used_index"]
        assert found["rows"] == rows
        assert count_words(big, "big", query) == len(rows)
    assert search(big, "big", 'NEAR("apple" OR *', limit=5)["used_index"]


def test_a_stopped_index_leaves_no_file(big: Workspace, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "cancel").touch()
    with pytest.raises(LimitError, match="was stopped"):
        build_index(big, "big", JobContext(tmp_path / "job"))
    assert not list(big.source("big").glob("*search*"))


def test_an_index_on_a_full_disk_says_so_and_leaves_no_file(big: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def small_disk(*place: object, **options: object) -> sqlite3.Connection:
        index: sqlite3.Connection = connect(*place, **options)  # type: ignore[call-overload]
        index.execute("pragma max_page_count = 4")
        return index

    monkeypatch.setattr(searching.sqlite3, "connect", small_disk)
    with pytest.raises(LimitError, match=r"words\.sqlite cannot be written: disk full"):
        build_index(big, "big", JobContext(None))
    assert not [file for file in big.source("big").iterdir() if "words" in file.name]


def test_a_damaged_index_says_what_to_do(big: Workspace) -> None:
    (big.source("big") / "words.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(LimitError, match="build it again"):
        search(big, "big", "apple")
    assert sqlite3.sqlite_version


@pytest.mark.parametrize(
    ("query", "mode", "words"), [(" ", "words", "empty"), ("(", "regex", "pattern"), ("x", "fuzzy", "mode")]
)
def test_bad_searches_are_explained(big: Workspace, query: str, mode: str, words: str) -> None:
    with pytest.raises(LimitError, match=words):
        search(big, "big", query, mode)  # type: ignore[arg-type]


def test_neighbours_share_words(big: Workspace) -> None:
    found = neighbours(big, "big", 11, 3)
    assert len(found["rows"]) == 3
    assert 11 not in [row["row"] for row in found["rows"]]
    assert all("bread" in row["prompt"] for row in found["rows"])


def test_topics_cover_the_source_and_are_named(big: Workspace) -> None:
    made = make_topics(big, "big", JobContext(None), topics=4)
    kept = load_topics(big, "big")
    assert kept is not None
    assert sum(topic["rows"] for topic in made["topics"]) == N
    assert sorted(row for topic in made["topics"] for row in topic_rows(big, "big", topic["topic"])) == list(range(N))
    assert all(topic["name"] for topic in kept["topics"])
    assert len(kept["points"]) == N


def test_row_groups_are_small() -> None:
    assert samples_module.ROW_GROUP <= 4_096


@pytest.fixture
def labelled(big: Workspace) -> Workspace:
    """`big` with flags, exclusions, notes, and grades of two judges."""
    ids = [row["sample_id"] for row in browse(big, "big", 1, size=60)["rows"]]
    mark(big, "big", ids[:10], "flag", True)
    mark(big, "big", ids[5:15], "exclude", True)
    mark(big, "big", ids[20:22], "note", "Odd grammar")
    mark(big, "big", ids[22:23], "note", "fine")
    for judge, grades in (("j1", range(1, 11)), ("j2", range(3, 8))):
        journal = big.source("big") / "grades" / judge / "judgments.jsonl"
        journal.parent.mkdir(parents=True)
        lines = [{"prompt_id": ids[n], "status": "ok", "raw_text": str(grade)} for n, grade in enumerate(grades)]
        lines += [{"prompt_id": ids[50], "status": "invalid", "raw_text": "ten"}]
        journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return big


FILTERS = [
    (Filter(marks=("flag",)), set(range(10))),
    (Filter(marks=("flag", "exclude")), set(range(15))),
    (Filter(marks=("note", "exclude")), set(range(5, 15)) | {20, 21, 22}),
    (Filter(marks=("none",)), set(range(N)) - set(range(15)) - {20, 21, 22}),
    (Filter(marks=("none", "note")), set(range(15, N))),
    (Filter(note="odd"), {20, 21}),
    (Filter(note=""), {20, 21, 22}),
    (Filter(note="odd", marks=("flag",)), set()),
    (Filter(min_grade=5.0), {3, 4, 5, 6, 7, 8, 9}),  # means 2, 3, 4, 5, 6, then 6 to 10
    (Filter(min_grade=3.0, max_grade=4.5), {1, 2}),
    (Filter(max_grade=2.0, marks=("flag",)), {0}),
    (Filter(subset="s1", min_chars=20, max_chars=60, min_turns=1, marks=("none",)), None),
    (Filter(length_of="both", max_chars=40, subset="s2"), None),
    (Filter(min_turns=2), set()),
]


@pytest.mark.parametrize(("where", "expected"), FILTERS)
@pytest.mark.parametrize("indexed", [False, True])
def test_pages_and_searches_filter_alike(
    labelled: Workspace, where: Filter, expected: set[int] | None, indexed: bool
) -> None:
    if indexed:
        build_index(labelled, "big", JobContext(None))
    pages = browse(labelled, "big", 1, size=500, where=where)
    rows = [row["row"] for row in pages["rows"]]
    assert pages["total"] == len(rows)
    if expected is not None:
        assert set(rows) == expected
    found = search(labelled, "big", "number", limit=500, seconds=60, where=where)
    assert (found["used_index"], found["complete"]) == (indexed, True)
    assert [row["row"] for row in found["rows"]] == rows


def test_a_filtered_indexed_search_goes_on_where_it_stopped(
    labelled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "FILTERED_AT_ONCE", 10)
    build_index(labelled, "big", JobContext(None))
    rows, start = [], 0
    while start is not None:
        found = search(labelled, "big", "number", limit=7, start_row=start, seconds=60, where=Filter(subset="s3"))
        assert len(found["rows"]) <= 7
        rows += [row["row"] for row in found["rows"]]
        start = found["next_row"]
    assert rows == [n for n in range(N) if n % 4 == 3]
    stopped = search(labelled, "big", "number", limit=500, seconds=60, where=Filter(subset="s3"), stop=lambda: True)
    assert (stopped["complete"], stopped["next_row"]) == (False, 10)


def test_an_unknown_label_is_refused(big: Workspace) -> None:
    with pytest.raises(LimitError, match="label 'star' is not known"):
        browse(big, "big", where=Filter(marks=("star",)))  # type: ignore[arg-type]


def test_a_topic_is_a_filter(big: Workspace) -> None:
    made = make_topics(big, "big", JobContext(None), topics=4)
    assert made["method"] == "TF-IDF, SVD"
    topic = made["topics"][0]
    found = browse(big, "big", 1, size=500, where=Filter(topic=topic["topic"]))
    assert [row["row"] for row in found["rows"]] == topic_rows(big, "big", topic["topic"])
    assert found["total"] == topic["rows"]


@pytest.fixture(scope="session")
def encoder(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT with a tokenizer, as a sentence-transformers folder lays it out."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "encoder"
    config = BertConfig(
        vocab_size=512, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_llama / name, folder / name)
    return folder


def test_topics_by_sentence_embeddings(big: Workspace, encoder: Path) -> None:
    made = make_topics(big, "big", JobContext(None), topics=4, embeddings=encoder)
    assert made["method"] == "sentence embeddings by encoder"
    assert sum(topic["rows"] for topic in made["topics"]) == N


def test_an_embedding_model_is_called_by_its_hub_id_or_a_telling_folder(encoder: Path, tmp_path: Path) -> None:
    cached = tmp_path / "models--owner--small-encoder" / "snapshots" / "0a1b2c"
    places = [encoder, shutil.copytree(encoder, cached), shutil.copytree(encoder, tmp_path / "minilm" / "model")]
    assert [model_name(place) for place in places] == ["encoder", "owner/small-encoder", "minilm/model"]


@pytest.mark.parametrize(
    ("pooling", "side"),
    [
        ({"pooling_mode_cls_token": True}, "right"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "right"),
        ({"pooling_mode": "lasttoken"}, "right"),
        ({"pooling_mode_lasttoken": True}, "left"),
        ({"pooling_mode": "cls"}, "left"),
    ],
)
def test_embeddings_are_unit_vectors_in_the_order_of_the_texts(
    encoder: Path, tmp_path: Path, pooling: dict[str, object], side: str
) -> None:
    encoder = shutil.copytree(encoder, tmp_path / "encoder")
    tokenizer = json.loads((encoder / "tokenizer_config.json").read_text())
    (encoder / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "padding_side": side}))
    (encoder / "1_Pooling").mkdir()
    (encoder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    texts = ["the baker " * 200, "a river", "", "the baker lives by the river"]
    together = embed(encoder, texts, JobContext(None))
    assert together.shape == (4, 16)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for place, text in enumerate(texts):
        assert np.allclose(embed(encoder, [text], JobContext(None))[0], together[place], atol=1e-4)


def test_the_last_token_is_another_vector_than_the_mean_and_others_are_refused(encoder: Path, tmp_path: Path) -> None:
    encoder = shutil.copytree(encoder, tmp_path / "encoder")
    mean = embed(encoder, ["the baker lives by the river"], JobContext(None))
    (encoder / "1_Pooling").mkdir()
    config = encoder / "1_Pooling" / "config.json"
    config.write_text('{"pooling_mode": "lasttoken"}')
    assert not np.allclose(embed(encoder, ["the baker lives by the river"], JobContext(None)), mean, atol=1e-3)
    config.write_text('{"pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": true}')
    with pytest.raises(LimitError, match="pools tokens by max_tokens, mean_tokens"):
        embedding_folder(encoder)
    layers = [{"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling", "Dense")]
    (encoder / "modules.json").write_text(json.dumps(layers))
    with pytest.raises(LimitError, match="a layer of the kind Dense behind its encoder"):
        embedding_folder(encoder)


def test_texts_are_cut_where_the_encoder_was_trained_to_end(encoder: Path, tmp_path: Path) -> None:
    encoder = shutil.copytree(encoder, tmp_path / "encoder")
    (encoder / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    short, long = embed(encoder, ["the baker " * 20, "the baker " * 200], JobContext(None))
    assert np.allclose(short, long, atol=1e-5)


@pytest.mark.parametrize(
    ("files", "words"),
    [((), "no config.json"), (("config.json",), "no weights as safetensors"), (None, "there is no folder")],
)
def test_a_folder_without_a_model_is_refused_before_a_job(
    big: Workspace, tmp_path: Path, files: tuple[str, ...] | None, words: str
) -> None:
    folder = tmp_path / "model"
    for name in files or ():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    if files == ():
        folder.mkdir()
    with pytest.raises(LimitError, match=words):
        launch_work(big, "topics", "big", str(folder))
    assert not big.jobs.exists() or not list(big.jobs.iterdir())


def test_an_index_in_many_shards_gives_what_the_scan_gives(big: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "FIRST_SHARD_ROWS", 4)
    monkeypatch.setattr(searching, "SHARD_ROWS", 16)  # row groups of seven lie across the cuts
    queries = ("apple", "num apple", "end2 dance", "NUMBER", "end299", "nothing")
    scanned = [search(big, "big", query, limit=500, seconds=60)["rows"] for query in queries]
    build_index(big, "big", JobContext(None))
    for query, rows in zip(queries, scanned, strict=True):
        found = search(big, "big", query, limit=500, seconds=60)
        assert (found["rows"], found["used_index"], found["complete"]) == (rows, True, True)
        pages, start = [], 0
        while start is not None:
            page = search(big, "big", query, limit=5, start_row=start, seconds=60)
            pages += page["rows"]
            start = page["next_row"]
        assert pages == rows
        assert count_words(big, "big", query) == len(rows)


@pytest.mark.parametrize("facts", ["with counts", "of an older source"])
def test_pages_of_a_subset_hold_each_of_its_samples_once(big: Workspace, facts: str) -> None:
    path = big.source("big") / "source.json"
    info = json.loads(path.read_text())
    assert [sum(file["subsets"].values()) for file in info["files"]] == [file["rows"] for file in info["files"]]
    if facts == "of an older source":
        info["files"] = [{k: v for k, v in file.items() if k != "subsets"} for file in info["files"]]
        path.write_text(json.dumps(info))
    pages = browse(big, "big", where=Filter(subset="s1"))["pages"]
    found = [browse(big, "big", page, 7, Filter(subset="s1"))["rows"] for page in range(1, 12)]
    assert pages == 3
    assert [row["row"] for rows in found for row in rows] == [n for n in range(N) if n % 4 == 1]


def test_words_with_marks_between_them_are_several_words(ws: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": "call foo_bar(x)", "response": "éclair"}, {"prompt": "foo", "response": "barn"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    add_source(ws, "a", tmp_path / "a.jsonl")
    for _ in range(2):
        assert [row["row"] for row in search(ws, "a", "foo_bar", seconds=60)["rows"]] == [0, 1]
        assert [row["row"] for row in search(ws, "a", "clair", seconds=60)["rows"]] == []
        assert [row["row"] for row in search(ws, "a", "écl", seconds=60)["rows"]] == [0]
        build_index(ws, "a", JobContext(None))


def test_lengths_without_samples_are_bars_of_nothing(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps({"prompt": "p", "response": "x" * n}) + "\n" for n in (1, 1, 9)))
    add_source(ws, "few", path)
    facts = lengths(ws, "few")
    assert facts["counts"] == [2, 0, 0, 0, 0, 0, 1]
    assert facts["edges"] == pytest.approx([2 ** (bar / 2) for bar in range(7)])
