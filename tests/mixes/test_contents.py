"""What a mix comes to: tokens, truncation, packing, style; each figure against a plain computation."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from limit.mixes import build_mix, describe, describe_spec, mix_samples
from limit.mixes.contents import Measure, summary
from limit.mixes.listing import changed_sources
from limit.mixes.style import HABITS, source_style, style_of, wilson
from limit.mixes.tokens import TokenCounts, count_mix_tokens, open_tokenizer
from limit.settings import Workspace
from limit.sources import add_source
from tests.mixes.conftest import short_rows, write_rows
from tests.mixes.test_build import spec


def counts(*lengths: int) -> TokenCounts:
    total = np.array(lengths, np.int64)
    return TokenCounts(total, total // 2)


def test_summary_of_known_lengths() -> None:
    found = summary(counts(10, 20, 30, 100), Measure(max_seq_len=50, batch=2, epochs=3))
    assert (found["rows"], found["tokens"], found["truncated"], found["lost_tokens"]) == (4, 110, 1, 50)
    assert (found["steps_per_epoch"], found["steps"], found["longest"]) == (2, 6, 100)
    assert found["response_tokens"] == 5 + 10 + 15 + 0
    assert found["packing_fill"] == pytest.approx(110 / 150)
    assert found["packed_rows"] == 3


def test_padding_is_nothing_for_equal_lengths_and_batches_of_one() -> None:
    assert summary(counts(*[7] * 10), Measure(max_seq_len=50, batch=4))["padding_share"] == pytest.approx(0)
    assert summary(counts(1, 2, 3), Measure(max_seq_len=50, batch=1))["padding_share"] == pytest.approx(0)
    assert summary(counts(1, 9), Measure(max_seq_len=50, batch=2))["padding_share"] == pytest.approx(1 - 10 / 18)


def test_the_live_panel_agrees_with_the_built_mix(stocked: Workspace) -> None:
    request = spec("short:50", "long:40")
    live = describe_spec(stocked, request)
    mix = build_mix(stocked, request)
    assert live["rows"] == mix["rows"] == 90
    assert sum(row["rows"] for row in live["composition"]) == 90
    assert {(row["source"], row["subset"]): row["rows"] for row in live["composition"]} == {
        (row["source"], row["subset"]): row["rows"] for row in mix["counts"]
    }
    built = describe(stocked, mix["mix_id"])
    assert built["tokens"] == live["tokens"]
    assert "estimate" in built["tokens_from"]


def test_counted_tokens_are_those_of_training(stocked: Workspace, tiny_llama: Path) -> None:
    from limit.encoding.template import encode_sample

    mix = build_mix(stocked, spec("short:10", "long:20"))
    tokenizer = open_tokenizer(stocked, str(tiny_llama))
    rows = mix_samples(stocked, mix["mix_id"]).to_pylist()
    encoded = [encode_sample(row, tokenizer, "alpaca", 1 << 30) for row in rows]
    found = count_mix_tokens(stocked, mix["mix_id"], str(tiny_llama))
    assert found.total.tolist() == [len(item.ids) for item in encoded]
    assert found.loss.tolist() == [item.loss_tokens for item in encoded]
    described = describe(stocked, mix["mix_id"], Measure(str(tiny_llama), max_seq_len=100_000))
    assert described["tokens"] == found.total.sum() == sum(row["tokens"] for row in described["composition"])
    built = build_mix(stocked, spec("short:10", "long:20"), tokenizer=str(tiny_llama))
    assert (built["tokens"], built["tokens_from"]) == (found.total.sum(), str(tiny_llama))


def test_the_measured_rate_is_close_to_the_count(stocked: Workspace, tiny_llama: Path) -> None:
    request = spec("short:100", "long:80")
    exact = count_mix_tokens(stocked, build_mix(stocked, request)["mix_id"], str(tiny_llama))
    live = describe_spec(stocked, request, Measure(str(tiny_llama), max_seq_len=100_000))
    assert live["tokens"] == pytest.approx(exact.total.sum(), rel=0.15)
    assert "estimate from" in live["tokens_from"]


EXAMPLES = {
    "multiple_choice": ("What is it?\nA. a dog\nB. a cat\n", "A", "What is a dog?"),
    "one_word": ("Q", "yes", "Q"),
    "step_by_step": ("Q", "1. Boil water.\n2. Add tea.", "Q"),
    "lists": ("Q", "- one\n- two", "Q"),
    "markdown": ("Q", "## Title\ntext", "Q"),
    "code": ("Q", "```python\nx\n```", "Q"),
    "refusals": ("Q", "I'm sorry, but I cannot help with that.", "Q"),
    "questions_back": ("Q", "Which one do you mean?", "Q"),
    "first_person": ("Q", "I like it.", "Q"),
}


@pytest.mark.parametrize("key", [habit[0] for habit in HABITS])
def test_each_habit_is_seen_where_it_is_and_not_elsewhere(key: str) -> None:
    prompt, response, plain = EXAMPLES[key]
    table = pa.table(
        {"prompt": [prompt, plain], "response": [response, "The sky was blue that day, and the birds sang."]}
    )
    share = next(habit["share"] for habit in style_of(table)["habits"] if habit["key"] == key)
    assert share == 0.5


def test_style_of_nothing_and_of_a_source(stocked: Workspace) -> None:
    empty = style_of(pa.table({"prompt": pa.array([], pa.string()), "response": pa.array([], pa.string())}))
    assert empty["n"] == 0
    assert source_style(stocked, "short")["n"] == 200


def test_wilson_matches_published_values() -> None:
    """Newcombe 1998, table I: 81 of 263 and 0 of 20."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_markdown_needs_words_after_the_hashes() -> None:
    table = pa.table({"prompt": ["Q"], "response": ["2 + 2\n#### 4"]})
    assert next(h["share"] for h in style_of(table)["habits"] if h["key"] == "markdown") == 0


