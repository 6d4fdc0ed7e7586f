from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limit.core import LimitError
from limit.gauntlet.prompts import Encoder, Item, _Builder, build_items
from limit.gauntlet.records import load_records, task_path
from limit.gauntlet.tasks import Task, load_version
from tests.gauntlet import reference
from tests.gauntlet.conftest import make_records

FIVE = ("pick", "letter", "who", "next", "sums")


def items_of(task: Task, data: Path, tokenizer: Any, max_seq_len: int = 512, **options: Any) -> list[Item]:
    chunks = build_items(task, load_records(task, data), Encoder(tokenizer), max_seq_len=max_seq_len, **options)
    return [item for chunk in chunks for item in chunk]


def ids_of(items: list[Item]) -> list[tuple[str, int, int, list[int], list[int]]]:
    return [
        (item.subcategory, item.idx, choice, list(request.context), list(request.continuation))
        for item in items
        for choice, request in enumerate(item.requests)
    ]


def expected(task: Task, data: Path, tokenizer: Any, max_seq_len: int, upto: int) -> Any:
    settings = {key: getattr(task, key) for key in ("type", "continuation_delimiter", "prelimiter", "cot_delimiter")}
    groups = reference.read_file(data / str(task.file), task.has_categories)
    return [
        (subcategory, *request)
        for subcategory, records in groups.items()
        for request in reference.requests(tokenizer, settings, records, task.num_fewshot, max_seq_len, upto)
    ]


@pytest.mark.parametrize("tokenizer", ["plain", "bos"])
@pytest.mark.parametrize("max_seq_len", [64, 512])
def test_ids_equal_the_plain_reading(data: Path, tokenizers: Any, tokenizer: str, max_seq_len: int) -> None:
    for task in load_version("v0", data).select(FIVE):
        for shots in (0, 1, 3, 25):
            wanted = replace(task, num_fewshot=shots)
            ours = ids_of(items_of(wanted, data, tokenizers[tokenizer], max_seq_len))
            assert ours == expected(wanted, data, tokenizers[tokenizer], max_seq_len, 99), (task.name, shots)


@pytest.mark.parametrize("version", ["v0.1", "v0.3"])
def test_ids_equal_the_plain_reading_on_real_files(shared_data: Path, tokenizers: Any, version: str) -> None:
    folder = shared_data / "gauntlet"
    for task in load_version(version, folder).tasks:
        if task.type != "code_evaluation" and task_path(task, folder) is not None and task.num_fewshot < 25:
            ours = ids_of(items_of(task, folder, tokenizers["bos"], 1024, limit=1))
            assert ours == expected(task, folder, tokenizers["bos"], 1024, 1), task.key


def test_a_limit_keeps_the_shots_of_the_whole_file(data: Path, tokenizers: Any) -> None:
    for task in load_version("v0", data).select(FIVE):
        whole = ids_of(items_of(task, data, tokenizers["bos"]))
        part = ids_of(items_of(task, data, tokenizers["bos"], limit=3))
        assert part == [row for row in whole if row[1] < 3]


def test_chunks_do_not_change_the_items(data: Path, tokenizers: Any) -> None:
    task = load_version("v0", data).select(("pick",))[0]
    assert items_of(task, data, tokenizers["bos"], chunk=4) == items_of(task, data, tokenizers["bos"])


def test_an_appended_eos_is_dropped_from_the_preamble(data: Path, tokenizers: Any) -> None:
    class WithEos:
        eos_token_id = 1

        def __call__(self, text: Any, add_special_tokens: bool = True, **options: Any) -> Any:
            ids = tokenizers["plain"](text, add_special_tokens=False)["input_ids"]
            if isinstance(text, str):
                return {"input_ids": ids + [1] * add_special_tokens}
            return {"input_ids": [row + [1] * add_special_tokens for row in ids]}

    task = load_version("v0", data).select(("pick",))[0]
    assert all(1 not in request.context for item in items_of(task, data, WithEos()) for request in item.requests)
    # A preamble that is nothing but the special token keeps it: for some tokenizers it is the BOS as well.
    zero = items_of(replace(task, num_fewshot=0), data, WithEos())
    assert all(request.context[0] == 1 for item in zero for request in item.requests)


