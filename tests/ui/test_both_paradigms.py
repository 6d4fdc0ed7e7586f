"""Overview, Compare and Present under AppTest: with nothing, with a study, and with hostile names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from limit import access
from limit.claims import ledger
from limit.claims.suggest import suggestions
from limit.core import write_json
from limit.settings import Workspace
from limit.store import Store
from limit.store.queries_models import own_rows, paper_rows
from limit.ui.overview import PAPER_CHOICE, study_names
from limit.ui.preferences import order_words
from tests.hostile import TEXTS
from tests.pages import open_page
from tests.store.study import MIXES, note_protocol, put_study, run_id, write_eval, write_job, write_mix, write_run

VIEWS = ("both paradigms", "limit curve", "is it real?", "drill down")


def words(app: Any) -> str:
    blocks = [*app.markdown, *app.caption, *app.error, *app.info, *app.subheader, *app.get("html")]
    return " ".join(str(getattr(block, "value", None) or getattr(block.proto, "body", "")) for block in blocks)


def check(app: Any) -> str:
    assert [error.value for error in app.exception] == []
    return words(app)


@pytest.fixture
def study(ws: Workspace) -> Workspace:
    put_study(ws, shipped=True, seeds=1)
    return ws


@pytest.fixture
def claims(study: Workspace) -> Workspace:
    with Store.open(study) as store:
        for claim in suggestions(store, [*paper_rows(store, ["7B"])])[:3]:
            ledger.add_claim(study, claim["sentence"], claim["test"], claim["evidence"])
    return study


@pytest.fixture
def hostile(claims: Workspace) -> Workspace:
    for number, path in enumerate(sorted(claims.mixes.glob("*/label.json"))):
        write_json(path, {"name": TEXTS[number], "note": "", "created": f"2026-01-0{number + 1}"})
    path = claims.claims / "claims.json"
    kept = json.loads(path.read_text())
    kept["claims"][0]["sentence"] = TEXTS[0] + TEXTS[1] + TEXTS[2]
    write_json(path, kept)
    write_job(claims, "job-0000000001", "failed", None, TEXTS[1])
    return claims


def test_first_start_shows_the_paper_and_first_steps(ws: Workspace) -> None:
    shown = check(open_page("overview"))
    assert "65.1" in shown and "not published" in shown
    assert "First steps" in shown
    assert "computed with the tiny model; run it yourself" in shown.replace("\\", "")


def test_one_click_starts_the_embedded_study(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("limit.studies.run_study", lambda ws, name: asked.append((ws.root, name)))
    check(open_page("overview").button(key="run_embedded").click().run())
    assert asked == [(ws.root, "mini")]


def test_a_started_embedded_study_is_not_offered_again(ws: Workspace) -> None:
    write_json(ws.studies / "mini" / "study.json", {"study": "mini", "runs": []})
    app = open_page("overview")
    check(app)
    assert "run_embedded" not in [button.key for button in app.button]


def test_only_operators_are_offered_the_embedded_study(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limit.ui.access.current_role", lambda: "analyst")
    try:
        app = open_page("overview")
    finally:
        access.set_role_provider(None)
    assert "run_embedded" not in [button.key for button in app.button]


def test_chips_of_published_scores_do_not_say_that_they_hold(ws: Workspace) -> None:
    badges = [block.value for block in open_page("overview").markdown if "-badge[" in block.value]
    assert {badge.split("]")[0] for badge in badges if "Gauntlet" in badge} == {":gray-badge[as published"}
    shown = check(open_page("compare", view="is it real?"))
    assert "as published" in shown and "blue-badge" not in shown.split("Preference")[0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"kind": "imported", "answer_order": None}], "order shown to the judge not recorded"),
        ([{"kind": "judged", "answer_order": '"both"'}], "each pair judged in both orders, a win needs both"),
        ([{"kind": "judged", "answer_order": "both"}, {"kind": "imported", "answer_order": None}],
         "each pair judged in both orders, a win needs both (1 of 2); order shown to the judge not recorded (1 of 2)"),
    ],
)  # fmt: skip
def test_the_note_says_the_order_that_is_known(rows: list[dict[str, Any]], words: str) -> None:
    assert order_words(rows) == words


def test_the_latest_own_study_comes_first(study: Workspace) -> None:
    app = open_page("overview")
    shown = check(app)
    assert app.selectbox(key="study").value == "tiny · your runs"
    assert "lima 300 + instruct 1000" in shown
    assert "First steps" not in shown


def test_a_failed_job_stands_above_with_its_reason(study: Workspace) -> None:
    write_job(study, "job-0000000001", "failed", run_id("aaaaaaaaaaa1", 1), "out of memory; take a smaller batch")
    app = open_page("overview")
    assert any("out of memory" in error.value for error in app.error)


def test_files_that_cannot_be_read_are_listed(study: Workspace) -> None:
    (study.run(run_id(None, 17)) / "run.json").write_text("{ not json")
    assert "run.json" in " ".join(text.value for text in open_page("overview").text)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_compare_renders(study: Workspace, view: str) -> None:
    shown = check(open_page("compare", view=view))
    expected = {"is it real?": "Gauntlet average", "drill down": "items of World knowledge"}
    assert expected.get(view, "mini, paper shots").replace(" ", "") in shown.replace("\\", "").replace(" ", "")


@pytest.mark.parametrize("page", ["overview", "compare"])
def test_models_that_were_not_evaluated_alike_are_said_so(study: Workspace, page: str) -> None:
    assert not [box for box in open_page(page).warning if "evaluated alike" in box.value]
    note_protocol(study, run_id("aaaaaaaaaaa2", 1), shots="fixed")
    app = open_page(page)
    assert "mini, fixed shots" in check(app)
    assert [box.value for box in app.warning if "evaluated alike" in box.value]


@pytest.mark.parametrize("view", ["is it real?", "drill down"])
def test_tasks_that_were_changed_in_between_are_named(study: Workspace, view: str) -> None:
    for mix, sha256 in zip(MIXES, ("old", "new", "new"), strict=True):
        note_protocol(study, run_id(mix, 1), {"addition": sha256})
    app = open_page("compare", view=view, a="lima 300 (tiny)", b="instruct 1000 (tiny)")
    check(app)
    assert [box.value for box in app.warning if "addition" in box.value]


@pytest.mark.parametrize("view", VIEWS)
def test_compare_shows_the_paper_before_any_run(ws: Workspace, view: str) -> None:
    check(open_page("compare", view=view))


def test_claims_are_listed_with_state_and_numbers(claims: Workspace) -> None:
    shown = check(open_page("present"))
    assert shown.count("the data support it") == 3  # the judge's; scores of the paper are only as published
    assert "n = 300 prompts" in shown.replace("\\", "")


def test_a_suggestion_becomes_a_claim(study: Workspace) -> None:
    app = open_page("present")
    add = next(button for button in app.button if str(button.key).startswith("add-"))
    check(add.click().run())
    assert len(ledger.read_claims(study)) == 1


def test_slides_are_read_only_and_stay_within_the_claims(claims: Workspace) -> None:
    app = open_page("present", present="1", slide="999")
    assert "3 / 3" in check(app)
    assert {button.label for button in app.button} == {"Back", "Next", "Leave"}
    app = open_page("present", present="1", slide="x")
    assert "1 / 3" in check(app)


def test_a_sign_that_turns_a_line_is_shown_as_a_code_on_a_slide(claims: Workspace) -> None:
    first = ledger.read_claims(claims)[0]["claim_id"]
    ledger.edit_claim(claims, first, "This \u202eis so")
    bodies = " ".join(block.proto.body for block in open_page("present", present="1").get("html"))
    assert r"This \u202eis so" in bodies and "\u202e" not in bodies


def test_slides_without_claims_name_the_way_back(ws: Workspace) -> None:
    assert "no claims to present" in check(open_page("present", present="1"))


@pytest.mark.parametrize("query", [{}, {"present": "1"}])
def test_hostile_claims_stay_text(hostile: Workspace, query: dict[str, str]) -> None:
    shown = check(open_page("present", **query))
    assert "<script>alert" not in shown and "<img src=x" not in shown


@pytest.mark.parametrize("view", VIEWS)
def test_hostile_mix_names_stay_text(hostile: Workspace, view: str) -> None:
    shown = check(open_page("compare", view=view))
    assert "<script>alert" not in shown and "<img src=x" not in shown


def test_hostile_reasons_and_names_on_the_overview(hostile: Workspace) -> None:
    app = open_page("overview")
    assert "<script>alert" not in check(app)
    marked = " ".join(str(block.value) for block in [*app.markdown, *app.caption, *app.error])
    assert "[link](javascript" not in marked


def test_a_damaged_ledger_is_an_error_box(ws: Workspace) -> None:
    ws.claims.mkdir()
    (ws.claims / "claims.json").write_text("{")
    app = open_page("present")
    check(app)
    assert any("claims" in error.value for error in app.error)


def test_models_are_there_for_the_tests(study: Workspace) -> None:
    with Store.open(study) as store:
        assert len([row for row in own_rows(store) if row["origin"] == "workspace"]) == 4


def test_a_study_without_results_can_be_looked_at_and_is_nobodys_first_sight(ws: Workspace) -> None:
    write_mix(ws, "aaaaaaaaaaa1", MIXES["aaaaaaaaaaa1"], "2026-01-01T00:00:00.000Z")
    run = write_run(ws, "aaaaaaaaaaa1", 1)
    write_json(ws.studies / "mine" / "study.json", {"study": "mine", "title": "Mine", "runs": [{"run_id": run}]})
    name = "Mine · study mine"
    with Store.open(ws) as store:
        names = list(study_names(store))
        assert (names[0], names[-1]) == (PAPER_CHOICE, name)
    for page in ("overview", "compare"):
        for view in ({}, {"view": "limit curve"}, {"view": "is it real?"}, {"view": "drill down"}):
            app = open_page(page, study=name, **view)
            assert [error.value for error in app.exception] == []
            assert app.selectbox(key="study").value == name
    write_eval(ws, run, "aaaaaaaaaaa1")
    with Store.open(ws) as store:
        store.refresh()
        assert next(iter(study_names(store))) == name


def test_the_next_clicks_stand_above_the_picture(study: Workspace) -> None:
    app = open_page("overview")
    links = [link.proto.label for link in app.get("page_link")]
    assert links.index("Is it real?") < 6
    drawn = [block.type for block in walk(app.main)]
    assert drawn.index("plotly_chart") > [n for n, kind in enumerate(drawn) if kind == "page_link"][4]


def walk(block: Any) -> Iterator[Any]:
    """A block's elements in the order of the page."""
    for child in block.children.values():
        if hasattr(child, "children"):
            yield from walk(child)
        else:
            yield child


@pytest.mark.parametrize("page", ["overview", "compare"])
def test_a_link_to_a_study_that_is_gone_says_so(study: Workspace, page: str) -> None:
    app = open_page(page, study="study removed")
    assert [box.value for box in app.info if "There is no study study removed here" in box.value]
    app = open_page(page, study="tiny · your runs")
    assert not [box.value for box in app.info if "There is no study" in box.value]
