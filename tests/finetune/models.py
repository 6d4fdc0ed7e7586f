"""Tiny random models, one per architecture that people finetune."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

VOCABULARY = 300

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_SHAPE, "num_key_value_heads": 2}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**_GROUPED),
    "llama tied": lambda: transformers.LlamaConfig(**_GROUPED, tie_word_embeddings=True),
    "mistral, window 8": lambda: transformers.MistralConfig(**_GROUPED, sliding_window=8),
    "qwen2": lambda: transformers.Qwen2Config(**_GROUPED),
    "qwen3": lambda: transformers.Qwen3Config(**_GROUPED, head_dim=8),
    "gpt-neox": lambda: transformers.GPTNeoXConfig(**_SHAPE),
    "gemma": lambda: transformers.GemmaConfig(**_GROUPED, head_dim=8),
    "gemma2": lambda: transformers.Gemma2Config(**_GROUPED, head_dim=8, sliding_window=8),
    "gemma3": lambda: transformers.Gemma3TextConfig(**_GROUPED, head_dim=8, sliding_window=8),
    "mixtral": lambda: transformers.MixtralConfig(**_GROUPED, num_local_experts=4, num_experts_per_tok=2),
    "gpt2": lambda: transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=VOCABULARY, n_positions=256),
    "cohere2": lambda: transformers.Cohere2Config(**_GROUPED, sliding_window=8),
    "olmo3": lambda: transformers.Olmo3Config(**_GROUPED, sliding_window=8),
    "phi3": lambda: transformers.Phi3Config(**_GROUPED, sliding_window=8),
    "gpt-oss": lambda: transformers.GptOssConfig(
        **_GROUPED, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=8
    ),
    "granite": lambda: transformers.GraniteConfig(**_GROUPED, logits_scaling=4.0),
    "mpt": lambda: transformers.MptConfig(
        d_model=32, n_heads=4, n_layers=2, expansion_ratio=2, max_seq_len=256, vocab_size=VOCABULARY
    ),
    "bloom": lambda: transformers.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=VOCABULARY),
}

# What must not be packed: ALiBi counts positions through the whole row, Gemma 2 caps its attention logits, GPT-OSS has
# attention sinks.
PADDED = {"mpt", "bloom", "gemma2", "gpt-oss"}


def random_model(name: str, seed: int = 0) -> Any:
    """A model of the architecture with large enough random weights that attention matters."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]())
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(5.0)
    return model
