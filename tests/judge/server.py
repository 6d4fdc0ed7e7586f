"""A real chat server on loopback around a tiny model, with true log-probabilities and faults on demand.

The model's distribution over the next token, with its three label tokens lifted so that they hold most of the
probability, decides every verdict; the server answers it as log-probabilities, JSON or a last line, whatever was asked.
Faults are drawn from a seed. What the server would charge is counted, also for replies that never arrive.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LABELS = "ABC"
LIFT = 14.0

FAULTS = (
    "429-after",
    "429",
    "500",
    "503",
    "cut",
    "cut-body",
    "slow",
    "not-json",
    "wrong-types",
    "no-logprobs",
    "no-usage",
    "garbage",
    "empty",
)


@dataclass
class Behaviour:
    """What the server can do and how badly it behaves; `fault_rate` is the share of faulty replies."""

    logprobs: bool = True
    json_schema: bool = True
    faults: tuple[str, ...] = ()
    fault_rate: float = 0.0
    seed: int = 0
    latency_s: float = 0.0
    filtered: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()
    status: int | None = None
    error: dict[str, Any] = field(default_factory=dict)
    # Called with each request; (status, body) is sent instead of a reply, None leaves the reply as it is.
    quirk: Callable[[dict[str, Any]], tuple[int, Any] | None] | None = None


class TinyJudge:
    """Next-token log-probabilities of a tiny model, labels lifted."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.lock = threading.Lock()
        self.label_ids = [self.tokenizer.encode(label, add_special_tokens=False)[0] for label in LABELS]

    def top(self, text: str, count: int) -> list[tuple[str, float]]:
        """The likeliest next tokens with their natural log-probabilities."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)[-192:]
        with self.lock, self.torch.no_grad():
            logits = self.model(self.torch.tensor([ids])).logits[0, -1].double()
        logits[self.label_ids] = logits[self.label_ids] * 40 + LIFT
        logprobs = logits.log_softmax(-1)
        values, indices = logprobs.topk(count)
        return [(self.tokenizer.decode([i]), v) for i, v in zip(indices.tolist(), values.tolist(), strict=True)]

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # the default of 5 resets bursts of connections


class JudgeServer:
    """Serves one TinyJudge; use as a context manager."""

    def __init__(self, judge: TinyJudge | None, behaviour: Behaviour | None = None) -> None:
        self.judge = judge
        self.behaviour = behaviour or Behaviour()
        self.truth: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.paths: set[str] = set()
        self.azure_keys: set[str] = set()
        self.billed = [0, 0]
        self.flying = self.most_flying = 0
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self.http = _Http(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> JudgeServer:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """The right answer to a request; the label behind it is kept in `truth`."""
        system, user = (message["content"] for message in request["messages"])
        nonce = re.search(r"<<<([0-9a-f]{16}) ", user)
        assert nonce is not None
        asked = system + user
        found = self.judge.top(user.rsplit("Which answer", 1)[0], 20) if self.judge else [("A", -0.01)]
        label = next((token for token, _ in found if token.strip() in LABELS and token.strip()), "A").strip()
        if '"grade": N' in system or "Grade: N" in system:
            grade = 1 + int(nonce[1][:4], 16) % 10
            text = json.dumps({"reason": "fine", "grade": grade}) if "JSON" in system else f"Fine.\nGrade: {grade}"
        elif request.get("logprobs"):
            text = label
        elif "JSON" in system:
            text = json.dumps({"reason": "more to the point", "verdict": label})
            text = text if self.behaviour.json_schema else f"I think that {label} is better."
        else:
            text = f"It is more to the point.\nVerdict: {label}"
        with self.lock:
            self.truth[nonce[1]] = label
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
            "logprobs": None,
        }
        if request.get("logprobs") and self.behaviour.logprobs:
            entries = [{"token": token, "logprob": value, "bytes": None} for token, value in found]
            choice["logprobs"] = {"content": [{**entries[0], "top_logprobs": entries}]}
        tokens = (
            self.judge.count(asked) if self.judge else len(asked) // 4,
            self.judge.count(text) if self.judge else 3,
        )
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "tiny-judge-1", "choices": [choice]}
        return {**body, "usage": usage, "system_fingerprint": "fp"}


class _Handler(BaseHTTPRequestHandler):
    owner: JudgeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms for the headers to be acknowledged

    def log_message(self, *_: object) -> None:
        """Keep test output quiet."""

    def do_POST(self) -> None:
        """Answer one chat completion, rightly or as the behaviour says."""
        owner, behaviour = self.owner, self.owner.behaviour
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with owner.lock:
            owner.requests.append(request)
            owner.keys.add(self.headers.get("Authorization", ""))
            owner.paths.add(self.path)
            owner.azure_keys.add(self.headers.get("api-key", ""))
            number = len(owner.requests)
            owner.flying += 1
            owner.most_flying = max(owner.most_flying, owner.flying)
        try:
            self._answer(request, number, behaviour)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with owner.lock:
                owner.flying -= 1

    def _answer(self, request: dict[str, Any], number: int, behaviour: Behaviour) -> None:
        rng = random.Random(f"{behaviour.seed}|{number}")
        fault = rng.choice(behaviour.faults) if behaviour.faults and rng.random() < behaviour.fault_rate else None
        for name in behaviour.refuses & request.keys():
            self._send(
                400, {"error": {"message": f"Unsupported parameter: {name}", "param": name, "code": "unsupported"}}
            )
            return
        answer = behaviour.quirk(request) if behaviour.quirk else None
        if answer is not None:
            self._send(*answer)
            return
        if behaviour.status is not None:
            self._send(behaviour.status, {"error": behaviour.error})
            return
        if fault in ("429-after", "429", "500", "503"):
            headers = {"Retry-After": "0.05"} if fault == "429-after" else {}
            self._send(int(fault[:3]), {"error": {"message": "try later"}}, headers)
            return
        if fault == "cut":
            self._hang_up()
            return
        time.sleep(behaviour.latency_s + (rng.random() * 0.2 if fault == "slow" else 0))
        body = self.owner.reply(request)
        if any(text in json.dumps(request, ensure_ascii=False) for text in behaviour.filtered):
            self._send(400, {"error": {"message": "filtered", "code": "content_filter"}})
            return
        with self.owner.lock:
            self.owner.billed[0] += body["usage"]["prompt_tokens"]
            self.owner.billed[1] += body["usage"]["completion_tokens"]
        self._spoil(body, fault, rng)

    def _spoil(self, body: dict[str, Any], fault: str | None, rng: random.Random) -> None:
        if fault == "not-json":
            self._send_bytes(200, b'{"choices": [{"mess')
        elif fault == "wrong-types":
            wrong: list[Any] = [[], {"choices": {}}, {"choices": [7]}, {"choices": [{"message": "A"}]}, "A", None]
            self._send(200, rng.choice(wrong))
        elif fault == "cut-body":
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self._hang_up()
        else:
            if fault == "no-logprobs":
                body["choices"][0]["logprobs"] = None
            if fault == "no-usage":
                body["usage"] = rng.choice([None, "many", {"prompt_tokens": "9"}])
            if fault == "garbage":
                body["choices"][0]["message"]["content"] = "Verdict: D or maybe A\nVerdict: B\nI cannot say."
                body["choices"][0]["logprobs"] = {"content": [{"top_logprobs": [{"token": "the", "logprob": -0.1}]}]}
            if fault == "empty":
                body["choices"][0]["message"]["content"] = None
                body["choices"][0]["logprobs"] = {"content": []}
            self._send(200, body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(value).encode(), headers)

    def _send_bytes(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
