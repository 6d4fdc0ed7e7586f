"""Voting: blind, resumable, counted once, and compared with other voters and with the judge."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from limit.access import set_role_provider, set_user_provider
from limit.core import LimitError, append_jsonl, read_jsonl
from limit.judge.annotations import import_files
from limit.judge.judgments import Comparison, list_comparisons, read_judgments
from limit.judge.runner import Pair
from limit.judge.summary import summarise
from limit.judge.votes import (
    Ballot,
    ballot_of_pairs,
    cast,
    left_side,
    make_ballot,
    next_turn,
    outcome,
    reveal,
    signed_in,
    voter_name,
    votes_path,
)
from limit.settings import Workspace
from tests.judge.conftest import make_comparison, make_pairs
from tests.judge.test_preferences_page import words_of
from tests.pages import open_page


@pytest.fixture
def ballot() -> Ballot:
    return ballot_of_pairs(make_comparison(), make_pairs(40))


def vote_all(ws: Workspace, ballot: Ballot, voter: str, taste: Any) -> None:
    while (turn := next_turn(ws, ballot, voter)) is not None:
        better = taste(turn.pair)
        cast(ws, ballot, voter, turn.pair, "left" if better == turn.first else "right")


def test_votes_are_judgments_whichever_side_they_stood_on(ws: Workspace, ballot: Ballot) -> None:
    vote_all(ws, ballot, "Ada", lambda pair: 2)
    comparison = next(c for c in list_comparisons(ws) if c.kind == "votes")
    rows = read_judgments(ws, comparison.comparison_id)
    assert {row["verdict"] for row in rows} == {"2"} and {row["first_response"] for row in rows} == {1, 2}
    assert summarise(comparison, rows)["preference_pct"] == 100.0 and comparison.judge == "people"


def test_everyone_meets_the_same_pairs_in_the_same_order_on_their_own_sides(ws: Workspace, ballot: Ballot) -> None:
    first, second = next_turn(ws, ballot, "Ada"), next_turn(ws, ballot, "Bo")
    assert first and second and first.pair == second.pair and first.total == 40
    sides = {voter: [left_side(voter, pair) for pair in ballot.pairs] for voter in ("Ada", "Bo")}
    assert sides["Ada"] != sides["Bo"] and 8 < sum(side == 1 for side in sides["Ada"]) < 32


def test_a_second_press_changes_nothing_and_the_ballot_resumes(ws: Workspace, ballot: Ballot) -> None:
    turn = next_turn(ws, ballot, "Ada")
    assert turn
    for choice in ("left", "right", "tie", "skip"):
        cast(ws, ballot, "Ada", turn.pair, choice)
    path = votes_path(ws, "test")
    assert [row["verdict"] for row in read_jsonl(path)] == [str(turn.first)]
    later = next_turn(ws, ballot, "Ada")
    assert later and later.number == 2 and later.pair != turn.pair


def test_skips_are_kept_out_of_the_counts(ws: Workspace, ballot: Ballot) -> None:
    turn = next_turn(ws, ballot, "Ada")
    assert turn
    cast(ws, ballot, "Ada", turn.pair, "skip")
    assert list_comparisons(ws) == []
    assert next(iter(read_jsonl(votes_path(ws, "test"))))["status"] == "skipped"


def test_no_vote_after_the_names_were_shown(ws: Workspace, ballot: Ballot) -> None:
    turn = next_turn(ws, ballot, "Ada")
    assert turn
    cast(ws, ballot, "Ada", turn.pair, "tie")
    reveal(ws, ballot, "Ada")
    assert next_turn(ws, ballot, "Ada") is None and next_turn(ws, ballot, "Bo") is not None
    with pytest.raises(LimitError, match="would not be blind"):
        cast(ws, ballot, "Ada", ballot.pairs[5], "left")


def test_a_lost_comparison_is_made_again_from_the_votes(ws: Workspace, ballot: Ballot) -> None:
    for _ in range(2):
        turn = next_turn(ws, ballot, "Ada")
        assert turn
        cast(ws, ballot, "Ada", turn.pair, "left")
        folder = ws.comparison(ballot.comparison.comparison_id)
        rows = read_judgments(ws, folder.name)
        (folder / "judgments.jsonl").unlink()
        (folder / "comparison.json").unlink()
    assert len(rows) == 2


def test_agreement_between_voters_and_with_the_judge(ws: Workspace) -> None:
    pairs = make_pairs(60)
    ballot = ballot_of_pairs(make_comparison(), pairs)
    rng = random.Random(1)
    taste = {pair.prompt_id: rng.choice([1, 2]) for pair in pairs}
    vote_all(ws, ballot, "Ada", lambda pair: taste[pair.prompt_id])
    vote_all(ws, ballot, "Bo", lambda pair: taste[pair.prompt_id] if pair.prompt_id < "c" else 1)
    judged = [{**pair.__dict__, "verdict": str(taste[pair.prompt_id]), "order": None} for pair in pairs]
    facts = outcome(ws, ballot, "Ada", judged)
    assert facts["with_judge"]["agree_pct"] == 100 and facts["with_judge"]["kappa"] == pytest.approx(1)
    assert 60 < facts["with_voters"]["agree_pct"] < 100 and 0 < facts["fleiss_kappa"] < 1
    assert facts["voters"] == 2 and facts["all"]["wins"] + facts["all"]["losses"] == 120


def test_who_may_vote_and_under_which_name(ws: Workspace, ballot: Ballot) -> None:
    assert voter_name("  Ada \n Lovelace ") == "Ada Lovelace"
    for bad in ("", "   ", "x" * 61, "a\x00b", "\u202eada"):
        with pytest.raises(LimitError, match="voter name"):
            voter_name(bad)
    set_role_provider(lambda: "viewer")
    try:
        with pytest.raises(LimitError, match="viewer may not vote"):
            cast(ws, ballot, "Ada", ballot.pairs[0], "left")
    finally:
        set_role_provider(None)


@pytest.fixture
def login() -> Iterator[Callable[[str, str | None], None]]:
    """Act as somebody of this role and, where there is a login, of this name."""

    def act(role: str, name: str | None) -> None:
        set_role_provider(lambda: role)  # type: ignore[arg-type,return-value]
        set_user_provider(lambda: name)

    yield act
    set_role_provider(None)
    set_user_provider(None)


@pytest.fixture
def visitor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Opens the page as somebody of this role and, where there is a login, of this name."""

    def visit(role: str, name: str | None, **query: str) -> Any:
        for place, value in (("role", role), ("user", name)):
            monkeypatch.setattr(f"limit.ui.access.current_{place}", lambda value=value: value)
        set_role_provider(None)
        return open_page("vote", **query)

    yield visit
    set_role_provider(None)
    set_user_provider(None)


