"""Servers that are almost OpenAI's: each known quirk ends in a recorded fallback or in one clear sentence.

The bodies are what vLLM, llama.cpp, Ollama, Azure and reasoning models send, as their users report them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limit.core import Json, LimitError, read_jsonl
from limit.jobs.context import JobContext
from limit.judge.backends.protocol import Transient
from limit.judge.backends.replies import ErrorReply, read_reply
from limit.judge.backends.servers import Abilities, client_options, is_filtered, is_too_long
from limit.judge.quality import report
from limit.judge.runner import Retry
from limit.judge.verdicts import verdict_from_line
from limit.judge.worker import judge_pairs
from limit.settings import Workspace
from limit.specs.judge import JudgeSpec
from limit.ui.preferences_trust import seat_words
from tests.judge.conftest import make_comparison, make_pairs
from tests.judge.server import Behaviour, JudgeServer
from tests.judge.test_runner import check_rows, rows_of

Quirk = Callable[[Json], tuple[int, Any] | None]
FAST = Retry(attempts=3, base_s=0.01, cap_s=0.02)


def refuse(name: str, message: str, status: int = 400, **more: Any) -> Quirk:
    """Refuses requests that carry a parameter, in the words of a server."""
    return lambda request: (status, {"error": {"message": message, **more}}) if name in request else None


def run(ws: Workspace, server: JudgeServer, pairs: int = 3, **settings: Any) -> tuple[Json, str]:
    """Judge over a folder that records notes; returns the result and the notes."""
    job = ws.root / "job"
    job.mkdir(exist_ok=True)
    spec = JudgeSpec(model="tiny", base_url=server.url).replace(max_tokens=64, **settings)
    result = judge_pairs(ws, make_comparison(), make_pairs(pairs), spec, JobContext(job), retry=FAST)
    check_rows(ws, make_pairs(pairs), spec, server)
    return result, " ".join(str(event.get("text")) for event in read_jsonl(job / "events.jsonl"))


def many_logprobs(request: Json) -> tuple[int, Any] | None:
    if request.get("top_logprobs", 0) <= 5:
        return None
    return 400, {"object": "error", "message": "Requested sample logprobs of 20, which is greater than max allowed: 5"}


def test_vllm_that_gives_five_log_probabilities_is_asked_for_five(ws: Workspace, tiny_judge: Any) -> None:
    with JudgeServer(tiny_judge, Behaviour(quirk=many_logprobs)) as server:
        _, notes = run(ws, server)
    assert {row["extraction"] for row in rows_of(ws)} == {"logprob"} and "asking for 5" in notes


@pytest.mark.parametrize(
    ("quirk", "way", "note"),
    [
        # o1, o3: logprobs are refused as forbidden, not as a bad request
        (refuse("logprobs", "You are not allowed to request logprobs from this model", 403), "json", "logprobs"),
        (refuse("logprobs", "Logprobs is not enabled for models/gemini-2.5-pro"), "json", "logprobs"),
        # a reasoning model takes only its default temperature and calls max_tokens by another name
        (
            refuse(
                "temperature",
                "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is "
                "supported.",
                param="temperature",
                code="unsupported_value",
            ),
            "logprob",
            "refuses temperature",
        ),
        (
            refuse(
                "max_tokens",
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
                "instead.",
                param="max_tokens",
                code="unsupported_parameter",
            ),
            "logprob",
            "refuses max_tokens",
        ),
        # Mistral's API: a field it does not know
        (
            lambda request: (
                (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs"}]})
                if "seed" in request
                else None
            ),
            "logprob",
            "refuses seed",
        ),
    ],
)
def test_what_a_model_refuses_is_given_up_and_noted(
    ws: Workspace, tiny_judge: Any, quirk: Quirk, way: str, note: str
) -> None:
    with JudgeServer(tiny_judge, Behaviour(quirk=quirk)) as server:
        result, notes = run(ws, server)
    assert {row["extraction"] for row in rows_of(ws)} == {way} and note in notes and result["invalid"] == 0


def test_old_llama_cpp_without_schemas_or_logprobs_is_read_from_json_in_words(ws: Workspace, tiny_judge: Any) -> None:
    quirk = refuse(
        "response_format",
        'response_format type must be one of "text" or "json_object", but got: json_schema',
        500 - 100,
        type="invalid_request_error",
        code=400,
    )
    with JudgeServer(tiny_judge, Behaviour(logprobs=False, quirk=quirk)) as server:
        _, notes = run(ws, server)
    assert {row["extraction"] for row in rows_of(ws)} == {"json"}
    assert "gives no usable logprob" in notes and "refuses response_format" in notes


def test_ollama_ignores_what_it_does_not_know_and_is_read_from_a_last_line(ws: Workspace, tiny_judge: Any) -> None:
    with JudgeServer(tiny_judge, Behaviour(logprobs=False, json_schema=False)) as server:
        _, notes = run(ws, server)
    assert {row["extraction"] for row in rows_of(ws)} == {"regex"} and "read from a last line" in notes


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "This model's maximum context length is 2048 tokens. However, you requested 9000 tokens"}),
        (400, {"message": "The decoder prompt (length 9004) is longer than the maximum model length of 2048."}),
        (
            400,
            {
                "code": 400,
                "message": "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
                "type": "exceed_context_size_error",
            },
        ),
        (500, {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}),
        (200, {"code": 400, "message": "the request exceeds the available context size.", "type": "x"}),
    ],
)
def test_a_question_too_long_for_the_server_is_invalid_and_the_others_go_on(
    ws: Workspace, tiny_judge: Any, status: int, error: Json
) -> None:
    long = make_pairs(3)[1].text_1

    def quirk(request: Json) -> tuple[int, Any] | None:
        return (status, {"error": error}) if long in request["messages"][1]["content"] else None

    with JudgeServer(tiny_judge, Behaviour(quirk=quirk)) as server:
        result, _ = run(ws, server, extraction="json")
        assert len(server.requests) == 6, "a question that does not fit is not asked twice"
    assert result["invalid"] == 1 and result["wins"] + result["losses"] + result["ties"] == 2
    assert sum("too long for the judge" in str(row["error_text"]) for row in rows_of(ws)) == 2


AZURE_FILTER = {
    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "status": 400,
    "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}},
}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": AZURE_FILTER}),
        (200, {"choices": [], "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": True}}}]}),
        (200, {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}),
        (200, {"choices": [{"message": {"content": None, "refusal": "I cannot help with that."}}]}),
    ],
)
def test_azures_filter_is_a_refusal_in_all_its_shapes(ws: Workspace, tiny_judge: Any, status: int, body: Json) -> None:
    bad = make_pairs(3)[2].text_2

    def quirk(request: Json) -> tuple[int, Any] | None:
        return (status, body) if bad in request["messages"][1]["content"] else None

    with JudgeServer(tiny_judge, Behaviour(quirk=quirk)) as server:
        result, _ = run(ws, server, extraction="json")
    assert result["refused"] == 2 and result["wins"] + result["losses"] + result["ties"] == 2


def test_azures_old_address_carries_version_and_key_in_their_places(
    ws: Workspace, tiny_judge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "azure-secret")
    with JudgeServer(tiny_judge) as server:
        address = f"{server.url.removesuffix('/v1')}/openai/deployments/d/chat/completions?api-version=2024-10-21"
        spec = JudgeSpec(model="tiny", base_url=address, key_env="TEST_KEY", extraction="json")
        judge_pairs(ws, make_comparison(), make_pairs(1), spec, JobContext(None), retry=FAST)
        assert server.paths == {"/openai/deployments/d/chat/completions?api-version=2024-10-21"}
        assert server.azure_keys == {"azure-secret"}
    assert not any(b"azure-secret" in path.read_bytes() for path in ws.root.rglob("*") if path.is_file())


def test_azures_key_header_goes_to_azure_alone() -> None:
    assert client_options("https://r.openai.azure.com/openai/v1/", "k")["default_headers"] == {"api-key": "k"}
    assert client_options("https://example.com/v1", "k")["default_headers"] is None
    assert client_options(None, "k") == {"base_url": None}


def test_empty_choices_are_invalid_and_never_a_verdict(ws: Workspace, tiny_judge: Any) -> None:
    with JudgeServer(tiny_judge, Behaviour(quirk=lambda _: (200, {"choices": [], "usage": None}))) as server:
        result, _ = run(ws, server, pairs=2, extraction="json")
    assert result["invalid"] == 2 and {row["error_text"] for row in rows_of(ws)} == {"the reply holds no choice"}


def test_reasoning_that_used_up_the_reply_says_what_to_raise(ws: Workspace, tiny_judge: Any) -> None:
    cut = {"choices": [{"message": {"content": "", "reasoning_content": "Let me see"}, "finish_reason": "length"}]}
    with JudgeServer(tiny_judge, Behaviour(quirk=lambda _: (200, cut))) as server:
        run(ws, server, pairs=1, extraction="json")
    assert {row["error_text"] for row in rows_of(ws)} == {"no text; raise max_tokens"}


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error"}}, "has no model"),
        (404, {"error": "model 'x' not found"}, "has no model"),
        (401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key"}}, "key in"),
        (
            400,
            {"error": {"message": "temperature is always wrong", "param": "temperature"}},
            "refuses the request",
        ),
        (403, {"error": {"message": "logprobs are always forbidden"}}, "may not use this model"),
        (405, {"detail": "Method Not Allowed"}, "refuses the request"),
    ],
)
def test_what_no_server_will_answer_ends_in_one_sentence(ws: Workspace, status: int, body: Json, words: str) -> None:
    with JudgeServer(None, Behaviour(quirk=lambda _: (status, body))) as server:
        with pytest.raises(LimitError, match=words) as caught:
            run(ws, server)
        assert len(server.requests) < 30, "a server that always complains is not asked for ever"
    assert "\n" not in str(caught.value) and rows_of(ws) == []


def test_log_probabilities_that_were_asked_for_and_are_refused_end_the_run(ws: Workspace) -> None:
    quirk = refuse("logprobs", "This model does not support logprobs")
    with JudgeServer(None, Behaviour(quirk=quirk)) as server, pytest.raises(LimitError, match="choose extraction=auto"):
        run(ws, server, extraction="logprob")


def test_a_server_that_is_gone_ends_the_run_early_and_a_resume_finishes_it(ws: Workspace, tiny_judge: Any) -> None:
    answered = 0

    def stops_midway(request: Json) -> tuple[int, Any] | None:
        nonlocal answered
        answered += 1
        return (
            (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
            if (answered > 20)
            else None
        )

    spec_of: dict[str, Any] = {"extraction": "json", "concurrency": 2}
    with JudgeServer(tiny_judge, Behaviour(quirk=stops_midway)) as server:
        with pytest.raises(LimitError, match=r"no reply to 10 questions in a row.*Loading model.*resume the job"):
            run(ws, server, pairs=60, **spec_of)
        assert len(server.requests) < 80, "the rest is not asked of a server that is gone"
        assert sum(row["status"] == "ok" for row in rows_of(ws)) == 20
        server.behaviour = Behaviour()
        result, _ = run(ws, server, pairs=60, **spec_of)
    assert result["errors"] == 0 and result["judgments"] == 120


def test_a_refused_connection_costs_nothing(ws: Workspace) -> None:
    with JudgeServer(None) as server:
        address = server.url
    spec = JudgeSpec(model="tiny", base_url=address, usd_per_million_prompt=1e3, usd_per_million_completion=1e3)
    result = judge_pairs(ws, make_comparison(), make_pairs(2), spec, JobContext(None), 1e3, retry=FAST)
    assert result["errors"] == 4 and result["spent_usd"] == 0
    assert all("connection failed" in row["error_text"] for row in rows_of(ws))


def test_thinking_before_the_verdict_is_no_verdict() -> None:
    assert verdict_from_line("<think>Verdict: A?</think>Better.\nVerdict: B") == ("second", "Better.")
    assert verdict_from_line("Verdict: A, no\n</think>\n\nVerdict: B") == ("second", None)
    assert verdict_from_line("<think>Verdict: B") is None


def test_errors_with_status_200_and_wrong_shapes_are_told_apart() -> None:
    with pytest.raises(ErrorReply) as caught:
        read_reply('{"error": {"message": "slot busy", "code": 503}}', "json")
    assert caught.value.status == 503
    for body in ("[]", "7", '{"choices": null}', '{"choices": [7]}', '{"choices": {"a": 1}}', "{", "[" * 100_000):
        with pytest.raises(Transient):
            read_reply(body, "json")


def test_a_complaint_about_nothing_that_was_sent_changes_nothing() -> None:
    notes: list[str] = []
    abilities = Abilities("m", notes.append)
    assert not abilities.adapt("temperature is wrong", {"seed": 1}) and notes == []
    assert abilities.adapt("Temperature is wrong", {"temperature": 0.0})
    assert abilities.adapt("temperature is wrong", {"temperature": 0.0}), "a request of before the change may try again"
    assert not abilities.adapt("temperature is wrong", abilities.fit({"temperature": 0.0})) and len(notes) == 1


def test_words_for_too_long_and_filtered() -> None:
    assert is_too_long("context_length_exceeded", "") and is_too_long("", "Requested tokens exceed context window of 8")
    assert not is_too_long("", "temperature too high") and is_filtered("content_filter", "")


def test_notes_and_sentences_hold_no_key(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-very-secret")
    echo = {"error": {"message": "Incorrect API key provided: sk-very-secret"}}
    with JudgeServer(None, Behaviour(quirk=lambda _: (401, echo))) as server, pytest.raises(LimitError) as caught:
        run(ws, server, key_env="TEST_KEY")
    assert "sk-very-secret" not in str(caught.value) and "[key]" in str(caught.value)


def test_a_judge_that_always_says_the_first_seat_decides_nothing(ws: Workspace) -> None:
    reply = {"choices": [{"message": {"content": '{"reason": "first", "verdict": "A"}'}, "finish_reason": "stop"}]}
    with JudgeServer(None, Behaviour(quirk=lambda _: (200, reply))) as server:
        spec = JudgeSpec(model="tiny", base_url=server.url, extraction="json")
        result = judge_pairs(ws, make_comparison(), make_pairs(20), spec, JobContext(None), retry=FAST)
    facts = report(make_comparison(), rows_of(ws))
    lean = facts["leanings"]
    assert (result["wins"], result["losses"], result["ties"]) == (0, 0, 20) and facts["preference_pct"] is None
    assert lean["first_seat_pct"] == 100 and lean["consistency_pct"] == 0 and facts["score_pct"] == 50
    assert facts["sign_test"]["verdict"] == "cannot tell" and "goes by the seat" in str(seat_words(lean))
