"""Judging over real HTTP: every key one row, no verdict invented, the budget holds, kills and storms survived."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from limit.core import Json, LimitError, read_jsonl
from limit.jobs.context import JobContext
from limit.judge.judgments import Journal, load_comparison, locked, read_judgments
from limit.judge.prompts import fence_code
from limit.judge.runner import Pair, Retry, plan_items
from limit.judge.worker import judge_pairs
from limit.settings import PROJECT, Workspace
from limit.specs.judge import JudgeSpec
from tests.judge.conftest import make_comparison, make_pairs
from tests.judge.server import FAULTS, Behaviour, JudgeServer, TinyJudge

FAST = Retry(attempts=6, base_s=0.01, cap_s=0.05)
PRICED = {"usd_per_million_prompt": 10.0, "usd_per_million_completion": 30.0}


def spec_for(server: JudgeServer, **changes: Any) -> JudgeSpec:
    return JudgeSpec(model="tiny", base_url=server.url).replace(max_tokens=64, **changes)


def run(ws: Workspace, pairs: list[Pair], spec: JudgeSpec, **options: Any) -> Json:
    return judge_pairs(ws, make_comparison(), pairs, spec, JobContext(None), retry=FAST, **options)


def rows_of(ws: Workspace) -> list[Json]:
    return read_judgments(ws, "c0ffee")


def check_rows(ws: Workspace, pairs: list[Pair], spec: JudgeSpec, server: JudgeServer) -> Counter[str]:
    """Each key has exactly one line, and each verdict is the server's own, seen from the right side."""
    lines = list(read_jsonl(ws.comparison("c0ffee") / "judgments.jsonl"))
    assert Counter(line["judgement_key"] for line in lines) == Counter(item.key for item in plan_items(pairs, spec))
    for row in lines:
        if row["status"] != "ok":
            assert row["verdict"] is None and row["score"] is None, row
            continue
        shown = (row["text_1"], row["text_2"]) if row["first_response"] == 1 else (row["text_2"], row["text_1"])
        label = server.truth[fence_code(row["prompt"], *shown, str(row["replicate"]))]
        expected = {"A": row["first_response"], "B": 3 - row["first_response"], "C": "tie"}[label]
        assert row["verdict"] == str(expected)
    return Counter(row["status"] for row in lines)


def test_log_probabilities_become_verdicts_in_both_orders(ws: Workspace, tiny_judge: TinyJudge) -> None:
    pairs = make_pairs(12)
    with JudgeServer(tiny_judge) as server:
        spec = spec_for(server)
        result = run(ws, pairs, spec)
        assert check_rows(ws, pairs, spec, server) == {"ok": 24}
    rows = rows_of(ws)
    assert {row["extraction"] for row in rows} == {"logprob"}
    assert {(row["order"], row["first_response"]) for row in rows} == {("ab", 1), ("ba", 2)}
    for row in rows:
        candidate = 1 - row["p_first"] - row["p_tie"] if row["first_response"] == 1 else row["p_first"]
        assert row["score"] == pytest.approx(candidate + row["p_tie"] / 2)
        assert row["model_reported"] == "tiny-judge-1" and row["prompt_tokens"] > 100
    assert result["wins"] + result["losses"] + result["ties"] == 12 == result["n_prompts"]
    assert len({row["verdict"] for row in rows}) > 1


def test_second_run_asks_nothing_and_changes_nothing(ws: Workspace, tiny_judge: TinyJudge) -> None:
    pairs = make_pairs(3)
    with JudgeServer(tiny_judge) as server:
        spec = spec_for(server)
        run(ws, pairs, spec)
        before = (ws.comparison("c0ffee") / "judgments.jsonl").read_bytes()
        asked = len(server.requests)
        again = run(ws, pairs, spec)
        assert len(server.requests) == asked and again["judgments"] == 6
    assert (ws.comparison("c0ffee") / "judgments.jsonl").read_bytes() == before