def test_the_space_is_decided_by_behaviour() -> None:
    class Pieces:
        eos_token_id = 1

        def __call__(self, text: Any, **options: Any) -> Any:
            return {"input_ids": [7, 8]} if isinstance(text, str) else {"input_ids": [[7, 8] for _ in text]}

    assert Encoder(Pieces()).answer("yes") == "yes"


def test_a_continuation_longer_than_the_limit_is_an_error(data: Path, tokenizers: Any) -> None:
    task = load_version("v0", data).select(("pick",))[0]
    with pytest.raises(LimitError, match="longer than max_seq_len 2"):
        items_of(task, data, tokenizers["plain"], 2)


def test_answer_room_comes_from_the_whole_file(data: Path, tokenizers: Any) -> None:
    task = load_version("v0", data).select(("sums",))[0]
    records = reference.read_file(data / "sums.jsonl")[""]
    longest = max(len(tokenizers["bos"](f"{r['chain_of_thought']} #### {r['answer']}")["input_ids"]) for r in records)
    assert {item.max_new_tokens for item in items_of(task, data, tokenizers["bos"], limit=1)} == {longest + 10}


def test_request_hash_is_sha1_over_the_json_of_all_ids(data: Path, tokenizers: Any) -> None:
    task = load_version("v0", data).select(("pick",))[0]
    request = items_of(task, data, tokenizers["plain"])[0].requests[0]
    assert request.sha1 == reference.sha1(list(request.context), list(request.continuation))


def test_a_prelimiter_stands_before_the_options_without_examples_too(data: Path, tokenizers: Any) -> None:
    task = replace(load_version("v0", data).select(("who",))[0], num_fewshot=0, prelimiter="Read: ")
    item = items_of(task, data, tokenizers["plain"], limit=1)[0]
    ids = tokenizers["plain"](f"Read: {item.options[1]}", add_special_tokens=False)["input_ids"]
    assert list(item.requests[1].context) == ids


@pytest.mark.parametrize("max_seq_len", [64, 100, 160, 256, 512])
def test_bytes_find_every_record_that_leaves_fixed_shots_no_room(
    data: Path, tokenizers: Any, monkeypatch: pytest.MonkeyPatch, max_seq_len: int
) -> None:
    """Records are tokenized for it only where they may be too long; the draws are as if all had been."""
    records = make_records()["pick"]
    records[3]["query"] = "\ufdfa\u1e9b\u0323 \u00bd" * 12  # texts that normalization makes longer
    records[4]["query"] = "\uff11\uff12\uff0c" * 20  # and one that it makes shorter
    records[5]["choices"][1] = "zebra quilt " * 3
    (data / "pick.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    for task in load_version("v0", data).select(FIVE):
        wanted = replace(task, num_fewshot=4)
        few = ids_of(items_of(wanted, data, tokenizers["bos"], max_seq_len, shots="fixed"))
        with monkeypatch.context() as patch:
            patch.setattr(_Builder, "_rest_at_most", lambda self, record: max_seq_len + 1)
            assert few == ids_of(items_of(wanted, data, tokenizers["bos"], max_seq_len, shots="fixed")), task.name


@pytest.mark.parametrize(
    "text", ["plain words", "\ufdfa\u1e9b\u0323", "\uff11\uff12\uff0c", "\u2460\u00bd", "\U0001f469\u200d\U0001f680"]
)
def test_no_text_has_more_tokens_than_is_reckoned_with(data: Path, tokenizers: Any, text: str) -> None:
    (task,) = load_version("v0", data).select(("pick",))
    records = [{**record, "query": text * 30} for record in load_records(task, data)[""]]
    encoder = Encoder(tokenizers["bos"])
    builder = _Builder(task, "", records, encoder, 512, 0)
    for record in records:
        assert builder._rest_at_most(record) >= builder._rest(record, lambda part: len(encoder.encode(part)))
