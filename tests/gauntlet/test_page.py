"""The Gauntlet page with evaluations of its own: bars, rules, tasks, items, links, hostile texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from limit import access
from limit.charts.gauntlet import gauntlet_panels
from limit.charts.palette import Palette
from limit.gauntlet.evaluate import Subject, evaluate, tokenizer_name
from limit.gauntlet.harness import import_results
from limit.jobs.context import JobContext
from limit.runs import ensure_run
from limit.settings import Workspace
from limit.specs.gauntlet import GauntletSpec
from limit.specs.run import RunSpec
from limit.store import Store
from limit.store.queries_gauntlet import task_rows
from limit.store.schema import ddl
from limit.ui import gauntlet as page
from limit.ui.gauntlet import first_shown
from limit.ui.gauntlet_bars import bar_rows, dot_rows, told_apart
from limit.ui.gauntlet_tables import csv_text
from tests.gauntlet.conftest import build_model
from tests.pages import open_page
from tests.test_pages import check

FIVE = ("pick", "letter", "who", "next", "sums")


def score(ws: Workspace, tokenizers: Any, data: Path, model: str, kind: str, **changes: Any) -> str:
    """An evaluation of a random model in the workspace, as its job would leave it."""
    run_id = ensure_run(ws, RunSpec(model=model))
    eval_id = f"{kind}{changes.get('limit', '')}".ljust(12, "0")
    subject = Subject(eval_id, run_id, model)
    spec = GauntletSpec(**{"tasks": FIVE, "max_seq_len": 256, **changes})
    folder = ws.run(run_id) / "gauntlet" / eval_id
    evaluate(build_model(kind), tokenizers["bos"], spec, data, folder, JobContext(None), subject=subject)
    return eval_id


@pytest.fixture
def two(ws: Workspace, data: Path, tokenizers: Any, tmp_path: Path) -> tuple[str, str]:
    """Two evaluations with the same settings."""
    return (
        score(ws, tokenizers, data, "org/alpha", "llama"),
        score(ws, tokenizers, data, "org/beta", "neox"),
    )


def words(app: Any) -> str:
    return " ".join(str(block.value) for block in [*app.markdown, *app.caption, *app.warning, *app.info])


def test_own_bars_stand_beside_the_paper(two: tuple[str, str]) -> None:
    app = open_page("gauntlet")
    check(app)
    assert app.toggle(key="paper").value is True
    assert set(app.multiselect[0].value) == set(two)
    assert "digitised" in words(app)
    assert "95 % bootstrap" in words(app).replace("\\", "")


def bar(key: str, group: str, label: str, note: str = "v0, paper shots", **more: Any) -> dict[str, Any]:
    return {"key": key, "group": group, "label": label, "note": note, "series": "base", "run_id": key, **more}


def test_folders_of_one_name_get_more_of_their_path() -> None:
    rows = [bar("a", "model", "model (base)"), bar("b", "model", "model (base)"), bar("c", "tiny", "tiny (base)")]
    found = told_apart(rows, {"a": "/x/one/model", "b": "/x/two/model", "c": "tiny"})
    assert [row["group"] for row in found] == ["one/model", "two/model", "tiny"]
    assert [row["shade"] for row in found] == [0, 0, 0]
    dots = dot_rows([{**row, "task": "copa"} for row in rows], found)
    assert [row["label"] for row in dots] == ["model (base) · one/model", "model (base) · two/model", "tiny (base)"]
    assert [row["shade"] for row in dots] == [0, 1, 2]


def test_two_evaluations_of_one_run_are_named_by_what_they_differ_in() -> None:
    rows = [bar("a", "tiny", "tiny", run_id="r"), bar("b", "tiny", "tiny", "v0, fixed shots", run_id="r"),
            bar("b", "tiny", "tiny", "v0, fixed shots", run_id="r")]  # fmt: skip
    found = told_apart(rows, {"a": "tiny", "b": "tiny"})
    assert [row["label"] for row in found] == ["tiny (paper shots)", *["tiny (fixed shots)"] * 2]
    assert [row["shade"] for row in found] == [0, 1, 1]
    twins = told_apart([bar("a", "tiny", "tiny"), bar("b", "tiny", "tiny")], {"a": "tiny", "b": "tiny"})
    assert [row["label"] for row in twins] == ["tiny (a)", "tiny (b)"]


def test_seeds_of_one_mix_keep_one_colour() -> None:
    rows = [bar("a", "tiny", "seed 1", series="lima"), bar("b", "tiny", "seed 2", series="lima")]
    assert [row["shade"] for row in told_apart(rows, {"a": "tiny", "b": "tiny"})] == [0, 0]


def test_a_shot_count_beside_the_counted_one_is_in_no_mean_of_another_rule(ws: Workspace, two: tuple[str, str]) -> None:
    """`letter` runs at 2 and 0 shots, and the version counts 2."""
    memory = duckdb.connect(":memory:")
    memory.execute(ddl())
    store = Store(ws, memory, None, ws.root / "none", ws.root / "none")
    store.refresh()
    tasks = {(r["task"], r["num_fewshot"]): r for r in task_rows(store, [two[0]])}
    reading = next(r for r in bar_rows(store, [two[0]], "acc_sum", False) if r["category"] == "reading")
    parts = [(tasks[key]["acc_sum"] - tasks[key]["baseline"]) / (1 - tasks[key]["baseline"]) for key in
             (("pick", 3), ("letter", 2))]  # fmt: skip
    assert reading["score"] == pytest.approx(sum(parts) / 2)
    memory.close()


def test_every_task_names_its_evaluations_in_the_order_asked_for(ws: Workspace, two: tuple[str, str]) -> None:
    """The first is what a page without a link opens, so it may not depend on the task."""
    memory = duckdb.connect(":memory:")
    memory.execute(ddl())
    store = Store(ws, memory, None, ws.root / "none", ws.root / "none")
    store.refresh()
    for asked in (list(two), list(reversed(two))):
        found: dict[tuple[str, int], list[str]] = {}
        for row in task_rows(store, asked):
            found.setdefault((row["task"], row["num_fewshot"]), []).append(row["eval_id"])
        assert len(found) == 6
        assert all(ids == asked for ids in found.values())
    memory.close()


def test_a_series_without_an_average_stands_in_the_legend_once() -> None:
    rows = [{**bar("a", "tiny", "tiny"), "category": c, "score": 0.1, "low": None, "high": None} for c in
            ("world_knowledge", "commonsense_reasoning")]  # fmt: skip
    paper = [{**rows[0], "category": "average", "series": "lima", "label": "LIMA"}]
    figure = gauntlet_panels([*paper, *rows], Palette.light(), columns=1, height=900)
    assert [trace.name for trace in figure.data if trace.showlegend] == ["LIMA", "tiny"]
    tops = [figure.layout[axis].domain for axis in ("yaxis", "yaxis2", "yaxis3")]
    assert all(0 <= low < high <= 1 for low, high in tops)
    assert tops[0][0] > tops[1][1] > tops[1][0] > tops[2][1]


def test_another_rule_leaves_the_paper_out(two: tuple[str, str]) -> None:
    app = open_page("gauntlet", rule="acc_norm")
    check(app)
    assert [toggle.key for toggle in app.toggle if toggle.key == "paper"] == []
    assert "per character" in words(app)


def test_many_evaluations_open_with_one_seed_of_each_mix() -> None:
    def evaluation(number: int, origin: str) -> dict[str, Any]:
        return {"eval_id": f"e{number}", "run_id": f"r{number}", "origin": origin}

    def run(series: str, samples: int) -> dict[str, Any]:
        return {"model": "m", "kind": "finetune", "series": series, "samples": samples, "recipe_name": "tiny"}

    kinds = [("lima", 300), ("instruct", 1000), ("lima", 100)]
    known = {f"r{n}": run(*kinds[n % 3]) for n in range(9)}
    best = [evaluation(n, "shipped" if n < 6 else "workspace") for n in range(10)]
    assert first_shown(best, known) == ["e6", "e7", "e8", "e9"]  # the last one's run is not known any more
    assert first_shown(best[:8], known) == ["e6", "e7", "e0", "e1", "e2", "e3", "e4", "e5"]
    assert first_shown([], {}) == []


@pytest.mark.parametrize("category", ["Reading", "reading"])
def test_a_link_opens_a_task_and_its_items(two: tuple[str, str], category: str) -> None:
    app = open_page("gauntlet", eval=two[0], category=category, task="pick (3-shot)", item="2")
    check(app)
    assert app.multiselect[0].value == [two[0]]
    assert app.selectbox(key="category").value == "reading"
    assert app.selectbox(key="task").value == "pick (3-shot)"
    assert any("Question:" in block.value for block in app.code)


def test_a_second_model_gives_a_verdict_and_the_items_that_differ(two: tuple[str, str]) -> None:
    app = open_page("gauntlet", category="Reading", task="pick (3-shot)")
    beside = next(box for box in app.selectbox if box.label == "Beside")
    beside.select_index(0).run()
    check(app)
    assert "in accuracy on 17 items" in words(app)
    app.segmented_control(key="show").set_value("the two disagree").run()
    check(app)


def test_a_click_opens_what_lies_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar its category, a dot its task with the items of its model; a click beside them nothing."""
    session: dict[str, Any] = {}
    monkeypatch.setattr(page.st, "session_state", session)

    def click(chart: str, *data: str) -> None:
        session[chart] = {"selection": {"points": [{"customdata": list(data)}] if data else []}}

    click("panels", "e1", "world_knowledge", "base")
    page._open_category("panels")
    assert session["category"] == "world_knowledge"
    click("panels", "", "reading_comprehension", "lima")  # a bar of the paper's
    page._open_category("panels")
    assert session["category"] == "reading_comprehension"
    for nothing in (("e2", "average", "base"), ()):
        click("panels", *nothing)
        page._open_category("panels")
        assert session["category"] == "reading_comprehension"
    click("tasks", "e2", "pick (3-shot)", "base")
    page._open_task("tasks")
    assert (session["task"], session["first"]) == ("pick (3-shot)", "e2")


