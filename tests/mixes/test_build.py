"""Draws are nested, order-independent and the same bytes anywhere; what cannot be drawn is said in one sentence."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

from limit.core import LimitError, read_json
from limit.mixes import build_mix, diff, draw, label_mix, list_mixes, load_mix, mix_samples
from limit.mixes.draw import ranks, splitmix64
from limit.mixes.presets import preset_spec
from limit.settings import Workspace
from limit.sources import add_source, paper_mixes, source_info
from limit.specs import MixPart, MixSpec
from tests.mixes.conftest import long_rows, short_rows, write_rows


def spec(*parts: str, **options: object) -> MixSpec:
    return MixSpec(parts=tuple(MixPart.parse(part) for part in parts), **options)  # type: ignore[arg-type]


def ids(ws: Workspace, mix: dict[str, object]) -> list[str]:
    found: list[str] = mix_samples(ws, str(mix["mix_id"]), ["sample_id"])["sample_id"].to_pylist()
    return found


def file_hashes(ws: Workspace, mix_id: str) -> dict[str, str]:
    return {
        name: hashlib.sha256((ws.mix(mix_id) / name).read_bytes()).hexdigest()
        for name in ("mix.json", "samples.parquet")
    }


def test_splitmix_gives_the_published_sequence() -> None:
    """The first outputs of splitmix64 from state 1234567, as in the reference implementations."""
    states = (np.uint64(1234567) + np.arange(5, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    assert splitmix64(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_ranks_are_uniform_and_differ_by_seed() -> None:
    values = np.arange(20_000, dtype=np.uint64)
    first, second = ranks(values, 1), ranks(values, 2)
    assert len(np.unique(first)) == len(values)
    counts = np.bincount((first >> np.uint64(60)).astype(int), minlength=16)
    assert abs(counts - 1250).max() < 5 * 1250**0.5
    assert abs(np.corrcoef(first.astype(float), second.astype(float))[0, 1]) < 0.05


def test_a_smaller_draw_is_the_beginning_of_a_larger_one(stocked: Workspace) -> None:
    large = ids(stocked, build_mix(stocked, spec("short:150")))
    for n in (1, 10, 149):
        assert ids(stocked, build_mix(stocked, spec(f"short:{n}"))) == large[:n]
    assert set(ids(stocked, build_mix(stocked, spec("short:all")))) > set(large)


def test_another_seed_draws_others(stocked: Workspace) -> None:
    first, second = (ids(stocked, build_mix(stocked, spec("short:50", seed=seed))) for seed in (1, 2))
    assert first != second
    assert len(set(first) & set(second)) < 30


def test_same_bytes_from_a_shuffled_file_in_another_place(stocked: Workspace, tmp_path: Path) -> None:
    request = spec("short:60", "short/task1:20", "long:30")
    first = build_mix(stocked, request, "a name")
    other = Workspace(tmp_path / "elsewhere" / "deeper").make()
    rows, long = short_rows(), long_rows()
    random.Random(5).shuffle(rows)
    random.Random(6).shuffle(long)
    add_source(other, "short", write_rows(tmp_path / "s2.jsonl", rows), licence="MIT")
    add_source(other, "long", write_rows(tmp_path / "l2.jsonl", long))
    second = build_mix(other, request, "another name")
    assert first["mix_id"] == second["mix_id"]
    assert file_hashes(stocked, first["mix_id"]) == file_hashes(other, second["mix_id"])


def test_the_manifest_knows_no_time_name_or_path(stocked: Workspace) -> None:
    mix = build_mix(stocked, spec("short:5"), "my name")
    text = (stocked.mix(mix["mix_id"]) / "mix.json").read_text()
    assert "my name" not in text
    assert str(stocked.root) not in text
    assert set(read_json(stocked.mix(mix["mix_id"]) / "mix.json")) >= {
        "mix_id",
        "spec",
        "sources",
        "rows",
        "counts",
        "chars",
    }


def test_rows_are_dense_and_parts_numbered(stocked: Workspace) -> None:
    mix = build_mix(stocked, spec("short:7", "long:3"))
    table = mix_samples(stocked, mix["mix_id"]).to_pylist()
    assert [row["row"] for row in table] == list(range(10))
    assert [row["part"] for row in table] == [0] * 7 + [1] * 3
    assert sum(row["rows"] for row in mix["counts"]) == mix["rows"] == 10
    assert mix["chars"] == sum(row["n_prompt_chars"] + row["n_response_chars"] for row in table)


def test_overlapping_parts_draw_each_sample_once(stocked: Workspace) -> None:
    mix = build_mix(stocked, spec("short/task0:40", "short:160"))
    assert len(set(ids(stocked, mix))) == 200
    with pytest.raises(LimitError, match="there are 160"):
        build_mix(stocked, spec("short/task0:40", "short:161"))


def test_filters_shares_tokens_and_exclusions(stocked: Workspace) -> None:
    part = MixPart(source="long", min_chars=50, max_chars=120, turns="single")
    found = mix_samples(stocked, build_mix(stocked, MixSpec(parts=(part,)))["mix_id"]).to_pylist()
    assert found and all(50 <= row["n_response_chars"] <= 120 and row["turns"] == 1 for row in found)
    with_word = MixPart(source="short", contains="IS 7")
    found = mix_samples(stocked, build_mix(stocked, MixSpec(parts=(with_word,)))["mix_id"]).to_pylist()
    assert found and all("Is 7" in row["prompt"] for row in found)
    shares = build_mix(stocked, spec("short:75%", "long:25%", total=40))
    assert [row["part"] for row in mix_samples(stocked, shares["mix_id"]).to_pylist()].count(0) == 30
    tokens = build_mix(stocked, spec("long:500t"))
    assert 500 <= tokens["tokens"] < 500 + 80
    first = ids(stocked, build_mix(stocked, spec("short:10")))
    without = ids(stocked, build_mix(stocked, spec("short:10", exclude=tuple(first[:3]))))
    assert without[:7] == first[3:]
    assert not set(first[:3]) & set(without)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("short:201",), "mix part 'short' asks for 201 samples but the source has 200; ask for 200 or use 'all'"),
        (("short/nope:3",), "no subset 'nope'; known are task0"),
        (("shrt:3",), "did you mean 'short'"),
        (("short/task0:51",), "asks for 51 samples but after subset"),
        (("long:9999999t",), "asks for 9,999,999 tokens but about"),
    ],
)
def test_impossible_parts_say_what_to_do(stocked: Workspace, parts: tuple[str, ...], words: str) -> None:
    with pytest.raises(LimitError, match=words):
        build_mix(stocked, spec(*parts))
    assert not stocked.mixes.exists() or not list(stocked.mixes.iterdir())


@pytest.mark.parametrize(
    "text",
    ["short", "short:", ":5", "short:-1", "short:0", "short:1.5", "short:x", "short:0%", "short:200%", "short:²"],
)
def test_bad_part_texts_are_refused(text: str) -> None:
    with pytest.raises(LimitError):
        MixPart.parse(text)


def test_specs_reject_contradictions() -> None:
    for bad in (
        {"parts": ()},
        {"parts": (MixPart(source="a", share=0.7), MixPart(source="b", share=0.7)), "total": 10},
        {"parts": (MixPart(source="a", share=0.7),)},
        {"parts": (MixPart(source="a"),), "exclude": ("../x",)},
    ):
        with pytest.raises(LimitError):
            MixSpec(**bad)  # type: ignore[arg-type]
    for part in ({"take": 1, "share": 0.5}, {"min_chars": 5, "max_chars": 4}, {"contains": ""}):
        with pytest.raises(LimitError):
            MixPart(source="a", **part)  # type: ignore[arg-type]
    assert MixPart.parse("a/b/c:1,000") == MixPart(source="a", subset="b/c", take=1000)
    one, two = (MixSpec(parts=(MixPart(source="a"),), exclude=e) for e in (("0" * 16, "1" * 16), ("1" * 16, "0" * 16)))
    assert one == two


def test_the_strictest_licence_is_inherited(stocked: Workspace, tmp_path: Path) -> None:
    assert build_mix(stocked, spec("short:5"))["non_commercial"] is False
    unknown = build_mix(stocked, spec("short:5", "long:5"))
    assert (unknown["non_commercial"], unknown["licence_because_of"]) == (None, ["long"])
    add_source(stocked, "lima", write_rows(tmp_path / "x.jsonl", [{"prompt": "a", "response": "b"}]))
    closed = build_mix(stocked, spec("short:5", "long:5", "lima:1"))
    assert (closed["non_commercial"], closed["licence_because_of"]) == (True, ["lima"])


def test_a_full_disk_leaves_no_mix(stocked: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(LimitError, match="disk full"):
        build_mix(stocked, spec("short:5"))
    assert list(stocked.mixes.iterdir()) == []


def test_names_are_kept_apart_and_newest_comes_first(stocked: Workspace) -> None:
    first = build_mix(stocked, spec("short:5"))
    build_mix(stocked, spec("short:6"), "six")
    assert first["name"] == "short 5"
    label_mix(stocked, first["mix_id"], "five")
    assert [mix["name"] for mix in list_mixes(stocked)] == ["six", "five"]
    assert build_mix(stocked, spec("short:5"))["name"] == "five"
    with pytest.raises(LimitError, match="not empty"):
        label_mix(stocked, first["mix_id"], " ")
    with pytest.raises(LimitError, match="does not exist; known are"):
        load_mix(stocked, "0123456789ab")
    with pytest.raises(LimitError, match="cannot be used"):
        load_mix(stocked, "../sources")


def test_a_damaged_mix_or_name_hides_no_other(stocked: Workspace) -> None:
    whole, broken = (build_mix(stocked, spec(f"short:{rows}"), str(rows))["mix_id"] for rows in (3, 4))
    (stocked.mix(broken) / "mix.json").write_text('{"mix_id": ')
    (stocked.mix(whole) / "label.json").write_text("[]")
    assert [(mix["mix_id"], mix["name"]) for mix in list_mixes(stocked)] == [(whole, whole)]
    with pytest.raises(LimitError, match="cannot be read as JSON"):
        load_mix(stocked, broken)


def test_diff_counts_what_is_shared(stocked: Workspace) -> None:
    a, b = (build_mix(stocked, spec(*parts))["mix_id"] for parts in (("short:20",), ("short:30", "long:5")))
    found = diff(stocked, a, b)
    assert (found["shared"], found["only_a"], found["only_b"]) == (20, 0, 15)
    assert list(found["spec"]) == ["parts"]
    assert sum(row["b"] for row in found["counts"]) == 35
    assert diff(stocked, a, a)["spec"] == {}


def test_presets_are_the_papers_mixes() -> None:
    for mix in paper_mixes():
        assert preset_spec(mix["id"]).seed == 17
    assert preset_spec("7b-subset-lima").label() == "instruct-v1 5,000 + lima-single-turn all"
    with pytest.raises(LimitError, match="7b-lima"):
        preset_spec("nope")


@pytest.mark.parametrize(
    "parts",
    [
        [{"take": 5}],
        [{"take": 150}],
        [{"take": None}],
        [{"share": 0.1}, {"share": 0.6}],
        [{"tokens": 60}],
        [{"tokens": 1_400}],
        [{"take": 20, "subset": "task1"}, {"take": 40}, {"take": 30, "max_chars": 2}],
        [{"take": 4, "contains": "Is 19", "turns": "single", "min_chars": 3}],
    ],
)
def test_a_large_source_is_drawn_from_as_a_small_one(
    stocked: Workspace, monkeypatch: pytest.MonkeyPatch, parts: list[dict[str, object]]
) -> None:
    request = MixSpec.from_dict(
        {"parts": [{"source": "short", **part} for part in parts], "total": 100, "exclude": ["0123456789abcdef"]}
    )
    infos = {"short": source_info(stocked, "short")}
    whole = draw.draw_parts(infos, request)
    monkeypatch.setattr(draw, "RANKED", 30)
    draw._ranked.cache_clear()
    try:
        assert [rows.tolist() for rows in draw.draw_parts(infos, request)] == [rows.tolist() for rows in whole]
        for too_much in ({"take": 201}, {"tokens": 10**6}, {"take": 51, "subset": "task2"}):
            with pytest.raises(LimitError, match="asks for"):
                draw.draw_parts(infos, MixSpec.from_dict({"parts": [{"source": "short", **too_much}]}))
    finally:
        draw._ranked.cache_clear()