def test_identical_and_empty_answers_tie_without_a_call(ws: Workspace, tiny_judge: TinyJudge) -> None:
    pairs = [Pair("p1", "One?", "same", "same"), Pair("p2", "Two?", "", "  \n")]
    with JudgeServer(tiny_judge) as server:
        run(ws, pairs, spec_for(server))
        assert server.requests == []
    assert [(row["status"], row["verdict"]) for row in rows_of(ws)] == [("tie_identical", "tie")] * 2


@pytest.mark.parametrize(
    ("behaviour", "way"),
    [
        (Behaviour(), "logprob"),
        (Behaviour(logprobs=False), "json"),
        (Behaviour(logprobs=False, json_schema=False), "regex"),
        (Behaviour(refuses=frozenset({"logprobs"})), "json"),
    ],
)
def test_probe_falls_back_to_what_the_server_can_do(
    ws: Workspace, tiny_judge: TinyJudge, behaviour: Behaviour, way: str
) -> None:
    pairs = make_pairs(2)
    with JudgeServer(tiny_judge, behaviour) as server:
        spec = spec_for(server)
        run(ws, pairs, spec)
        assert check_rows(ws, pairs, spec, server) == {"ok": 4}
    assert {row["extraction"] for row in rows_of(ws)} == {way}


