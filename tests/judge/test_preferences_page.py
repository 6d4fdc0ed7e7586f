"""The Preferences page: the paper's bars, one's own comparisons, the pair reader, hostile texts."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest

from limit.judge.annotations import import_files
from limit.judge.judgments import Comparison, Journal, judgment_row, save_comparison
from limit.settings import Workspace
from limit.ui.preferences import ordered
from limit.ui.preferences_detail import fingerprint
from limit.ui.preferences_pairs import FILTERS, group_pairs, is_kind, verdict_words
from limit.ui.preferences_trust import seat_words
from tests.pages import open_page


def words_of(app: Any) -> str:
    assert [error.value for error in app.exception] == []
    shown = [str(block.value).replace("\\", "") for block in [*app.markdown, *app.caption, *app.subheader]]
    return " ".join([*shown, *(html.unescape(block.proto.body) for block in app.get("html"))])


@pytest.fixture
def imported(ws: Workspace, tmp_path: Path) -> str:
    rows = [
        {
            "instruction": f"Question {n} <script>alert(1)</script> $x^2$?",
            "output_1": f"**Short** {n}",
            "output_2": f"A longer answer {n} " * 3,
            "annotator": "gpt",
            "preference": None if n == 4 else 1 + (n % 3 > 0),
        }
        for n in range(45)
    ]
    path = tmp_path / "7b_lima_vs_7b_instructv1_seed1.json"
    path.write_text(json.dumps(rows))
    return import_files(ws, [path])["comparisons"][0]


def test_paper_first_with_its_four_figures(ws: Workspace) -> None:
    words = words_of(open_page("preferences"))
    assert "7B Instruct subset + LIMA is preferred to LIMA: 65.1" in words
    assert "30B Instruct subset + LIMA cannot be told from LIMA: 46.7" in words
    assert "printed as 45.3" in words and "printed as 39.3" in words and "the longer answer won" in words


def test_other_prompt_set_by_link(ws: Workspace) -> None:
    words = words_of(open_page("preferences", prompts="Instruct-v3's test prompts"))
    assert "30B Instruct subset loses to LIMA: 14.9" in words and "printed" not in words.split("rule:")[0]


def test_own_comparison_with_answer_figures_and_pairs(imported: str) -> None:
    app = open_page("preferences", comparison=imported, pair="2")
    words = words_of(app)
    assert "The candidate's answers are preferred." in words
    assert "29 won, 15 lost, 0 tied, 1 without a verdict" in words
    assert "Pair 2 of 45" in words and "Question 1 <script>" in words
    assert [metric.label for metric in app.metric][:3] == ["Raw rate", "Ties as half", "At equal length"]
    assert app.metric[2].value == "n/a"  # fewer than 100 decided verdicts
    tables = " ".join(str(table.value) for table in app.dataframe)
    assert "median length" in tables and "with Markdown" in tables and "a longer answer" in tables


def test_forms_say_what_a_judge_would_take_before_it_is_started(imported: str) -> None:
    words = words_of(open_page("preferences", comparison=imported))
    assert "88 questions, about" in words and "free (runs on this machine)" in words  # 44 judged pairs, both orders


def test_a_link_to_a_comparison_that_is_not_there_says_so(imported: str) -> None:
    app = open_page("preferences", comparison="0123456789ab")
    assert "no comparison 0123456789ab" in " ".join(str(box.value) for box in app.info)
    words_of(app)


def test_topics_of_prompts_narrow_everything_below(ws: Workspace, tmp_path: Path) -> None:
    rows = [
        {
            "instruction": f"Question {n}",
            "output_1": f"x{n}",
            "output_2": f"y{n}",
            "annotator": "gpt",
            "dataset": "koala" if n < 10 else "vicuna",
            "preference": 2 if n < 10 else 1,
        }
        for n in range(30)
    ]
    path = tmp_path / "a_vs_b_seed1.json"
    path.write_text(json.dumps(rows))
    id_ = import_files(ws, [path])["comparisons"][0]
    every = open_page("preferences", comparison=id_)
    assert "30 prompts, 10 won, 20 lost" in words_of(every)
    assert "koala" in " ".join(str(table.value) for table in every.dataframe)
    words = words_of(open_page("preferences", comparison=id_, topic="koala"))
    assert "b vs a on koala" in words and "10 prompts, 10 won, 0 lost" in words and "Pair 1 of 10" in words
    assert "30 prompts" in words_of(open_page("preferences", comparison=id_, topic="no such topic"))


def test_a_judge_that_goes_by_the_seat_and_was_never_checked_is_named_first(ws: Workspace) -> None:
    comparison = Comparison("5ea7", "judged", "base", "cand", "open", "seat judge", order="both")
    rows = [
        judgment_row(
            judgement_key=f"{n}{order}",
            prompt_id=f"p{n}",
            prompt=f"Q{n}",
            text_1=f"one {n}",
            text_2=f"two {n}",
            order=order,
            first_response=first,
            status="ok",
            verdict=str(first),
            score=float(first == 2),
            replicate=0,
        )
        for n in range(20)
        for order, first in (("ab", 1), ("ba", 2))
    ]
    Journal(save_comparison(ws, comparison)).add(rows)
    app = open_page("preferences", comparison="5ea7")
    words, warned = words_of(app), " ".join(str(box.value) for box in app.warning)
    assert "This judge cannot tell the two apart." in words and "0 won, 0 lost, 20 tied" in words
    assert "goes by the seat: 100.0" in warned and "has not been checked" in warned
    assert "Not checked on verdicts of people or GPT-4: rubric, seat judge" in words


def test_seat_words_only_where_the_interval_leaves_out_chance() -> None:
    lean = {"first_seat_pct": 70.0, "first_seat_low": 58.0, "first_seat_high": 82.0, "n_decided": 60}
    assert "shown first" in str(seat_words({**lean, "consistency_pct": 30.0}))
    assert "shown second" in str(
        seat_words(
            {**lean, "first_seat_pct": 20.0, "first_seat_low": 9.0, "first_seat_high": 33.0, "consistency_pct": None}
        )
    )
    assert seat_words({**lean, "first_seat_low": 49.0}) is None
    assert seat_words({**lean, "first_seat_pct": None}) is None


def test_a_row_asked_again_changes_what_is_shown() -> None:
    rows = [{"judgement_key": "k", "status": "error", "verdict": None}]
    assert fingerprint(rows) != fingerprint([{"judgement_key": "k", "status": "ok", "verdict": "2"}])


def test_ranking_of_several_models(imported: str, ws: Workspace, tmp_path: Path) -> None:
    other = tmp_path / "7b_lima_vs_7b_other_seed1.json"
    other.write_text((tmp_path / "7b_lima_vs_7b_instructv1_seed1.json").read_text())
    import_files(ws, [other])
    app = open_page("preferences", view="Your comparisons", rank="true")
    assert "Bradley-Terry over prompts" in words_of(app)


def test_filters_and_places_beyond_the_end_do_no_harm(imported: str) -> None:
    for kind in FILTERS:
        words_of(open_page("preferences", view="Your comparisons", pairs=kind, pair="999999"))


def test_readers_stand_before_judges_and_what_ships_stands_last() -> None:
    kinds = [("shipped", "imported"), ("own", "judged"), ("own", "votes"), ("own", "imported")]
    rows = [{"origin": origin, "kind": kind} for origin, kind in kinds]
    assert [row["kind"] for row in ordered(rows)] == ["votes", "imported", "judged", "imported"]


def test_filters_sort_pairs_by_what_happened() -> None:
    def pair(*verdicts: str | None, one: str = "ab", two: str = "abcd") -> list[dict[str, Any]]:
        return [{"verdict": v, "text_1": one, "text_2": two, "order": o} for v, o in zip(verdicts, "ab", strict=False)]

    assert is_kind(pair("1", "2"), "orders disagree") and not is_kind(pair("1", "1"), "orders disagree")
    assert is_kind(pair("1", "1"), "longer answer lost") and not is_kind(pair("2", "2"), "longer answer lost")
    assert is_kind(pair(None, "1"), "without a verdict") and is_kind(pair("2"), "candidate much longer")
    rows = [{**row, "prompt_id": "p", "seed": 1} for row in pair("1", "2")]
    assert len(group_pairs(rows)) == 1 and len(group_pairs([{**row, "order": None} for row in rows])) == 2


def test_verdicts_in_words() -> None:
    row = {"verdict": "2", "first_response": 1, "seed": 3, "score": 0.81, "reason": "it is right"}
    assert verdict_words(row) == "seed 3, baseline shown first: candidate won, candidate's share 0.81. it is right"
    assert verdict_words({"status": "refused"}) == "order not recorded: no verdict (refused)"


def test_a_tab_of_a_comparison_is_opened_by_its_link(imported: str) -> None:
    app = open_page("preferences", comparison=imported, part="Length and style")
    assert app.session_state["part"] == "Length and style" and words_of(app)
    assert open_page("preferences", comparison=imported, part="none").session_state["part"] == "Read the pairs"
