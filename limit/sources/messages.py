"""Messages out of one record: chats in several dialects, and transcripts in one string.

Whatever cannot be read is `Unusable` with a reason; reasons are short because a million rows may share one.
"""

from __future__ import annotations

import ast
import json
import math
import re
from decimal import Decimal
from typing import Any

from limit.core import Json

Messages = list[tuple[str, str]]
_ROLES = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "chatbot": "assistant",
    "gpt4": "assistant",
    "gpt-4": "assistant",
    "gpt-3.5": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "claude": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
}
_ROLE_KEYS = ("role", "from", "speaker")
_TEXT_KEYS = ("content", "value", "text", "message")
_TEXT_PARTS = ("text", "input_text", "output_text")
_CHAT_COLUMNS = ("messages", "conversations", "conversation", "dialog", "dialogue", "chosen")
_HH_TURN = re.compile(r"(?:(?:\A|\n\n)\s*|###\s*)(Human|Assistant): ?")  # also as Guanaco has it, `### Human:`


class Unusable(Exception):
    """A record that cannot become a sample; the message is the reason."""


def text_of(value: Any, name: str) -> str:
    """A field as text: text as it is (also as UTF-8 bytes), whole and finite numbers in words, else Unusable."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Unusable(f"{name} holds bytes that are not UTF-8") from None
    if value is None:
        raise Unusable(f"{name} is missing")
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unusable(f"{name} is a {type(value).__name__}, expected text")
    if not math.isfinite(value):
        raise Unusable(f"{name} is {value}, expected text")
    return str(value)


def chat_list(record: Json) -> list[Any] | None:
    """The messages of a record, each an object with a role and a text; None where it has none."""
    for name in _CHAT_COLUMNS:
        items = _unpacked(record.get(name))
        if are_messages(items):
            return items
    return None


def are_messages(value: Any) -> bool:
    """Whether a value is a list of messages in any dialect."""
    return keys_of(value) is not None


def keys_of(value: Any) -> tuple[str, str] | None:
    """The names under which the first message of a list has its role and its text; None where it is no message."""
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(first, dict):
        return None
    role = next((name for name in _ROLE_KEYS if name in first), None)
    text = next((name for name in _TEXT_KEYS if name in first), None)
    return (role, text) if role and text else None


def _unpacked(value: Any) -> Any:
    """A list of messages that stands in a cell as JSON, or as Python prints it, as CSV must hold it; else as it is."""
    if isinstance(value, str) and value.startswith("[{") and value.endswith("}]"):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    return value


def chat(record: Json) -> Messages:
    """The messages of a record as roles and texts."""
    items = chat_list(record) or []
    return messages_in(items, *(keys_of(items) or ("role", "content")))


def messages_in(items: list[Any], role_key: str, text_key: str) -> Messages:
    """Objects with a role and a text as messages."""
    turns: Messages = []
    for item in items:
        if not isinstance(item, dict):
            raise Unusable("a message is no object")
        name = str(item.get(role_key))
        if name.lower() in ("tool", "function", "ipython") or item.get("tool_calls") or item.get("function_call"):
            raise Unusable("a message calls a tool, or has the role of one")
        role = _ROLES.get(name.strip().lower())
        if role is None:
            raise Unusable(f"message role {name[:30]!r} is not user, assistant or system")
        turns.append((role, _content(item.get(text_key))))
    return turns


def _content(value: Any) -> str:
    """A message's text; a list of text parts is joined, anything but text is refused."""
    if isinstance(value, list):
        parts = [{"text": part} if isinstance(part, str) else part for part in value]
        if not all(isinstance(part, dict) and part.get("type", "text") in _TEXT_PARTS for part in parts):
            raise Unusable("a message holds more than text")
        return "\n".join(text_of(part.get("text"), "message text") for part in parts)
    return text_of(value, "message text")


def lima_list(record: Json) -> list[Any] | None:
    items = record.get("conversations")
    return items if isinstance(items, list) and items and isinstance(items[0], str) else None


def lima_messages(record: Json) -> Messages:
    items = lima_list(record) or []
    return [("user" if i % 2 == 0 else "assistant", text_of(text, "message")) for i, text in enumerate(items)]


def hh_text(record: Json) -> str | None:
    for name in ("chosen", "text", "transcript"):
        text = record.get(name)
        if isinstance(text, str) and "Human:" in text and ("\n\nAssistant:" in text or "### Assistant:" in text):
            return text
    return None


def hh_messages(record: Json) -> Messages:
    pieces = _HH_TURN.split(hh_text(record) or "")
    if pieces[0].strip():
        raise Unusable("transcript does not start with 'Human:'")
    roles = {"Human": "user", "Assistant": "assistant"}
    return [(roles[role], text) for role, text in zip(pieces[1::2], pieces[2::2], strict=True)]
