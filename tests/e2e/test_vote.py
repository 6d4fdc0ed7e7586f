"""Judging in a real browser: verdicts imported, a judge run offline, and people who vote blind by keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from limit.core import read_jsonl
from limit.judge.judgments import list_comparisons, read_judgments
from limit.responses.prompt_sets import load_prompts, save_prompt_set
from limit.responses.response_sets import response_path, save_responses
from limit.runs import ensure_run
from limit.settings import Workspace
from limit.specs import RunSpec
from limit.tiny.world import build_world
from tests.e2e.conftest import App
from tests.e2e.visitor import NARROW, WIDE, open_page, wait_until_still, walk_to

PEOPLE = 12
PATIENCE_MS = 120_000
PLACE = re.compile(r"(\d+) of (\d+) done")


@pytest.fixture(scope="module")
def answered(app: App) -> list[str]:
    """Two runs that answered the same prompts about the small world: one with a right fact, one without."""
    people = build_world().people[:PEOPLE]
    save_prompt_set(app.ws, "people", [f"Tell me about {person.name}." for person in people])
    runs = [ensure_run(app.ws, RunSpec(model="tiny", seed=seed), name=f"model {seed}") for seed in (1, 2)]
    for number, run_id in enumerate(runs):
        rows = [
            {
                "prompt_id": prompt.prompt_id,
                "position": prompt.position,
                "prompt": prompt.text,
                "text": f"{person.name} is known for this: {' '.join(person.facts.values()) if number else 'nothing'}.",
            }
            for prompt, person in zip(load_prompts(app.ws, "people"), people, strict=True)
        ]
        path = response_path(app.ws, run_id, "people", "set1")
        save_responses(path, rows, {"set_id": "set1", "run_id": run_id, "prompt_set": "people", "created": "2026"})
    return runs


@pytest.fixture(scope="module")
def opened(app: App, context: Any, answered: list[str]) -> Iterator[tuple[Any, list[str]]]:
    """One person's page of own comparisons, and what was complained of."""
    page, complaints = open_page(context, f"{app.url}/preferences?view=Your+comparisons", WIDE, "light")
    page.set_default_timeout(PATIENCE_MS)
    yield page, complaints
    page.close()


def annotations(folder: Path, count: int = 24) -> Path:
    """A file of verdicts in which the candidate wins two of three."""
    rows = [
        {
            "instruction": f"Question {n} <script>document.title='taken over'</script>",
            "output_1": f"short {n}",
            "output_2": f"a longer answer, number {n}",
            "annotator": "gpt-4",
            "dataset": "koala" if n % 2 else "vicuna",
            "preference": 1 + (n % 3 > 0),
        }
        for n in range(count)
    ]
    path = folder / "ref_vs_mine_seed1.json"
    path.write_text(json.dumps(rows))
    return path


def main_text(page: Any) -> str:
    return str(page.locator("[data-testid=stMain]").inner_text())


def test_verdicts_are_imported_by_the_form(app: App, opened: tuple[Any, list[str]], tmp_path: Path) -> None:
    page, complaints = opened
    assert complaints == []
    page.get_by_text("Import verdicts (AlpacaEval annotations.json)").click()
    broken = tmp_path / "broken.json"
    broken.write_text('[{"instruction": "x", "output_1": "a", "output_2": "b", "preference": "2"}]')
    form = page.locator("[data-testid=stExpander]").filter(has_text="Import verdicts")
    form.locator("input[type=file]").set_input_files([str(broken)])
    import_button = form.get_by_role("button", name="Import", exact=True)
    import_button.click()
    page.get_by_text("broken.json row 1 has the preference '2'").wait_for(timeout=PATIENCE_MS)
    form.get_by_role("button", name=re.compile("remove|delete", re.I)).first.click()
    wait_until_still(page)
    form.locator("input[type=file]").set_input_files([str(annotations(tmp_path))])
    wait_until_still(page)
    import_button.click()
    page.get_by_text("24 verdicts imported").wait_for(timeout=PATIENCE_MS)
    (imported,) = [c for c in list_comparisons(app.ws) if c.kind == "imported"]
    page.get_by_text("16 won, 8 lost").first.wait_for(timeout=PATIENCE_MS)
    assert page.title() != "taken over" and "mine vs ref" in main_text(page)
    assert len(read_judgments(app.ws, imported.comparison_id)) == 24


def test_a_judge_is_run_without_key_or_network(app: App, opened: tuple[Any, list[str]]) -> None:
    page, _ = opened
    page.get_by_text("Run a judge", exact=True).click()
    form = page.locator("[data-testid=stExpander]").filter(has=page.get_by_role("button", name="Judge", exact=True))
    form.get_by_text("24 questions").wait_for(timeout=PATIENCE_MS)
    assert "free (runs on this machine)" in form.inner_text()
    press(page, form.get_by_role("button", name="Judge", exact=True), app.ws.jobs)
    (judged,) = [c for c in wait_for_judged(app.ws, page) if c.kind == "judged"]
    page.get_by_text(re.compile("Job judge-.* is finished")).wait_for(timeout=PATIENCE_MS)
    page.goto(f"{app.url}/preferences?view=Your+comparisons&comparison={judged.comparison_id}")
    page.get_by_text("This judge scores the candidate's answers higher.").wait_for(timeout=PATIENCE_MS)
    text = main_text(page)
    assert "12 won, 0 lost, 0 tied" in text and "has not been checked" in text and "Pair 1 of 12" in text
    assert len(read_judgments(app.ws, judged.comparison_id)) == 2 * PEOPLE


