"""What ships of the embedded study: rebuilt from its seeds it is the same, and nothing leaks from half B."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from limit.core import file_sha256, read_json
from limit.gauntlet.records import load_records
from limit.gauntlet.tasks import MINI, load_version
from limit.settings import Workspace
from limit.sources.listing import source_info
from limit.tiny import FOLDER, PROMPT_SET, TITLES, ensure_sources
from limit.tiny.instruct import instruct_pairs
from limit.tiny.lima import lima_pairs
from limit.tiny.prompts import open_prompts
from limit.tiny.shipped import write_shipped
from limit.tiny.world import World, build_world, held_out


@pytest.fixture(scope="module")
def world() -> World:
    return build_world()


def half_b(world: World) -> set[str]:
    return {e.name for e in (*world.people, *world.towns, *world.tools) if e.half == "B"}


def test_what_ships_is_what_the_seeds_give(tmp_path: Path) -> None:
    write_shipped(tmp_path)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) > 15
    for name in written:
        if name.suffix == ".gz":
            assert gzip.decompress((tmp_path / name).read_bytes()) == gzip.decompress((FOLDER / name).read_bytes())
        else:
            assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_finetuning_text_never_names_half_b(world: World) -> None:
    forbidden = half_b(world)
    pairs = [*instruct_pairs(world), *lima_pairs(world)]
    assert len(pairs) == 6000
    for pair in pairs:
        assert not set(re.findall(r"[A-Za-z]+", f"{pair.prompt} {pair.response}")) & forbidden, pair


def test_finetuning_sums_and_pairs_are_not_held_out(world: World) -> None:
    sums = [pair for pair in instruct_pairs(world) if pair.subset == "sums"]
    for pair in sums:
        found = re.search(r"(\d+) ([+-]) (\d+)", pair.prompt)
        assert found
        assert not held_out(("sum" if found[2] == "+" else "difference", int(found[1]), int(found[3])))
    compared = [
        re.search(r"a (\w+) (?:and|or) a (\w+)", p.prompt) for p in lima_pairs(world) if p.subset == "comparisons"
    ]
    assert compared
    assert not any(held_out(("weight", *sorted(match.groups()))) for match in compared if match)
    ordered = [pair.response.split(", ") for pair in instruct_pairs(world) if pair.subset == "orders"]
    assert len(ordered) == 200
    for things in ordered:
        assert things == sorted(things, key=world.things.index)
        assert not any(held_out(("weight", *sorted(pair))) for pair in combinations(things, 2))


def test_the_two_sources_differ_as_they_should(world: World) -> None:
    terse = [len(pair.response.split()) for pair in instruct_pairs(world)]
    long = [len(pair.response.split()) for pair in lima_pairs(world)]
    assert sum(terse) / len(terse) < 2
    assert sum(long) / len(long) > 25
    assert min(long) > max(terse)


def test_open_prompts_ask_about_half_b_or_held_out_pairs(world: World) -> None:
    prompts = open_prompts(world)
    assert len(prompts) == len(set(prompts)) == 120
    uses = [tool.facts["use"] for tool in world.half("tool", "B")]
    names = half_b(world)
    for prompt in prompts:
        pair = re.search(r"a (\w+) and a (\w+)", prompt)
        asked = set(re.findall(r"\w+", prompt)) & names or any(use in prompt for use in uses)
        assert asked or (pair and held_out(("weight", *sorted(pair.groups())))), prompt


def test_the_mini_gauntlet_is_large_and_has_every_kind_of_task() -> None:
    version = load_version("mini", MINI)
    counts = {task.name: sum(1 for _ in (MINI / str(task.file)).open()) for task in version.tasks}
    assert sum(counts.values()) >= 1500
    assert {task.type for task in version.tasks} == {
        "multiple_choice",
        "schema",
        "language_modeling",
        "generation_task_with_answers",
    }
    assert len(version.categories) == 5
    assert all(task.counted for task in version.tasks)
    for task in version.tasks:
        assert load_records(task, MINI)


def test_golds_are_spread_over_the_choices() -> None:
    for path in MINI.glob("*/*.jsonl"):
        golds = Counter(json.loads(line).get("gold") for line in path.open())
        if None not in golds:
            assert max(golds.values()) < 0.75 * sum(golds.values()), path


def test_ensure_sources_installs_once_and_leaves_things_alone(ws: Workspace) -> None:
    ensure_sources(ws)
    hashes = {name: source_info(ws, name)["content_sha256"] for name in TITLES}
    assert source_info(ws, "tiny-instruct")["rows"] == 5000
    assert source_info(ws, "tiny-lima")["rows"] == 1000
    assert source_info(ws, "tiny-lima")["non_commercial"] is False
    stamp = (ws.source("tiny-lima") / "source.json").stat().st_mtime_ns
    ensure_sources(ws)
    assert (ws.source("tiny-lima") / "source.json").stat().st_mtime_ns == stamp
    assert {name: source_info(ws, name)["content_sha256"] for name in TITLES} == hashes
    assert (ws.prompts / PROMPT_SET / "prompts.parquet").is_file()


@pytest.mark.skipif(not (FOLDER / "loss.json").exists(), reason="the model has not been trained")
def test_the_shipped_model_is_the_recorded_one() -> None:
    record = read_json(FOLDER / "loss.json")
    weights = FOLDER / "model" / "model.safetensors"
    assert file_sha256(weights) == record["sha256"]
    assert weights.stat().st_size <= 12_000_000
    assert record["loss"][-1][1] < record["loss"][0][1] / 2
