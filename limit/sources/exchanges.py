"""From one record to a cleaned exchange: turns in order, templates and end tokens stripped, subset and labels kept.

Whatever cannot be used is `Unusable` with a reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from limit.core import Json
from limit.sources.clean import strip_end_tokens, strip_template, tidy
from limit.sources.messages import Messages, Unusable
from limit.sources.recordforms import MAPPED, TEXT_COLUMNS, Columns, Form, as_object, fold, other_form
from limit.sources.samples import Exchange

SUBSET_COLUMNS = ("subset", "source", "category", "dataset", "task_name", "task")
SYSTEM_COLUMNS = ("system", "system_prompt", "system_message")
EXTRA_CHARS = 200  # other short fields of a record are kept in `meta` up to this length


@dataclass
class Stripped:
    """How many samples were freed of what."""

    templates: int = 0
    end_tokens: int = 0
    unanswered_turns: int = 0
    forms: Counter[str] = field(default_factory=Counter)  # samples by the form they were read in

    def as_dict(self) -> Json:
        """What was stripped, without the forms."""
        return {name: count for name, count in self.__dict__.items() if name != "forms"}


def convert(record: Any, form: Form, keep_turns: bool, columns: Columns | None, stripped: Stripped) -> Exchange:
    """One record as a cleaned exchange; counts what was stripped. Raises Unusable with the reason."""
    record = as_object(record)
    if not isinstance(record, dict):
        raise Unusable(f"record is of type {type(record).__name__}, expected an object with columns")
    if None in record:
        raise Unusable("more fields than the header has columns")
    subset_column = columns.subset if columns and columns.subset else None
    if form.folded:
        record, subset_column = fold(record), subset_column and subset_column.strip().lower()
    if not form.fits(record) and not (form := other_form(form, record)).fits(record):
        missing = [name for name in form.columns if name not in record]
        raise Unusable(f"column {missing[0]} is missing" if missing else f"not of the form {form.describes}")
    turns = _alternating(_with_system(form.messages(record), record, form), stripped)
    turns = turns if keep_turns else turns[:2]
    cleaned = [_clean(role, text, stripped) for role, text in turns]
    _refuse_broken_text(text for _, text in cleaned)
    if not _is_visible(cleaned[0][1]):
        raise Unusable("prompt is empty")
    if not all(text for _, text in cleaned[1::2]):
        raise Unusable("response is empty")
    subset, subset_column = _subset(record, subset_column, form)
    stripped.forms[form.name] += 1
    extra = _extra(record, subset_column, form)
    if extra or subset:
        _refuse_broken_text((subset, *extra, *(value for value in extra.values() if isinstance(value, str))))
    messages = tuple(cleaned) if len(cleaned) > 2 else ()
    return Exchange(cleaned[0][1], cleaned[1][1], subset, messages, extra)


def _is_visible(text: str) -> bool:
    """Whether a text has a character to see."""
    return text[:1].isalnum() or any(letter.isprintable() and not letter.isspace() for letter in text)


def _refuse_broken_text(texts: Iterable[str]) -> None:
    try:
        for text in texts:
            if not text.isascii():
                text.encode()
    except UnicodeEncodeError:
        raise Unusable("text holds bytes that are not UTF-8, or half of a surrogate pair") from None


def _with_system(turns: Messages, record: Json, form: Form) -> Messages:
    """The messages with a system text that stands in a column of its own, unless they have one or columns were named.

    Such columns have OpenOrca (`system_prompt`) and LLaMA-Factory's files (`system`).
    """
    if record.keys().isdisjoint(SYSTEM_COLUMNS) or form.name == MAPPED or any(role == "system" for role, _ in turns):
        return turns
    texts = (record.get(name) for name in SYSTEM_COLUMNS)
    system = next((text for text in texts if isinstance(text, str) and text.strip()), None)
    return [("system", system.strip()), *turns] if system else turns


def _alternating(turns: Messages, stripped: Stripped) -> Messages:
    """User and assistant in turn, an unanswered last turn cut off.

    A system text stands in front of the prompt that follows it, or behind the prompt that it follows.
    """
    if len(turns) == 2 and turns[0][0] == "user" and turns[1][0] == "assistant":
        return turns
    talk: Messages = []
    system = ""
    for role, text in turns:
        if role == "system":
            system = "\n\n".join(part for part in (system, text) if part.strip())
        elif role == "assistant" and system and talk and talk[-1][0] == "user":
            talk[-1] = ("user", f"{talk[-1][1]}\n\n{system}")
            talk.append((role, text))
            system = ""
        else:
            talk.append((role, f"{system}\n\n{text}" if system and role == "user" else text))
            system = "" if role == "user" else system
    if talk and talk[-1][0] == "user" and len(talk) > 1:
        talk = talk[:-1]
        stripped.unanswered_turns += 1
    if len(talk) < 2:
        raise Unusable("response is missing" if talk else "no messages")
    if any(role != ("user", "assistant")[i % 2] for i, (role, _) in enumerate(talk)):
        raise Unusable("user and assistant do not alternate, starting with the user")
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
        if name in TEXT_COLUMNS or name == subset_column or name in form.columns or not isinstance(name, str):
            continue
        if name in SYSTEM_COLUMNS and form.name != MAPPED:
            continue
        short = isinstance(value, str) and 0 < len(value) <= EXTRA_CHARS
        number = isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))
        if short or number:
            kept[name] = value
    return kept
