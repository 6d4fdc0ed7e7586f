"""The shapes in which instruction data comes, recognised by content, and how each becomes an `Exchange`.

A form turns one record (a dict) into a list of messages or says in a few words why it cannot (`Unusable`). Reasons are
short because a million rows may share one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from limit.core import Json, LimitError
from limit.sources.clean import strip_end_tokens, strip_template, tidy
from limit.sources.samples import Exchange

Messages = list[tuple[str, str]]
SUBSET_COLUMNS = ("subset", "source", "category", "dataset", "task_name", "task")
EXTRA_CHARS = 200  # other short fields of a record are kept in `meta` up to this length
_PAIRS = (
    ("prompt", "response"),
    ("prompt", "completion"),
    ("instruction", "response"),
    ("query", "response"),
    ("inputs", "targets"),
    ("prompt", "output"),
    ("question", "response"),
    ("input", "output"),
    ("prompt", "answer"),
)
_ROLES = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "system": "system",
}
_HH_TURN = re.compile(r"(?:\A|\n\n)\s*(Human|Assistant): ?")


class Unusable(Exception):
    """A record that cannot become a sample; the message is the reason."""


@dataclass(frozen=True)
class Columns:
    """Which columns hold what, when the user says so."""

    prompt: str | None = None
    response: str | None = None
    subset: str | None = None


@dataclass
class Stripped:
    """How many samples were freed of what."""

    templates: int = 0
    end_tokens: int = 0
    unanswered_turns: int = 0

    def as_dict(self) -> Json:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Form:
    """A recognised shape of record."""

    name: str
    describes: str
    fits: Callable[[Json], bool]
    messages: Callable[[Json], Messages]
    columns: tuple[str, ...] = field(default=())


def text_of(value: Any, name: str) -> str:
    """A field as text: text as it is, whole and finite numbers in words, else Unusable."""
    if isinstance(value, str):
        return value
    if value is None:
        raise Unusable(f"{name} is missing")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unusable(f"{name} is a {type(value).__name__}, expected text")
    if not math.isfinite(value):
        raise Unusable(f"{name} is {value}, expected text")
    return str(value)


def _pair(record: Json) -> tuple[str, str] | None:
    return next((pair for pair in _PAIRS if pair[0] in record and pair[1] in record), None)


def _with_context(instruction: str, context: Any) -> str:
    """Context follows after one newline, as in the paper's Instruct-v1."""
    return f"{instruction}\n{context}" if isinstance(context, str) and context.strip() else instruction


def _pair_messages(record: Json) -> Messages:
    prompt_column, response_column = _pair(record) or ("prompt", "response")
    prompt = _with_context(text_of(record.get(prompt_column), prompt_column), record.get("context"))
    return [("user", prompt), ("assistant", text_of(record.get(response_column), response_column))]


def _qa_messages(record: Json) -> Messages:
    question = _with_context(text_of(record["question"], "question"), record.get("context"))
    return [("user", question), ("assistant", text_of(record["answer"], "answer"))]


def _alpaca_messages(record: Json) -> Messages:
    turns: Messages = []
    for turn in record.get("history") or []:
        if not isinstance(turn, (list, tuple)) or len(turn) != 2:
            raise Unusable("history is no list of [user, assistant] pairs")
        turns += [("user", text_of(turn[0], "history")), ("assistant", text_of(turn[1], "history"))]
    prompt = _with_context(text_of(record["instruction"], "instruction"), record.get("input"))
    return [*turns, ("user", prompt), ("assistant", text_of(record["output"], "output"))]


def _chat_list(record: Json, role_key: str, text_key: str) -> list[Json] | None:
    for name in ("messages", "conversations", "conversation", "dialog", "dialogue"):
        items = record.get(name)
        starts = items[0] if isinstance(items, list) and items else None
        if isinstance(starts, dict) and role_key in starts and text_key in starts:
            return items
    return None


def _chat(role_key: str, text_key: str) -> Callable[[Json], Messages]:
    def read(record: Json) -> Messages:
        turns: Messages = []
        for item in _chat_list(record, role_key, text_key) or []:
            if not isinstance(item, dict):
                raise Unusable("a message is no object")
            role = _ROLES.get(str(item.get(role_key)).lower())
            if role is None:
                raise Unusable(f"message role {str(item.get(role_key))[:30]!r} is not user, assistant or system")
            turns.append((role, _content(item.get(text_key))))
        return turns

    return read


