"""Judgments per second against a server that answers after 200 ms, at 8 and 64 in flight, relative to the ideal.

Run: python tests/bench/bench_judge.py. The ideal is in-flight / 0.2 s; the peer is the same number of bare HTTP
requests by as many threads, so that the ratio to it shows what planning, prompts, parsing, budget and journal cost.
The server is a process of its own, as a judge's server is. CPU time is that of this process alone; loading the client
and the first connection, which a run pays once, are left out by a run before the clock starts.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from limit.jobs.context import JobContext
from limit.judge.prompts import fence_code, pair_messages
from limit.judge.worker import judge_pairs
from limit.settings import Workspace
from limit.specs.judge import JudgeSpec
from tests.judge.conftest import make_comparison, make_pairs
from tests.judge.server import Behaviour, JudgeServer

LATENCY_S = 0.2


def _serve(pipe: Any) -> None:
    with JudgeServer(None, Behaviour(latency_s=LATENCY_S)) as server:
        pipe.send(server.url)
        pipe.recv()


@contextmanager
def slow_server() -> Iterator[str]:
    """The address of a judge that answers after 200 ms, in another process."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()
    yield here.recv()
    here.send("end")
    process.join(10)


def judged(url: str, pairs: int, in_flight: int, folder: Path) -> float:
    """Judgments per second of our runner."""
    spec = JudgeSpec(
        model="tiny",
        base_url=url,
        extraction="json",
        concurrency=in_flight,
        usd_per_million_prompt=1.0,
        usd_per_million_completion=1.0,
    )
    started = time.perf_counter()
    result = judge_pairs(
        Workspace(folder), make_comparison(), make_pairs(pairs), spec, JobContext(None), budget_usd=1e6
    )
    assert result["judgments"] == 2 * pairs and result["invalid"] == 0
    return 2 * pairs / (time.perf_counter() - started)


def bare(url: str, requests: int, in_flight: int) -> float:
    """Requests per second of threads that do nothing else."""
    messages = pair_messages("Q?", "one", "two", fence_code("Q?", "one", "two"), "json")
    body = json.dumps({"model": "tiny", "messages": messages}).encode()
    address = url.split("/")[2]

    def work(count: int) -> None:
        connection = http.client.HTTPConnection(address)
        for _ in range(count):
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            connection.getresponse().read()

    started = time.perf_counter()
    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(work, [requests // in_flight] * in_flight))
    return requests // in_flight * in_flight / (time.perf_counter() - started)


def main() -> None:
    """Print one line for each number in flight."""
    heads = ("in flight", "judged/s", "bare/s", "ideal/s", "of ideal", "of bare", "CPU ms")
    print(" ".join(f"{head:>9}" for head in heads))
    with slow_server() as url:
        for in_flight, pairs in ((8, 120), (64, 800)):
            with tempfile.TemporaryDirectory() as folder:
                judged(url, in_flight, in_flight, Path(folder))
            with tempfile.TemporaryDirectory() as folder:
                busy = time.process_time()
                ours = judged(url, pairs, in_flight, Path(folder))
                busy = time.process_time() - busy
            peer, ideal = bare(url, 2 * pairs, in_flight), in_flight / LATENCY_S
            rates = f"{in_flight:>9} {ours:>9.1f} {peer:>9.1f} {ideal:>9.1f} {ours / ideal:>9.2f} {ours / peer:>9.2f}"
            print(f"{rates} {1000 * busy / (2 * pairs):>9.2f}", flush=True)


if __name__ == "__main__":
    main()