def test_the_outcome_is_noted_once_and_not_by_a_viewer(
    ws: Workspace, ballot: Ballot, login: Callable[[str, str | None], None]
) -> None:
    for _ in range(3):
        reveal(ws, ballot, "Ada")
    assert [row["status"] for row in read_jsonl(votes_path(ws, "test"))] == ["revealed"]
    login("viewer", None)
    with pytest.raises(LimitError, match="viewer may not end"):
        reveal(ws, ballot, "Bo")
    assert next_turn(ws, ballot, "Bo") is not None


def test_where_there_is_a_login_nobody_votes_as_somebody_else(
    ws: Workspace, ballot: Ballot, login: Callable[[str, str | None], None]
) -> None:
    cast(ws, ballot, "Ada", ballot.pairs[0], "left")
    login("analyst", "bo@example.org")
    with pytest.raises(LimitError, match="signed in as 'bo@"):
        cast(ws, ballot, "Ada", ballot.pairs[1], "left")
    with pytest.raises(LimitError, match="signed in as 'bo@"):
        reveal(ws, ballot, "Ada")
    cast(ws, ballot, "bo@example.org", ballot.pairs[0], "right")
    assert outcome(ws, ballot, "bo@example.org", [])["voters"] == 2
    login("analyst", f"{'x' * 80}@example.org")
    own = signed_in()
    assert own is not None and voter_name(own) == own
    reveal(ws, ballot, own)


def test_nothing_to_vote_on_is_said() -> None:
    same = [Pair("p", "Q?", "x", "x")]
    with pytest.raises(LimitError, match="nothing to vote on"):
        ballot_of_pairs(make_comparison(), same)
    with pytest.raises(LimitError, match="nothing to vote on"):
        make_ballot(make_comparison(), [{"prompt_id": "p", "verdict": "1"}])


def test_a_prompt_set_name_cannot_lead_out_of_the_folder(ws: Workspace) -> None:
    for name in ("../../etc/passwd", "", "a/b", "lima"):
        assert votes_path(ws, name).parent == ws.votes


def test_torn_votes_are_skipped(ws: Workspace, ballot: Ballot) -> None:
    votes_path(ws, "test").parent.mkdir(parents=True)
    votes_path(ws, "test").write_text('{"judgement_key": "x", "comparison_')
    turn = next_turn(ws, ballot, "Ada")
    assert turn
    cast(ws, ballot, "Ada", turn.pair, "left")
    append_jsonl(votes_path(ws, "test"), [{"no": "key"}])
    later = next_turn(ws, ballot, "Ada")
    assert later and later.number == 2


def import_twelve(ws: Workspace, folder: Path) -> str:
    """A comparison of twelve pairs whose names and texts are Markdown; returns its id."""
    texts = ("**Secret baseline text**", "candidate $text$ <b>")
    rows = [
        {
            "instruction": f"Q{n}?",
            "output_1": texts[0],
            "output_2": f"{texts[1]} {n}",
            "annotator": "g",
            "preference": 2,
        }
        for n in range(12)
    ]
    path = folder / "alpha_vs_beta_seed1.json"
    path.write_text(json.dumps(rows))
    return str(import_files(ws, [path])["comparisons"][0])


