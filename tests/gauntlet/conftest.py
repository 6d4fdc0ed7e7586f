"""A small data folder of every task type, and tiny models of several architectures."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import train_tokenizer

WORDS = ("river", "stone", "baker", "north", "lamp", "seven", "copper", "apple", "winter", "old", "boat", "quiet")
TASKS_YAML = """
tasks:
  pick: {category: reading, type: multiple_choice, file: pick.jsonl, random_baseline: 0.25, num_fewshot: {v0: [3]}}
  letter: {category: reading, type: multiple_choice, file: letter.jsonl, random_baseline: 0.5,
    num_fewshot: {v0: [2, 0]}, continuation_delimiter: "\\nAnswer: "}
  who: {category: language, type: schema, file: who.jsonl, random_baseline: 0.5, num_fewshot: {v0: [2]}}
  next: {category: language, type: language_modeling, file: next.jsonl, random_baseline: 0.0, num_fewshot: {v0: [2]},
    has_categories: true}
  sums: {category: maths, type: generation_task_with_answers, file: sums.jsonl, random_baseline: 0.0,
    num_fewshot: {v0: [2]}, cot_delimiter: " #### ", prelimiter: "Q: ", continuation_delimiter: "\\nA: "}
"""
GAUNTLET_YAML = """
versions:
  v0:
    averages: {core_average: [reading, language, maths], half: [reading]}
    categories:
      reading: [{task: pick, num_fewshot: 3, random_baseline: 0.25},
        {task: letter, num_fewshot: 2, random_baseline: 0.5}]
      language: [{task: who, num_fewshot: 2, random_baseline: 0.5}, {task: next, num_fewshot: 2, random_baseline: 0.0}]
      maths: [{task: sums, num_fewshot: 2, random_baseline: 0.0}]
"""


def words(rng: random.Random, low: int, high: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))


def make_records(seed: int = 3) -> dict[str, list[dict[str, Any]]]:
    rng = random.Random(seed)
    return {
        "pick": [
            {"query": f"Question: {words(rng, 3, 9)}?", "choices": [words(rng, 1, 6) for _ in range(4)],
             "gold": rng.randrange(4)} for _ in range(17)
        ],
        "letter": [
            {"query": f"  {words(rng, 4, 9)}\nA. {words(rng, 1, 3)}\nB. x ", "choices": ["A", "B"], "gold": i % 2}
            for i in range(12)
        ],
        "who": [
            {"context_options": [f"The {a} saw the {b} so the {a}", f"The {a} saw the {b} so the {b}"],
             "continuation": words(rng, 2, 4), "gold": rng.randrange(2)}
            for a, b in [rng.sample(WORDS, 2) for _ in range(11)]
        ],
        "next": [
            {"context": words(rng, 4, 9), "continuation": words(rng, 1, 3), "category": ("one", "two")[i % 3 > 0]}
            for i in range(13)
        ],
        "sums": [
            {"context": f"{a} and {b}", "chain_of_thought": f"{a} + {b} is {a + b}.", "answer": str(a + b)}
            for a, b in [(rng.randrange(9), rng.randrange(9)) for _ in range(9)]
        ],
    }  # fmt: skip


def write_data(folder: Path, records: dict[str, list[dict[str, Any]]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in records.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tasks.yaml").write_text(TASKS_YAML)
    (folder / "gauntlet.yaml").write_text(GAUNTLET_YAML)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five tasks, one of each kind, in a version of their own named v0."""
    return write_data(tmp_path / "data", make_records())


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A byte-level BPE tokenizer without and with BOS."""
    from transformers import AutoTokenizer

    texts = [json.dumps(row) for rows in make_records().values() for row in rows]
    made = {}
    for name, bos in (("plain", False), ("bos", True)):
        folder = tmp_path_factory.mktemp("tokenizers") / name
        train_tokenizer(texts, folder, 420, bos)
        made[name] = AutoTokenizer.from_pretrained(folder)
    return made


def build_model(kind: str) -> Any:
    """A random model of one architecture, in float32."""
    import torch
    import transformers as t

    torch.manual_seed(5)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 420}
    wide = {**shape, "intermediate_size": 64, "num_key_value_heads": 2, "initializer_range": 0.3}
    makers = {
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**wide, max_position_embeddings=1024)),
        "gpt2": lambda: t.GPT2LMHeadModel(
            t.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=420, n_positions=1024, initializer_range=0.3)
        ),
        "mpt": lambda: t.MptForCausalLM(
            t.MptConfig(d_model=32, n_heads=4, n_layers=2, vocab_size=420, initializer_range=0.3)
        ),
        "bloom": lambda: t.BloomForCausalLM(
            t.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=420, initializer_range=0.3)
        ),
        "sliding": lambda: t.MistralForCausalLM(t.MistralConfig(**wide, sliding_window=24)),
        "recurrent": lambda: t.MambaForCausalLM(t.MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=420)),
        "neox": lambda: t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**shape, intermediate_size=64)),
        "gemma2": lambda: t.Gemma2ForCausalLM(t.Gemma2Config(**wide, head_dim=8, sliding_window=4096)),
    }
    model = makers[kind]().eval()
    model.generation_config.pad_token_id = 0
    return model