def _content(value: Any) -> str:
    """A message's text; a list of text parts is joined, anything but text is refused."""
    if isinstance(value, list):
        if not all(isinstance(part, dict) and part.get("type", "text") == "text" for part in value):
            raise Unusable("a message holds more than text")
        return "\n".join(text_of(part.get("text"), "message text") for part in value)
    return text_of(value, "message text")


def _lima_list(record: Json) -> list[Any] | None:
    items = record.get("conversations")
    return items if isinstance(items, list) and items and isinstance(items[0], str) else None


def _lima_messages(record: Json) -> Messages:
    items = _lima_list(record) or []
    return [("user" if i % 2 == 0 else "assistant", text_of(text, "message")) for i, text in enumerate(items)]


def _hh_text(record: Json) -> str | None:
    for name in ("chosen", "text", "transcript"):
        text = record.get(name)
        if isinstance(text, str) and "Human:" in text and "\n\nAssistant:" in text:
            return text
    return None


def _hh_messages(record: Json) -> Messages:
    pieces = _HH_TURN.split(_hh_text(record) or "")
    if pieces[0].strip():
        raise Unusable("transcript does not start with 'Human:'")
    roles = {"Human": "user", "Assistant": "assistant"}
    return [(roles[role], text) for role, text in zip(pieces[1::2], pieces[2::2], strict=True)]


FORMS = (
    Form(
        "messages",
        "messages: [{role, content}]",
        lambda r: _chat_list(r, "role", "content") is not None,
        _chat("role", "content"),
        ("messages",),
    ),
    Form(
        "sharegpt",
        "conversations: [{from, value}]",
        lambda r: _chat_list(r, "from", "value") is not None,
        _chat("from", "value"),
        ("conversations",),
    ),
    Form(
        "lima",
        "conversations: [text, text, ...]",
        lambda r: _lima_list(r) is not None,
        _lima_messages,
        ("conversations",),
    ),
    Form(
        "hh-rlhf", "chosen: 'Human: ... Assistant: ...'", lambda r: _hh_text(r) is not None, _hh_messages, ("chosen",)
    ),
    Form(
        "alpaca",
        "instruction, input, output, history",
        lambda r: "instruction" in r and "output" in r,
        _alpaca_messages,
        ("instruction", "output"),
    ),
    Form(
        "question-answer",
        "question, answer",
        lambda r: "question" in r and "answer" in r,
        _qa_messages,
        ("question", "answer"),
    ),
    Form(
        "prompt-response",
        "prompt, response (or completion, answer, output, targets)",
        lambda r: _pair(r) is not None,
        _pair_messages,
        ("prompt", "response"),
    ),
)
FORM_NAMES = tuple(form.name for form in FORMS)


def form_named(name: str) -> Form:
    """Raises LimitError for a name that is no format."""
    for form in FORMS:
        if form.name == name:
            return form
    raise LimitError(f"format {name!r} is not known; choose one of auto, {', '.join(FORM_NAMES)}")


def mapped_form(columns: Columns) -> Form:
    """The form in which the user named the columns."""
    prompt, response = columns.prompt or "prompt", columns.response or "response"

    def read(record: Json) -> Messages:
        return [("user", text_of(record.get(prompt), prompt)), ("assistant", text_of(record.get(response), response))]

    return Form("mapped", f"{prompt}, {response}", lambda r: prompt in r and response in r, read, (prompt, response))


