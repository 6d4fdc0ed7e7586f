"""Judgments per second against a server that answers after 200 ms, at 8 and 64 in flight, relative to the ideal.

Run: python tests/bench/bench_judge.py. The ideal is in-flight / 0.2 s; the peer is the same number of bare HTTP
requests by as many threads, so that the ratio to it shows what planning, prompts, parsing, budget and journal cost.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from limit.jobs.context import JobContext
from limit.judge.prompts import fence_code, pair_messages
from limit.judge.worker import judge_pairs
from limit.settings import Workspace
from limit.specs.judge import JudgeSpec
from tests.judge.conftest import make_comparison, make_pairs
from tests.judge.server import Behaviour, JudgeServer

LATENCY_S = 0.2


def judged(server: JudgeServer, pairs: int, in_flight: int, folder: Path) -> float:
    """Judgments per second of our runner."""
    spec = JudgeSpec(
        model="tiny",
        base_url=server.url,
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


def bare(server: JudgeServer, requests: int, in_flight: int) -> float:
    """Requests per second of threads that do nothing else."""
    messages = pair_messages("Q?", "one", "two", fence_code("Q?", "one", "two"), "json")
    body = json.dumps({"model": "tiny", "messages": messages}).encode()
    address = server.url.split("/")[2]

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
    print(f"{'in flight':>9} {'judged/s':>9} {'bare/s':>9} {'ideal/s':>9} {'of ideal':>9} {'of bare':>9}")
    for in_flight, pairs in ((8, 120), (64, 800)):
        with JudgeServer(None, Behaviour(latency_s=LATENCY_S)) as server, tempfile.TemporaryDirectory() as folder:
            bare(server, in_flight, in_flight)
            ours = judged(server, pairs, in_flight, Path(folder))
            peer = bare(server, 2 * pairs, in_flight)
            ideal = in_flight / LATENCY_S
            line = f"{in_flight:>9} {ours:>9.1f} {peer:>9.1f} {ideal:>9.1f} {ours / ideal:>9.2f} {ours / peer:>9.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