def test_refused_parameters_are_dropped_or_renamed(ws: Workspace, tiny_judge: TinyJudge) -> None:
    refuses = frozenset({"max_tokens", "temperature", "seed"})
    with JudgeServer(tiny_judge, Behaviour(refuses=refuses)) as server:
        spec = spec_for(server, extraction="json")
        run(ws, make_pairs(4), spec)
        assert check_rows(ws, make_pairs(4), spec, server) == {"ok": 8}
        assert server.requests[-1]["max_completion_tokens"] == 64


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, {"message": "bad key sk-secret-123"}, "the key in TEST_KEY is missing or wrong"),
        (403, {"message": "no access"}, "may not use this model"),
        (404, {"message": "model retired"}, "has no model 'tiny'"),
        (400, {"message": "nonsense"}, "refuses the request"),
        (429, {"message": "pay first", "code": "insufficient_quota"}, "no quota left"),
    ],
)
def test_what_cannot_pass_stops_the_run_with_one_sentence(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, status: int, error: Json, words: str
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-secret-123")
    with JudgeServer(None, Behaviour(status=status, error=error)) as server:
        with pytest.raises(LimitError, match=words) as caught:
            run(ws, make_pairs(5), spec_for(server, key_env="TEST_KEY"))
        assert "Bearer sk-secret-123" in server.keys
    assert "\n" not in str(caught.value) and "sk-secret-123" not in str(caught.value)
    assert all(row["verdict"] is None for row in rows_of(ws))
    assert not any(b"sk-secret-123" in p.read_bytes() for p in ws.root.rglob("*") if p.is_file())


def test_content_filter_is_a_refusal_and_never_a_loss(ws: Workspace, tiny_judge: TinyJudge) -> None:
    pairs = make_pairs(6)
    with JudgeServer(tiny_judge, Behaviour(filtered=frozenset({pairs[2].text_1}))) as server:
        spec = spec_for(server)
        result = run(ws, pairs, spec)
        assert check_rows(ws, pairs, spec, server) == {"ok": 10, "refused": 2}
    assert result["refused"] == 2 and result["invalid"] == 1 and result["wins"] + result["losses"] + result["ties"] == 5


def test_errors_that_do_not_pass_are_recorded_and_asked_again(ws: Workspace, tiny_judge: TinyJudge) -> None:
    pairs = make_pairs(2)
    with JudgeServer(tiny_judge, Behaviour(status=503, error={"message": "down"})) as server:
        spec = spec_for(server, extraction="json")
        assert run(ws, pairs, spec)["errors"] == 4
        assert all("HTTP 503" in row["error_text"] and row["attempts"] == 6 for row in rows_of(ws))
        server.behaviour = Behaviour()
        assert run(ws, pairs, spec)["errors"] == 0
        assert check_rows(ws, pairs, spec, server) == {"ok": 4}


def test_budget_stops_in_time_and_a_higher_one_goes_on(ws: Workspace, tiny_judge: TinyJudge) -> None:
    pairs = make_pairs(20)
    with JudgeServer(tiny_judge) as server:
        spec = spec_for(server, concurrency=4, **PRICED)
        result = run(ws, pairs, spec, budget_usd=0.15)
        bill = (server.billed[0] * 10 + server.billed[1] * 30) / 1e6
        assert 0 < result["skipped_budget"] < 40 and bill <= result["spent_usd"] <= 0.15
        check_rows(ws, pairs, spec, server)
        again = run(ws, pairs, spec, budget_usd=2.0)
        assert again["skipped_budget"] == 0 and again["spent_usd"] > result["spent_usd"]
        assert check_rows(ws, pairs, spec, server) == {"ok": 40}


def test_a_judge_that_costs_money_needs_a_budget(ws: Workspace) -> None:
    with pytest.raises(LimitError, match="costs money; allow an amount with --budget"):
        run(ws, make_pairs(1), JudgeSpec(model="gpt-4o-mini"))
    with pytest.raises(LimitError, match="price of the judge 'new-model' is unknown"):
        run(ws, make_pairs(1), JudgeSpec(model="new-model"))


def test_a_budget_below_one_question_is_refused_before_anything_is_asked(ws: Workspace) -> None:
    with JudgeServer(None) as server:
        with pytest.raises(LimitError, match=r"USD 1e-05 of 1e-05 left, and one question .* can cost up to USD 0\.\d+"):
            run(ws, make_pairs(3), spec_for(server, **PRICED), budget_usd=1e-5)
        with pytest.raises(LimitError, match=r"50 of 50 tokens left"):
            run(ws, make_pairs(3), spec_for(server), budget_tokens=50)
        for nothing in (0, -1, float("nan")):
            with pytest.raises(LimitError, match="allows nothing"):
                run(ws, make_pairs(3), spec_for(server, **PRICED), budget_usd=nothing)
        assert server.requests == [] and rows_of(ws) == []


def test_torn_and_doubled_lines_are_put_right(ws: Workspace, tiny_judge: TinyJudge) -> None:
    pairs = make_pairs(5)
    path = ws.comparison("c0ffee") / "judgments.jsonl"
    with JudgeServer(tiny_judge) as server:
        spec = spec_for(server)
        run(ws, pairs, spec)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([lines[0], *lines[:6], b"\x00garbage\n", lines[7][: len(lines[7]) // 2]]))
        run(ws, pairs, spec)
        assert check_rows(ws, pairs, spec, server) == {"ok": 10}


def test_two_processes_cannot_judge_the_same_comparison(ws: Workspace) -> None:
    with (
        locked(ws.comparison("c0ffee") / ".lock", "busy"),
        pytest.raises(LimitError, match="being judged by another process"),
        JudgeServer(None) as server,
    ):
        run(ws, make_pairs(1), spec_for(server))


def test_the_exchanged_comparison_takes_over_every_row(ws: Workspace, tiny_judge: TinyJudge) -> None:
    pairs = make_pairs(4)
    swapped = [Pair(p.prompt_id, p.prompt, p.text_2, p.text_1) for p in pairs]
    with JudgeServer(tiny_judge) as server:
        spec = spec_for(server)
        there = run(ws, pairs, spec)
        asked = len(server.requests)
        back = judge_pairs(ws, make_comparison("decade"), swapped, spec, JobContext(None))
        assert len(server.requests) == asked and back["reused"] == 8
    assert (back["wins"], back["losses"], back["ties"]) == (there["losses"], there["wins"], there["ties"])


def test_stop_keeps_what_is_judged(ws: Workspace, tmp_path: Path, tiny_judge: TinyJudge) -> None:
    pairs, job = make_pairs(30), tmp_path / "job"
    job.mkdir()
    (job / "cancel").touch()
    context = JobContext(job)
    with JudgeServer(tiny_judge, Behaviour(latency_s=0.05)) as server:
        spec = spec_for(server, concurrency=2)
        result = judge_pairs(ws, make_comparison(), pairs, spec, context, retry=FAST)
        assert result["stopped"] and 0 < len(rows_of(ws)) < 60
        run(ws, pairs, spec)
        assert check_rows(ws, pairs, spec, server) == {"ok": 60}


def test_retry_after_is_honoured_by_all_workers(ws: Workspace, tiny_judge: TinyJudge) -> None:
    behaviour = Behaviour(faults=("429-after",), fault_rate=0.3, seed=4)
    with JudgeServer(tiny_judge, behaviour) as server:
        spec = spec_for(server)
        run(ws, make_pairs(10), spec)
        assert check_rows(ws, make_pairs(10), spec, server) == {"ok": 20}
        assert len(server.requests) > 21


def storm(ws: Workspace, judge: TinyJudge, count: int, kills: int, seed: int) -> Counter[str]:
    """Judge `count` pairs through every fault while the worker process is killed at random, until it ends."""
    pairs = make_pairs(count, seed)
    (ws.root / "pairs.json").write_text(json.dumps([pair.__dict__ for pair in pairs]))
    filtered = frozenset(pair.text_2 for pair in pairs[:: max(1, count // 7)])
    behaviour = Behaviour(faults=FAULTS, fault_rate=0.25, seed=seed, filtered=filtered)
    rng = random.Random(seed)
    with JudgeServer(judge, behaviour) as server:
        spec = spec_for(server, concurrency=16, extraction="logprob", **PRICED)
        budget = 0.12 * count
        arguments = [sys.executable, __file__, str(ws.root), json.dumps(spec.to_dict()), str(budget)]
        for attempt in range(kills + 20):
            worker = subprocess.Popen(arguments, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)})
            if attempt < kills:
                before = len(server.requests)
                while worker.poll() is None and len(server.requests) == before:
                    time.sleep(0.01)
                time.sleep(rng.uniform(0.05, 0.6))
                worker.send_signal(signal.SIGKILL)
            worker.wait(120)
            if worker.returncode == 0 and not any(row["status"] == "error" for row in rows_of(ws)):
                break
        assert worker.returncode == 0
        statuses = check_rows(ws, pairs, spec, server)
        bill = (server.billed[0] * 10 + server.billed[1] * 30) / 1e6
        ledger = {line["id"]: line["usd"] for line in read_jsonl(ws.comparison("c0ffee") / "spend.jsonl")}
        assert bill <= sum(ledger.values()) <= budget
        assert len(Journal(ws.comparison("c0ffee")).rows) == 2 * count
    return statuses


def test_storm_with_kills(ws: Workspace, tiny_judge: TinyJudge) -> None:
    statuses = storm(ws, tiny_judge, count=60, kills=2, seed=1)
    assert statuses["ok"] > 90 and statuses["refused"] >= 10 and sum(statuses.values()) == 120


@pytest.mark.slow
def test_storm_of_a_thousand_judgments(ws: Workspace, tiny_judge: TinyJudge) -> None:
    statuses = storm(ws, tiny_judge, count=500, kills=3, seed=2)
    assert statuses["ok"] > 900 and sum(statuses.values()) == 1000


def test_comparison_records_judge_but_no_key(ws: Workspace, tiny_judge: TinyJudge) -> None:
    with JudgeServer(tiny_judge) as server:
        run(ws, make_pairs(1), spec_for(server))
    comparison = load_comparison(ws, "c0ffee")
    assert comparison.created and comparison.judge == "tiny"


def main() -> None:
    """The worker that storms kill: judge the pairs of a file."""
    root, spec, budget = sys.argv[1:4]
    ws = Workspace(Path(root))
    pairs = [Pair(**pair) for pair in json.loads((ws.root / "pairs.json").read_text())]
    judge_pairs(
        ws,
        make_comparison(),
        pairs,
        JudgeSpec.from_dict(json.loads(spec)),
        JobContext(None),
        budget_usd=float(budget),
        retry=FAST,
    )


if __name__ == "__main__":
    main()