def recognise(records: Sequence[Json], where: str, columns: Columns | None = None, name: str = "auto") -> Form:
    """The form that fits most of the first records. Raises LimitError that names the columns seen."""
    seen = list(dict.fromkeys(str(key) for record in records for key in record if key))
    if columns is not None and (columns.prompt or columns.response):
        form = mapped_form(columns)
    elif name != "auto":
        form = form_named(name)
    else:
        form = max(FORMS, key=lambda f: sum(f.fits(record) for record in records))
    wanted = columns.subset if columns and columns.subset else None
    if wanted and wanted not in seen:
        raise LimitError(f"{where} has no column {wanted!r}; columns seen: {_listed(seen)}")
    if any(form.fits(record) for record in records):
        return form
    if name != "auto" or (columns is not None and (columns.prompt or columns.response)):
        missing = [column for column in form.columns if column not in seen]
        what = f"no column {missing[0]!r}" if missing else f"no record of the form {form.describes}"
        raise LimitError(f"{where} has {what}; columns seen: {_listed(seen)}")
    raise LimitError(
        f"{where} has no columns for a prompt and a response; columns seen: {_listed(seen)}; name them with --prompt "
        "COLUMN --response COLUMN"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "") if names else "none"


def convert(record: Any, form: Form, keep_turns: bool, columns: Columns | None, stripped: Stripped) -> Exchange:
    """One record as a cleaned exchange; counts what was stripped. Raises Unusable with the reason."""
    if not isinstance(record, dict):
        raise Unusable(f"record is a {type(record).__name__}, expected an object with columns")
    if "" in record:
        raise Unusable("more fields than the header has columns")
    if not form.fits(record):
        missing = [name for name in form.columns if name not in record]
        raise Unusable(f"column {missing[0]} is missing" if missing else f"not of the form {form.describes}")
    turns = _alternating(form.messages(record), stripped)
    turns = turns if keep_turns else turns[:2]
    cleaned = [_clean(role, text, stripped) for role, text in turns]
    if not any(character.isprintable() and not character.isspace() for character in cleaned[0][1]):
        raise Unusable("prompt is empty")
    if any(not text for role, text in cleaned if role == "assistant"):
        raise Unusable("response is empty")
    subset_column = columns.subset if columns and columns.subset else None
    subset, subset_column = _subset(record, subset_column, form)
    exchange = Exchange(
        prompt=cleaned[0][1],
        response=cleaned[1][1],
        subset=subset,
        messages=tuple(cleaned) if len(cleaned) > 2 else (),
        extra=_extra(record, subset_column, form),
    )
    try:
        (exchange.content() + exchange.meta().encode() + subset.encode()).decode()
    except UnicodeEncodeError:
        raise Unusable("text holds half of a surrogate pair, which is no character") from None
    return exchange


def _alternating(turns: Messages, stripped: Stripped) -> Messages:
    """User and assistant in turn, a system text in front of the first prompt, an unanswered last turn cut off."""
    system = "\n\n".join(text for role, text in turns if role == "system" and text.strip())
    talk = [turn for turn in turns if turn[0] != "system"]
    if talk and talk[-1][0] == "user" and len(talk) > 1:
        talk = talk[:-1]
        stripped.unanswered_turns += 1
    if len(talk) < 2:
        raise Unusable("response is missing" if talk else "no messages")
    if any(role != ("user", "assistant")[i % 2] for i, (role, _) in enumerate(talk)):
        raise Unusable("user and assistant do not alternate, starting with the user")
    if system:
        talk[0] = ("user", f"{system}\n\n{talk[0][1]}")
    return talk


def _clean(role: str, text: str, stripped: Stripped) -> tuple[str, str]:
    if role == "user":
        prompt, found = strip_template(tidy(text))
        stripped.templates += found
        return role, prompt
    response, found = strip_end_tokens(tidy(text))
    stripped.end_tokens += found
    return role, response


def _subset(record: Json, wanted: str | None, form: Form) -> tuple[str, str | None]:
    for name in (wanted,) if wanted else SUBSET_COLUMNS:
        value = record.get(name)
        if isinstance(value, str) and value.strip() and len(value) <= 100 and name not in form.columns:
            return " ".join(value.split()), name
    return "", None


def _extra(record: Json, subset_column: str | None, form: Form) -> Json:
    """Short plain fields worth keeping beside the text, such as an id or a label."""
    used = {subset_column, *form.columns, *(name for pair in _PAIRS for name in pair), "context", "messages"}
    kept: Json = {}
    for name, value in record.items():
        if name in used or not isinstance(name, str):
            continue
        short = isinstance(value, str) and 0 < len(value) <= EXTRA_CHARS
        number = isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))
        if short or number:
            kept[name] = value
    return kept
