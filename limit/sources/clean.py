"""Strip what is not part of the text: prompt templates around prompts and literal end tokens after responses.

The paper's own data sets carry the Alpaca template inside the prompt column (LIMIT facts: Instruct-v1), and T0-style
files end each response with a literal `<|endoftext|>`. Trained as they are, the model would see the template twice.
"""

from __future__ import annotations

import re

END_TOKENS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
    "<eos>",
)
_ALPACA = re.compile(
    r"\s*Below is an instruction that describes a task(?:, paired with an input that provides further context)?\. "
    r"Write a response that appropriately completes the request\.\s*"
    r"###\s?Instruction:?[ \t]*\n(?P<prompt>.*?)(?:###\s?Input:?[ \t]*\n(?P<input>.*?))?###\s?Response:?\s*",
    re.DOTALL,
)
_CHATML = re.compile(
    r"\s*(?:<\|im_start\|>system\n(?P<input>.*?)<\|im_end\|>\s*)?<\|im_start\|>user\n(?P<prompt>.*?)<\|im_end\|>\s*"
    r"(?:<\|im_start\|>assistant\s*)?",
    re.DOTALL,
)
_INST = re.compile(r"\s*(?:<s>)?\s*\[INST\](?P<prompt>.*?)\[/INST\]\s*", re.DOTALL)
_MARKS = (("Below is an instruction", _ALPACA), ("<|im_start|>", _CHATML), ("[INST]", _INST))


def tidy(text: str) -> str:
    """Unix line ends, no blank lines before and no white space after; indentation of the first line stays."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.lstrip("\n").rstrip()


def strip_template(prompt: str) -> tuple[str, bool]:
    """The instruction inside a known prompt template, and whether there was one."""
    for mark, pattern in _MARKS:
        if mark in prompt and (match := pattern.fullmatch(prompt)):
            groups = match.groupdict()
            context = (groups.get("input") or "").strip("\n")
            parts = [groups["prompt"].strip("\n"), context] if context else [groups["prompt"].strip("\n")]
            return "\n".join(parts), True
    return prompt, False


def strip_end_tokens(response: str) -> tuple[str, bool]:
    """The response without literal end tokens at its end, and whether there were any."""
    text = response.rstrip()
    if not text.endswith(END_TOKENS):
        return response, False
    while text.endswith(END_TOKENS):
        token = next(token for token in END_TOKENS if text.endswith(token))
        text = text.removesuffix(token).rstrip()
    return text, True
