from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limit.core import LimitError
from limit.gauntlet.evaluate import evaluate
from limit.gauntlet.harness import export_results, import_results
from limit.gauntlet.results import read_eval
from limit.gauntlet.rows import read_choices, read_items
from limit.jobs.context import JobContext
from limit.settings import Workspace
from limit.specs.gauntlet import GauntletSpec
from tests.gauntlet.conftest import build_model

RESULTS = {
    "results": {
        "arc_easy": {"alias": "arc_easy", "acc,none": 0.5, "acc_stderr,none": 0.1, "acc_norm,none": 0.25},
        "gsm8k": {"exact_match,strict-match": 0.125, "exact_match_stderr,strict-match": "N/A"},
        "wikitext": {"word_perplexity,none": 12.0},
    },
    "n-shot": {"arc_easy": 25, "gsm8k": 5},
    "n-samples": {"arc_easy": {"original": 2376, "effective": 2}},
    "config": {"model_args": "pretrained=EleutherAI/pythia-70m,dtype=float32", "limit": 2.0},
    "max_length": 2048,
}
SAMPLE = {
    "doc_id": 0, "target": "1", "acc": 1.0, "resps": [[[-3.5, False]], [[-1.25, True]]],
    "arguments": {"gen_args_0": {"arg_0": "Q: x", "arg_1": " no"}, "gen_args_1": {"arg_0": "Q: x", "arg_1": " yes"}},
}  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results_2026.json"
    path.write_text(json.dumps(RESULTS))
    (tmp_path / "samples_arc_easy_2026.jsonl").write_text(json.dumps(SAMPLE) + "\n")
    return path


def test_results_are_read_under_a_version_of_their_own(ws: Workspace, results: Path) -> None:
    found = import_results(ws, results)
    value = read_eval(Path(found["path"]))
    assert (value["version"], value["model"], value["categories"]) == (
        "lm-eval", "pretrained=EleutherAI/pythia-70m,dtype=float32", [])  # fmt: skip
    tasks = {row["task"]: row for row in value["tasks"]}
    assert set(tasks) == {"arc_easy", "gsm8k"}
    arc = tasks["arc_easy"]
    assert (arc["acc_sum"], arc["acc_norm"], arc["num_fewshot"], arc["n"]) == (0.5, 0.25, 25, 2)
    assert (tasks["gsm8k"]["accuracy"], tasks["gsm8k"]["stderr"]) == (0.125, None)
    item = read_items(Path(found["path"])).to_pylist()[0]
    assert (item["prediction"], item["gold"], item["correct"], item["choices"]) == (1, 1, 1, ["no", "yes"])


@pytest.mark.parametrize(
    ("content", "word"),
    [("{}", "no results"), ('{"results": {"a": {"ppl": 1}}, "model_name": "x/y"}', "no accuracy"), ("[", "JSON"),
     ('{"results": {"a": {"acc,none": 1}}, "n-shot": [1], "model_name": "x/y"}', "`n-shot` is no object"),
     ('{"results": {"a": {"acc,none": 1}}, "n-samples": 3, "model_name": "x/y"}', "`n-samples` is no object"),
     ('{"results": {"a": {"acc,none": 1}}, "config": "c", "model_name": "x/y"}', "`config` is no object"),
     ('{"results": {"a": {"acc,none": 1}}}', "does not name its model")],
)  # fmt: skip
def test_a_file_without_results_is_named(ws: Workspace, tmp_path: Path, content: str, word: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(LimitError, match=word):
        import_results(ws, path)


def test_samples_of_a_task_are_not_those_of_one_with_a_longer_name(ws: Workspace, tmp_path: Path) -> None:
    """`samples_mmlu_anatomy_*` also begins with `samples_mmlu_`."""
    both = {"mmlu": {"acc,none": 1.0}, "mmlu_anatomy": {"acc,none": 1.0}}
    (tmp_path / "results_1.json").write_text(json.dumps({**RESULTS, "results": both}))
    for name, number in (("mmlu_2026-01-01", 1), ("mmlu_anatomy_2026-01-01", 3)):
        lines = [json.dumps({**SAMPLE, "doc_id": i}) for i in range(number)]
        (tmp_path / f"samples_{name}.jsonl").write_text("\n".join(lines))
    rows = read_items(Path(import_results(ws, tmp_path / "results_1.json")["path"])).to_pylist()
    assert [row["task"] for row in rows] == ["mmlu", *["mmlu_anatomy"] * 3]


@pytest.mark.parametrize(
    ("content", "word"), [(b"{}\n", "line 1"), (b"\xff\xfe", "UTF-8"), (b'{"doc_id": 0, "resps": [[]]}', "line 1")]
)
def test_a_broken_sample_is_named_and_nothing_stays(ws: Workspace, results: Path, content: bytes, word: str) -> None:
    (results.parent / "samples_arc_easy_2026.jsonl").write_bytes(content)
    with pytest.raises(LimitError, match=word):
        import_results(ws, results)
    assert not list(ws.runs.rglob("eval.json"))


def test_an_evaluation_goes_out_and_comes_back(ws: Workspace, data: Path, tokenizers: Any, tmp_path: Path) -> None:
    tasks = ("pick", "who", "next", "sums")
    spec = GauntletSpec(tasks=tasks, max_seq_len=256)
    out = tmp_path / "eval"
    value = evaluate(build_model("llama"), tokenizers["bos"], spec, data, out, JobContext(None))
    found = export_results(out, tmp_path / "harness")
    results = json.loads(Path(found["path"]).read_text())["results"]
    pick = next(row for row in value["tasks"] if row["task"] == "pick")
    assert results["pick"]["acc,none"] == pick["acc_sum"]
    assert results["pick"]["acc_norm,none"] == pick["acc_norm"]
    assert results["pick"]["gauntlet_acc,none"] == pick["accuracy"]
    samples = [json.loads(line) for line in Path(found["samples"][0]).read_text().splitlines()]
    assert len(samples) == 17
    assert len(samples[0]["resps"]) == 4
    back = import_results(ws, Path(found["path"]), model="org/any")
    assert read_items(Path(back["path"])).num_rows == sum(row["n"] for row in value["tasks"])

    def lines(folder: Path) -> list[tuple[Any, ...]]:
        """Schema items are exported by their options, so the length of their continuation does not come back."""
        keys = ("task", "choice", "sum_logprob", "greedy")
        rows = read_choices(folder).to_pylist()
        return sorted((*(r[k] for k in keys), r["n_bytes"] if r["task"] != "who" else 0) for r in rows)

    assert lines(Path(back["path"])) == lines(out)
    written = {row["generated"] for row in read_items(out, filters={"task": "sums"}).to_pylist()}
    assert {r["generated"] for r in read_items(Path(back["path"]), filters={"task": "sums"}).to_pylist()} == written
