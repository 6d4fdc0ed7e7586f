"""Any OpenAI-compatible chat endpoint as a judge: OpenAI, Azure, vLLM, llama.cpp, Ollama, `transformers serve`.

Notable: replies are read as plain JSON and every field is checked, since servers that call themselves compatible
send wrong types; what a server can do (log-probabilities, JSON schema) is probed once with a question of our own and
the fallback is recorded; a parameter that a model refuses is dropped or renamed once. The key comes from the
environment and is kept out of every message.
"""

from __future__ import annotations

import email.utils
import json
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from limit.core import Json, LimitError
from limit.judge.backends.protocol import Opinion, Question, Transient
from limit.judge.prompts import GRADE_SCHEMA, VERDICT_SCHEMA, Ask, fence_code, grade_messages, pair_messages
from limit.judge.verdicts import (
    first_token_logprobs,
    grade_from_json,
    grade_from_line,
    label_shares,
    verdict_from_json,
    verdict_from_line,
)
from limit.specs.judge import JudgeSpec

TIMEOUT_S = 120.0
TOP_LOGPROBS = 20
MAX_RAW_CHARS = 20_000
RETRIED_STATUS = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
_PROBE = ("Greet the reader in one short sentence.", "Hello and welcome!", "xq 77 zzkp")
# What may be dropped when a model refuses it, and what takes its place.
_ADAPTABLE = ("temperature", "seed", "max_tokens", "response_format", "logprobs", "top_logprobs")