@pytest.mark.parametrize(
    ("role", "name", "words"),
    [
        ("viewer", None, "Voting is for analysts"),
        ("viewer", "eve@example.org", "Voting is for analysts"),
        ("analyst", "eve@example.org", "you are signed in as eve@example.org"),
    ],
)
def test_the_page_shows_nobody_the_ballot_of_somebody_else(
    ws: Workspace, tmp_path: Path, visitor: Callable[..., Any], role: str, name: str | None, words: str
) -> None:
    id_ = import_twelve(ws, tmp_path)
    app = visitor(role, name, voter="bob", on=id_, n="10")
    assert words in app.info[0].value.replace("\\", "") and "Secret" not in words_of(app)
    ways = [button.label for button in app.button]
    assert len(ways) + len(app.get("page_link")) == 2, "the pill, and the way back"
    assert not list(ws.root.glob("votes/*.jsonl"))


def test_the_page_asks_no_name_of_whoever_is_signed_in(
    ws: Workspace, tmp_path: Path, visitor: Callable[..., Any]
) -> None:
    id_ = import_twelve(ws, tmp_path)
    form = visitor("analyst", "eve@example.org")
    assert form.text_input[0].value == "eve@example.org" and form.text_input[0].disabled
    app = visitor("analyst", "eve@example.org", voter="eve@example.org", on=id_, n="10")
    app.button(key="vote-tie-1").click().run()
    next(button for button in app.button if button.label.startswith("Finish here")).click().run()
    assert "What it came to" in words_of(app)
    app.run()
    assert [row["status"] for row in read_jsonl(next(ws.root.glob("votes/*.jsonl")))] == ["ok", "revealed"]


@pytest.mark.parametrize("on", ["x/../..", "own/nothing/else"])
def test_a_wrong_link_to_a_ballot_has_a_way_back(ws: Workspace, on: str) -> None:
    app = open_page("vote", voter="a", on=on)
    assert len(app.error) == 1
    next(button for button in app.button if button.label == "Vote on something else").click().run()
    assert not app.error and "on" not in app.query_params


def test_the_page_from_start_to_outcome(ws: Workspace, tmp_path: Path) -> None:
    id_ = import_twelve(ws, tmp_path)
    app = open_page("vote")
    app.text_input[0].set_value("Ada")
    app.button[0].click().run()
    app = open_page("vote", voter="Ada", on=id_, n="10")
    for step in range(10):
        words = words_of(app)
        assert "alpha" not in words and "beta" not in words, "names must stay hidden"
        choice = "left" if step % 2 else "tie"
        app.button(key=f"vote-{choice}-{step + 1}").click().run()
    words = words_of(app)
    assert "What it came to" in words and "alpha" in words and "You agree with the judge on" in words


def test_the_page_without_pairs_and_with_a_wrong_link(ws: Workspace) -> None:
    words_of(open_page("vote"))
    words_of(open_page("vote", voter="\x00", on="../..", n="-1"))


def test_comparison_ids_of_ballots_do_not_depend_on_the_judge() -> None:
    names = [Comparison(f"id{n}", "imported", "a", "b", "lima", f"judge {n}") for n in (1, 2)]
    ids = {ballot_of_pairs(name, make_pairs(3)).comparison.comparison_id for name in names}
    assert len(ids) == 1


def test_the_page_offers_two_runs_that_nobody_has_compared(ws: Workspace) -> None:
    from limit.responses.prompt_sets import load_prompts, save_prompt_set
    from limit.responses.response_sets import response_path, save_responses
    from limit.runs import ensure_run
    from limit.specs import RunSpec

    save_prompt_set(ws, "own", ["Say hi.", "Say bye."])
    runs = [ensure_run(ws, RunSpec(model="tiny", seed=seed), name=f"model {seed}") for seed in (1, 2)]
    for number, run_id in enumerate(runs):
        rows = [
            {"prompt_id": p.prompt_id, "position": p.position, "prompt": p.text, "text": f"{p.text} {number}"}
            for p in load_prompts(ws, "own")
        ]
        path = response_path(ws, run_id, "own", "s")
        save_responses(path, rows, {"set_id": "s", "run_id": run_id, "prompt_set": "own", "created": "x"})
    form = open_page("vote")
    assert "Start with these runs" in [button.label for button in form.button]
    app = open_page("vote", voter="Ada", on=f"own/{runs[0]}/{runs[1]}", n="10")
    words = words_of(app)
    assert "model 1" not in words and "Left" in words
    app.button(key="vote-tie-1").click().run()
    app.button(key="vote-left-2").click().run()
    assert "What it came to" in words_of(app) and "the judge" not in words_of(app)
    wrong = open_page("vote", voter="Ada", on="own/nothing/else")
    assert "nothing" in " ".join(str(box.value) for box in wrong.error)
