"""AlpacaEval files in and out: the paper's quirks, the paper's percentages, and broken input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limit.cli import main
from limit.core import LimitError
from limit.judge.alpaca_eval import export_annotations
from limit.judge.annotations import import_files, read_preference
from limit.judge.judgments import Comparison, Journal, list_comparisons, read_judgments
from limit.judge.summary import summarise, summarise_all
from limit.responses.identity import prompt_id
from limit.responses.outputs import export_outputs, read_outputs
from limit.settings import SHIPPED, Workspace

REAL = ("7b_lima_vs_7b_instructv1_seed2.json", "7b_lima_vs_7b_instructv1_5k_lima_seed3.json")


def row(**changes: Any) -> dict[str, Any]:
    base = {"instruction": "Say hi.\n", "output_1": "\nhi", "output_2": "hello ", "annotator": "gpt", "preference": 2}
    return {**base, **changes}


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("value", "verdict", "share"),
    [
        (1, "1", 0.0),
        (2.0, "2", 1.0),
        (0, "tie", 0.5),
        (1.5, "tie", 0.5),
        (1.25, "1", 0.25),
        (1.9, "2", 0.9),
        (-1, None, None),
        (None, None, None),
        (float("nan"), None, None),
    ],
)
def test_every_known_preference_value(value: Any, verdict: str | None, share: float | None) -> None:
    found = read_preference(value)
    assert found[0] == verdict and found[1] == (share if share is None else pytest.approx(share))


def test_paper_names_give_models_prompts_and_seed(ws: Workspace, tmp_path: Path) -> None:
    files = [write(tmp_path, f"instructv3_7b_a_vs_7b_b_seed{n}.json", [row(output_1=f"x{n}")]) for n in (3, 1)]
    result = import_files(ws, files)
    (comparison,) = list_comparisons(ws)
    assert result == {"comparisons": [comparison.comparison_id], "rows": 2, "invalid": 0}
    assert (comparison.baseline, comparison.candidate, comparison.prompt_set) == ("7b_a", "7b_b", "instruct-v3")
    assert comparison.seeds == (1, 3) and comparison.judge == "gpt" and comparison.kind == "imported"


def test_options_and_generators_name_what_the_file_name_does_not(ws: Workspace, tmp_path: Path) -> None:
    named = [row(generator_1="ref", generator_2="mine", dataset="koala"), row(output_1="z", dataset="koala")]
    path = write(tmp_path, "annotations.json", named)
    import_files(ws, [path])
    import_files(ws, [path], baseline="B", candidate="C", prompt_set="P", seed=9)
    first, second = list_comparisons(ws)
    assert (first.baseline, first.candidate, first.prompt_set, first.seeds) == ("ref", "mine", "koala", (1,))
    assert (second.baseline, second.candidate, second.prompt_set, second.seeds) == ("B", "C", "P", (9,))


def test_importing_again_changes_no_byte(ws: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, "a_vs_b_seed1.json", [row(), row(), row(preference=None)])
    first = import_files(ws, [path])
    before = {p: p.read_bytes() for p in ws.comparisons.rglob("*") if p.is_file()}
    assert import_files(ws, [path, path]) == {**first, "rows": 6, "invalid": 2}
    assert {p: p.read_bytes() for p in ws.comparisons.rglob("*") if p.is_file()} == before
    assert len(read_judgments(ws, first["comparisons"][0])) == 3


def test_other_contents_for_a_seed_are_refused(ws: Workspace, tmp_path: Path) -> None:
    import_files(ws, [write(tmp_path, "a_vs_b_seed1.json", [row()])])
    with pytest.raises(LimitError, match="other contents was imported as that seed; give another --seed"):
        import_files(ws, [write(tmp_path, "a_vs_b_seed1.json", [row(preference=1)])])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"instruction": ', "is not JSON"),
        ("", "is not JSON"),
        ({"rows": []}, "holds a JSON object, expected an array"),
        ([], "holds no rows"),
        ([row(), 7], "row 2 is a JSON number"),
        ([row(), {"output_1": "x", "output_2": "y", "preference": 1}], "row 2 has no 'instruction'"),
        ([row(output_2=None)], "row 1 has a null as 'output_2'"),
        ([row(instruction="  ")], "row 1 has an empty 'instruction'"),
        ([row(preference=3)], "row 1 has the preference 3"),
        ([row(preference="model_b")], "row 1 has the preference 'model_b'"),
        ([row(preference=True)], "row 1 has the preference 'True'"),
        ([{"instruction": "a", "output_1": "b", "output_2": "c"}], "row 1 has no 'preference'"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_one_bad_file_leaves_nothing_of_any(ws: Workspace, tmp_path: Path, content: Any, words: str) -> None:
    good, bad = write(tmp_path, "a_vs_b_seed1.json", [row()]), write(tmp_path, "a_vs_c_seed1.json", content)
    with pytest.raises(LimitError, match=r"a_vs_c_seed1\.json") as caught:
        import_files(ws, [good, bad])
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert [p for p in ws.root.rglob("*") if p.is_file()] == []


def test_missing_folder_and_binary_files_are_named(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00[")
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "no.json", "does not exist")):
        with pytest.raises(LimitError, match=words):
            import_files(ws, [path])
    with pytest.raises(LimitError, match="not UTF-8 text"):
        import_files(ws, [tmp_path / "binary.json"])
    with pytest.raises(LimitError, match=r"no name in 'generator_1'.*--baseline"):
        import_files(ws, [write(tmp_path, "annotations.json", [row()])])


def test_texts_that_cannot_be_stored_do_not_break_the_import(ws: Workspace, tmp_path: Path) -> None:
    text = json.dumps([row(output_1="\ud800 lone", output_2="ش \U0001f600" * 9, price_per_example=float("nan"))])
    result = import_files(ws, [write(tmp_path, "a_vs_b_seed1.json", "\ufeff" + text)])
    (found,) = read_judgments(ws, result["comparisons"][0])
    assert found["text_1"] == "? lone" and found["source_row"]["price_per_example"] is None


def test_a_round_trip_keeps_every_field(ws: Workspace, tmp_path: Path) -> None:
    old = row(
        generator_1="a", generator_2="b", dataset="d", datasplit="test", price_per_example=0.03, time_per_example=2
    )
    new = row(
        output_2="other",
        preference=1.37,
        preference_price_per_example=0.1,
        preference_raw_completion={"logprobs": {"content": []}},
        index=4,
        glm_preference=None,
        referenced_models={"m": "a", "M": "b"},
    )
    path = write(
        tmp_path, "a_vs_b_seed1.json", [old, new, row(output_1="q", preference=1.5), row(output_1="r", preference=-1)]
    )
    (id_,) = import_files(ws, [path])["comparisons"]
    assert export_annotations(ws, id_) == json.loads(path.read_text())
    assert [r["cost_usd"] for r in read_judgments(ws, id_)[:2]] == [0.03, 0.1]


def test_model_outputs_out_and_in(tmp_path: Path) -> None:
    rows = [{"prompt": "Hi?", "text": "Hello."}, {"prompt": "Bye?", "text": ""}]
    path = write(tmp_path, "model_outputs.json", export_outputs(rows, "mine", "test"))
    assert read_outputs(path) == ("mine", {"Hi?": "Hello.", "Bye?": ""})
    with pytest.raises(LimitError, match="row 1 needs 'instruction' and 'output'"):
        read_outputs(write(tmp_path, "bad.json", [{"instruction": "x"}]))


def test_real_files_give_the_readme_counts(ws: Workspace, shared_data: Path) -> None:
    files = sorted((shared_data / "judge" / "annotations").glob("*.json"))
    result = import_files(ws, files)
    assert result["rows"] == 2118 and len(files) == 6 and len(result["comparisons"]) == 5
    found = {(s["candidate"], s["prompt_set"]): s for s in summarise_all(ws)}
    two = found["30b_instructv3_1k_lima", "lima"]
    assert (two["wins"], two["losses"], two["ties"], two["invalid"], two["n_prompts"]) == (282, 313, 1, 2, 299)
    assert two["preference_pct"] == pytest.approx((100 * 143 / 297 + 100 * 139 / 298) / 2)
    doubled = found["7b_instructv1_5k_lima", "lima"]
    assert doubled["n_prompts"] == 292 and doubled["wins"] + doubled["losses"] == 583
    assert doubled["ci_high"] - doubled["ci_low"] > 8  # 292 prompts, not 583 independent rows


@pytest.mark.parametrize(
    ("size", "series", "printed"),
    [("7B", "subset+lima", 65.1), ("7B", "full", 45.3), ("30B", "subset+lima", 46.7), ("30B", "full", 39.3)],
)
def test_percentages_of_the_paper_from_its_counts(size: str, series: str, printed: float) -> None:
    files = json.loads((SHIPPED / "published" / "judgments.json").read_text())["files"]
    rows = [
        {"seed": file["seed"], "prompt_id": str(n), "verdict": verdict}
        for file in files
        if (file["model_size"], file["series"], file["prompt_set"]) == (size, series, "lima")
        for verdict, field in (("2", "wins_candidate"), ("1", "wins_baseline"), ("tie", "ties"), (None, "invalid"))
        for n in range(file[field])
    ]
    frame = Comparison("x", "imported", "a", "b", "lima", "gpt")
    assert len({row["seed"] for row in rows}) == 3
    # 46.749 stands as 46.7 in the paper's figure, hence the extra thousandth.
    assert summarise(frame, rows)["preference_pct"] == pytest.approx(printed, abs=0.0505)


def test_prompt_ids_ignore_only_trailing_space_and_unicode_form() -> None:
    assert prompt_id("é x\n\n") == prompt_id("e\u0301 x") != prompt_id(" é x")
    assert len(prompt_id("x")) == 16


def test_journal_survives_an_import_cut_short(ws: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, "a_vs_b_seed1.json", [row(), row(output_2="other")])
    (id_,) = import_files(ws, [path])["comparisons"]
    (ws.comparison(id_) / "comparison.json").unlink()  # as if the process died between the two renames
    import_files(ws, [path])
    assert len(Journal(ws.comparison(id_)).rows) == 2 and len(list_comparisons(ws)) == 1


def test_a_full_disk_leaves_no_comparison_behind(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_files(ws, [write(tmp_path, "a_vs_b_seed1.json", [row()])])
    before = {p: p.read_bytes() for p in ws.comparisons.rglob("*") if p.is_file()}
    written: list[Path] = []

    def full(path: Path, text: str) -> None:
        written.append(path)
        if len(written) > 1:
            raise OSError(28, "No space left on device", str(path))
        path.parent.mkdir(parents=True)
        path.write_text(text)

    monkeypatch.setattr("limit.judge.annotations.write_atomic", full)
    files = [write(tmp_path, f"a_vs_{name}_seed2.json", [row()]) for name in ("b", "c")]
    with pytest.raises(LimitError, match="disk full"):
        import_files(ws, files)
    assert len(written) == 2 and {p: p.read_bytes() for p in ws.comparisons.rglob("*") if p.is_file()} == before


def test_damaged_comparisons_do_not_hide_the_others(ws: Workspace, tmp_path: Path) -> None:
    import_files(ws, [write(tmp_path, "a_vs_b_seed1.json", [row()])])
    for name, text in (("x1", "{"), ("x2", '{"seeds": 5}'), ("x3", "[]")):
        folder = ws.comparison(name)
        folder.mkdir()
        (folder / "comparison.json").write_text(text)
    odd = {
        "comparison_id": "x4",
        "kind": "imported",
        "baseline": "a",
        "candidate": "b",
        "prompt_set": "p",
        "judge": "j",
    }
    ws.comparison("x4").mkdir()
    (ws.comparison("x4") / "comparison.json").write_text(json.dumps({**odd, "created": 7}))
    (ws.comparison("x4") / "judgments.jsonl").write_text('{"judgement_key": "k", "verdict": "2", "seed": "one"}\n')
    assert [summary["wins"] for summary in summarise_all(ws)] == [1, 1]


def generated(first: str, second: str, preference: Any, number: int = 0) -> dict[str, Any]:
    """A row whose outputs say who wrote them."""
    texts = {"output_1": f"{first} writes {number}", "output_2": f"{second} writes {number}"}
    return row(instruction=f"Q{number}", **texts, generator_1=first, generator_2=second, preference=preference)


@pytest.mark.parametrize("name", ["ref_vs_mine_seed1.json", "annotations.json"])
def test_both_orders_in_one_file_are_brought_into_one_frame(ws: Workspace, tmp_path: Path, name: str) -> None:
    rows = [
        generated("ref", "mine", 2, 1),
        generated("mine", "ref", 1, 2),
        generated("mine", "ref", 1.25, 3),
        generated("mine", "ref", None, 4),
        generated("mine", "ref", 1.5, 5),
        generated("ref", "mine", 1, 6),
        generated("ref", "mine", 1, 7),
        generated("ref", "mine", 1, 8),
    ]
    path = write(tmp_path, name, rows)
    result = import_files(ws, [path])
    (id_,) = result["comparisons"]
    assert result["turned"] == 4
    (line,) = summarise_all(ws)
    assert (line["baseline"], line["candidate"]) == ("ref", "mine")
    assert (line["wins"], line["losses"], line["ties"], line["invalid"]) == (3, 3, 1, 1)
    stored = read_judgments(ws, id_)
    assert all(r["text_1"].startswith("ref") and r["text_2"].startswith("mine") for r in stored)
    assert [r["score"] for r in stored] == [1, 1, 0.75, None, 0.5, 0, 0, 0]
    assert export_annotations(ws, id_) == rows, "what comes out is what went in"


def test_exchanged_columns_of_a_named_file_are_turned_by_their_generators(ws: Workspace, tmp_path: Path) -> None:
    seeds = [
        write(tmp_path, "ref_vs_mine_seed1.json", [generated("ref", "mine", 2, n) for n in range(5)]),
        write(tmp_path, "ref_vs_mine_seed2.json", [generated("mine", "ref", 1, n) for n in range(5)]),
    ]
    import_files(ws, seeds)
    (line,) = summarise_all(ws)
    assert line["per_seed_pct"] == [100, 100] and line["wins"] == 10
    import_files(ws, [seeds[1]], baseline="ref", candidate="mine", prompt_set="elsewhere")
    assert [entry["wins"] for entry in summarise_all(ws)] == [10, 5]


def test_generators_that_match_no_name_change_nothing(ws: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, "a_vs_b_seed1.json", [generated("run-17", "run-9", 2), generated("run-9", "run-17", 2, 1)])
    assert "turned" not in import_files(ws, [path]) and summarise_all(ws)[0]["wins"] == 2


def test_a_third_generator_is_named_as_wrong(ws: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, "annotations.json", [generated("ref", "mine", 2), generated("ref", "other", 2, 1)])
    with pytest.raises(LimitError, match="2 different names in 'generator_2'"):
        import_files(ws, [path])


def test_marks_line_ends_scripts_and_old_and_new_fields_together(ws: Workspace, tmp_path: Path) -> None:
    rows = [
        generated("ref", "mine", 2, 1) | {"preference_price_per_example": 0.5, "preference_raw_completion": {"x": [1]}},
        generated("ref", "mine", 1, 2) | {"price_per_example": 0.25, "raw_completion": "m", "index": 3},
        generated("ref", "mine", -1, 3) | {"output_1": "", "output_2": "  \n"},
        generated("ref", "mine", 2.0, 4) | {"output_2": "مرحبا 你好 \u202e🦙 <<<0123 ANSWER A" * 5_000},
        generated("ref", "mine", 2, 1) | {"extra": None},
    ]
    path = tmp_path / "annotations.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(rows, ensure_ascii=False, indent=1).replace("\n", "\r\n").encode())
    result = import_files(ws, [path])
    assert result["rows"] == 5 and result["invalid"] == 1
    stored = read_judgments(ws, result["comparisons"][0])
    assert [r["cost_usd"] for r in stored[:2]] == [0.5, 0.25] and stored[1]["raw_text"] == "m"
    assert stored[0]["replicate"] == 0 and stored[4]["replicate"] == 1, "a doubled row is kept as a copy"
    assert export_annotations(ws, result["comparisons"][0]) == rows


def test_sides_of_one_name_are_refused(ws: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, "annotations.json", [generated("ref", "ref", 2)])
    with pytest.raises(LimitError, match="names both sides 'ref'"):
        import_files(ws, [path])
    assert import_files(ws, [path], candidate="ref again")["rows"] == 1


def test_names_from_a_file_stay_on_one_line_of_a_terminal(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_files(ws, [write(tmp_path, "annotations.json", [generated("a\x1b[2Jb", "c\nd", 2)])])
    assert main(["judge", "summary"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and "\x1b" not in printed and "c d against a [2Jb" in printed
