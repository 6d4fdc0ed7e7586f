"""Prompt templates, and one way to turn a sample into tokens with a loss mask.

Training, the token view of the Samples page and generation all render through here, so a model is asked in exactly
the words it was trained on. A sample becomes pieces of text, each with or without loss; every piece is tokenized on
its own (as llm-foundry's finetuning collator does with prompt and response), which makes the prompt's token ids the
same in training and generation. No torch is needed, only a transformers tokenizer.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from limit.core import LimitError, read_json
from limit.settings import SHIPPED

NO_LOSS = -100

TINY_TEMPLATE = SHIPPED / "tiny" / "template.json"

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Template:
    """Text around a dialogue: `intro` once, then per turn `before` + user + `after` + assistant, `between` turns."""

    intro: str = ""
    before: str = ""
    after: str = "\n"
    between: str = "\n\n"


_ALPACA_INTRO = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
)

# The four of the paper: how Instruct-v1 and Instruct-v3 were trained, and the two files of test prompts.
TEMPLATES: dict[str, Template] = {
    "alpaca": Template(_ALPACA_INTRO + "\n\n", "### Instruction:\n", "\n\n### Response:\n"),
    "instruct-v3": Template(_ALPACA_INTRO + "\n\n", "###Instruction\n", "\n\n### Response\n"),
    "lima": Template(_ALPACA_INTRO + "\n", "### Instruction:\n", "\n### Response:\n\n"),
    "instruct-v3-test": Template(_ALPACA_INTRO + "\n\n", "### Instruction\n", "\n\n### Response:\n\n"),
    "plain": Template(),
}


class Piece(NamedTuple):
    """A stretch of rendered text; the model learns to write it only if `has_loss`."""

    text: str
    has_loss: bool


class Encoded(NamedTuple):
    """A sample as the trainer sees it: `ids` and `labels` of one length, labels -100 where there is no loss."""

    ids: list[int]
    labels: list[int]
    pieces: list[Piece]
    truncated: bool

    @property
    def loss_tokens(self) -> int:
        return sum(label != NO_LOSS for label in self.labels)


def find_template(name: str) -> Template:
    """A template by name ("chat" is the tokenizer's own and has none). Raises LimitError for an unknown name."""
    if name == "tiny":
        return _tiny_template()
    if name not in TEMPLATES:
        raise LimitError(f"there is no template {name!r}; choose one of {', '.join([*TEMPLATES, 'chat', 'tiny'])}")
    return TEMPLATES[name]


@functools.cache
def _tiny_template() -> Template:
    return Template(**read_json(TINY_TEMPLATE)) if TINY_TEMPLATE.exists() else TEMPLATES["plain"]


def messages_of(sample: Mapping[str, Any]) -> Messages:
    """The dialogue of a sample row: `meta.messages` where it has several turns, else its prompt and response."""
    messages = _meta(sample).get("messages")
    if messages:
        try:
            return [{"role": str(m["role"]), "content": str(m["content"] or "")} for m in messages]
        except (TypeError, KeyError) as error:
            raise LimitError(
                f"{_name(sample)} has turns that are not {{role, content}} pairs; correct its source"
            ) from error
    return [
        {"role": "user", "content": str(sample.get("prompt") or "")},
        {"role": "assistant", "content": str(sample.get("response") or "")},
    ]


def _meta(sample: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = sample.get("meta") or {}
    try:
        read = json.loads(meta) if isinstance(meta, str) else meta
    except ValueError as error:
        raise LimitError(f"{_name(sample)} has a meta field that is not JSON; correct its source") from error
    return read if isinstance(read, Mapping) else {}


def _name(sample: Mapping[str, Any]) -> str:
    """The sample for people, by its source and the beginning of its prompt."""
    return f"a sample of {sample.get('source') or 'this mix'!r} ({str(sample.get('prompt') or '')[:40]!r}...)"


def render(messages: Messages, template: str, tokenizer: Any) -> list[Piece]:
    """The text of a dialogue in pieces; every assistant turn and the end token after it carry loss."""
    if template == "chat":
        return _render_chat(messages, tokenizer)
    shape = find_template(template)
    end = end_token(tokenizer)
    pieces: list[Piece] = []
    pending = shape.intro
    for message in messages:
        if message["role"] == "system":
            pending += message["content"] + shape.between
        elif message["role"] == "assistant":
            pieces += [Piece(pending, False), Piece(message["content"], True), Piece(end, True)]
            pending = shape.between
        else:  # the user, or a tool: what the model reads and does not write
            pending += shape.before + message["content"] + shape.after
    return pieces


def render_prompt(prompt: str | Messages, template: str, tokenizer: Any) -> str:
    """The text a model is asked with: a prompt, or a dialogue whose last message is the user's."""
    return "".join(piece.text for piece in _prompt_pieces(prompt, template, tokenizer))


def encode_prompt(prompt: str | Messages, tokenizer: Any, template: str, max_len: int | None = None) -> list[int]:
    """Token ids to generate from; a prompt longer than `max_len` loses its beginning, not its question."""
    pieces = _prompt_pieces(prompt, template, tokenizer)
    ids = sum(_tokenize(pieces, tokenizer, template), _begin(tokenizer, template))
    return ids if max_len is None else ids[-max_len:]


def _prompt_pieces(prompt: str | Messages, template: str, tokenizer: Any) -> list[Piece]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if template == "chat":
        return [Piece(_apply_chat(messages, tokenizer, ask=True), False)]
    return render([*messages, {"role": "assistant", "content": ""}], template, tokenizer)[:-2]


def encode_sample(sample: Mapping[str, Any], tokenizer: Any, template: str, max_len: int) -> Encoded:
    """One sample row as token ids, labels and pieces of text, cut to `max_len` tokens at its end."""
    return next(iter(encode_samples([sample], tokenizer, template, max_len)))


def encode_samples(
    samples: Sequence[Mapping[str, Any]], tokenizer: Any, template: str, max_len: int
) -> Iterable[Encoded]:
    """`encode_sample` for many rows with one call of the tokenizer."""
    rendered = [render(messages_of(sample), template, tokenizer) for sample in samples]
    tokens = iter(_tokenize([piece for pieces in rendered for piece in pieces], tokenizer, template))
    begin = _begin(tokenizer, template)
    for pieces in rendered:
        ids, labels = list(begin), [NO_LOSS] * len(begin)
        for piece in pieces:
            new = next(tokens)
            ids += new
            labels += new if piece.has_loss else [NO_LOSS] * len(new)
        yield Encoded(ids[:max_len], labels[:max_len], pieces, len(ids) > max_len)


def token_texts(ids: Sequence[int], tokenizer: Any) -> list[str]:
    """The text of each token for people: bytes of a character that spans tokens appear with its last token."""
    texts: list[str] = []
    held: list[int] = []
    for token in ids:
        held.append(token)
        text = tokenizer.decode(held, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if "�" in text and len(held) < 4:
            texts.append("")
            continue
        texts.append(text)
        held = []
    return texts


def end_token(tokenizer: Any) -> str:
    """The text of the token that ends an answer. Raises LimitError when the tokenizer has none."""
    if tokenizer.eos_token is None:
        raise LimitError("this tokenizer has no end-of-text token, so a model could not learn to stop; set one")
    return str(tokenizer.eos_token)


def _begin(tokenizer: Any, template: str) -> list[int]:
    """The begin token, where this tokenizer puts one before a text by itself; chat templates write their own."""
    if template == "chat" or tokenizer.bos_token_id is None:
        return []
    first = tokenizer("a", add_special_tokens=True)["input_ids"][:1]
    return [tokenizer.bos_token_id] if first == [tokenizer.bos_token_id] else []


def _tokenize(pieces: Sequence[Piece], tokenizer: Any, template: str) -> list[list[int]]:
    """Ids of each piece. Text that only looks like a special token stays text, except in templates made of them."""
    if not pieces:
        return []
    made_of_specials = template in ("chat", "tiny")
    plain = tokenizer(
        [piece.text for piece in pieces], add_special_tokens=False, split_special_tokens=not made_of_specials
    )["input_ids"]
    end = tokenizer.eos_token
    return [
        [tokenizer.eos_token_id] if piece.has_loss and piece.text == end else list(ids)
        for piece, ids in zip(pieces, plain, strict=True)
    ]


def _apply_chat(messages: Messages, tokenizer: Any, ask: bool = False) -> str:
    if not tokenizer.chat_template:
        raise LimitError("this model's tokenizer has no chat template; choose another template, such as alpaca")
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))
    except Exception as error:  # a template is a program of the model's author and may raise anything
        roles = ", ".join(message["role"] for message in messages)
        raise LimitError(
            f"the chat template of this tokenizer refuses a dialogue of {roles} ({error}); "
            "choose another template, such as alpaca"
        ) from error


def _render_chat(messages: Messages, tokenizer: Any) -> list[Piece]:
    """Pieces of a chat template's text. A template may rewrite earlier turns (Qwen3 drops old thoughts), so a turn
    is taken as what follows its own generation prompt where that still stands in the whole, else found by content."""
    whole = _apply_chat(messages, tokenizer)
    pieces: list[Piece] = []
    done = 0
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        start = len(_apply_chat(messages[:index], tokenizer, ask=True))
        after = _apply_chat(messages[: index + 1], tokenizer)
        if start >= done and whole.startswith(after) and len(after) > start:
            stop = len(after)
        else:
            start = whole.find(message["content"].strip(), done)
            if start < 0:  # the template leaves this turn out, or says it in other words: nothing to learn from
                continue
            stop = start + len(message["content"].strip())
        stop = _through_end_token(whole, start, stop, tokenizer.eos_token)
        pieces += [Piece(whole[done:start], False), Piece(whole[start:stop], True)]
        done = stop
    return pieces


def _through_end_token(whole: str, start: int, stop: int, end: str | None) -> int:
    """Where a turn stops: after its end token, whether that came inside the turn or right behind it."""
    if not end:
        return stop
    found = whole.rfind(end, start, stop)
    if found >= 0:
        return found + len(end)
    return stop + len(end) if whole.startswith(end, stop) else stop
