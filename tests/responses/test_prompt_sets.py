"""Reading prompts: the paper's two files, JSON and JSONL, copies, broken input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from limit.core import LimitError
from limit.responses.prompt_sets import (
    PREAMBLE,
    distinct,
    ensure_prompt_set,
    list_prompt_sets,
    load_prompts,
    prompt_set_facts,
    prompt_set_names,
    save_prompt_set,
)
from limit.settings import Workspace


def put(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize(("file", "name", "kept"), [("lima", "lima", 300), ("instructv3", "instruct-v3", 289)])
def test_the_papers_files(ws: Workspace, shared_data: Path, file: str, name: str, kept: int) -> None:
    path = shared_data / "judge" / "test_prompts" / f"{file}_test_prompts.txt"
    assert ensure_prompt_set(ws, str(path)) == name
    prompts = load_prompts(ws, name)
    assert len(prompts) == kept and sum(prompt.multiplicity for prompt in prompts) == 300
    assert not any("###" in prompt.text or PREAMBLE in prompt.text for prompt in prompts)
    assert prompt_set_facts(ws, name)["prompts"] == 300


def test_blocks_keep_blank_lines_and_lists(ws: Workspace, tmp_path: Path) -> None:
    blocks = ("\n\n### Instruction\nOne\n\n* a\n* b\n\n### Response:\n\n", "\n### Instruction:\nTwo \n### Response:")
    text = "".join(PREAMBLE + block for block in blocks)
    name = ensure_prompt_set(ws, put(tmp_path, "my prompts!.txt", text))
    assert name == "my-prompts"
    assert [prompt.text for prompt in load_prompts(ws, name)] == ["One\n\n* a\n* b", "Two"]


def test_plain_lines_arrays_and_jsonl_give_the_same_prompts(ws: Workspace, tmp_path: Path) -> None:
    texts = ["Say hi", "你好吗?"]
    files = [
        put(tmp_path, "a.txt", "\ufeffSay hi\r\n\r\n你好吗?\r\n"),
        put(tmp_path, "b.json", json.dumps([texts[0], {"instruction": texts[1], "output": "x"}])),
        put(tmp_path, "c.jsonl", "\n".join(json.dumps({"prompt": text}) for text in texts) + "\n\n"),
    ]
    assert [[p.text for p in load_prompts(ws, ensure_prompt_set(ws, file))] for file in files] == [texts] * 3
    ids = {entry["prompt_set_id"] for entry in list_prompt_sets(ws)}
    assert len(ids) == 1


def test_copies_are_counted_once_each(ws: Workspace) -> None:
    found = distinct(["a", "b\n", "a", "b"])
    assert [(p.text, p.position, p.multiplicity) for p in found] == [("a", 0, 2), ("b\n", 1, 2)]


def test_the_same_prompts_again_change_nothing_others_need_another_name(ws: Workspace) -> None:
    save_prompt_set(ws, "mine", ["a", "b"])
    before = (ws.prompts / "mine" / "prompt_set.json").read_bytes()
    assert save_prompt_set(ws, "mine", ["a", "b"]) == "mine"
    assert (ws.prompts / "mine" / "prompt_set.json").read_bytes() == before
    with pytest.raises(LimitError, match="'mine' exists with other prompts"):
        save_prompt_set(ws, "mine", ["a", "c"])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "", "holds no prompts"),
        ("a.txt", b"\xff\xfe", "not UTF-8 text"),
        ("a.txt", f"stray text {PREAMBLE}\n### Instruction:\nx\n### Response:\n", "text before its first"),
        ("a.txt", f"{PREAMBLE}\nno heading", "prompt 1 has no '### Instruction'"),
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"prompt": "x"}', "holds no JSON array"),
        ("a.json", '[{"output": "x"}]', "row 1 has no prompt"),
        ("a.jsonl", '"ok"\n{"prompt": ', "line 2 is not JSON"),
        ("a.jsonl", '{"prompt": "  "}', "line 1 has no prompt"),
        ("a.json", "[" * 50_000, "is not JSON"),
        ("a.jsonl", '{"turns": ["a", "b", "c"]}', "a third turn is not supported"),
        ("a.jsonl", '{"turns": "a"}', "not one or two questions"),
    ],
)
def test_broken_files_are_named_and_leave_nothing(
    ws: Workspace, tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    with pytest.raises(LimitError) as caught:
        ensure_prompt_set(ws, put(tmp_path, name, content))
    assert words in str(caught.value) and name in str(caught.value)
    assert list_prompt_sets(ws) == []


def test_unknown_names_and_files_are_told_apart(ws: Workspace) -> None:
    with pytest.raises(LimitError, match=r"no prompt file 'no\.txt'"):
        ensure_prompt_set(ws, "no.txt")
    with pytest.raises(LimitError, match="no prompt set 'nothing'; known: everyday"):
        ensure_prompt_set(ws, "nothing")
    with pytest.raises(LimitError, match="no prompt file"):
        ensure_prompt_set(ws, "../../etc")


def test_topics_are_kept_where_a_file_has_them(ws: Workspace, tmp_path: Path) -> None:
    rows = [
        {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]},
        {"instruction": "Count.", "dataset": "koala"},
        {"instruction": "Nothing known."},
    ]
    path = tmp_path / "question.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    name = ensure_prompt_set(ws, str(path))
    assert [prompt.category for prompt in load_prompts(ws, name)] == ["writing", "koala", None]
    assert load_prompts(ws, save_prompt_set(ws, "plain", ["a", "b"]))[0].category is None


def test_the_shipped_questions_are_a_set_as_soon_as_they_are_named(ws: Workspace) -> None:
    assert prompt_set_names(ws) == ["everyday"] and list_prompt_sets(ws) == []
    prompts = load_prompts(ws, "everyday")
    assert len(prompts) == 100 and all(prompt.multiplicity == 1 for prompt in prompts)
    assert prompt_set_names(ws) == ["everyday"] == [entry["prompt_set"] for entry in list_prompt_sets(ws)]


def test_a_set_of_ones_own_may_have_the_name_of_a_shipped_one(ws: Workspace) -> None:
    save_prompt_set(ws, "everyday", ["mine"])
    assert [prompt.text for prompt in load_prompts(ws, "everyday")] == ["mine"]