def test_a_built_mix_is_described_by_its_own_rows_whatever_became_of_its_sources(
    stocked: Workspace, tmp_path: Path
) -> None:
    mix = build_mix(stocked, spec("short:50", "long:40"))
    before = describe(stocked, mix["mix_id"])
    assert [(row["source"], row["rows"]) for row in before["parts"]] == [("short", 50), ("long", 40)]
    assert before["tokens"] == sum(row["tokens"] for row in before["composition"])
    add_source(stocked, "short", write_rows(tmp_path / "other.jsonl", short_rows(30)), replace=True)
    shutil.rmtree(stocked.source("long"))
    assert describe(stocked, mix["mix_id"]) == before
    assert changed_sources(stocked, mix) == ["long", "short"]


def test_every_response_of_a_dialogue_counts_for_style_and_length(ws: Workspace, tmp_path: Path) -> None:
    said = ["Hi", "Hello there.", "List two fruits", "- apples\n- pears", "And why?", "Why do you ask?"]
    add_source(ws, "talk", write_rows(tmp_path / "talk.jsonl", [{"conversations": said}, {"conversations": said[:2]}]))
    style = source_style(ws, "talk")
    shares = {habit["key"]: habit["share"] for habit in style["habits"]}
    assert style["n"] == 4
    assert (shares["lists"], shares["questions_back"], shares["one_word"]) == (0.25, 0.25, 0.5)
    mix = build_mix(ws, spec("talk:2"))
    rows = mix_samples(ws, mix["mix_id"]).to_pylist()
    lengths = sorted((row["n_prompt_chars"], row["n_response_chars"]) for row in rows)
    assert lengths == [(2, 12), (sum(map(len, said[0::2])), sum(map(len, said[1::2])))]
    assert style_of(mix_samples(ws, mix["mix_id"])) == style
