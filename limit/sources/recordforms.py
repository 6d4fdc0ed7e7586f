"""The shapes in which instruction data comes, recognised by content, and how each becomes an `Exchange`.

A form turns one record (a dict) into a list of messages or says in a few words why it cannot (`Unusable`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from limit.core import Json, LimitError
from limit.sources.clean import strip_end_tokens, strip_template, tidy
from limit.sources.messages import (
    Messages,
    Unusable,
    are_messages,
    chat,
    chat_list,
    hh_messages,
    hh_text,
    lima_list,
    lima_messages,
    text_of,
)
from limit.sources.samples import Exchange

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
_TEXT_COLUMNS = frozenset(name for pair in _PAIRS for name in pair) | {"context", "messages"}


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
    folded: bool = False  # column names are compared in lower case and without outer white space


def _pair(record: Json) -> tuple[str, str] | None:
    return next((pair for pair in _PAIRS if pair[0] in record and pair[1] in record), None)


def _with_context(instruction: str, context: Any) -> str:
    """Context follows after one newline, as in the paper's Instruct-v1."""
    return f"{instruction}\n{context}" if isinstance(context, str) and context.strip() else instruction


def _pair_messages(record: Json) -> Messages:
    prompt_column, response_column = _pair(record) or ("prompt", "response")
    asked, answered = record.get(prompt_column), record.get(response_column)
    if are_messages(asked, "role", "content") and are_messages(answered, "role", "content"):
        return chat("role", "content")({"messages": [*asked, *answered]})  # type: ignore[misc]
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
        lambda r: chat_list(r, "role", "content") is not None,
        chat("role", "content"),
        ("messages",),
    ),
    Form(
        "sharegpt",
        "conversations: [{from, value}]",
        lambda r: chat_list(r, "from", "value") is not None,
        chat("from", "value"),
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

    return Form("mapped", f"{prompt}, {response}", lambda r: prompt in r and response in r, read, (prompt, response))


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
        form = _best_form(records, FORMS if name == "auto" else (form_named(name),))
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


def convert(record: Any, form: Form, keep_turns: bool, columns: Columns | None, stripped: Stripped) -> Exchange:
    """One record as a cleaned exchange; counts what was stripped. Raises Unusable with the reason."""
    if not isinstance(record, dict):
        raise Unusable(f"record is a {type(record).__name__}, expected an object with columns")
    if None in record:
        raise Unusable("more fields than the header has columns")
    subset_column = columns.subset if columns and columns.subset else None
    if form.folded:
        record, subset_column = fold(record), subset_column and subset_column.strip().lower()
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
    subset, subset_column = _subset(record, subset_column, form)
    exchange = Exchange(
        prompt=cleaned[0][1],
        response=cleaned[1][1],
        subset=subset,
        messages=tuple(cleaned) if len(cleaned) > 2 else (),
        extra=_extra(record, subset_column, form),
    )
    try:
        for text in (*(text for _, text in cleaned), exchange.meta(), subset):
            text.encode()
    except UnicodeEncodeError:
        raise Unusable("text holds bytes that are not UTF-8, or half of a surrogate pair") from None
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
    kept: Json = {}
    for name, value in record.items():
        if name in _TEXT_COLUMNS or name == subset_column or name in form.columns or not isinstance(name, str):
            continue
        short = isinstance(value, str) and 0 < len(value) <= EXTRA_CHARS
        number = isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))
        if short or number:
            kept[name] = value
    return kept