def test_items_stand_in_a_table_too(two: tuple[str, str]) -> None:
    app = open_page("gauntlet", category="Reading", task="pick (3-shot)", table="true")
    check(app)
    tables = [frame.value for frame in app.dataframe if "question" in frame.value]
    assert [len(table) for table in tables] == [17]
    assert "the other" not in tables[0]
    next(box for box in app.selectbox if box.label == "Beside").select_index(0).run()
    check(app)
    assert "the other" in next(frame.value for frame in app.dataframe if "question" in frame.value)


def test_results_without_categories_lead_to_their_tasks(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "results_1.json").write_text(json.dumps({"model_name": "org/m", "results": {"arc": {"acc": 0.5}}}))
    import_results(ws, tmp_path / "results_1.json")
    app = open_page("gauntlet", version="lm-eval")
    check(app)
    assert "no Gauntlet categories" in words(app)
    assert "nothing is taken off for guessing" in words(app)
    assert "what guessing gives" not in words(app)


def test_three_models_are_compared_pair_by_pair(
    ws: Workspace, data: Path, tokenizers: Any, two: tuple[str, str]
) -> None:
    score(ws, tokenizers, data, "org/gamma", "gpt2")
    app = open_page("gauntlet", category="Reading", task="pick (3-shot)", **{"every-pair": "true"})
    check(app)
    table = next(frame.value for frame in app.dataframe if "verdict on the first" in frame.value)
    assert (len(table), set(table["items"])) == (3, {17})
    assert "Holm over 3 pairs" in words(app)