def press(page: Any, button: Any, made: Path, seconds: int = 60) -> None:
    """Press a button as a person does: once more when after a while nothing has come of it."""
    for _ in range(3):
        button.click()
        for _ in range(seconds * 2):
            if made.is_dir() and any(path.is_dir() for path in made.iterdir()):
                return
            page.wait_for_timeout(500)
    raise AssertionError(f"pressed three times, and there is still nothing in {made}")


def wait_for_judged(ws: Workspace, page: Any, seconds: int = 120) -> list[Any]:
    """Wait until the background job has judged every pair in both orders."""
    for _ in range(seconds * 2):
        judged = [c for c in list_comparisons(ws) if c.kind == "judged"]
        if judged and len(read_judgments(ws, judged[0].comparison_id)) == 2 * PEOPLE:
            return judged
        page.wait_for_timeout(500)
    raise AssertionError("the judge did not finish")


def begin(page: Any, voter: str) -> None:
    """Fill in the Vote page's form as a person would, up to the first pair."""
    form = page.locator("[data-testid=stForm]")
    form.get_by_role("textbox", name="Your name").fill(voter)
    form.locator("[data-testid=stSelectbox] input").first.click()
    page.get_by_role("option").filter(has_text="people").first.click()
    form.locator("[data-testid=stButtonGroup] button").filter(has_text=re.compile("^10$")).click()
    form.get_by_role("button", name="Start").click()
    page.get_by_text("0 of 10 done").wait_for(timeout=PATIENCE_MS)
    wait_until_still(page)  # the buttons that keys press come after the text


def outcome_of(page: Any) -> Any:
    """The heading of the outcome; a button's words are much the same."""
    return page.get_by_role("heading", name="What it came to")


def vote(page: Any, key: str) -> None:
    """Press a key and wait for the next pair or the outcome."""
    found = PLACE.search(main_text(page))
    assert found is not None
    done, total = int(found[1]) + 1, int(found[2])
    page.keyboard.press(key)
    after = page.get_by_text(f"{done} of {total} done") if done < total else outcome_of(page)
    after.first.wait_for(timeout=PATIENCE_MS)
    wait_until_still(page)


def cast(app: App, voter: str) -> list[dict[str, Any]]:
    rows = read_jsonl(app.ws.votes / "people.jsonl")
    return [row for row in rows if row.get("voter") == voter and row["status"] in ("ok", "skipped")]


def better_key(page: Any) -> str:
    """The key of the answer with facts in it; the other says that nothing is known."""
    answers = page.locator(".limit-text")
    assert answers.count() == 3
    return "2" if "nothing" in answers.nth(1).inner_text() else "1"


def test_votes_by_keys_are_blind_kept_and_resumed(app: App, context: Any, opened: tuple[Any, list[str]]) -> None:
    page, complaints = opened
    complaints.clear()
    walk_to(page, "Vote")
    assert complaints == []
    begin(page, "Ada")
    text = main_text(page)
    assert "model 1" not in text and "model 2" not in text, "names are hidden"
    for key in ("1", "2", "0", "s"):
        vote(page, key)
    rows = cast(app, "Ada")
    shown = [str(row["first_response"]) for row in rows]
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "skipped"]
    assert rows[0]["verdict"] == shown[0] and rows[1]["verdict"] == str(3 - int(shown[1]))
    assert rows[2]["verdict"] == "tie" and rows[3]["verdict"] is None
    address = page.url
    page, _ = open_page(context, address, NARROW, "dark")
    page.set_default_timeout(PATIENCE_MS)
    page.get_by_text("4 of 10 done").wait_for(timeout=PATIENCE_MS)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= NARROW["width"]
    for _ in range(6):
        vote(page, better_key(page))
    text = main_text(page)
    assert "You preferred model 2 to model 1" in text and "You agree with the judge" in text
    assert len(cast(app, "Ada")) == 10
    page.reload()
    outcome_of(page).wait_for(timeout=PATIENCE_MS)
    page.keyboard.press("1")
    page.wait_for_timeout(500)
    assert len(cast(app, "Ada")) == 10, "nobody votes after the names were shown"


def test_a_second_voter_meets_the_same_pairs_and_agreement_is_told(app: App, context: Any, answered: list[str]) -> None:
    page, complaints = open_page(context, f"{app.url}/vote", NARROW, "dark")
    assert complaints == []
    page.set_default_timeout(PATIENCE_MS)
    begin(page, "Bo")
    for _ in range(10):
        vote(page, better_key(page))
    text = main_text(page)
    assert "All 2 voters preferred model 2 to model 1" in text
    assert re.search(r"You agree with the judge on 100.0\s*%", text) and "You agree with the other voters on" in text
    assert [row["prompt_id"] for row in cast(app, "Ada")] == [row["prompt_id"] for row in cast(app, "Bo")]
    (votes,) = [c for c in list_comparisons(app.ws) if c.kind == "votes"]
    assert {row["voter"] for row in read_judgments(app.ws, votes.comparison_id)} == {"Ada", "Bo"}
