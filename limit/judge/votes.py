"""Blind votes by people: the same pairs for every voter, a random side for each, and what they came to.

A vote is a judgment whose judge is a person. Votes lie in `votes/<prompt set>.jsonl`, appended as they are cast; the
comparison that shows them is brought up to date from there after each vote. A voter who has seen the outcome votes no
more on that ballot. Where there is a login, nobody votes under another name than the login's.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from limit.access import require, user
from limit.core import Json, LimitError, append_jsonl, content_id, read_jsonl, utc_now
from limit.judge.agreement import agreement, fleiss_kappa, pair_key, turned_pairs
from limit.judge.judgments import (
    Comparison,
    Journal,
    judgement_key,
    judgment_row,
    locked,
    save_comparison,
    score_of,
    unique_rows,
)
from limit.judge.pairing import pair_runs
from limit.judge.runner import Pair, is_identical, pair_rank, pairs_of
from limit.judge.summary import summarise
from limit.runs import load_run
from limit.settings import Workspace

Choice = Literal["left", "right", "tie", "skip"]
JUDGE = "people"
MAX_NAME = 60


@dataclass(frozen=True)
class Ballot:
    """Pairs to vote on, in the order that every voter meets them; `comparison` is the one that shows the votes."""

    comparison: Comparison
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Turn:
    """The next pair of one voter; `first` is the response on the left."""

    pair: Pair
    first: int
    number: int
    total: int


def voter_name(text: str) -> str:
    """A voter's name on one line. Raises LimitError when there is none or it is no name."""
    name = " ".join(text.split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise LimitError(f"voter name {text[:80]!r} cannot be used; take 1 to {MAX_NAME} printable characters")
    return name


def signed_in() -> str | None:
    """The name under which whoever is signed in votes; a long one is replaced by its hash. None without a login."""
    name = user()
    if name is None:
        return None
    try:
        return voter_name(name)
    except LimitError:
        return content_id(name)


def _own_name(text: str) -> str:
    """A voter's name, which where there is a login has to be the login's. Raises LimitError."""
    name, own = voter_name(text), signed_in()
    if own is not None and name != own:
        raise LimitError(f"you are signed in as {own!r} and may not vote as {name!r}; vote under your own name")
    return name


def make_ballot(source: Comparison, rows: Sequence[Json], limit: int | None = None) -> Ballot:
    """The distinct pairs behind another comparison's rows, in an order by hash; identical answers are left out.

    Raises LimitError when its texts are not at hand.
    """
    return ballot_of_pairs(source, pairs_of(rows), limit)


def ballot_of_pairs(source: Comparison, pairs: Sequence[Pair], limit: int | None = None) -> Ballot:
    """A ballot of given pairs, in the name of the comparison they come from. Raises LimitError when none is left."""
    ranked = sorted((pair for pair in pairs if not is_identical(pair)), key=pair_rank)
    if not ranked:
        raise LimitError(f"there is nothing to vote on in {source.label()}: its answers are not at hand or all alike")
    names = {"kind": "votes", "baseline": source.baseline, "candidate": source.candidate}
    comparison = Comparison(
        comparison_id=content_id({**names, "prompt_set": source.prompt_set}),
        kind="votes",
        baseline=source.baseline,
        candidate=source.candidate,
        baseline_run=source.baseline_run,
        candidate_run=source.candidate_run,
        prompt_set=source.prompt_set,
        judge=JUDGE,
        order="seeded",
        seeds=tuple(sorted({pair.seed for pair in pairs})),
        origin={"of": source.comparison_id},
    )
    return Ballot(comparison, tuple(ranked[:limit]))


def ballot_of_runs(
    ws: Workspace, baseline_run: str, candidate_run: str, prompts: str, limit: int | None = None
) -> Ballot:
    """A ballot of two runs' newest answers to the same prompts, judged by nobody yet. Raises LimitError."""
    pairs, _ = pair_runs(ws, baseline_run, candidate_run, prompts)
    source = Comparison(
        comparison_id="",
        kind="votes",
        baseline=str(load_run(ws, baseline_run)["name"]),
        candidate=str(load_run(ws, candidate_run)["name"]),
        prompt_set=prompts,
        judge=JUDGE,
        baseline_run=baseline_run,
        candidate_run=candidate_run,
    )
    return ballot_of_pairs(source, pairs, limit)


def votes_path(ws: Workspace, prompt_set: str) -> Path:
    """Where the votes on a prompt set lie; a name that is no file name is replaced by its hash."""
    usable = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", prompt_set) and ".." not in prompt_set
    return ws.votes / f"{prompt_set if usable else content_id(prompt_set)}.jsonl"


def read_votes(ws: Workspace, ballot: Ballot) -> list[Json]:
    """All rows of a ballot: votes, skips and reveals, each key once."""
    comparison = ballot.comparison
    rows = unique_rows(read_jsonl(votes_path(ws, comparison.prompt_set)))
    return [row for row in rows if row.get("comparison_id") == comparison.comparison_id]


def _rows_of(ws: Workspace, ballot: Ballot, voter: str) -> list[Json]:
    return [row for row in read_votes(ws, ballot) if row.get("voter") == voter]


def _is_revealed(mine: Sequence[Json]) -> bool:
    return any(row.get("status") == "revealed" for row in mine)


def next_turn(ws: Workspace, ballot: Ballot, voter: str) -> Turn | None:
    """The first pair that this voter has neither voted on nor skipped; None when done or when the names were shown."""
    mine = _rows_of(ws, ballot, voter)
    if _is_revealed(mine):
        return None
    done = {row["judgement_key"] for row in mine}
    left = [pair for pair in ballot.pairs if _key(voter, pair) not in done]
    if not left:
        return None
    total = len(ballot.pairs)
    return Turn(left[0], left_side(voter, left[0]), total - len(left) + 1, total)


def left_side(voter: str, pair: Pair) -> int:
    """Which response this voter sees on the left: a coin that falls the same way each time."""
    return 1 + (hashlib.sha256(f"{voter}|{pair_rank(pair)}".encode(errors="surrogatepass")).digest()[0] & 1)


def _key(voter: str, pair: Pair) -> str:
    shown = (pair.text_1, pair.text_2) if left_side(voter, pair) == 1 else (pair.text_2, pair.text_1)
    return judgement_key(f"human:{voter}", pair.prompt, shown, seed=pair.seed)


def cast(ws: Workspace, ballot: Ballot, voter: str, pair: Pair, choice: Choice, seconds: float | None = None) -> None:
    """Record a vote (or a skip); a second vote on the same pair changes nothing.

    Raises LimitError when the voter may not vote, has seen the outcome, or the workspace cannot be written.
    """
    require("analyst", "vote")
    voter = _own_name(voter)
    first, key = left_side(voter, pair), _key(voter, pair)
    with locked(ws.votes / ".lock", "another vote is being written; press the key again"):
        mine = _rows_of(ws, ballot, voter)
        if _is_revealed(mine):
            raise LimitError("the outcome of this ballot has been shown to you; votes after that would not be blind")
        if any(row["judgement_key"] == key for row in mine):
            return
        verdict = {"left": str(first), "right": str(3 - first), "tie": "tie"}.get(choice)
        row = judgment_row(
            judgement_key=key,
            comparison_id=ballot.comparison.comparison_id,
            seed=pair.seed,
            prompt_id=pair.prompt_id,
            prompt=pair.prompt,
            text_1=pair.text_1,
            text_2=pair.text_2,
            order="ab" if first == 1 else "ba",
            replicate=0,
            first_response=first,
            status="ok" if verdict else "skipped",
            verdict=verdict,
            score=score_of(verdict),
            extraction="human",
            latency_s=seconds,
            voter=voter,
        )
        append_jsonl(votes_path(ws, ballot.comparison.prompt_set), [row])
        _show(ws, ballot)


def _show(ws: Workspace, ballot: Ballot) -> None:
    """Bring the comparison up to date with the votes."""
    folder = ws.comparison(ballot.comparison.comparison_id)
    votes = [row for row in read_votes(ws, ballot) if row.get("verdict") is not None]
    if votes and not (folder / "comparison.json").is_file():
        save_comparison(ws, ballot.comparison)
    if votes:
        Journal(folder).add(votes)


def reveal(ws: Workspace, ballot: Ballot, voter: str) -> None:
    """Note, once, that this voter has seen the names and the outcome. Raises LimitError as `cast` does."""
    require("analyst", "end a ballot")
    voter = _own_name(voter)
    if _is_revealed(_rows_of(ws, ballot, voter)):
        return
    row = judgment_row(
        judgement_key=f"revealed-{content_id([ballot.comparison.comparison_id, voter])}",
        comparison_id=ballot.comparison.comparison_id,
        status="revealed",
        voter=voter,
        created=utc_now(),
    )
    with locked(ws.votes / ".lock", "a vote is being written; try again"):
        if not _is_revealed(_rows_of(ws, ballot, voter)):
            append_jsonl(votes_path(ws, ballot.comparison.prompt_set), [row])


def outcome(ws: Workspace, ballot: Ballot, voter: str, judged: Sequence[Json]) -> Json:
    """What the votes came to: the voter's own summary, everybody's, and agreement with others and with a judge.

    `judged` are the rows of the judge to compare with. {mine, all, voters, with_judge, with_voters, fleiss_kappa}.
    """
    votes = [row for row in read_votes(ws, ballot) if row.get("verdict") is not None]
    mine = [row for row in votes if row["voter"] == voter]
    others = [row for row in votes if row["voter"] != voter]
    turned = turned_pairs(votes)
    ratings: dict[tuple[object, ...], list[str]] = {}
    for row in votes:
        ratings.setdefault(pair_key(row), []).append(row["verdict"])
    return {
        "mine": summarise(ballot.comparison, mine),
        "all": summarise(ballot.comparison, votes),
        "voters": len({row["voter"] for row in votes}),
        "with_judge": agreement(majority(mine), majority(judged), turned),
        "with_voters": agreement(majority(mine), majority(others), turned),
        "fleiss_kappa": fleiss_kappa(list(ratings.values())),
    }


def majority(rows: Sequence[Json]) -> dict[tuple[object, ...], str]:
    """The verdict of most rows on each pair of answers ('a', 'b' or 'tie' in the order of the texts); a draw ties."""
    found = {}
    for key, verdicts in _by_pair(rows).items():
        top, votes = Counter(verdicts).most_common(1)[0]
        found[key] = top if 2 * votes > len(verdicts) else "tie"
    return found


def _by_pair(rows: Sequence[Json]) -> dict[tuple[object, ...], list[str]]:
    pairs: dict[tuple[object, ...], list[str]] = {}
    for row in rows:
        if row.get("verdict") is None or "prompt_id" not in row:
            continue
        key = pair_key(row)
        sides = {"1": "a", "2": "b"} if row.get("text_1") == key[1] else {"1": "b", "2": "a"}
        pairs.setdefault(key, []).append(sides.get(row["verdict"], "tie"))
    return pairs
