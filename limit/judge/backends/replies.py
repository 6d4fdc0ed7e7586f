"""What a chat server's reply says. Every field is checked: servers that call themselves compatible send wrong types.

A reply is read into an `Opinion` that has status, text and token counts but no choice yet.
"""

from __future__ import annotations

import json
from typing import Any

from limit.core import Json
from limit.judge.backends.protocol import Opinion, Transient
from limit.judge.prompts import Ask
from limit.judge.verdicts import first_token_logprobs, label_shares

MAX_RAW_CHARS = 20_000


class ErrorReply(Exception):
    """A server said with status 200 that it failed, as some do; `error` is what it said, `status` the code in it."""

    def __init__(self, error: Json) -> None:
        super().__init__(str(error.get("message") or "an error without a message"))
        self.error = error
        code = error.get("code")
        self.status = code if isinstance(code, int) and 400 <= code < 600 else 500


def read_reply(body: str, mode: Ask) -> Opinion:
    """The reply's text and facts. Raises Transient when it is no chat completion, ErrorReply when it is an error."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Transient("the reply is not JSON", billed=True) from None
    if not isinstance(value, dict):
        raise Transient("the reply is no chat completion", billed=True)
    if isinstance(value.get("error"), dict) and not value.get("choices"):
        raise ErrorReply(value["error"])
    facts = _facts(value, mode)
    if value.get("choices") == []:
        return _without_choices(value, facts)
    choice = value["choices"][0] if isinstance(value.get("choices"), list) else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise Transient("the reply is no chat completion", billed=True)
    return _read_choice(choice, message, mode, facts)


def _facts(value: Json, mode: Ask) -> dict[str, Any]:
    usage: Any = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return {
        "extraction": mode,
        "model_reported": _text(value.get("model")),
        "system_fingerprint": _text(value.get("system_fingerprint")),
        "prompt_tokens": _count(usage.get("prompt_tokens")),
        "completion_tokens": _count(usage.get("completion_tokens")),
    }


def _without_choices(value: Json, facts: dict[str, Any]) -> Opinion:
    """An empty list of choices: Azure's filter on the prompt, or a server that had nothing to say."""
    if '"filtered": true' in json.dumps(value.get("prompt_filter_results")):
        return Opinion("refused", error_text="content filter on the prompt", **facts)
    return Opinion("invalid", error_text="the reply holds no choice", **facts)


def _read_choice(choice: Json, message: Json, mode: Ask, facts: dict[str, Any]) -> Opinion:
    text, refusal = message.get("content"), message.get("refusal")
    facts["raw_text"] = text[:MAX_RAW_CHARS] if isinstance(text, str) else None
    if choice.get("finish_reason") == "content_filter" or (isinstance(refusal, str) and refusal):
        return Opinion("refused", error_text=_text(refusal) or "content filter", **facts)
    if mode == "logprob":
        found = first_token_logprobs(choice.get("logprobs"))
        return Opinion("ok", logprobs_json=json.dumps(found) if found else None, **facts)
    if not isinstance(text, str) or not text.strip():
        cut = choice.get("finish_reason") == "length"
        return Opinion("invalid", error_text="no text; raise max_tokens" if cut else "no text", **facts)
    return Opinion("ok", **facts)


def with_label_shares(reply: Opinion) -> Opinion:
    """The choice that a reply's label probabilities make; invalid without them or when the labels hold too little."""
    if reply.logprobs_json is None:
        return changed(reply, status="invalid", error_text="the reply has no log-probabilities")
    shares = label_shares(tuple(pair) for pair in json.loads(reply.logprobs_json))
    if shares is None:
        return changed(reply, status="invalid", error_text="the labels hold less than half of the probability")
    return changed(reply, choice=shares.choice, p_first=shares.first, p_tie=shares.tie)


def _text(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def changed(opinion: Opinion, **changes: Any) -> Opinion:
    """A copy with some fields changed."""
    return Opinion(**{**opinion.__dict__, **changes})


def add_usage(opinion: Opinion, prompt_tokens: int, completion_tokens: int) -> Opinion:
    """`opinion` with more tokens on top; unknown stays unknown."""
    if opinion.prompt_tokens is None or opinion.completion_tokens is None:
        return opinion
    return changed(
        opinion,
        prompt_tokens=opinion.prompt_tokens + prompt_tokens,
        completion_tokens=opinion.completion_tokens + completion_tokens,
    )


def with_usage(opinion: Opinion, earlier: Opinion) -> Opinion:
    """`opinion` with the tokens of an earlier try on top; unknown when either is."""
    if earlier.prompt_tokens is None or earlier.completion_tokens is None:
        return changed(opinion, prompt_tokens=None, completion_tokens=None)
    return add_usage(opinion, earlier.prompt_tokens, earlier.completion_tokens)
