"""How chat servers differ: Azure's address and key, what a model refuses, how each says that a text is too long.

Sources: error bodies in the issue trackers of vLLM, llama.cpp, Ollama and the openai package, 2024 to 2026. A request
is adapted once for each thing that a server refuses, and every change is noted.
"""

from __future__ import annotations

import email.utils
import math
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

TOP_LOGPROBS, FEWER_LOGPROBS = 20, 5
# What may be dropped when a model refuses it; max_tokens is renamed to what newer models take.
DROPPABLE = ("temperature", "seed", "max_tokens", "response_format", "logprobs", "top_logprobs")
AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_TOO_LONG = re.compile(
    r"context.{0,3}(?:length|size|window)|max_model_len|maximum (?:model|input|prompt) length|prompt is too long|"
    r"longer than the maximum|input is too long",
    re.I,
)
_TOO_MANY_LOGPROBS = re.compile(r"logprobs.{0,60}(?:max|greater|less than|at most|between|<=)", re.I | re.S)
_FILTERS = ("content_filter", "content_policy", "ResponsibleAIPolicyViolation")


def is_too_long(code: str, text: str) -> bool:
    """Whether a server says that the question does not fit its context."""
    return bool(_TOO_LONG.search(f"{code} {text}"))


def is_filtered(code: str, text: str) -> bool:
    """Whether a content filter, not the model, turned the question down."""
    return any(name in code for name in _FILTERS) or "content management policy" in text


def client_options(base_url: str | None, key: str) -> dict[str, Any]:
    """Address, headers and query of a client. Azure's key goes into a header of its own, its API version into the
    query, wherever the address carries one; the deployment's name is part of the address or is the model's."""
    if base_url is None:
        return {"base_url": None}
    parts = urllib.parse.urlsplit(base_url)
    query = dict(urllib.parse.parse_qsl(parts.query))
    is_azure = (parts.hostname or "").endswith(AZURE_HOSTS) or "api-version" in query
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return {
        "base_url": urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", "")),
        "default_query": query,
        "default_headers": {"api-key": key} if is_azure and key else None,
    }


class Abilities:
    """What one server takes, learnt from what it refuses; shared by the threads of a run."""

    def __init__(self, model: str, note: Callable[[str], None]) -> None:
        self.model, self.note = model, note
        self.dropped: set[str] = set()
        self.top_logprobs = TOP_LOGPROBS
        self._lock = threading.Lock()

    def fit(self, options: dict[str, Any]) -> dict[str, Any]:
        """Request options as this server takes them."""
        fitted = {name: value for name, value in options.items() if name not in self.dropped}
        if "top_logprobs" in fitted:
            fitted["top_logprobs"] = min(fitted["top_logprobs"], self.top_logprobs)
        if "max_tokens" in options and "max_tokens" in self.dropped:
            fitted["max_completion_tokens"] = max(options["max_tokens"], 16)
        return fitted

    def adapt(self, complaint: str, sent: Mapping[str, Any]) -> bool:
        """Give up what a complaint names; False when nothing that was sent is named, so that asking again is vain."""
        with self._lock:
            asked = sent.get("top_logprobs", 0)
            if asked > FEWER_LOGPROBS and _TOO_MANY_LOGPROBS.search(complaint):
                if self.top_logprobs > FEWER_LOGPROBS:
                    self.top_logprobs = FEWER_LOGPROBS
                    self.note(f"{self.model} gives no {asked} log-probabilities; asking for {FEWER_LOGPROBS}")
                return True
            named = next((name for name in DROPPABLE if name in sent and name in complaint.lower()), None)
            if named is None:
                return False
            if named not in self.dropped:  # else another thread was told while this request was out
                self.dropped |= {"logprobs", "top_logprobs"} if "logprobs" in named else {named}
                self.note(f"{self.model} refuses {named}; asking without it")
            return True


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
