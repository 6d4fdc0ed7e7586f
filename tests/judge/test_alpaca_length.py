"""AlpacaEval 2's length-controlled rate from its published files, against its leaderboard and a simulation."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limit.cli import main
from limit.core import LimitError
from limit.judge.alpaca_length import GAMED_WEIGHT, published_length_control
from limit.judge.annotations import import_files
from limit.settings import Workspace

FIELDS = ["index", "model", "preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline"]


def write_gamed(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, FIELDS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_prompts(path: Path, prompts: list[str]) -> Path:
    path.write_text(json.dumps([{"instruction": text, "output": "o", "generator": "g"} for text in prompts]))
    return path


def annotation(prompt: str, one: int, two: int, preference: float | None) -> dict[str, Any]:
    return {"instruction": prompt, "output_1": "x" * one, "output_2": "y" * two, "preference": preference}


def import_rows(ws: Workspace, folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "annotations.json"
    path.write_text(json.dumps(rows))
    return str(import_files(ws, [path], baseline="base", candidate="model")["comparisons"][0])


def simulated(folder: Path, count: int = 300) -> tuple[list[dict[str, Any]], Path, Path]:
    """Verdicts that go by length and difficulty, and the two files of AlpacaEval's shape for these prompts."""
    rng = np.random.default_rng(5)
    prompts = [f"Question {n}" for n in range(count)]
    hard = rng.normal(0, 1, count)
    one, two = rng.integers(50, 900, count), rng.integers(400, 1500, count)
    delta = one - two
    p = 1 / (1 + np.exp(-(-1.5 * np.tanh(delta / delta.std(ddof=1)) + 0.8 * hard - 0.5)))
    rows = [annotation(prompts[n], int(one[n]), int(two[n]), 1 + float(p[n])) for n in range(count)]
    gamed = [
        {"index": n, "model": kind, "preference": 0.5, "std_delta_len": 0.0, "instruction_difficulty": hard[n],
         "not_gamed_baseline": False}
        for kind in ("verbose", "concise") for n in range(count)
    ]  # fmt: skip
    return rows, write_gamed(folder / "df_gamed.csv", gamed), write_prompts(folder / "prompts.json", prompts)


def test_equal_length_is_what_the_simulation_has_there(ws: Workspace, tmp_path: Path) -> None:
    rows, gamed, prompts = simulated(tmp_path)
    found = published_length_control(ws, import_rows(ws, tmp_path, rows), gamed, prompts)
    assert found["length_weight"] == pytest.approx(-1.5, abs=0.15)
    assert found["intercept"] == pytest.approx(-0.5, abs=0.15)
    assert found["raw_pct"] - found["rate_pct"] > 8 and found["n"] == 300 and found["unmatched"] == 0
    assert GAMED_WEIGHT == 0.1


def test_difficulty_follows_the_prompt_and_not_the_row(ws: Workspace, tmp_path: Path) -> None:
    rows, gamed, prompts = simulated(tmp_path)
    straight = published_length_control(ws, import_rows(ws, tmp_path, rows), gamed, prompts)
    other = Workspace(tmp_path / "other").make()
    extra = annotation("Asked by nobody else", 5, 9, 2.0)
    mixed = published_length_control(other, import_rows(other, tmp_path, [extra, *reversed(rows)]), gamed, prompts)
    assert mixed["rate_pct"] == pytest.approx(straight["rate_pct"], abs=0.3)
    assert mixed["difficulty_weight"] == pytest.approx(straight["difficulty_weight"], abs=0.05)
    assert mixed["unmatched"] == 1


def test_the_command_says_rate_and_what_it_rests_on(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, gamed, prompts = simulated(tmp_path)
    id_ = import_rows(ws, tmp_path, [*rows, annotation("Another", 3, 4, None)])
    assert main(["judge", "length", id_, "--gamed", str(gamed), "--prompts", str(prompts)]) == 0
    words = capsys.readouterr().out
    assert "at equal length" in words and "300 verdicts" in words and "weights: length -1." in words


@pytest.mark.parametrize(
    ("gamed", "prompts", "words"),
    [
        ("index,preference\n1,0.5\n", None, "has no column 'std_delta_len'"),
        (",".join(FIELDS) + "\n0,m,much,0,0,False\n", None, "line 2 has 'much' as 'preference'"),
        (",".join(FIELDS) + "\n0,m,inf,0,0,False\n", None, "line 2 has 'inf' as 'preference'"),
        (",".join(FIELDS) + "\n", None, "holds no complete row"),
        (None, "[1]", "row 1 has no 'instruction'"),
        (None, json.dumps([{"instruction": "something else"}]), "0 decided verdicts"),
        (None, "{", "not JSON"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    ws: Workspace, tmp_path: Path, gamed: str | None, prompts: str | None, words: str
) -> None:
    rows, gamed_path, prompts_path = simulated(tmp_path, 120)
    id_ = import_rows(ws, tmp_path, rows)
    if gamed is not None:
        gamed_path.write_text(gamed)
    if prompts is not None:
        prompts_path.write_text(prompts)
    with pytest.raises(LimitError, match=words) as caught:
        published_length_control(ws, id_, gamed_path, prompts_path)
    assert str(gamed_path if gamed is not None else prompts_path) in str(caught.value)


def test_within_three_tenths_of_alpaca_evals_leaderboard(shared_data: Path, ws: Workspace, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    folder = shared_data / "judge" / "alpaca_eval"
    listed = sorted(
        pq.read_table(folder / "alpaca_eval_instructions.parquet").to_pylist(), key=lambda row: row["instruction_id"]
    )
    assert [row["instruction_id"] for row in listed] == list(range(805))
    gamed = write_gamed(
        tmp_path / "df_gamed.csv",
        [
            {
                "index": row["instruction_id"],
                "model": kind,
                "preference": min(1.0, max(0.0, row[f"gamed_{kind}_pref_estimate"])),
                "std_delta_len": float(np.arctanh(row[f"gamed_{kind}_tanh_len"])),
                "instruction_difficulty": row["difficulty_estimate"],
                "not_gamed_baseline": False,
            }
            for kind in ("verbose", "concise")
            for row in listed
        ],
    )
    names = [f"prompt {row['instruction_id']}" for row in listed]
    prompts = write_prompts(tmp_path / "prompts.json", names)
    published = json.loads((folder / "alpaca_eval_published.json").read_text())
    models: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(folder / "alpaca_eval_rows.parquet").to_pylist():
        rows = models.setdefault(row["model"], [])
        rows.append(annotation(names[row["instruction_id"]], row["len_1"], row["len_2"], row["preference"]))
    for model, facts in published.items():
        own = Workspace(tmp_path / model).make()
        found = published_length_control(own, import_rows(own, tmp_path, models[model]), gamed, prompts)
        assert found["rate_pct"] == pytest.approx(facts["recomputed"]["lc_winrate_aligned_by_instruction"], abs=0.3)
        assert found["raw_pct"] == pytest.approx(facts["published"]["win_rate"], abs=1e-6)
        if facts["published"]["n_total"] == 805:  # with gaps the published figure joins difficulty by row
            assert found["rate_pct"] == pytest.approx(facts["published"]["length_controlled_winrate"], abs=0.3)
