"""Strip what is not part of the text: prompt templates around prompts and literal special tokens after responses.

The paper's own data sets carry the Alpaca template inside the prompt column (LIMIT facts: Instruct-v1), and T0-style
files end each response with a literal `<|endoftext|>`. Trained as they are, the model would see the template twice.
"""

from __future__ import annotations

import re

TAIL_CHARS = 64  # at the end of a response, in which a special token is looked for
_END = re.compile(r"(?:<\|[\w-]{2,40}\|>|<｜[\w▁]{2,40}｜>|</s>|<eos>|<pad>|<end_of_turn>|\[EOS\])\Z")
_ALPACA = (
    r"(?:Below is an instruction that describes a task(?:, paired with an input that provides further context)?\. "
    r"Write a response that appropriately completes the request\.\s*)?"
    r"###\s?Instruction:?[ \t]*\n(?P<prompt>.*?)(?:###\s?Input:?[ \t]*\n(?P<context>.*?))?###\s?Response:?\s*"
)
_CHATML = (
    r"(?:<\|im_start\|>system\n(?P<system>.*?)<\|im_end\|>\s*)?<\|im_start\|>user\n(?P<prompt>.*?)<\|im_end\|>\s*"
    r"(?:<\|im_start\|>assistant\s*)?"
)
_LLAMA_2 = r"(?:<s>)?\s*\[INST\]\s*(?:<<SYS>>(?P<system>.*?)<</SYS>>)?(?P<prompt>.*?)\[/INST\]\s*"
_LLAMA_3 = (
    r"(?:<\|begin_of_text\|>)?"
    r"(?:<\|start_header_id\|>system<\|end_header_id\|>(?P<system>.*?)<\|eot_id\|>\s*)?"
    r"<\|start_header_id\|>user<\|end_header_id\|>(?P<prompt>.*?)<\|eot_id\|>\s*"
    r"(?:<\|start_header_id\|>assistant<\|end_header_id\|>\s*)?"
)
_ZEPHYR = (
    r"(?:<\|system\|>(?P<system>.*?)(?:</s>|<\|end\|>)?\s*)?<\|user\|>(?P<prompt>.*?)(?:</s>|<\|end\|>)?\s*"
    r"<\|assistant\|>\s*"
)
_GEMMA = r"(?:<bos>)?<start_of_turn>user\n(?P<prompt>.*?)<end_of_turn>\s*(?:<start_of_turn>model\s*)?"
_VICUNA = r"(?:(?P<system>A chat between .{0,200}?questions\.)\s*)?USER:(?P<prompt>.*?)\sASSISTANT:\s*"
_TRANSCRIPT = r"Human:(?P<prompt>.*?)\n\nAssistant:\s*"
# The sign of each turn's beginning, and the template: where the sign stands twice the prompt is a dialogue, left alone
_TEMPLATES = tuple(
    (sign, re.compile(r"\s*" + pattern, re.DOTALL))
    for sign, pattern in (
        ("###", _ALPACA),
        ("<|im_start|>user", _CHATML),
        ("[INST]", _LLAMA_2),
        ("<|start_header_id|>user", _LLAMA_3),
        ("<|user|>", _ZEPHYR),
        ("<start_of_turn>user", _GEMMA),
        ("USER:", _VICUNA),
        ("Human:", _TRANSCRIPT),
    )
)


def tidy(text: str) -> str:
    """Unix line ends, no blank lines before and no white space after; indentation of the first line stays."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.lstrip("\n").rstrip()


def strip_template(prompt: str) -> tuple[str, bool]:
    """The instruction inside a known prompt template, and whether there was one.

    A system text comes before it, with a blank line between; an input after it, on the next line.
    """
    for sign, pattern in _TEMPLATES:
        if sign not in prompt or not (match := pattern.fullmatch(prompt)):
            continue
        parts = {name: (text or "").strip("\n") for name, text in match.groupdict().items()}
        asked, context, system = parts["prompt"], parts.get("context", ""), parts.get("system", "").strip()
        if sign != "###":
            asked = asked.strip(" \n")
            if sign in asked:
                return prompt, False
        return (f"{system}\n\n" if system else "") + (f"{asked}\n{context}" if context else asked), True
    return prompt, False


def strip_end_tokens(response: str) -> tuple[str, bool]:
    """The response without literal special tokens at its end, and whether there were any."""
    text, found = response.rstrip(), False
    while match := _END.search(text[-TAIL_CHARS:]):
        text, found = text[: len(text) - len(match[0])].rstrip(), True
    return (text, True) if found else (response, False)