def test_a_schema_item_shows_what_is_scored_after_each_option(two: tuple[str, str], data: Path) -> None:
    app = open_page("gauntlet", category="Language", task="who (2-shot)")
    check(app)
    record = json.loads((data / "who.jsonl").read_text().splitlines()[0])
    assert record["continuation"] in [block.value for block in app.code]


def test_csv_keeps_numbers_and_defuses_texts() -> None:
    text = csv_text([{"model": "=cmd()", "score": -0.125, "n": None}]).decode("utf-8-sig")
    assert text == "model,score,n\r\n'=cmd(),-0.125,\r\n"
    assert csv_text([]) == "\ufeff\r\n".encode()


def test_bars_beside_the_paper_say_in_what_they_differ_from_it(
    ws: Workspace, data: Path, tokenizers: Any, two: tuple[str, str]
) -> None:
    cut = score(ws, tokenizers, data, "org/alpha", "llama", limit=4, shots="fixed")
    app = open_page("gauntlet", eval=[cut])
    check(app)
    said = next(warning.value for warning in app.warning if "the paper's protocol" in warning.value)
    assert "fixed shots, settings of your own, the first 4 records of a task" in said.replace("\\", "")


def test_a_score_beyond_the_models_length_is_doubted(ws: Workspace, two: tuple[str, str]) -> None:
    path = next(ws.runs.glob(f"*/gauntlet/{two[0]}/eval.json"))
    path.write_text(path.read_text().replace('"beyond_positions": 0', '"beyond_positions": 3', 1))
    app = open_page("gauntlet", eval=[two[0]])
    check(app)
    assert any("3 items are longer than the model was made for" in warning.value for warning in app.warning)