class OpenAIBackend:
    """A judge behind a chat endpoint. Safe to call from many threads."""

    def __init__(self, spec: JudgeSpec, note: Callable[[str], None], timeout_s: float = TIMEOUT_S) -> None:
        from openai import OpenAI

        self.spec = spec
        self.concurrency = spec.concurrency
        self.note = note
        self.key = os.environ.get(spec.key_env, "").strip()
        if not self.key and spec.base_url is None:
            raise LimitError(
                f"no key for the judge {spec.model!r}; set {spec.key_env} in the environment or the app's secrets"
            )
        self.client = OpenAI(
            api_key=self.key or "none", base_url=spec.base_url, max_retries=0, timeout=timeout_s, default_headers=None
        )
        self.mode: Ask | None = None if spec.extraction == "auto" else spec.extraction
        if spec.protocol == "single" and self.mode == "logprob":
            raise LimitError("single grades cannot be read from log-probabilities; choose extraction json or regex")
        self.dropped: set[str] = set()
        self._lock = threading.Lock()

    def judge(self, question: Question) -> Opinion:
        """Which of two answers is better, as shown. Raises Transient or LimitError."""
        usage = [0, 0]
        mode = self._mode(usage)
        opinion = self._compare(question, mode)
        if opinion.status == "invalid":  # one more try; what it cost is added
            opinion = _with_usage(self._compare(question, mode), opinion)
        return _add_usage(opinion, usage[0], usage[1])

    def grade(self, prompt: str, answer: str, nonce: str) -> tuple[int | None, Opinion]:
        """A grade from 1 to 10 of one answer, None when the reply holds none. Raises Transient or LimitError."""
        mode: Ask = "regex" if self.mode == "regex" else "json"
        reply = self._ask(grade_messages(prompt, answer, nonce, mode), mode, GRADE_SCHEMA)
        text = reply.raw_text or ""
        found = (grade_from_json(text) or grade_from_line(text)) if reply.status == "ok" else None
        if found is None:
            return None, _replace(reply, status="invalid" if reply.status == "ok" else reply.status)
        return found[0], _replace(reply, reason=found[1])

    def _mode(self, usage: list[int]) -> Ask:
        """How to read verdicts: as asked for, or the most trusted way that the probe found to work."""
        if self.mode is not None:
            return self.mode
        with self._lock:
            if self.mode is None:
                self.mode = self._probe(usage)
        return self.mode

    def _probe(self, usage: list[int]) -> Ask:
        question = Question(*_PROBE, prompt_id="probe", nonce=fence_code(*_PROBE))
        ways: tuple[Ask, ...] = ("logprob", "json")
        for way in ways:
            opinion = self._compare(question, way)
            usage[0] += opinion.prompt_tokens or 0
            usage[1] += opinion.completion_tokens or 0
            if opinion.status == "ok":
                self.note(f"verdicts of {self.spec.model} are read by {way}")
                return way
            self.note(f"{self.spec.model} gives no usable {way}: {opinion.error_text or 'no verdict'}")
        self.note(f"verdicts of {self.spec.model} are read from a last line")
        return "regex"

    def _compare(self, question: Question, mode: Ask) -> Opinion:
        messages = pair_messages(question.prompt, question.first, question.second, question.nonce, mode)
        reply = self._ask(messages, mode, VERDICT_SCHEMA)
        if reply.status != "ok":
            return reply
        if mode == "logprob":
            return _from_logprobs(reply)
        text = reply.raw_text or ""
        found = verdict_from_json(text) if mode == "json" else verdict_from_line(text)
        if found is None:
            return _replace(reply, status="invalid", error_text="the reply holds no single verdict")
        choice, reason = found
        return _replace(reply, choice=choice, reason=reason)

    def _ask(self, messages: list[dict[str, str]], mode: Ask, schema: Json) -> Opinion:
        """One request; the opinion it returns has status and text but no choice yet."""
        import openai

        while True:
            options = self._options(mode, schema)
            try:
                raw = self.client.chat.completions.with_raw_response.create(messages=messages, **options)  # type: ignore[arg-type]
                return _read_reply(raw.http_response.text, mode)
            except openai.APITimeoutError as error:
                raise Transient(f"no reply within {self.client.timeout} s", billed=True) from error
            except openai.APIConnectionError as error:
                raise Transient(f"connection failed: {self._clean(error.__cause__ or error)}", billed=True) from error
            except openai.APIStatusError as error:
                refused = self._explain(error, set(options))
                if refused is not None:
                    return refused
            except (UnicodeDecodeError, openai.APIError) as error:
                raise Transient(f"reply cannot be read: {self._clean(error)}", billed=True) from error

    def _options(self, mode: Ask, schema: Json) -> dict[str, Any]:
        tokens = 1 if mode == "logprob" else self.spec.max_tokens
        options: dict[str, Any] = {
            "model": self.spec.model,
            "temperature": self.spec.temperature,
            "seed": self.spec.seed,
            "max_tokens": tokens,
        }
        if mode == "logprob":
            options |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if mode == "json":
            named = {"name": "verdict", "schema": schema, "strict": True}
            options["response_format"] = {"type": "json_schema", "json_schema": named}
        for name in self.dropped & options.keys():
            value = options.pop(name)
            if name == "max_tokens":
                options["max_completion_tokens"] = max(value, 16)
        return options

    def _explain(self, error: Any, sent: set[str]) -> Opinion | None:
        """Turn an HTTP error into a retry, a refusal, an adapted next try (None), or the end of the run."""
        status, body = error.status_code, error.body if isinstance(error.body, dict) else {}
        code, text = str(body.get("code") or ""), self._clean(body.get("message") or error.message)
        if "content_filter" in code or "content management policy" in text:
            return Opinion("refused", error_text=text)
        if status == 429 and code == "insufficient_quota":
            raise LimitError(f"the judge's account has no quota left ({text}); add credit and resume the job")
        if status in RETRIED_STATUS or status >= 500:
            wait = retry_after(error.response.headers.get("retry-after"))
            raise Transient(f"HTTP {status}: {text}", wait, pause_all=status == 429)
        if "context_length" in code or "maximum context length" in text:
            return Opinion("invalid", error_text=f"too long for the judge: {text}")
        if status in (400, 422) and self._adapt(f"{body.get('param')} {text}", sent):
            return None
        raise LimitError(self._ending(status, text))

    def _adapt(self, text: str, sent: set[str]) -> bool:
        """Drop one parameter that the server names; False when there is none left to drop."""
        for name in _ADAPTABLE:
            if name in sent and name in text and name not in self.dropped:
                self.dropped.add(name)
                if name in ("logprobs", "top_logprobs"):
                    self.dropped |= {"logprobs", "top_logprobs"}
                self.note(f"{self.spec.model} refuses {name}; asking without it")
                return True
        return any(name in text for name in self.dropped)  # another thread dropped it while this request was out

    def _ending(self, status: int, text: str) -> str:
        where = self.spec.base_url or "OpenAI"
        hints = {
            401: f"the key in {self.spec.key_env} is missing or wrong; set it and resume the job",
            403: f"the key in {self.spec.key_env} may not use this model; choose another model or key",
            404: f"{where} has no model {self.spec.model!r} (retired or misspelt) or no chat endpoint at this address",
        }
        hint = hints.get(status, f"{where} refuses the request; check model and settings of the judge")
        return f"judge {self.spec.model!r}: {hint} (HTTP {status}: {text})"

    def _clean(self, message: Any) -> str:
        """A message for people: one short line, never with the key in it."""
        text = " ".join(str(message).split())[:300]
        return text.replace(self.key, "[key]") if len(self.key) > 3 else text


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds of a Retry-After header, given in seconds or as a date; None when absent or unreadable."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _read_reply(body: str, mode: Ask) -> Opinion:
    """The reply's text and facts. Raises Transient when it is not a chat completion."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Transient("the reply is not JSON", billed=True) from None
    choices = value.get("choices") if isinstance(value, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise Transient("the reply is no chat completion", billed=True)
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    text = message.get("content")
    facts: dict[str, Any] = {
        "extraction": mode,
        "raw_text": text[:MAX_RAW_CHARS] if isinstance(text, str) else None,
        "model_reported": _text(value.get("model")),
        "system_fingerprint": _text(value.get("system_fingerprint")),
        "prompt_tokens": _count(usage.get("prompt_tokens")),
        "completion_tokens": _count(usage.get("completion_tokens")),
    }
    refusal = message.get("refusal")
    if choice.get("finish_reason") == "content_filter" or (isinstance(refusal, str) and refusal):
        return Opinion("refused", error_text=_text(refusal) or "content filter", **facts)
    if mode == "logprob":
        found = first_token_logprobs(choice.get("logprobs"))
        return Opinion("ok", logprobs_json=json.dumps(found) if found else None, **facts)
    if not isinstance(text, str) or not text.strip():
        cut = choice.get("finish_reason") == "length"
        return Opinion("invalid", error_text="no text; raise max_tokens" if cut else "no text", **facts)
    return Opinion("ok", **facts)


def _from_logprobs(reply: Opinion) -> Opinion:
    if reply.logprobs_json is None:
        return _replace(reply, status="invalid", error_text="the reply has no log-probabilities")
    shares = label_shares(tuple(pair) for pair in json.loads(reply.logprobs_json))
    if shares is None:
        return _replace(reply, status="invalid", error_text="the labels hold less than half of the probability")
    return _replace(reply, choice=shares.choice, p_first=shares.first, p_tie=shares.tie)


def _text(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def _replace(opinion: Opinion, **changes: Any) -> Opinion:
    return Opinion(**{**opinion.__dict__, **changes})


def _add_usage(opinion: Opinion, prompt_tokens: int, completion_tokens: int) -> Opinion:
    if opinion.prompt_tokens is None or opinion.completion_tokens is None:
        return opinion
    return _replace(
        opinion,
        prompt_tokens=opinion.prompt_tokens + prompt_tokens,
        completion_tokens=opinion.completion_tokens + completion_tokens,
    )


def _with_usage(opinion: Opinion, earlier: Opinion) -> Opinion:
    """`opinion` with the tokens of an earlier try on top; unknown stays unknown."""
    if earlier.prompt_tokens is None or earlier.completion_tokens is None:
        return _replace(opinion, prompt_tokens=None, completion_tokens=None)
    return _add_usage(opinion, earlier.prompt_tokens, earlier.completion_tokens)
