"""Judges other than a chat server, the names by which judges are asked for, and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limit.cli import main
from limit.core import LimitError
from limit.jobs.context import JobContext
from limit.judge.backends import Opinion, Question, Transient
from limit.judge.backends.local import LocalBackend
from limit.judge.backends.panel import PanelBackend, panel_members
from limit.judge.backends.servers import retry_after
from limit.judge.budget import Budget
from limit.judge.estimate import estimate, estimate_words
from limit.judge.judgments import read_judgments
from limit.judge.prices import Price, check_budget, price_of
from limit.judge.requests import parse_judge
from limit.judge.runner import Pair, Retry
from limit.judge.wording import missing_lines
from limit.judge.worker import judge_pairs
from limit.responses.prompt_sets import save_prompt_set
from limit.responses.response_sets import response_path, save_responses
from limit.runs import ensure_run
from limit.settings import Workspace
from limit.specs import RunSpec
from limit.specs.judge import JudgeSpec
from tests.judge.conftest import make_comparison, make_pairs
from tests.judge.server import Behaviour, JudgeServer, TinyJudge

ASKED = Question("Q?", "one", "two", "p", "0123456789abcdef")


class Fixed:
    """A judge that says what it was told to, or raises it."""

    concurrency = 2

    def __init__(self, *says: Opinion | Transient) -> None:
        self.says, self.asked = list(says), 0

    def judge(self, question: Question) -> Opinion:
        said = self.says[min(self.asked, len(self.says) - 1)]
        self.asked += 1
        if isinstance(said, Transient):
            raise said
        return said


def said(choice: str | None, status: str = "ok") -> Opinion:
    return Opinion(status, choice)  # type: ignore[arg-type]


def test_a_local_model_judges_by_label_probabilities_and_repeats_itself(ws: Workspace, tiny_llama: Path) -> None:
    backend = LocalBackend(ws, JudgeSpec(backend="local", model=str(tiny_llama)))
    first, again = backend.judge(ASKED), backend.judge(ASKED)
    assert first == again and first.status == "ok" and first.extraction == "logprob"
    assert first.p_first is not None and first.p_tie is not None and 0 < first.p_first + first.p_tie < 1
    long = Question("Q?", "word " * 4000, "two", "p", "0123456789abcdef")
    assert backend.judge(long).status == "invalid"
    with pytest.raises(LimitError, match="no model folder"):
        LocalBackend(ws, JudgeSpec(backend="local", model="./nowhere"))


def test_a_panel_goes_by_majority_and_keeps_who_said_what() -> None:
    panel = PanelBackend(
        [(name, Fixed(said(choice))) for name, choice in zip("xyz", ("first", "first", "tie"), strict=True)]
    )
    opinion = panel.judge(ASKED)
    assert opinion.choice == "first" and json.loads(opinion.raw_text or "") == {"x": "first", "y": "first", "z": "tie"}
    split = PanelBackend(
        [("x", Fixed(said("first"))), ("y", Fixed(said("second"))), ("z", Fixed(said(None, "invalid")))]
    )
    assert split.judge(ASKED).choice == "tie"
    none = PanelBackend([("x", Fixed(said(None, "refused"))), ("y", Fixed(said(None, "invalid")))])
    assert none.judge(ASKED).status == "refused"


def test_a_panel_does_not_ask_a_member_twice_when_another_has_to_wait() -> None:
    patient, flaky = Fixed(said("first")), Fixed(Transient("busy"), said("second"))
    panel = PanelBackend([("x", patient), ("y", flaky)])
    with pytest.raises(Transient):
        panel.judge(ASKED)
    assert panel.judge(ASKED).choice == "tie" and (patient.asked, flaky.asked) == (1, 2)


def test_single_grades_decide_by_the_higher_one(ws: Workspace, tiny_judge: TinyJudge) -> None:
    pairs = [*make_pairs(6), Pair("same", "Q?", "alike", "alike")]
    with JudgeServer(tiny_judge) as server:
        spec = JudgeSpec(model="tiny", base_url=server.url, protocol="single", max_tokens=40)
        judge_pairs(ws, make_comparison(), pairs, spec, JobContext(None))
        assert len(server.requests) == 12
    for row in read_judgments(ws, "c0ffee")[1:]:
        grades = json.loads(row["raw_text"])
        expected = "tie" if grades["first"] == grades["second"] else "1" if grades["first"] > grades["second"] else "2"
        assert row["verdict"] == expected and row["extraction"] == "grades"
    with pytest.raises(LimitError, match="cannot grade single answers"):
        judge_pairs(ws, make_comparison("ab"), pairs, JudgeSpec(backend="rubric", protocol="single"), JobContext(None))


@pytest.mark.parametrize(
    ("text", "backend", "model"),
    [
        ("rubric", "rubric", ""),
        ("rubric:length", "rubric", "length"),
        ("openai:gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("local:/models/x:1", "local", "/models/x:1"),
        ("panel:rubric+openai:gpt-4o", "panel", "rubric+openai:gpt-4o"),
        ("backend=openai, model=m, base_url=http://127.0.0.1:1/v1?a=b", "openai", "m"),
    ],
)
def test_judges_by_name_and_settings(text: str, backend: str, model: str) -> None:
    spec = parse_judge(text, ["repeats=2"])
    assert (spec.backend, spec.model, spec.repeats) == (backend, model, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpt-4", "there is no judge 'gpt-4'; name it by"),
        ("openai:", "needs a model"),
        ("model=x,order=sideways", "order"),
        ("model=x,colour=red", "no field 'colour'"),
        ("nothing.json", "nothing.json does not exist"),
        ("model=x,base_url=http://user:key@host/v1", "holds a user name or key"),
        ("model=x,base_url=ftp://host", "is no address"),
    ],
)
def test_wrong_judges_are_explained(text: str, words: str) -> None:
    with pytest.raises(LimitError) as caught:
        parse_judge(text)
    assert words in str(caught.value)


def test_a_judge_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "j.json").write_text(json.dumps({"backend": "rubric", "order": "fixed"}))
    assert parse_judge(str(tmp_path / "j.json")).order == "fixed"


def test_identity_holds_what_changes_a_verdict_and_nothing_else() -> None:
    judge = JudgeSpec(model="m")
    assert judge.judge_id() == judge.replace(key_env="OTHER", concurrency=64, repeats=3).judge_id()
    assert judge.judge_id() != judge.replace(temperature=1.0).judge_id() != judge.judge_id("new prompt")
    assert "key" not in json.dumps(judge.identity())


def test_panels_pass_settings_on_and_hold_no_panels() -> None:
    members = panel_members(JudgeSpec(backend="panel", model="rubric+openai:m", base_url="http://127.0.0.1/v1", seed=3))
    assert [(m.backend, m.base_url, m.seed) for m in members] == [
        ("rubric", None, 3),
        ("openai", "http://127.0.0.1/v1", 3),
    ]
    with pytest.raises(LimitError, match="cannot hold a panel"):
        panel_members(JudgeSpec(backend="panel", model="rubric+panel:rubric"))


def cost(ws: Workspace, **settings: Any) -> tuple[float, float] | None:
    price = price_of(ws, JudgeSpec(**settings))
    return None if price is None else (price.prompt, price.completion)


def test_prices_are_given_listed_free_or_unknown(ws: Workspace) -> None:
    assert cost(ws, model="x", usd_per_million_prompt=1.0, usd_per_million_completion=2.0) == (1, 2)
    assert cost(ws, model="gpt-4o-mini") == (0.15, 0.6)
    assert cost(ws, backend="rubric") == (0, 0) == cost(ws, model="gpt-4o", base_url="http://10.1.2.3/v1")
    assert cost(ws, model="x") is None is cost(ws, model="gpt-4o", base_url="https://api.example.com")
    assert cost(ws, backend="panel", model="rubric+openai:gpt-4o") == (2.5, 10)


def test_a_workspaces_own_prices_win_and_broken_ones_are_named(ws: Workspace) -> None:
    own = ws.root / "prices.json"
    own.write_text('{"models": {"gpt-4o-mini": [1, 2.5], "local-x": [3, 4]}}')
    assert cost(ws, model="gpt-4o-mini") == (1, 2.5) and cost(ws, model="gpt-4o") == (2.5, 10)
    assert cost(ws, model="local-x", base_url="http://127.0.0.1:1/v1") == (3, 4), (
        "a listed price beats a private address"
    )
    for broken, words in (
        ('{"models": {"m": [1]}}', r"lists \[1\] for 'm'"),
        ("{}", 'has no "models"'),
        ("x", "as JSON"),
    ):
        own.write_text(broken)
        with pytest.raises(LimitError, match=words):
            cost(ws, model="m")


def test_an_unknown_price_is_said_and_neither_blocks_nor_fakes_an_estimate(ws: Workspace) -> None:
    facts = estimate(ws, JudgeSpec(model="new"), [*make_pairs(5), Pair("p", "Q?", "same", "same")])
    assert facts["questions"] == 10 and facts["pairs"] == 6 and facts["usd"] is None and facts["tokens"] > 1000
    assert estimate_words(facts).endswith("unknown price")
    listed = estimate(ws, JudgeSpec(model="gpt-4o"), make_pairs(500))
    assert listed["usd"] > 0 and "from memory" in listed["price"]
    assert "free" in estimate(ws, JudgeSpec(backend="rubric"), make_pairs(1))["price"]
    for usd, tokens, words in ((1.0, None, "a budget in USD needs a price"), (None, None, "--budget-tokens")):
        with pytest.raises(LimitError, match=words):
            check_budget(ws, JudgeSpec(model="new"), usd, tokens)
    check_budget(ws, JudgeSpec(model="new"), None, 10_000)


@pytest.mark.parametrize(
    "value", ["sk-abc123", "0123456789abcdef0123456789abcdef", "a b", "", "sk_live0123456789abcdefghij"]
)
def test_a_key_given_as_the_name_of_its_variable_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(LimitError) as caught:
        JudgeSpec(model="m", key_env=value)
    assert "not the key itself" in str(caught.value) and (not value.strip() or value not in str(caught.value))


@pytest.mark.parametrize("query", ["api-key=SECRET", "v=1&access_token=SECRET", "key=SECRET", "sig=SECRET"])
def test_a_key_in_an_address_is_refused_and_not_repeated(query: str) -> None:
    with pytest.raises(LimitError) as caught:
        JudgeSpec(model="m", base_url=f"https://host/v1?{query}")
    assert "holds a key" in str(caught.value) and "SECRET" not in str(caught.value)
    JudgeSpec(model="m", base_url="https://host/openai/deployments/d?api-version=2024-10-21")


def test_an_unsettled_reservation_counts_as_spent_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "spend.jsonl"
    before = Budget(path, Price(10, 0), usd=1.0)
    paid, lost = before.reserve("a", 20_000, 0), before.reserve("b", 50_000, 0)
    assert paid and lost and before.settle(paid, 1_000, 0) == pytest.approx(0.01)
    with path.open("a") as file:
        file.write('{"id": "torn')
    after = Budget(path, Price(10, 0), usd=1.0)
    assert after.spent_usd == pytest.approx(0.51)
    assert after.reserve("c", 50_000, 0) is None and after.reserve("d", 40_000, 0)


def test_a_token_cap_works_without_a_price(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="is unknown; cap it with --budget-tokens"):
        Budget(tmp_path / "s.jsonl", None, usd=1.0)
    budget = Budget(tmp_path / "s.jsonl", None, tokens=100)
    ticket = budget.reserve("a", 60, 30)
    assert ticket and budget.settle(ticket, None, None) == 0 and budget.reserve("b", 20, 0) is None


def test_retry_after_in_seconds_as_a_date_and_as_nonsense() -> None:
    assert retry_after("1.5") == 1.5 and retry_after("-3") == 0 and retry_after(None) is None
    assert retry_after("Wed, 21 Oct 2015 07:28:10 GMT", now=1445412480.0) == 10
    assert retry_after("soon") is None and retry_after("nan") is None


def answered_runs(ws: Workspace, model: Path) -> list[str]:
    texts = ["Tell me about the river.", "Who bakes bread?"]
    save_prompt_set(ws, "open", texts)
    from limit.responses.prompt_sets import load_prompts

    runs = [ensure_run(ws, RunSpec(model=str(model), seed=seed)) for seed in (1, 2)]
    for run_id in runs:
        rows = [
            {"prompt_id": p.prompt_id, "position": p.position, "prompt": p.text, "text": f"{p.text} {run_id}"}
            for p in load_prompts(ws, "open")
        ]
        path = response_path(ws, run_id, "open", "set1")
        save_responses(path, rows, {"set_id": "set1", "run_id": run_id, "prompt_set": "open", "created": "x"})
    return runs


def test_command_line_from_two_runs_to_a_summary(
    ws: Workspace, tiny_llama: Path, tiny_judge: TinyJudge, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = answered_runs(ws, tiny_llama)
    with JudgeServer(tiny_judge, Behaviour()) as server:
        words = ["judge", "run", "--baseline", one, "--candidate", two, "--prompts", "open"]
        words += ["--judge", f"model=tiny,base_url={server.url}", "--set", "max_tokens=20", "--wait", "--json"]
        assert main(words) == 0
        value = json.loads(capsys.readouterr().out)
    assert value["state"] == "finished" and value["n_prompts"] == 2 and value["judgments"] == 4
    assert main(["judge", "summary", "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert line["comparison"] == value["comparison"] and line["wins"] + line["losses"] + line["ties"] == 2
    assert main(["judge", "agree", line["comparison"], line["comparison"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agree_pct"] == 100


def test_an_estimate_and_a_whole_report_on_the_command_line(
    ws: Workspace, tiny_llama: Path, tiny_judge: TinyJudge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = answered_runs(ws, tiny_llama)
    words = ["judge", "run", "--baseline", one, "--candidate", two, "--prompts", "open", "--judge"]
    assert main([*words, "openai:new-model", "--estimate"]) == 0
    assert "4 questions" in (said := capsys.readouterr().out) and "unknown price" in said
    assert main([*words, "openai:gpt-4o", "--estimate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["usd"] > 0 and not any(ws.comparisons.glob("*/judgments.jsonl"))
    with JudgeServer(tiny_judge) as server:
        assert main([*words, f"model=tiny,base_url={server.url},max_tokens=20", "--wait", "--json"]) == 0
    id_ = json.loads(capsys.readouterr().out)["comparison"]
    assert main(["judge", "show", id_, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["n_prompts"] == 2 and shown["is_checked"] is False and "score_pct" in shown
    assert main(["judge", "show", id_]) == 0 and "this judge is unchecked" in capsys.readouterr().out
    assert main(["judge", "export", id_, "--out", str(tmp_path / "a.json")]) == 0
    assert "2 annotations in" in capsys.readouterr().out
    rows = json.loads((tmp_path / "a.json").read_text())
    assert {row["generator_2"] for row in rows} and all(row["preference"] in (1, 1.5, 2) for row in rows)


def test_what_a_result_lacks_is_said_in_words() -> None:
    lines = missing_lines({"skipped_budget": 30, "total": 40, "unpaired": 2})
    assert "30 of 40 judgments" in lines[0] and "higher --budget" in lines[0] and "2 prompts" in lines[1]
    assert missing_lines({"skipped_budget": 0}) == []


def test_command_line_says_what_is_missing(ws: Workspace, tiny_llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = answered_runs(ws, tiny_llama)
    start = ["judge", "run", "--prompts", "open", "--judge"]
    for words, expected in (
        ([*start, "openai:gpt-4o", "--baseline", one, "--candidate", two], "costs money"),
        ([*start, "rubric", "--baseline", one, "--candidate", one], "compared with itself"),
        ([*start, "rubric", "--baseline", one, "--candidate", "0" * 12], "no run '000000000000'"),
        (["judge", "agree", "x", "y"], "no comparison 'x'"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1


def test_a_judge_is_checked_on_verdicts_that_exist(
    ws: Workspace, tiny_judge: TinyJudge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {
            "instruction": p.prompt,
            "output_1": p.text_1,
            "output_2": p.text_2,
            "annotator": "gpt",
            "preference": 1 + n % 2,
        }
        for n, p in enumerate(make_pairs(40))
    ]
    path = tmp_path / "a_vs_b_seed1.json"
    path.write_text(json.dumps(rows))
    assert main(["judge", "import", str(path), "--json"]) == 0
    (source,) = json.loads(capsys.readouterr().out)["comparisons"]
    with JudgeServer(tiny_judge) as server:
        words = ["judge", "check", source, "--limit", "32", "--judge", f"model=tiny,base_url={server.url},repeats=2"]
        assert main([*words, "--wait", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["agreement"]["n"] == 32 and value["judgments"] == 128
    assert value["leanings"]["n_repeated"] == 64 and value["leanings"]["n_pairs"] == 64
    assert 0 <= value["leanings"]["flip_pct"] < 30  # the fence code differs between repeats, nothing else
    assert main(["judge", "check", "nothing", "--judge", "rubric"]) == 2
    assert "no comparison 'nothing'" in capsys.readouterr().err


def test_questions_without_a_reply_fail_the_job_and_a_resume_asks_them_again(
    ws: Workspace, tiny_llama: Path, tiny_judge: TinyJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limit.judge import runner

    one, two = answered_runs(ws, tiny_llama)
    monkeypatch.setattr(runner, "Retry", lambda: Retry(attempts=2, base_s=0.01))
    words = ["judge", "run", "--baseline", one, "--candidate", two, "--prompts", "open", "--job", str(ws.root / "job")]
    (ws.root / "job").mkdir()
    with JudgeServer(tiny_judge, Behaviour(status=503, error={"message": "down"})) as server:
        words += ["--judge", f"model=tiny,base_url={server.url},extraction=json"]
        assert main(words) == 2
        server.behaviour = Behaviour()
        assert main(words) == 0
    results = [json.loads(line) for line in (ws.root / "job" / "events.jsonl").read_text().splitlines()]
    assert [event["value"]["errors"] for event in results if event["kind"] == "result"] == [4, 0]
