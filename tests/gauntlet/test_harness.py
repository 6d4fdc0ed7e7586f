from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limit.cli import main
from limit.core import LimitError
from limit.gauntlet.evaluate import evaluate
from limit.gauntlet.harness import import_results
from limit.gauntlet.harness_export import export_results
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
        "lm-eval", "EleutherAI/pythia-70m", [])  # fmt: skip
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
        keys = ("task", "choice", "sum_logprob", "greedy", "n_chars", "n_bytes")
        return sorted(tuple(row[key] for key in keys) for row in read_choices(folder).to_pylist())

    assert lines(Path(back["path"])) == lines(out)
    for task, columns in (("sums", ("generated", "choices")), ("who", ("choices", "continuation", "gold", "context"))):
        there, here = (read_items(folder, [*columns], {"task": task}) for folder in (out, Path(back["path"])))
        assert there.to_pylist() == here.to_pylist()
    imported = {row["task"]: row for row in read_eval(Path(back["path"]))["tasks"]}
    for row in value["tasks"]:
        items = read_items(Path(back["path"]), ["correct"], {"task": row["task"]}).column("correct").to_pylist()
        rule = row["accuracy"] if row["acc_sum"] is None else row["acc_sum"]
        assert imported[row["task"]]["accuracy"] == rule
        if row["task"] != "next":  # the mean over its sub-categories is another number
            assert sum(items) / len(items) == pytest.approx(rule)


def test_the_standard_error_goes_out_in_units_of_accuracy(data: Path, tokenizers: Any, tmp_path: Path) -> None:
    spec = GauntletSpec(tasks=("pick",), max_seq_len=256)
    row = evaluate(build_model("llama"), tokenizers["bos"], spec, data, tmp_path / "a", JobContext(None))["tasks"][0]
    found = json.loads(Path(export_results(tmp_path / "a", tmp_path)["path"]).read_text())["results"]["pick"]
    p = row["accuracy"]
    assert found["gauntlet_acc_stderr,none"] == pytest.approx((p * (1 - p) / 16) ** 0.5)


