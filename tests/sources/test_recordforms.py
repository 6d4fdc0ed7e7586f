"""Shapes of instruction data are recognised by content, cleaned, and refused with a reason."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest

from limit.core import LimitError
from limit.sources.clean import strip_end_tokens, strip_template
from limit.sources.exchanges import Stripped, convert
from limit.sources.messages import Unusable
from limit.sources.recordforms import Columns, as_object, recognise
from limit.sources.samples import Exchange

TEMPLATE = "Below is an instruction that describes a task. Write a response that appropriately completes the request."


def read(record: dict[str, Any], keep_turns: bool = True, columns: Columns | None = None) -> Exchange:
    return convert(record, recognise([record], "file", columns), keep_turns, columns, Stripped())


@pytest.mark.parametrize(
    ("form", "record"),
    [
        ("prompt-response", {"prompt": "Q", "response": "A"}),
        ("prompt-response", {"prompt": "Q", "completion": "A"}),
        ("prompt-response", {"instruction": "Q", "context": "", "response": "A", "category": "x"}),
        ("prompt-response", {"inputs": "Q", "targets": "A", "task": "x"}),
        ("question-answer", {"question": "Q", "answer": "A"}),
        ("alpaca", {"instruction": "Q", "input": "", "output": "A", "history": []}),
        ("messages", {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}),
        ("sharegpt", {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}),
        ("lima", {"conversations": ["Q", "A"], "source": "wikihow"}),
        ("messages", {"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}),
        ("messages", {"messages": json.dumps([{"role": "User", "content": "Q"}, {"role": "model", "content": "A"}])}),
        ("messages", {"messages": [{"role": "user", "content": ["Q"]}, {"role": "assistant", "content": "A"}]}),
        (
            "prompt-response",
            {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]},
        ),
        ("prompt-response", {"Prompt ": "Q", "RESPONSE": "A"}),
        ("question-answer", {"Question": "Q", "Answer": "A", "Category": "x"}),
        ("prompt-response", {"prompt": b"Q", "response": b"A"}),
        ("hh-rlhf", {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}),
    ],
)
def test_form_is_recognised_by_content(form: str, record: dict[str, Any]) -> None:
    assert recognise([record], "file").name == form
    exchange = read(record)
    assert (exchange.prompt, exchange.response, exchange.turns) == ("Q", "A", 1)


def test_dialogues_keep_all_turns_or_the_first_alone() -> None:
    record = {"instruction": "c", "input": "", "output": "d", "history": [["a", "b"]]}
    whole = read(record)
    assert (whole.prompt, whole.response, whole.turns) == ("a", "b", 2)
    assert whole.messages == (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    first = read(record, keep_turns=False)
    assert (first.prompt, first.response, first.turns, first.messages) == ("a", "b", 1, ())


def test_context_follows_the_instruction_after_one_newline() -> None:
    assert read({"instruction": "Q", "context": "facts", "response": "A"}).prompt == "Q\nfacts"
    assert read({"instruction": "Q", "input": "facts", "output": "A"}).prompt == "Q\nfacts"


def test_system_text_stands_before_the_prompt_and_an_unanswered_turn_is_counted() -> None:
    stripped = Stripped()
    record = {
        "messages": [
            {"role": r, "content": c}
            for r, c in (("system", "Be brief."), ("user", "Q"), ("assistant", "A"), ("user", "more?"))
        ]
    }
    exchange = convert(record, recognise([record], "file"), True, None, stripped)
    assert (exchange.prompt, exchange.response, stripped.unanswered_turns) == ("Be brief.\n\nQ", "A", 1)


@pytest.mark.parametrize(
    "around",
    [
        TEMPLATE + "\n\n### Instruction:\n{}\n\n### Response:\n",
        TEMPLATE + "\n\n###Instruction\n{}\n\n### Response\n",
        TEMPLATE + "\n### Instruction:\n{}\n### Response:\n\n",
        TEMPLATE + "\n\n### Instruction\n{}\n\n### Response:\n\n",
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
        "### Instruction:\n{}\n\n### Response:",
        "<s>[INST] {} [/INST]",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|user|>\n{}</s>\n<|assistant|>\n",
        "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
        "USER: {} ASSISTANT:",
        "\n\nHuman: {}\n\nAssistant:",
    ],
)
def test_templates_around_prompts_are_stripped(around: str) -> None:
    assert strip_template(around.format("Name a\n\ncolour.")) == ("Name a\n\ncolour.", True)


@pytest.mark.parametrize(
    "around",
    [
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nQ [/INST]",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n",
        "<|system|>\nBe brief.</s>\n<|user|>\nQ</s>\n<|assistant|>\n",
    ],
)
def test_a_system_text_in_a_template_stands_before_the_prompt(around: str) -> None:
    assert strip_template(around) == ("Be brief.\n\nQ", True)


def test_a_dialogue_in_one_prompt_is_left_as_it_is() -> None:
    text = "Human: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert strip_template(text) == (text, False)


def test_text_about_templates_is_left_alone() -> None:
    text = f"What does '{TEMPLATE}' mean?"
    assert strip_template(text) == (text, False)


@pytest.mark.parametrize(
    ("response", "text", "found"),
    [
        ("yes<|endoftext|>", "yes", True),
        ("yes </s>\n<|endoftext|>\n", "yes", True),
        ("<|endoftext|>", "", True),
        ("<|endoftext|> is a token", "<|endoftext|> is a token", False),
        ("yes<|EOT|>", "yes", True),
        ("yes<｜end▁of▁sentence｜>", "yes", True),
        ("yes [EOS]<pad><pad>", "yes", True),
        ("a <| b |>", "a <| b |>", False),
    ],
)
def test_end_tokens_go_only_from_the_end(response: str, text: str, found: bool) -> None:
    assert strip_end_tokens(response) == (text, found)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "Q", "response": None}, "response is missing"),
        ({"prompt": "Q", "response": " \n "}, "response is empty"),
        ({"prompt": "Q", "response": "<|endoftext|>"}, "response is empty"),
        ({"prompt": "", "response": "A"}, "prompt is empty"),
        ({"prompt": "\u200b\n", "response": "A"}, "prompt is empty"),
        ({"prompt": "Q", "response": math.nan}, "nan"),
        ({"prompt": "Q", "response": ["A"]}, "list"),
        ({"prompt": "Q", "response": {"text": "A"}}, "dict"),
        ({"prompt": "Q", "response": "half \ud800"}, "surrogate"),
        ({"prompt": "\ud800", "response": "A"}, "surrogate"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
        (
            {"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]},
            "response is missing|alternate",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}, "more than text"),
        ({"messages": [{"role": "user", "content": "x"}, None]}, "no object"),
        ({"instruction": "Q", "output": "A", "history": ["x"]}, "history"),
    ],
)
def test_unusable_records_say_why(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        read(record)


@pytest.mark.parametrize("value", [72, 72.5, "72"])
def test_numbers_are_read_as_text(value: object) -> None:
    assert read({"question": "Q", "answer": value}).response == str(value)


def test_missing_columns_name_the_columns_seen() -> None:
    with pytest.raises(LimitError, match="columns seen: 'text', 'label'"):
        recognise([{"text": "x", "label": 1}], "file.csv")
    with pytest.raises(LimitError, match="no column 'response'; columns seen: 'prompt'"):
        recognise([{"prompt": "x"}], "file.csv", name="prompt-response")
    with pytest.raises(LimitError, match="no column 'answerr'"):
        recognise([{"q": "x", "a": "y"}], "file.csv", Columns("q", "answerr"))
    with pytest.raises(LimitError, match="format 'xml' is not known"):
        recognise([{"q": "x"}], "file.csv", name="xml")


def test_columns_named_by_the_user_are_taken() -> None:
    exchange = read({"q": "Q", "a": "A", "kind": "facts"}, columns=Columns("q", "a", "kind"))
    assert (exchange.prompt, exchange.response, exchange.subset) == ("Q", "A", "facts")


def test_subset_is_found_and_short_fields_are_kept() -> None:
    exchange = read({"prompt": "Q", "response": "A", "source": "spider", "id": 7, "long": "x" * 500, "list": [1]})
    assert exchange.subset == "spider"
    assert exchange.extra == {"id": 7}


def test_names_in_other_letters_still_name_the_subset() -> None:
    assert read({"Question": "Q", "Answer": "A", "Category": "x"}).subset == "x"
    assert read({"Question": "Q", "Answer": "A", "Kind": "y"}, columns=Columns(subset="Kind")).subset == "y"


def test_a_file_of_bare_values_says_what_is_expected() -> None:
    with pytest.raises(LimitError, match="no records with named columns"):
        recognise([], "file")


def test_bytes_that_are_no_text_are_unusable() -> None:
    with pytest.raises(Unusable, match="not UTF-8"):
        read({"prompt": b"\xff\xfe", "response": "A"})


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": [{"role": "user", "value": "Q"}, {"role": "chatbot", "value": "A"}]},
        {"conversation": [{"speaker": "Human", "text": "Q"}, {"speaker": "Bot", "text": "A"}]},
        {"messages": [{"role": "User", "message": "Q"}, {"role": "Chatbot", "message": "A"}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "input_text", "text": "Q"}]},
                {"role": "ai", "content": "A"},
            ]
        },
        {"messages": "[{'role': 'user', 'content': 'Q'}, {'role': 'assistant', 'content': 'A'}]"},
        {"prompt": "Q", "chosen": "A", "rejected": "B"},
        {"input": [{"role": "user", "content": "Q"}], "output": "A"},
        {"text": "### Human: Q### Assistant: A"},
    ],
)
def test_further_dialects_are_read(record: dict[str, Any]) -> None:
    exchange = read(record)
    assert (exchange.prompt, exchange.response, exchange.extra) == ("Q", "A", {})


def test_a_bare_list_of_messages_is_a_record() -> None:
    talk = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    form = recognise([as_object(talk)], "file")
    assert convert(talk, form, True, None, Stripped()).response == "A"


def test_a_system_text_stands_where_it_was_said() -> None:
    says = (("user", "a"), ("assistant", "b"), ("system", "Be brief."), ("user", "c"), ("system", "Now."))
    record = {"messages": [{"role": r, "content": c} for r, c in (*says, ("assistant", "d"), ("system", "End."))]}
    assert read(record).messages == (
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Be brief.\n\nc\n\nNow."),
        ("assistant", "d"),
    )


def test_a_system_text_in_a_column_of_its_own_stands_before_the_prompt() -> None:
    orca = {"id": "1", "system_prompt": "Be brief.", "question": "Q", "response": "A"}
    assert (read(orca).prompt, read(orca).extra) == ("Be brief.\n\nQ", {"id": "1"})
    assert read({**orca, "system_prompt": " "}).prompt == "Q"
    assert read(orca, columns=Columns("question", "response")).prompt == "Q"
    talk = [{"from": r, "value": v} for r, v in (("system", "Inner."), ("human", "Q"), ("gpt", "A"))]
    assert read({"conversations": talk, "system": "Outer."}).prompt == "Inner.\n\nQ"
    assert read({"conversations": talk[1:], "system": "Outer."}).prompt == "Outer.\n\nQ"


@pytest.mark.parametrize("extra", [{"tool_calls": [{"id": 1}]}, {"function_call": {"name": "f"}}])
def test_messages_that_call_tools_say_so(extra: dict[str, Any]) -> None:
    record = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": None, **extra}]}
    with pytest.raises(Unusable, match="calls a tool"):
        read(record)


def test_a_record_of_another_form_is_read_in_its_own_unless_the_form_was_named() -> None:
    rows: list[dict[str, Any]] = [{"prompt": "Q", "response": "A"}] * 3
    other = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}
    stripped = Stripped()
    form = recognise([*rows, other], "file")
    assert [convert(row, form, True, None, stripped).response for row in (*rows, other)] == ["A"] * 4
    assert stripped.forms == {"prompt-response": 3, "messages": 1}
    assert "forms" not in stripped.as_dict()
    with pytest.raises(Unusable, match="column prompt is missing"):
        convert(other, recognise(rows, "file", name="prompt-response"), True, None, Stripped())


def test_decimal_numbers_are_text() -> None:
    assert read({"question": "Q", "answer": Decimal("1.20")}).response == "1.20"
