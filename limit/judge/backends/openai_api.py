"""Any OpenAI-compatible chat endpoint as a judge: OpenAI, Azure, vLLM, llama.cpp, Ollama, `transformers serve`.

Notable: replies are read as plain JSON and every field is checked, since servers that call themselves compatible
send wrong types; what a server can do (log-probabilities, JSON schema) is probed once with a question of our own and
the fallback is recorded; what a model refuses is given up once (`servers`). The key comes from the
environment and is kept out of every message.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from limit.core import Json, LimitError
from limit.judge.backends.protocol import Opinion, Question, Transient
from limit.judge.backends.replies import ErrorReply, add_usage, changed, read_reply, with_label_shares, with_usage
from limit.judge.backends.servers import TOP_LOGPROBS, Abilities, client_options, is_filtered, is_too_long, retry_after
from limit.judge.prompts import GRADE_SCHEMA, VERDICT_SCHEMA, Ask, fence_code, grade_messages, pair_messages
from limit.judge.verdicts import grade_from_json, grade_from_line, verdict_from_json, verdict_from_line
from limit.specs.judge import JudgeSpec

TIMEOUT_S = 120.0
RETRIED_STATUS = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
_PROBE = ("Greet the reader in one short sentence.", "Hello and welcome!", "xq 77 zzkp")


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
            api_key=self.key or "none", max_retries=0, timeout=timeout_s, **client_options(spec.base_url, self.key)
        )
        self.mode: Ask | None = None if spec.extraction == "auto" else spec.extraction
        if spec.protocol == "single" and self.mode == "logprob":
            raise LimitError("single grades cannot be read from log-probabilities; choose extraction json or regex")
        self.abilities = Abilities(spec.model, note)
        self._lock = threading.Lock()

    def judge(self, question: Question) -> Opinion:
        """Which of two answers is better, as shown. Raises Transient or LimitError."""
        usage = [0, 0]
        mode = self._mode(usage)
        opinion = self._compare(question, mode)
        if opinion.status == "invalid" and opinion.extraction:  # it replied: one more try; what it cost is added
            opinion = with_usage(self._compare(question, mode), opinion)
        return add_usage(opinion, usage[0], usage[1])

    def grade(self, prompt: str, answer: str, nonce: str) -> tuple[int | None, Opinion]:
        """A grade from 1 to 10 of one answer, None when the reply holds none. Raises Transient or LimitError."""
        mode: Ask = "regex" if self.mode == "regex" else "json"
        reply = self._ask(grade_messages(prompt, answer, nonce, mode), mode, GRADE_SCHEMA)
        text = reply.raw_text or ""
        found = (grade_from_json(text) or grade_from_line(text)) if reply.status == "ok" else None
        if found is None:
            return None, changed(reply, status="invalid" if reply.status == "ok" else reply.status)
        return found[0], changed(reply, reason=found[1])

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
            return with_label_shares(reply)
        text = reply.raw_text or ""
        found = verdict_from_json(text) if mode == "json" else verdict_from_line(text)
        if found is None:
            return changed(reply, status="invalid", error_text="the reply holds no single verdict")
        choice, reason = found
        return changed(reply, choice=choice, reason=reason)

    def _ask(self, messages: list[dict[str, str]], mode: Ask, schema: Json) -> Opinion:
        """One request; the opinion it returns has status and text but no choice yet."""
        import openai

        while True:
            options = self.abilities.fit(self._options(mode, schema))
            body = {**options, "messages": messages}
            try:
                return read_reply(self.client.post("/chat/completions", cast_to=str, body=body), mode)
            except ErrorReply as error:
                explained = self._explain(error.status, error.error, str(error), None, options)
            except openai.APITimeoutError as error:
                raise Transient(f"no reply within {self.client.timeout} s", billed=True) from error
            except openai.APIConnectionError as error:
                cause = error.__cause__ or error
                reached = type(cause).__name__ not in ("ConnectError", "ConnectTimeout")
                raise Transient(f"connection failed: {self._clean(cause)}", billed=reached) from error
            except openai.APIStatusError as error:
                said = error.body if isinstance(error.body, dict) else {}
                explained = self._explain(error.status_code, said, error.response.text, error.response.headers, options)
            except (UnicodeDecodeError, openai.APIError) as error:
                raise Transient(f"reply cannot be read: {self._clean(error)}", billed=True) from error
            if explained is not None:
                return explained

    def _options(self, mode: Ask, schema: Json) -> dict[str, Any]:
        options: dict[str, Any] = {
            "model": self.spec.model,
            "temperature": self.spec.temperature,
            "seed": self.spec.seed,
            "max_tokens": 1 if mode == "logprob" else self.spec.max_tokens,
        }
        if mode == "logprob":
            options |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if mode == "json":
            named = {"name": "verdict", "schema": schema, "strict": True}
            options["response_format"] = {"type": "json_schema", "json_schema": named}
        return options

    def _explain(self, status: int, said: Json, message: str, headers: Any, sent: Json) -> Opinion | None:
        """Turn an error into a retry, a refusal, an adapted next try (None), or the end of the run."""
        code, text = f"{said.get('code') or ''} {said.get('type') or ''}", self._clean(said.get("message") or message)
        if is_filtered(f"{code} {said.get('innererror') or ''}", text):
            return Opinion("refused", error_text=text)
        if status == 429 and "insufficient_quota" in code:
            raise LimitError(f"the judge's account has no quota left ({text}); add credit and resume the job")
        if status not in (401, 404, 429) and is_too_long(code, text):
            return Opinion("invalid", error_text=f"too long for the judge: {text}")
        if status in RETRIED_STATUS or status >= 500:
            wait = retry_after(headers.get("retry-after")) if headers is not None else None
            raise Transient(f"HTTP {status}: {text}", wait, pause_all=status == 429)
        if status in (400, 403, 422) and self.abilities.adapt(f"{said.get('param')} {text}", sent):
            self._check_extraction(text)
            return None
        raise LimitError(self._ending(status, text))

    def _check_extraction(self, text: str) -> None:
        if self.spec.extraction == "logprob" and "logprobs" in self.abilities.dropped:
            raise LimitError(
                f"judge {self.spec.model!r} gives no log-probabilities ({text}); choose extraction=auto, json or regex"
            )

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
