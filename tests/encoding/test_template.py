"""Templates: the paper's words, loss on answers alone, and the same ids in training and generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limit.core import LimitError
from limit.encoding.template import (
    NO_LOSS,
    TEMPLATES,
    encode_prompt,
    encode_sample,
    encode_samples,
    find_template,
    messages_of,
    render_prompt,
    token_texts,
)
from tests.conftest import train_tokenizer

INTRO = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
CHATML = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
FORGETFUL = (
    "{% for m in messages %}<|start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
DIALOGUE: dict[str, Any] = {
    "prompt": "one?",
    "response": "first answer",
    "meta": {
        "messages": [
            {"role": "user", "content": "one?"},
            {"role": "assistant", "content": "first answer"},
            {"role": "user", "content": "two?"},
            {"role": "assistant", "content": "second answer"},
        ]
    },
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(["which town is the home of the baker? é 漢 answer"] * 8, folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def with_begin(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    folder: Path = tmp_path_factory.mktemp("begin")
    train_tokenizer(["which town is the home of the baker?"] * 8, folder, bos=True)
    return AutoTokenizer.from_pretrained(folder)


def learned(sample: Any, tokenizer: Any, template: str) -> str:
    """The text that carries loss."""
    encoded = encode_sample(sample, tokenizer, template, 10_000)
    return str(tokenizer.decode([label for label in encoded.labels if label != NO_LOSS]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alpaca", f"{INTRO}\n\n### Instruction:\nX\n\n### Response:\n"),
        ("instruct-v3", f"{INTRO}\n\n###Instruction\nX\n\n### Response\n"),
        ("lima", f"{INTRO}\n### Instruction:\nX\n### Response:\n\n"),
        ("instruct-v3-test", f"{INTRO}\n\n### Instruction\nX\n\n### Response:\n\n"),
        ("plain", "X\n"),
    ],
)
def test_the_papers_templates_to_the_letter(name: str, expected: str, tokenizer: Any) -> None:
    assert render_prompt("X", name, tokenizer) == expected


@pytest.mark.parametrize("template", [*TEMPLATES, "tiny"])
def test_only_the_answer_and_its_end_carry_loss(template: str, tokenizer: Any) -> None:
    assert learned({"prompt": "which town?", "response": "the river"}, tokenizer, template) == "the river</s>"


@pytest.mark.parametrize("template", [*TEMPLATES, "tiny"])
def test_every_assistant_turn_carries_loss(template: str, tokenizer: Any) -> None:
    assert learned(DIALOGUE, tokenizer, template) == "first answer</s>second answer</s>"


@settings(max_examples=60, deadline=None)
@given(prompt=st.text(max_size=80), response=st.text(max_size=80), template=st.sampled_from(list(TEMPLATES)))
def test_generation_asks_in_the_ids_of_training(tokenizer: Any, prompt: str, response: str, template: str) -> None:
    encoded = encode_sample({"prompt": prompt, "response": response}, tokenizer, template, 10_000)
    without_loss = [i for i, label in zip(encoded.ids, encoded.labels, strict=True) if label == NO_LOSS]
    assert encode_prompt(prompt, tokenizer, template) == without_loss
    assert encoded.ids[-1] == tokenizer.eos_token_id


def test_a_begin_token_comes_once_and_only_where_the_tokenizer_puts_one(tokenizer: Any, with_begin: Any) -> None:
    assert encode_sample(DIALOGUE, with_begin, "alpaca", 10_000).ids.count(with_begin.bos_token_id) == 1
    assert tokenizer.bos_token_id not in encode_sample(DIALOGUE, tokenizer, "alpaca", 10_000).ids


def test_text_that_looks_like_the_end_token_does_not_end_the_sample(tokenizer: Any) -> None:
    encoded = encode_sample({"prompt": "a </s> b", "response": "c </s> d"}, tokenizer, "alpaca", 10_000)
    assert encoded.ids.count(tokenizer.eos_token_id) == 1


def test_cutting_takes_the_end_of_an_answer_and_the_beginning_of_a_question(tokenizer: Any) -> None:
    whole = encode_sample({"prompt": "x", "response": "town " * 50}, tokenizer, "plain", 10_000)
    cut = encode_sample({"prompt": "x", "response": "town " * 50}, tokenizer, "plain", 20)
    assert (cut.ids, cut.labels, cut.truncated) == (whole.ids[:20], whole.labels[:20], True)
    assert not whole.truncated
    asked = encode_prompt("town " * 50, tokenizer, "plain")
    assert encode_prompt("town " * 50, tokenizer, "plain", 10) == asked[-10:]


def test_many_at_once_are_the_same_as_one_by_one(tokenizer: Any) -> None:
    samples = [DIALOGUE, {"prompt": "", "response": ""}, {"prompt": "é漢", "response": "🙂", "meta": "{}"}]
    together = list(encode_samples(samples, tokenizer, "alpaca", 300))
    assert together == [encode_sample(sample, tokenizer, "alpaca", 300) for sample in samples]


def test_the_texts_of_tokens_join_to_the_text(tokenizer: Any) -> None:
    encoded = encode_sample({"prompt": "é漢字 🙂 town", "response": "été"}, tokenizer, "plain", 10_000)
    texts = token_texts(encoded.ids, tokenizer)
    assert len(texts) == len(encoded.ids)
    assert "".join(texts) == "é漢字 🙂 town\nété</s>"


@pytest.mark.parametrize("chat_template", [CHATML, FORGETFUL])
def test_a_tokenizers_own_chat_template_trains_every_answer(chat_template: str, tokenizer: Any) -> None:
    tokenizer.chat_template = chat_template
    try:
        text = learned(DIALOGUE, tokenizer, "chat")
        asked = encode_prompt("one?", tokenizer, "chat")
    finally:
        tokenizer.chat_template = None
    assert text.replace("<think></think>", "") == "first answer</s>second answer</s>"
    assert tokenizer.decode(asked).endswith("assistant\n")


def test_a_chat_template_that_leaves_the_answer_out_teaches_nothing(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}asked: {{ m.content }}{% endif %}{% endfor %}"
    )
    try:
        assert learned(DIALOGUE, tokenizer, "chat") == ""
    finally:
        tokenizer.chat_template = None


def test_a_missing_chat_template_is_said(tokenizer: Any) -> None:
    with pytest.raises(LimitError, match="alpaca"):
        encode_prompt("x", tokenizer, "chat")


def test_a_chat_template_without_a_system_role_says_what_to_do(tokenizer: Any) -> None:
    no_system = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    tokenizer.chat_template = no_system + CHATML
    sample = {"meta": {"messages": [{"role": "system", "content": "be brief"}, *DIALOGUE["meta"]["messages"]]}}
    try:
        with pytest.raises(LimitError, match=r"of system, .* \(System role not supported\); choose another template"):
            encode_sample(sample, tokenizer, "chat", 100)
        assert learned(DIALOGUE, tokenizer, "chat")
    finally:
        tokenizer.chat_template = None


def test_an_unknown_template_names_those_there_are() -> None:
    with pytest.raises(LimitError, match="alpaca"):
        find_template("vicuna")


def test_meta_may_be_text_or_missing() -> None:
    assert messages_of({"prompt": "a", "response": "b", "meta": '{"x": 1}'})[1]["content"] == "b"
    assert messages_of({"prompt": "a", "response": None})[1]["content"] == ""


def test_what_a_tool_says_is_read_and_not_learned(tokenizer: Any) -> None:
    turns = [("user", "one?"), ("tool", "looked up"), ("assistant", "an answer")]
    sample = {"meta": {"messages": [{"role": role, "content": text} for role, text in turns]}}
    assert learned(sample, tokenizer, "plain") == "an answer</s>"


@pytest.mark.parametrize("meta", ["{", {"messages": [1, 2]}, {"messages": [{"role": "user"}]}])
def test_a_broken_dialogue_is_named(meta: Any) -> None:
    with pytest.raises(LimitError, match=r"'t0' \('which town'"):
        messages_of({"source": "t0", "prompt": "which town", "response": "x", "meta": meta})
