"""The shapes in which instruction data comes, recognised by content, and how each becomes an `Exchange`.

A form turns one record (a dict) into a list of messages or says in a few words why it cannot (`Unusable`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from limit.core import Json, LimitError
from limit.sources.messages import (
    Messages,
    Unusable,
    are_messages,
    chat,
    chat_list,
    hh_messages,
    hh_text,
    keys_of,
    lima_list,
    lima_messages,
    text_of,
)

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
    ("prompt", "chosen"),
)
MAPPED = "mapped"  # the form in which the user named the columns
TEXT_COLUMNS = frozenset(name for pair in _PAIRS for name in pair) | {
    "context",
    "messages",
    "rejected",
    "text",
    "transcript",
}


@dataclass(frozen=True)
class Columns:
    """Which columns hold what, when the user says so."""

    prompt: str | None = None
    response: str | None = None
    subset: str | None = None


@dataclass(frozen=True)
class Form:
    """A recognised shape of record."""

    name: str
    describes: str
    fits: Callable[[Json], bool]
    messages: Callable[[Json], Messages]
    columns: tuple[str, ...] = field(default=())
    only: bool = False  # a record of another form is unusable, because the user named this one
    folded: bool = False  # column names are compared in lower case and without outer white space


def _pair(record: Json) -> tuple[str, str] | None:
    for pair in _PAIRS:
        if pair[0] in record and pair[1] in record:
            return pair
    return None


def _with_context(instruction: str, context: Any) -> str:
    """Context follows after one newline, as in the paper's Instruct-v1."""
    return f"{instruction}\n{context}" if isinstance(context, str) and context.strip() else instruction


def _pair_messages(record: Json) -> Messages:
    prompt_column, response_column = _pair(record) or ("prompt", "response")
    asked, answered = record.get(prompt_column), record.get(response_column)
    if are_messages(asked):
        answer = chat({"messages": answered}) if are_messages(answered) else None
        return chat({"messages": asked}) + (answer or [("assistant", text_of(answered, response_column))])
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


FORMS = (
    Form(
        "messages",
        "messages: [{role, content}]",
        lambda r: keys_of(chat_list(r)) == ("role", "content"),
        chat,
        ("messages",),
    ),
    Form(
        "sharegpt",
        "conversations: [{from, value}], or another pair of names for role and text",
        lambda r: keys_of(chat_list(r)) not in (None, ("role", "content")),
        chat,
        ("conversations",),
    ),
    Form(
        "lima",
        "conversations: [text, text, ...]",
        lambda r: lima_list(r) is not None,
        lima_messages,
        ("conversations",),
    ),
    Form("hh-rlhf", "chosen: 'Human: ... Assistant: ...'", lambda r: hh_text(r) is not None, hh_messages, ("chosen",)),
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

    described = f"{prompt}, {response}"
    return Form(MAPPED, described, lambda r: prompt in r and response in r, read, (prompt, response), only=True)


def recognise(records: Sequence[Json], where: str, columns: Columns | None = None, name: str = "auto") -> Form:
    """The form that fits most of the first records. Raises LimitError that names the columns seen."""
    seen = list(dict.fromkeys(str(key) for record in records for key in record if key))
    if not records:
        raise LimitError(
            f"{where} holds no records with named columns (columns seen: none); each record must be an object, not a "
            "list or a value"
        )
    if columns is not None and (columns.prompt or columns.response):
        form = mapped_form(columns)
    else:
        form = _best_form(records, FORMS if name == "auto" else (replace(form_named(name), only=True),))
    wanted = columns.subset if columns and columns.subset else None
    if wanted and wanted not in seen:
        raise LimitError(f"{where} has no column {wanted!r}; columns seen: {_listed(seen)}")
    if any(form.fits(fold(record) if form.folded else record) for record in records):
        return form
    if name != "auto" or (columns is not None and (columns.prompt or columns.response)):
        missing = [column for column in form.columns if column not in seen]
        what = f"no column {missing[0]!r}" if missing else f"no record of the form {form.describes}"
        raise LimitError(f"{where} has {what}; columns seen: {_listed(seen)}")
    raise LimitError(
        f"{where} has no columns for a prompt and a response; columns seen: {_listed(seen)}; name them with --prompt "
        "COLUMN --response COLUMN"
    )


def _best_form(records: Sequence[Json], forms: Sequence[Form]) -> Form:
    """The form that fits most records; where none fits any, names such as `Prompt` are tried as `prompt`."""
    form = max(forms, key=lambda f: sum(f.fits(record) for record in records))
    if any(form.fits(record) for record in records):
        return form
    small = [fold(record) for record in records]
    form = max(forms, key=lambda f: sum(f.fits(record) for record in small))
    return replace(form, folded=any(form.fits(record) for record in small))


def fold(record: Json) -> Json:
    """A record with its column names in lower case and without outer white space."""
    return {name.strip().lower() if isinstance(name, str) else name: value for name, value in record.items()}


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "") if names else "none"


def as_object(value: Any) -> Any:
    """A bare list of messages as a record that holds it; anything else as it is."""
    return {"messages": value} if isinstance(value, list) and are_messages(value) else value


def is_record(value: Any) -> bool:
    """Whether an object is a sample in one of the forms, and not a table or a wrapper of samples."""
    for form in FORMS if isinstance(value, dict) else ():
        if form.fits(value):
            with contextlib.suppress(Unusable):
                return bool(form.messages(value))
    return False


def other_form(form: Form, record: Json) -> Form:
    """The form of a record that is not like the others of its file or folder; `form` itself where none fits."""
    others = () if form.only else FORMS
    return next((other for other in others if other.fits(record)), form)
