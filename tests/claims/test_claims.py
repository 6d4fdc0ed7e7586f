"""Claims: suggested by the statistics, green, amber and red, kept in order, nearest samples."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limit import access
from limit.claims import ledger
from limit.claims.difference import (
    compare_models,
    only_by_correction,
    sentence,
)
from limit.claims.evidence import Evidence, _of_line, before, check_test, evaluate, model_index, moved, state
from limit.claims.nearest import Nearest
from limit.claims.suggest import chip, suggestions
from limit.core import LimitError, append_jsonl, write_json
from limit.settings import Workspace
from limit.store import Store
from limit.store.queries_models import own_rows, paper_rows, study_rows
from tests.claims.conftest import model
from tests.store import study
from tests.store.study import (
    nothing,
    put_study,
    write_comparison,
    write_run,
    write_study,
    write_study_record,
)


def test_suggestions_hold_and_say_what_their_test_says(store: Store) -> None:
    offered = suggestions(store, own_rows(store))
    assert offered
    assert all(claim["evidence"].outcome == "supported" for claim in offered)
    words = " ".join(claim["sentence"] for claim in suggestions(store, paper_rows(store, ["7B"])))
    assert "The judge prefers MPT-7B Instruct subset + LIMA to MPT-7B LIMA." in words
    thirty = " ".join(claim["sentence"] for claim in suggestions(store, paper_rows(store, ["30B"])))
    assert "prefers MPT-30B Instruct subset + LIMA" not in thirty


def test_a_claim_is_green_then_amber_when_new_results_move_it(store: Store, ws: Workspace) -> None:
    claim = next(c for c in suggestions(store, own_rows(store)) if c["test"]["measure"] == "preference")
    ledger.add_claim(ws, claim["sentence"], claim["test"], claim["evidence"])
    kept = ledger.read_claims(ws)[0]
    assert state(evaluate(store, kept["test"]), kept["bound"]) == "green"
    write_run(ws, "aaaaaaaaaaa2", 7)
    write_comparison(ws, "aaaaaaaaaaa2", 7, prompts=90)
    store.refresh()
    now = evaluate(store, kept["test"])
    assert state(now, kept["bound"]) == "amber"
    ledger.confirm_claim(ws, kept["claim_id"], now)
    assert state(now, ledger.read_claims(ws)[0]["bound"]) == "green"


def test_a_claim_of_a_study_is_found_again_and_tells_its_own_comparisons(store: Store, ws: Workspace) -> None:
    write_study_record(ws, "mine", baseline="aaaaaaaaaaa2")
    store.refresh()
    claim = next(c for c in suggestions(store, study_rows(store, "mine")) if "prefers lima 300 to" in c["sentence"])
    assert claim["sentence"] == "The judge prefers lima 300 to instruct 1000."
    again = evaluate(store, claim["test"])
    assert (again.outcome, again.value) == ("supported", claim["evidence"].value)


def test_a_claim_about_a_rate_is_not_carried_over_to_another_baseline(store: Store) -> None:
    a = model(store, "lima 300 + instruct 1000")
    test = {"kind": "model", "a": a["key"], "measure": "preference", "relation": "above", "baseline": "a former one"}
    found = evaluate(store, test)
    assert (found.outcome, found.value) == ("no data", None)
    assert "judged against another baseline" in found.caption


def test_the_correction_for_many_comparisons_supports_no_claim_that_two_are_level() -> None:
    line = {"measure": "average", "estimate": -0.03, "low": -0.06, "high": -0.004, "verdict": "cannot tell", "n": 100,
            "basis": "paired", "unit": "items", "needed_n": 101, "p_value": 0.02}  # fmt: skip
    assert only_by_correction(line) and "among all the comparisons made here" in sentence(line, "a", "b")
    alone = {**line, "p_value": 0.08}  # an interval beside 0 by a hair, and a test that does not agree
    assert not only_by_correction(alone) and "About 1 more item would settle" in sentence(alone, "a", "b")
    level = {**line, "low": -0.06, "high": 0.004, "needed_n": 500, "p_value": 0.4}
    assert not only_by_correction(level) and "About 400 more items" in sentence(level, "a", "b")
    row = {"label": "a", "protocol": None, "categories": {}, "run_ids": []}
    for unsure in (line, alone):
        assert _of_line({**unsure, "sentence": ""}, row, row, "level").outcome == "unclear"
    assert _of_line({**level, "sentence": ""}, row, row, "level").outcome == "supported"


def test_a_claim_is_red_when_the_data_deny_it(store: Store) -> None:
    a, b = model(store, "lima 300"), model(store, "lima 300 + instruct 1000")
    wrong = {"kind": "model", "a": a["key"], "b": b["key"], "measure": "average", "relation": "above"}
    evidence = evaluate(store, wrong)
    assert state(evidence, evidence.numbers()) == "red"


def test_a_claim_says_what_its_number_was_and_that_an_evaluation_is_partial(store: Store, ws: Workspace) -> None:
    rows = {row["label"]: row for row in own_rows(store)}
    a, b = rows["lima 300 + instruct 1000"], rows["lima 300"]
    test = {"kind": "model", "a": a["key"], "b": b["key"], "measure": "average", "relation": "above"}
    now = evaluate(store, test)
    assert before(now, now.numbers()) == "" and "partial" not in now.caption
    assert before(now, {"value": 0.5}) == " · 0.500 when the claim was written"
    for path in (ws.runs / a["run_ids"][0]).glob("gauntlet/*/eval.json"):
        value = json.loads(path.read_text())
        value["categories"][0].update(partial=True, missing=["people_facts"])
        path.write_text(json.dumps(value))
    store.refresh()
    assert "partial evaluation" in evaluate(store, test).caption


def test_a_rate_that_vanished_is_said_in_words(store: Store, ws: Workspace) -> None:
    claim = next(c for c in suggestions(store, own_rows(store)) if c["test"]["measure"] == "preference")
    for folder in list(ws.comparisons.iterdir()):
        shutil.rmtree(folder)
    store.refresh()
    found = evaluate(store, claim["test"])
    assert (found.outcome, found.caption) == ("no data", "nobody has judged it")


@pytest.mark.parametrize(
    "test",
    [
        {"a": "x", "measure": "average", "relation": "above"},
        {"a": "x", "b": "y", "measure": "average", "relation": "beside"},
        {"a": "x", "measure": 3, "relation": "above"},
    ],
)
def test_a_stored_claim_that_cannot_be_tested_is_left_out(ws: Workspace, test: dict[str, object]) -> None:
    good = {"a": "x", "measure": "preference", "relation": "above"}
    claims = [{"claim_id": str(n), "sentence": "It is.", "test": t, "bound": {}} for n, t in enumerate((good, test))]
    write_json(ws.claims / "claims.json", {"claims": claims})
    assert [claim["claim_id"] for claim in ledger.read_claims(ws)] == ["0"]


def test_without_a_judge_models_are_compared_with_the_one_that_was_not_finetuned(ws: Workspace, tmp_path: Path) -> None:
    write_study(ws, seeds=1, items=300)
    for folder in list(ws.comparisons.iterdir()):
        shutil.rmtree(folder)
    with Store.open(ws, shipped=nothing(tmp_path)) as opened:
        words = [claim["sentence"] for claim in suggestions(opened, own_rows(opened))]
    assert "lima 300 + instruct 1000 scores above tiny (base) on the Gauntlet." in words


def test_rates_against_two_baselines_are_not_compared(store: Store) -> None:
    rows = {row["key"]: row for row in paper_rows(store)}
    line = compare_models(store, rows["paper:30B:full"], rows["paper:7B:subset+lima"], only="preference")[0]
    assert line["estimate"] is None and "a baseline of its own" in line["sentence"]


def test_a_published_difference_is_never_said_to_hold(store: Store) -> None:
    offered = suggestions(store, paper_rows(store, ["7B"]))
    scores = [claim["evidence"] for claim in offered if claim["test"]["measure"] == "average"]
    assert scores and {evidence.outcome for evidence in scores} == {"as published"}
    assert {chip(evidence.outcome) for evidence in scores} == {"as published"}
    assert {state(evidence, evidence.numbers()) for evidence in scores} == {"published"}
    assert state(scores[0], {"value": 0.5}) == "amber"
    rates = [claim["evidence"] for claim in offered if claim["test"]["measure"] == "preference"]
    assert {state(evidence, evidence.numbers()) for evidence in rates} == {"green"}


def test_a_claim_about_a_model_that_is_gone_is_grey(store: Store) -> None:
    evidence = evaluate(store, {"a": "nobody", "measure": "preference", "relation": "above"})
    assert state(evidence, {}) == "grey"


def test_moved_looks_at_what_would_be_printed() -> None:
    def at(value: float | None) -> Evidence:
        return Evidence("supported", value, None, None, "", ())

    assert not moved(at(65.06), {"value": 65.1})
    assert moved(at(65.3), {"value": 65.1})
    assert moved(at(0.351), {"value": 0.353})
    assert moved(at(0.3), {})


@pytest.mark.parametrize(
    "test",
    [{}, {"a": "x", "measure": "average", "relation": "above"}, {"a": "x", "measure": "preference", "relation": "near"},
     {"a": 5, "measure": "preference", "relation": "above"}],
)  # fmt: skip
def test_a_claim_that_cannot_be_tested_is_refused(test: dict[str, object]) -> None:
    with pytest.raises(LimitError):
        check_test(test)


SUPPORTED = Evidence("supported", 60.0, 55.0, 65.0, "", ())


def numbered(n: int) -> dict[str, str]:
    return {"a": f"m{n}", "measure": "preference", "relation": "above"}


def test_the_ledger_keeps_order_words_and_one_claim_a_test(ws: Workspace) -> None:
    ids = [ledger.add_claim(ws, f"claim {n}", numbered(n), SUPPORTED) for n in range(3)]
    assert ledger.add_claim(ws, "again", numbered(0), SUPPORTED) == ids[0]
    ledger.move_claim(ws, ids[2], -1)
    ledger.move_claim(ws, ids[0], -5)
    ledger.edit_claim(ws, ids[1], "  new\n words ")
    ledger.remove_claim(ws, ids[0])
    assert [claim["sentence"] for claim in ledger.read_claims(ws)] == ["claim 2", "new words"]


@pytest.mark.parametrize("words", ["", " \n ", "x" * 301])
def test_a_claim_needs_words_that_can_be_read_aloud(ws: Workspace, words: str) -> None:
    with pytest.raises(LimitError, match="claim"):
        ledger.add_claim(ws, words, numbered(1), SUPPORTED)
    assert ledger.read_claims(ws) == []


def test_writers_at_the_same_time_lose_nothing(ws: Workspace) -> None:
    writers = [
        threading.Thread(target=ledger.add_claim, args=(ws, f"claim {n}", numbered(n), SUPPORTED)) for n in range(12)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(ledger.read_claims(ws)) == 12


def test_entries_that_are_no_claim_are_left_out(ws: Workspace, store: Store) -> None:
    row = own_rows(store)[1]
    test = {"kind": "model", "a": row["key"], "measure": "preference", "relation": "above"}
    claim = {"claim_id": "one", "sentence": "words", "test": test, "bound": {}}
    wrong = [{**claim, "claim_id": f"{name}", "test": {**test, name: [1]}} for name in ("b", "baseline", "a")]
    write_json(ws.claims / "claims.json", {"claims": [claim, *wrong, {**claim, "sentence": "again"}, "text", None]})
    assert ledger.read_claims(ws) == [claim]
    with pytest.raises(LimitError, match="key of a model"):
        check_test({**test, "b": ["x"]})


@pytest.mark.parametrize("damage", ["{", "[]", "\x00"])
def test_a_damaged_ledger_is_reported_and_never_overwritten(ws: Workspace, damage: str) -> None:
    ws.claims.mkdir()
    path = ws.claims / "claims.json"
    path.write_text(damage)
    with pytest.raises(LimitError, match=r"claims\.json"):
        ledger.add_claim(ws, "words", numbered(1), SUPPORTED)
    assert path.read_text() == damage


def test_entries_that_are_no_claims_are_left_out(ws: Workspace) -> None:
    ws.claims.mkdir()
    (ws.claims / "claims.json").write_text(
        '{"claims": [1, {"claim_id": "a"}, {"claim_id": "b", "sentence": "x", "test": 5}]}'
    )
    assert ledger.read_claims(ws) == []


def test_a_viewer_reads_claims_and_changes_none(ws: Workspace) -> None:
    name = ledger.add_claim(ws, "words", numbered(1), SUPPORTED)
    access.set_role_provider(lambda: "viewer")
    try:
        for change in (
            lambda: ledger.add_claim(ws, "more", numbered(2), SUPPORTED),
            lambda: ledger.edit_claim(ws, name, "other"),
            lambda: ledger.confirm_claim(ws, name, SUPPORTED),
            lambda: ledger.move_claim(ws, name, 1),
            lambda: ledger.remove_claim(ws, name),
        ):
            with pytest.raises(LimitError, match="viewer"):
                change()
    finally:
        access.set_role_provider(None)
    assert [claim["sentence"] for claim in ledger.read_claims(ws)] == ["words"]


def test_the_nearest_samples_share_words_with_the_item(ws: Workspace) -> None:

    texts = ["bake a cake with sugar", "repair a bicycle tyre", "sing a song"]
    rows = [
        {"sample_id": str(i), "source": "s", "subset": None, "prompt": t, "response": None} for i, t in enumerate(texts)
    ]
    ws.mix("m").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), ws.mix("m") / "samples.parquet")
    index = Nearest(ws, "m")
    assert index.to("how do I mend my bicycle tyre", 1)[0]["prompt"] == texts[1]
    assert index.to("zzz", 3) == []
    with pytest.raises(LimitError, match="not on this machine"):
        Nearest(ws, "absent")


def test_models_of_the_paper_and_ones_own_are_found_by_key(store: Store) -> None:
    index = model_index(store)
    assert {"paper:7B:lima", "paper:30B:full"} <= set(index)
    assert len(index) == 14


def test_long_names_leave_suggested_sentences_short_enough(ws: Workspace, tmp_path: Path) -> None:
    put_study(ws, seeds=2, items=150, prompts=60)
    for number, path in enumerate(sorted(ws.mixes.glob("*/label.json"))):
        write_json(path, {"name": f"{number} " + "very long name " * 20, "note": "", "created": "2026-01-01"})
    with Store.open(ws, shipped=nothing(tmp_path)) as opened:
        offered = suggestions(opened, own_rows(opened))
        assert offered
        for claim in offered:
            assert ledger.checked(claim["sentence"]) == claim["sentence"]


def test_rates_against_another_baseline_are_left_out(ws: Workspace, tmp_path: Path) -> None:
    """A second, rarer baseline makes no rate of the first one's scale."""
    write_study(ws, seeds=2)
    before = {row["label"]: row["y"] for row in _rows(ws, tmp_path)}
    record = json.loads(next(ws.comparisons.glob("*/comparison.json")).read_text())
    other = {**record, "comparison_id": "ffffffffffff", "baseline_run": study.run_id(None, 17)}
    write_json(ws.comparison("ffffffffffff") / "comparison.json", other)
    lines = next(ws.comparisons.glob("*/judgments.jsonl")).read_text().splitlines()
    rows = [{**json.loads(line), "judgement_key": f"other{n}", "verdict": "2"} for n, line in enumerate(lines)]
    append_jsonl(ws.comparison("ffffffffffff") / "judgments.jsonl", rows)
    assert {row["label"]: row["y"] for row in _rows(ws, tmp_path)} == before


def _rows(ws: Workspace, tmp_path: Path) -> list[dict[str, object]]:
    with Store.open(ws, shipped=nothing(tmp_path)) as opened:
        return list(own_rows(opened))