def imported(ws: Workspace, folder: Path, value: dict[str, Any], samples: dict[str, list[Any]] | None = None) -> Any:
    """(the answer, eval.json, items) of a results file with sample lines beside it."""
    (folder / "results_1.json").write_text(json.dumps({"model_name": "org/model", **value}))
    for name, rows in (samples or {}).items():
        (folder / f"samples_{name}_1.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = import_results(ws, folder / "results_1.json")
    return found, read_eval(Path(found["path"])), read_items(Path(found["path"])).to_pylist()


def test_old_files_without_filters_are_read(ws: Workspace, tmp_path: Path) -> None:
    """As the harness wrote them until 0.3: plain names, shots in the config, no counts."""
    value = {"results": {"piqa": {"acc": 0.75, "acc_stderr": "0.01", "acc_norm": "0.5"}}, "versions": {"piqa": 0},
             "config": {"model": "gpt2", "model_args": {"pretrained": "org/old", "revision": "main"},
                        "num_fewshot": "5", "limit": None, "model_dtype": "torch.bfloat16"}}  # fmt: skip
    _, head, items = imported(ws, tmp_path, {**value, "model_name": None})
    (row,) = head["tasks"]
    assert (row["accuracy"], row["stderr"], row["acc_norm"], row["num_fewshot"]) == (0.75, 0.01, 0.5, 5)
    assert (head["model"], row["n"], items) == ("org/old", None, [])
    assert (head["protocol"]["dtype"], head["protocol"]["complete"]) == ("bf16", True)


def test_a_task_with_acc_norm_alone_is_read(ws: Workspace, tmp_path: Path) -> None:
    sample = {**SAMPLE, "acc_norm": 0.0}
    sample.pop("acc")
    _, head, items = imported(ws, tmp_path, {"results": {"x": {"acc_norm,none": 0.5}}}, {"x": [sample]})
    assert (head["tasks"][0]["accuracy"], head["tasks"][0]["metric"]) == (0.5, "acc_norm of lm-evaluation-harness")
    assert (head["tasks"][0]["acc_sum"], head["tasks"][0]["n"], items[0]["correct"]) == (None, 1, 0)


def test_of_several_filters_the_first_is_taken_everywhere(ws: Workspace, tmp_path: Path) -> None:
    metrics = {"exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.125,
               "exact_match,flexible-extract": 0.75, "exact_match_stderr,flexible-extract": 0.5}  # fmt: skip
    line = {"doc_id": 0, "target": "18", "arguments": [["Q: 9 + 9", {"until": ["Q:"]}]], "resps": [["so 18"]]}
    both = [{**line, "filter": "strict-match", "exact_match": 0.0},
            {**line, "filter": "flexible-extract", "exact_match": 1.0}]  # fmt: skip
    _, head, items = imported(ws, tmp_path, {"results": {"gsm8k": metrics}}, {"gsm8k": both})
    (row,) = head["tasks"]
    assert (row["accuracy"], row["stderr"]) == (0.25, 0.125)
    assert "(strict-match)" in row["metric"]
    assert [(i["correct"], i["gold"], i["choices"], i["generated"]) for i in items] == [(0, None, ["18"], "so 18")]


def test_groups_count_their_members_and_what_cannot_be_used_is_named(ws: Workspace, tmp_path: Path) -> None:
    value = {
        "results": {"mmlu": {"acc,none": 0.5, "alias": "mmlu"}, "mmlu_law": {"acc,none": 0.25},
                    "mmlu_art": {"acc,none": 0.75}, "wiki": {"word_perplexity,none": 9.0}, "bare": 0.5,
                    "percent": {"acc,none": 62.5}, "broken": {"acc,none": "N/A"}},
        "group_subtasks": {"mmlu": ["mmlu_law", "mmlu_art"], "mmlu_law": [], "wiki": []},
        "n-samples": {"mmlu_law": {"original": 9, "effective": 4}, "mmlu_art": 3},
        "n-shot": {"mmlu_law": 5, "mmlu": "N/A"}, "configs": {"mmlu_art": {"num_fewshot": 4}},
    }  # fmt: skip
    found, head, _ = imported(ws, tmp_path, value)
    rows = {row["task"]: (row["n"], row["num_fewshot"]) for row in head["tasks"]}
    assert rows == {"mmlu": (7, 0), "mmlu_law": (4, 5), "mmlu_art": (3, 4)}
    assert set(found["skipped"]) == {"wiki", "bare", "percent", "broken"}
    assert "word_perplexity" in found["skipped"]["wiki"]
    assert "62.5" in found["skipped"]["percent"]


def test_a_right_answer_may_be_given_by_its_text_and_contexts_may_differ(ws: Workspace, tmp_path: Path) -> None:
    text = {**SAMPLE, "target": "yes"}
    schema = {
        "doc_id": 3, "target": 1, "acc": 1.0, "resps": [[["-2.0", "False"]], [["nan", "True"]]],
        "arguments": [["Shot.\nThe ox saw the ant, the ox", " ran home"],
                      ["Shot.\nThe ox saw the ant, the ant", " ran home"]],
    }  # fmt: skip
    _, _, items = imported(ws, tmp_path, {"results": {"x": {"acc": 1}, "y": {"acc": 1}}}, {"x": [text], "y": [schema]})
    assert [item["gold"] for item in items] == [1, 1]
    assert items[1]["choices"] == ["The ox saw the ant, the ox", "The ox saw the ant, the ant"]
    assert (items[1]["continuation"], items[1]["prediction"], items[1]["nan"]) == ("ran home", 1, True)


@pytest.mark.parametrize(
    ("value", "word"),
    [({"config": {"model_args": "pretrained=a/b,peft=c/d"}}, "adapter"), ({"model_name": "/no/such/folder"}, "--run")],
)
def test_results_of_a_model_that_is_not_told_are_refused(
    ws: Workspace, tmp_path: Path, value: dict[str, Any], word: str
) -> None:
    with pytest.raises(LimitError, match=word):
        imported(ws, tmp_path, {"results": {"x": {"acc": 1}}, **value})
    assert not list(ws.runs.rglob("eval.json"))


def test_an_imported_evaluation_is_shown_and_written_out_again(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is said of how many records it has, and its name would lead out of the folder."""
    found, _, _ = imported(ws, tmp_path, {"results": {"../../x": {"acc": 1.0}}})
    assert main(["gauntlet", "show", found["eval_id"]]) == 0
    assert "n unknown" in capsys.readouterr().out
    out = tmp_path / "deep" / "out"
    written = [Path(name) for name in export_results(Path(found["path"]), out)["samples"]]
    assert [path.parent for path in written] == [out]
