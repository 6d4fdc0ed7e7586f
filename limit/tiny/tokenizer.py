"""The base model's own tokenizer: byte-level BPE trained on its corpus.

Notable: a word is the same token at the start of a text, after a line break and inside a sentence, because every piece
gets a leading space before it is split and loses it again when decoded. Digits are single tokens. The markers of the
finetuning template are tokens of their own that occur nowhere in the pretraining text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

BOS, EOS, PAD, USER, HELPER = "<s>", "</s>", "<pad>", "<|user|>", "<|helper|>"
SPECIAL = (BOS, EOS, PAD, USER, HELPER)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A `PreTrainedTokenizerFast` with at most `vocab_size` tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("\n"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=True),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    raw.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace(" \n ", "\n"), decoders.Replace(" \n", "\n")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=BOS, eos_token=EOS, pad_token=PAD, additional_special_tokens=[USER, HELPER]
    )