def test_a_link_names_both_models(two: tuple[str, str]) -> None:
    app = open_page("gauntlet", category="Reading", task="pick (3-shot)")
    link = {key: label(app, id_) for key, id_ in (("first", two[1]), ("beside", two[0]))}
    again = open_page("gauntlet", category="Reading", task="pick (3-shot)", **link)
    check(again)
    assert (again.selectbox(key="first").value, again.selectbox(key="beside").value) == (two[1], two[0])
    assert "in accuracy on 17 items" in words(again)


def label(app: Any, eval_id: str) -> str:
    """How a choice is written in the page's link."""
    return next(option for option in app.selectbox(key="first").options if eval_id in option)


def test_different_tokenizers_are_said(ws: Workspace, data: Path, tokenizers: Any, two: tuple[str, str]) -> None:
    app = open_page("gauntlet", eval=list(two))
    assert not any("tokenizers" in warning.value for warning in app.warning)
    path = next(ws.runs.glob(f"*/gauntlet/{two[0]}/eval.json"))
    path.write_text(path.read_text().replace(tokenizer_name(tokenizers["bos"]), tokenizer_name(tokenizers["plain"])))
    app = open_page("gauntlet", eval=list(two))
    check(app)
    assert any("different tokenizers" in warning.value for warning in app.warning)
    assert not any("differ in" in warning.value for warning in app.warning)


def test_different_protocols_in_one_chart_are_said(
    ws: Workspace, data: Path, tokenizers: Any, two: tuple[str, str]
) -> None:
    third = score(ws, tokenizers, data, "org/alpha", "llama", limit=4)
    app = open_page("gauntlet", eval=[two[0], third])
    check(app)
    assert any("differ in" in warning.value and "limit" in warning.value for warning in app.warning)


def test_partial_categories_are_named(ws: Workspace, data: Path, tokenizers: Any) -> None:
    text = (data / "gauntlet.yaml").read_text().replace("reading:", "world_knowledge:").replace("reading", "x")
    (data / "gauntlet.yaml").write_text(text)
    (data / "letter.jsonl").unlink()
    score(ws, tokenizers, data, "org/alpha", "llama")
    app = open_page("gauntlet")
    check(app)
    assert "without letter" in words(app).replace("\\", "")


def test_hostile_texts_stay_text(ws: Workspace, data: Path, tokenizers: Any) -> None:
    evil = "<script>alert(1)</script> **x** $y$ \u202e :material/home:"
    rows = [{"query": evil, "choices": [evil, "b"], "gold": 0} for _ in range(4)]
    (data / "pick.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score(ws, tokenizers, data, "org/alpha", "llama", tasks=("pick",))
    app = open_page("gauntlet", task="pick (3-shot)")
    check(app)
    assert "<script>" not in words(app)
    assert any("<script>" in block.value and "\u202e" not in block.value for block in app.code)


def test_files_that_are_gone_are_an_error_box(ws: Workspace, two: tuple[str, str]) -> None:
    for path in ws.runs.rglob("*.parquet"):
        path.unlink()
    app = open_page("gauntlet")
    check(app)
    assert any("does not exist" in error.value.replace("\\", "") for error in app.error)


def test_a_link_to_an_evaluation_that_is_gone_says_so_once(two: tuple[str, str]) -> None:
    app = open_page("gauntlet", eval=[two[0], "deadbeef0000"])
    assert "There is no evaluation deadbeef0000 here" in words(app)
    assert app.multiselect[0].value == [two[0]] and app.query_params["eval"] == two[0]
    assert "deadbeef0000" not in words(app.run())


def test_a_version_that_is_markdown_is_no_markdown(two: tuple[str, str], ws: Workspace) -> None:
    path = next(ws.runs.glob(f"*/gauntlet/{two[0]}/eval.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": "**x** $y$"}))
    app = open_page("gauntlet")
    check(app)
    options = app.get("button_group")[0].options
    assert r"\*\*x\*\* \$y\$" in [getattr(option, "content", option) for option in options]


def test_a_viewer_may_not_press_score(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limit.ui.access.current_role", lambda: "viewer")
    try:
        button = next(button for button in open_page("gauntlet").button if button.label == "Score")
    finally:
        access.set_role_provider(None)
    assert button.disabled
