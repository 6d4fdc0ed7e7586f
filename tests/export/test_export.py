"""Files that leave the app: complete, offline, safe, and the same numbers in each."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pptx import Presentation

from limit.claims import ledger
from limit.claims.evidence import Evidence, evaluate, state_words
from limit.claims.suggest import suggestions
from limit.cli import main
from limit.core import LimitError, write_json
from limit.export import printing, slide_charts
from limit.export.page import render_html
from limit.export.report import Report, build_report, study_models
from limit.export.slides import write_pptx
from limit.export.tables import defuse, render_csv
from limit.export.write import write_report
from limit.settings import Workspace
from limit.store import Store
from limit.store.queries_models import own_rows
from tests.hostile import TEXTS
from tests.store.study import nothing, put_study, write_eval, write_job, write_mix, write_run

NOW = datetime(2026, 1, 9, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(ws: Workspace, tmp_path: Path) -> Iterator[Store]:
    put_study(ws)
    with Store.open(ws, shipped=nothing(tmp_path)) as opened:
        yield opened


@pytest.fixture
def report(store: Store, ws: Workspace) -> Report:
    claim = suggestions(store, own_rows(store))[0]
    ledger.add_claim(ws, claim["sentence"], claim["test"], claim["evidence"])
    return build_report(store, ws, now=NOW)


@pytest.fixture
def hostile(ws: Workspace, store: Store) -> Store:
    for number, path in enumerate(sorted(ws.mixes.glob("*/label.json"))):
        write_json(path, {"name": TEXTS[number], "note": TEXTS[5], "created": f"2026-01-0{number}"})
    for path in ws.comparisons.glob("*/comparison.json"):
        record = json.loads(path.read_text())
        write_json(path, {**record, "judge": TEXTS[5], "prompt_set": TEXTS[0]})
    store.refresh()
    return store


def test_a_report_holds_claims_figures_and_every_number(report: Report) -> None:
    assert [section.kind for section in report.sections[:4]] == ["claim", "plane", "gauntlet", "preference"]
    assert report.sections[0].mark == "green"
    assert len(report.numbers) == 4 * 7
    shown = {(row["model"], row["measure"]): row for row in report.numbers}
    both = shown["lima 300 + instruct 1000", "preference"]
    assert both["low"] <= both["value"] <= both["high"]
    assert (both["n"], both["judge"], both["prompt_set"]) == (30, "rubric", "tiny-open")
    assert both["wins"] + both["losses"] + both["ties"] + both["invalid"] == 60  # two seeds of 30 prompts
    bar = next(row for row in report.sections[3].rows if row["label"].startswith("lima 300 + instruct"))
    assert bar["ties"] == both["ties"] == 2, "ties are drawn in exports as on the Preferences page"
    assert both["run_ids"] and both["mix_id"] and both["exported"] == "2026-01-09 12:00 UTC"


def test_an_amber_claim_says_which_of_its_reasons_there_is(store: Store, ws: Workspace) -> None:
    rows = {row["label"]: row for row in own_rows(store)}
    a, b = rows["lima 300 + instruct 1000"], rows["instruct 1000"]
    test = {"kind": "model", "a": a["key"], "measure": "world_knowledge", "relation": "above", "b": b["key"]}
    bound = {"outcome": "unclear", "value": 0.02, "low": -0.01, "high": 0.05}
    evidence = Evidence("unclear", 0.02, -0.01, 0.05, "", ())
    assert state_words(evidence, bound) == "cannot tell"
    assert state_words(evidence, {**bound, "value": 0.04}) == "cannot tell, and the numbers moved"
    told = Evidence("supported", 0.02, 0.01, 0.05, "", ())
    assert state_words(told, {**bound, "value": 0.04}) == "the numbers moved"
    assert state_words(told, told.numbers()) == "the data support it"
    found = evaluate(store, test)
    ledger.add_claim(ws, "One is above the other.", test, found)
    made = build_report(store, ws, now=NOW)
    section = next(section for section in made.sections if section.heading == "One is above the other.")
    assert section.state == state_words(found, found.numbers())
    assert section.state in render_html(made)


def test_n_and_seeds_are_those_behind_each_number(store: Store, ws: Workspace, tmp_path: Path) -> None:
    label = "lima 300 + instruct 1000"
    row = next(row for row in own_rows(store) if row["label"] == label)
    shutil.rmtree(ws.comparison(row["comparison_ids"][0]))
    store.refresh()
    made = build_report(store, ws, now=NOW)
    numbers = {(number["model"], number["measure"]): number for number in made.numbers}
    assert (numbers[label, "average"]["seeds"], numbers[label, "preference"]["seeds"]) == (2, 1)
    assert "2 evaluated, 1 judged" in render_html(made)
    write_pptx(made, tmp_path / "deck.pptx")
    tables = [
        s.table for slide in Presentation(str(tmp_path / "deck.pptx")).slides for s in slide.shapes if s.has_table
    ]
    heads = [cell.text for cell in tables[0].rows[0].cells]
    assert "protocol, n" in heads


def test_the_longest_claim_stays_above_its_chart(store: Store, ws: Workspace, tmp_path: Path) -> None:
    claim = suggestions(store, own_rows(store))[0]
    ledger.add_claim(ws, ("A claim of many words. " * 20)[:300], claim["test"], claim["evidence"])
    write_pptx(build_report(store, ws, now=NOW), tmp_path / "deck.pptx")
    slide = Presentation(str(tmp_path / "deck.pptx")).slides[1]
    heading = next(shape for shape in slide.shapes if shape.has_text_frame)
    chart = next(shape for shape in slide.shapes if shape.has_chart)
    (run,) = heading.text_frame.paragraphs[0].runs
    assert len(run.text) >= 290
    per_line = heading.width // (0.55 * run.font.size)  # bold letters are about half as wide as high
    lines = -(-len(run.text) // int(per_line))
    assert heading.top + lines * 1.2 * run.font.size <= chart.top + 0.1 * chart.height


def test_the_html_file_works_offline_and_fetches_nothing(report: Report) -> None:
    page = render_html(report)
    body = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)
    assert page.count("Plotly.newPlot") >= 4
    assert "default-src 'none'" in page
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", body)
    for fact in (report.version, report.created, *report.models[1]["run_ids"], str(report.models[1]["mix_id"])):
        assert fact in body


def test_hostile_names_are_text_in_html(hostile: Store, ws: Workspace) -> None:
    page = render_html(build_report(hostile, ws, now=NOW))
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "javascript:alert" not in re.sub(r"\[link\]\(javascript:alert\(1\)\)", "", page)


def test_hostile_names_are_legal_in_slides(hostile: Store, ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "deck.pptx"
    write_report(hostile, ws, "pptx", path)
    texts = [
        shape.text_frame.text
        for slide in Presentation(str(path)).slides
        for shape in slide.shapes
        if shape.has_text_frame
    ]
    assert any("<script>" in text for text in texts)


def test_chart_workbooks_hold_no_formula_and_no_link(store: Store, ws: Workspace, tmp_path: Path) -> None:
    names = ("=1+1", "http://127.0.0.1:9/x", "\u202eturned \x1b[31mred")
    for name, path in zip(names, sorted(ws.mixes.glob("*/label.json")), strict=True):
        write_json(path, {"name": name, "note": "", "created": "2026-01-01"})
    store.refresh()
    path = tmp_path / "deck.pptx"
    write_report(store, ws, "pptx", path)
    with zipfile.ZipFile(path) as deck:
        books = [deck.read(name) for name in deck.namelist() if name.endswith(".xlsx")]
        slides = "".join(deck.read(name).decode() for name in deck.namelist() if name.startswith("ppt/slides/slide"))
    assert len(books) >= 3 and "\u202e" not in slides
    for book in books:
        with zipfile.ZipFile(io.BytesIO(book)) as sheets:
            text = "".join(sheets.read(name).decode() for name in sheets.namelist() if name.endswith(".xml"))
        assert "<f>" not in text and "<hyperlink" not in text
        assert "\u202e" not in text


def test_slides_have_native_charts_with_the_numbers(
    report: Report, store: Store, ws: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "deck.pptx"
    write_report(store, ws, "pptx", path)
    deck = Presentation(str(path))
    found = [shape.chart for slide in deck.slides for shape in slide.shapes if shape.has_chart]
    assert len(found) >= 4
    columns = next(
        c for c in found if c.chart_type.name == "COLUMN_CLUSTERED" and len(list(c.plots[0].categories)) == 6
    )
    series = {s.name: list(s.values) for s in columns.plots[0].series}
    model = next(row for row in report.models if row["label"] == "lima 300")
    assert series["lima 300"][0] == pytest.approx(model["x"])
    notes = " ".join(slide.notes_slide.notes_text_frame.text for slide in deck.slides if slide.has_notes_slide)
    assert model["run_ids"][0] in notes and report.version in notes
    assert [name for name in zipfile.ZipFile(path).namelist() if name.endswith(".xlsx")]


def test_unpublished_bars_are_empty_cells_in_slides(store: Store, ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "deck.pptx"
    write_report(store, ws, "pptx", path, "paper-7B")
    charts = [s.chart for slide in Presentation(str(path)).slides for s in slide.shapes if s.has_chart]
    columns = next(c for c in charts if c.chart_type.name == "COLUMN_CLUSTERED")
    assert {s.name: next(iter(s.values)) for s in columns.plots[0].series}["base"] is None


def test_csv_and_parquet_hold_the_same_rows(report: Report, store: Store, ws: Workspace, tmp_path: Path) -> None:
    write_report(store, ws, "parquet", tmp_path / "numbers.parquet")
    typed = pq.read_table(tmp_path / "numbers.parquet").to_pylist()
    rows = list(csv.DictReader(io.StringIO(render_csv(report))))
    assert len(rows) == len(typed) == len(report.numbers)
    assert [float(r["value"]) if r["value"] else None for r in rows] == [r["value"] for r in typed]
    assert list(rows[0]) == list(typed[0])


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "|cmd", "＝1"])
def test_cells_that_a_spreadsheet_would_run_are_text(cell: str) -> None:
    assert str(defuse(cell)).startswith("'")


@pytest.mark.parametrize("value", ["lima 300", 3, -0.5, 0.0, True])
def test_other_cells_are_as_they_are(value: object) -> None:
    assert defuse(value) == value
    assert defuse(None) == ""


def test_control_and_direction_signs_do_not_reach_a_terminal() -> None:
    shown = str(defuse("a\x1b[31mred\u202e \x07 b"))
    assert shown.split() == ["a", "[31mred", "b"]


def test_an_average_says_over_how_many_items(report: Report) -> None:
    by_measure = {row["measure"]: row["n"] for row in report.numbers if row["model"] == "lima 300"}
    assert by_measure["average"] == 5 * by_measure["world_knowledge"] == 200


def test_hostile_judges_are_defused_in_csv(hostile: Store, ws: Workspace) -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(build_report(hostile, ws, now=NOW)))))
    judges = {row["judge"] for row in rows if row["judge"]}
    assert judges == {f"'{TEXTS[5]}"}


def test_studies_are_found_by_name(store: Store, ws: Workspace) -> None:
    assert len(study_models(store, "paper")) == 10
    assert len(study_models(store, "paper-30B")) == 5
    assert len(study_models(store, "tiny")) == 4
    assert [row["origin"] for row in study_models(store, None)] == ["workspace"] * 4
    run = own_rows(store)[1]["run_ids"][0]
    job = {"job_id": "j", "kind": "finetune", "title": "t", "subject": {"run_id": run, "study": "mine"}}
    write_job(ws, "job-0000000009", "finished", run)
    write_json(ws.job("job-0000000009") / "job.json", {**job, "created": "2026-01-09"})
    store.refresh()
    assert [row["run_ids"] for row in study_models(store, "mine")] == [own_rows(store)[1]["run_ids"]]
    with pytest.raises(LimitError, match="known: tiny, paper"):
        study_models(store, "nobody")


def test_without_own_results_the_paper_is_exported(ws: Workspace, tmp_path: Path) -> None:
    with Store.open(ws, shipped=nothing(tmp_path)) as store:
        report = build_report(store, ws, now=NOW)
    assert len(report.models) == 10
    assert "not published" in render_html(report)


@pytest.mark.parametrize("format", ["html", "pptx", "csv", "parquet"])
def test_the_verb_writes_a_file_and_says_which(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    out = tmp_path / f"out.{format}"
    assert main(["export", format, "--out", str(out), "--study", "paper", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["path"], answer["bytes"]) == (str(out), out.stat().st_size)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["export", "html", "--out", "{folder}"], "is a folder"),
        (["export", "html", "--out", "{folder}/x.html", "--study", "nobody"], "no study 'nobody'"),
        (["export", "html"], "--out"),
        (["export", "docx", "--out", "x"], "docx"),
        (["export", "csv", "--out", "{folder}/file/x.csv"], "file"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_said_in_one_line(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert main([word.format(folder=tmp_path) for word in words]) == 2
    message = capsys.readouterr().err
    assert reason in message and message.count("\n") == 1
    assert not (tmp_path / "x.html").exists()


def test_without_chromium_the_reason_names_what_to_install(
    store: Store, ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(LimitError, match="apt-get install chromium"):
        write_report(store, ws, "pdf", tmp_path / "x.pdf")
    assert list(tmp_path.glob("x.pdf")) == []


def test_a_browser_that_hangs_is_killed(
    store: Store, ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "chromium"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(printing, "browser", lambda: str(slow))
    monkeypatch.setattr(printing, "TIME_LIMIT_S", 0.3)
    with pytest.raises(LimitError, match="longer than"):
        write_report(store, ws, "png", tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.slow
@pytest.mark.skipif(printing.browser() is None, reason="chromium is not installed")
@pytest.mark.parametrize(("format", "head"), [("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_chromium_prints_the_page(store: Store, ws: Workspace, tmp_path: Path, format: str, head: bytes) -> None:
    path = tmp_path / f"x.{format}"
    write_report(store, ws, format, path)
    assert path.read_bytes().startswith(head)
    assert path.stat().st_size > 20_000


def test_every_format_names_runs_mixes_protocol_judge_n_and_intervals(report: Report, tmp_path: Path) -> None:
    write_pptx(report, tmp_path / "deck.pptx")
    deck = Presentation(str(tmp_path / "deck.pptx"))
    cells = [
        cell.text
        for slide in deck.slides
        for shape in slide.shapes
        if shape.has_table
        for row in shape.table.rows
        for cell in row.cells
    ]
    page = re.sub(r"<script>.*?</script>", "", render_html(report), flags=re.DOTALL)
    for text in (page.partition("The numbers")[2], " ".join(cells), render_csv(report)):
        for row in report.models:
            facts = [*row["run_ids"], row["mix_id"] or "", row["protocol"], row["judge"] or "", row["prompt_set"] or ""]
            assert all(fact in text for fact in facts)
        assert "30" in text
    for text in (page, " ".join(cells)):
        assert text.count("[") >= len(report.models), "scores without intervals"


def test_native_charts_carry_their_intervals(report: Report, tmp_path: Path) -> None:
    write_pptx(report, tmp_path / "deck.pptx")
    deck = Presentation(str(tmp_path / "deck.pptx"))
    charts_of = {
        slide.shapes[0].text_frame.text: shape.chart
        for slide in deck.slides
        for shape in slide.shapes
        if shape.has_chart
    }
    plane = charts_of["Both paradigms"]
    space = {"c": "http://schemas.openxmlformats.org/drawingml/2006/chart"}
    for series, row in zip(plane.plots[0].series, [r for r in report.models if r["y"] is not None], strict=True):
        bars = {b.find("c:errDir", space).get("val"): b for b in series._element.findall("c:errBars", space)}
        low = float(bars["x"].find("c:minus/c:numLit/c:pt/c:v", space).text)
        assert low == pytest.approx(row["x"] - row["x_low"], abs=1e-4)
        tags = [child.tag.rpartition("}")[2] for child in series._element]
        assert tags.index("errBars") < tags.index("xVal")
    columns = charts_of["Eval Gauntlet by category"]
    assert all(s._element.find("c:errBars", space) is not None for s in columns.plots[0].series)


def test_names_in_slides_have_a_length_and_many_ids_are_counted(report: Report, tmp_path: Path) -> None:
    models = tuple({**row, "label": "x" * 300, "run_ids": [f"{i:012x}" for i in range(40)]} for row in report.models)
    long = replace(report, models=models)
    write_pptx(long, tmp_path / "deck.pptx")
    deck = Presentation(str(tmp_path / "deck.pptx"))
    texts = [shape.text_frame.text for slide in deck.slides for shape in slide.shapes if shape.has_text_frame]
    assert max(map(len, texts)) < 1000
    assert any("and 148 more, all in the table" in text for text in texts)


@pytest.mark.skipif(printing.browser() is None, reason="chromium is not installed")
def test_a_picture_ends_with_the_page(report: Report, tmp_path: Path) -> None:
    from PIL import Image

    printing.write_png(report, tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        foot = picture.convert("L").crop((0, picture.height - 120, picture.width, picture.height))
        assert foot.getextrema()[0] < 200, "empty ground at the end"
        assert picture.height > 1500


def test_slides_have_the_pages_colours_readable_numbers_and_a_log_axis(
    store: Store, ws: Workspace, tmp_path: Path
) -> None:
    report = build_report(store, ws, now=NOW)
    write_pptx(report, tmp_path / "deck.pptx")
    plane, panels, bars, curve, *_ = (
        shape.chart for slide in Presentation(str(tmp_path / "deck.pptx")).slides for shape in slide.shapes
        if shape.has_chart
    )  # fmt: skip
    assert report.palette is not None
    colours = {row["label"]: report.palette.colour(row["series"]).lstrip("#") for row in report.models}
    assert {s.name: str(s.format.fill.fore_color.rgb) for s in panels.plots[0].series} == colours
    assert [s.points[0].data_label.text_frame.text for s in plane.plots[0].series] == [
        s.name for s in plane.plots[0].series
    ]
    candidate, baseline = bars.plots[0].series
    assert all(a + b == pytest.approx(100) for a, b in zip(candidate.values, baseline.values, strict=True))
    assert str(baseline.points[0].data_label.font.color.rgb) == "FFFFFF"  # on LIMA's midnight blue
    assert not bars.has_legend
    scaling = curve.category_axis._element.find("{*}scaling")
    assert next(child.tag.rpartition("}")[2] for child in scaling) == "logBase"
    base = next(s for s in curve.plots[0].series if s.name == "base model")
    assert len(set(base.values)) == 1 and min(base.iter_values()) > 0


def test_names_on_a_slide_stand_beside_marks_that_are_close() -> None:
    rows = [{"label": "Instruct 300", "x": 0.454, "y": 3.6}, {"label": "Instruct only", "x": 0.457, "y": 4.1},
            {"label": "far away", "x": 0.56, "y": 90.0}]  # fmt: skip
    sides = slide_charts._sides(rows)
    assert sides[0] != sides[1] and sides[2] == "ABOVE"


def test_every_seed_of_a_mix_has_its_hash_in_an_export(ws: Workspace, store: Store) -> None:
    for seed in (3, 4):
        mix = f"bbbbbbbbbbb{seed}"
        write_mix(ws, mix, [("tiny-lima", None, 77)], "2026-01-02T00:00:00.000Z")
        path = ws.mix(mix) / "mix.json"
        record = json.loads(path.read_text())
        record["spec"]["seed"] = seed
        path.write_text(json.dumps(record))
        write_eval(ws, write_run(ws, mix, seed), "aaaaaaaaaaa1", seed=seed)
    store.refresh()
    report = build_report(store, ws, now=NOW)
    row = next(row for row in report.models if row["samples"] == 77)
    assert row["mix_ids"] == ["bbbbbbbbbbb3", "bbbbbbbbbbb4"]
    assert "bbbbbbbbbbb4" in report.provenance() and "bbbbbbbbbbb4" in render_html(report)
    assert any(number["mix_ids"] == "bbbbbbbbbbb3 bbbbbbbbbbb4" for number in report.numbers)
