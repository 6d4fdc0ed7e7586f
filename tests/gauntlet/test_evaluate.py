from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from limit.core import LimitError, read_json
from limit.gauntlet import engine as engine_module
from limit.gauntlet.evaluate import evaluate
from limit.gauntlet.results import compare, compare_pairs, disagreements, read_eval, scores_of
from limit.gauntlet.rows import read_choices, read_items
from limit.jobs.context import JobContext
from limit.specs.gauntlet import GauntletSpec
from tests.gauntlet import reference
from tests.gauntlet.conftest import build_model

SILENT = JobContext(None)
evaluate_module = importlib.import_module("limit.gauntlet.evaluate")  # the package's face has the function's name
COLUMNS = ["version", "protocol", "task", "category", "subcategory", "idx", "choice", "n_tokens", "n_chars", "n_bytes",
           "sum_logprob", "greedy", "request_sha1"]  # fmt: skip


FIVE = ("pick", "letter", "who", "next", "sums")


def spec(**changes: Any) -> GauntletSpec:
    return GauntletSpec(**{"version": "v0", "tasks": FIVE, "max_seq_len": 256, **changes})


@pytest.fixture(scope="module")
def model() -> Any:
    return build_model("llama")


def test_three_files_hold_what_every_rule_needs(data: Path, tokenizers: Any, model: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = evaluate(model, tokenizers["bos"], spec(), data, out, SILENT)
    assert result == read_eval(out)
    assert sorted(path.name for path in out.iterdir()) == ["choices.parquet", "eval.json", "items.parquet"]
    choices = read_choices(out)
    assert choices.column_names == COLUMNS
    prompts = {row["task"]: row["request_sha1"] for row in read_items(out).to_pylist() if row["idx"] == 0}
    _, _, ids, _ = reference.requests(
        tokenizers["bos"], {"type": "generation_task_with_answers", "cot_delimiter": " #### ", "prelimiter": "Q: ",
                            "continuation_delimiter": "\nA: "},
        reference.read_file(data / "sums.jsonl")[""], 2, 256, 1,
    )[0]  # fmt: skip
    assert prompts == {**dict.fromkeys(FIVE), "sums": reference.sha1(ids, [])}
    tasks = {(row["task"], row["num_fewshot"]): row for row in result["tasks"]}
    assert set(tasks) == {("pick", 3), ("letter", 2), ("letter", 0), ("who", 2), ("next", 2), ("sums", 2)}
    rows = choices.to_pylist()
    assert {row["protocol"] for row in rows if row["task"] == "letter"} == {"paper", "paper@0"}
    records = reference.read_file(data / "pick.jsonl")[""]
    right = summed = normed = 0
    for idx, record in enumerate(records):
        part = [row for row in rows if row["task"] == "pick" and row["idx"] == idx]
        means = [row["sum_logprob"] / row["n_tokens"] for row in part]
        right += means.index(max(means)) == record["gold"]
        sums = [row["sum_logprob"] for row in part]
        summed += sums.index(max(sums)) == record["gold"]
        chars = [row["sum_logprob"] / len(c) for row, c in zip(part, record["choices"], strict=True)]
        normed += chars.index(max(chars)) == record["gold"]
        assert [row["n_bytes"] for row in part] == [len(c.encode()) for c in record["choices"]]
    pick = tasks["pick", 3]
    assert (pick["accuracy"], pick["acc_sum"], pick["acc_norm"]) == (right / 17, summed / 17, normed / 17)
    assert set(tasks["next", 2]["subcategory_scores"]) == {"one", "two"}
    assert tasks["next", 2]["accuracy"] == pytest.approx(sum(tasks["next", 2]["subcategory_scores"].values()) / 2)
    assert scores_of(result)["averages"].keys() == {"core_average", "half"}


def test_a_limit_cuts_records_and_nothing_else(data: Path, tokenizers: Any, model: Any, tmp_path: Path) -> None:
    """The longest answer, by which prompts are cut and answers end, stands behind the limit."""
    rows = [json.loads(line) for line in (data / "sums.jsonl").read_text().splitlines()]
    rows[-1]["chain_of_thought"] = "one and one and one and one is a long way to say four. " * 2
    (data / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {}
    for name, limit in (("whole", None), ("cut", 2)):
        evaluate(model, tokenizers["bos"], spec(tasks=("next", "sums"), limit=limit), data, tmp_path / name, SILENT)
        items = read_items(tmp_path / name).to_pylist()
        found[name] = {(i["task"], i["subcategory"], i["idx"]): (i["context"], i["generated"]) for i in items}
    assert len(found["whole"]) == 13 + 9
    assert sorted(found["cut"]) == [("next", "one", 0), ("next", "one", 1), ("next", "two", 0), ("next", "two", 1),
                                    ("sums", "", 0), ("sums", "", 1)]  # fmt: skip
    assert found["cut"] == {key: found["whole"][key] for key in found["cut"]}
    assert len(found["cut"]["sums", "", 0][1]) > 100


def test_the_protocol_travels_with_the_scores(data: Path, tokenizers: Any, model: Any, tmp_path: Path) -> None:
    whole = evaluate(model, tokenizers["bos"], spec(), data, tmp_path / "a", SILENT)["protocol"]
    cut = evaluate(model, tokenizers["bos"], spec(limit=2, shots="fixed"), data, tmp_path / "b", SILENT)["protocol"]
    assert (whole["shots"], whole["draws"], whole["max_seq_len"], whole["dtype"]) == ("paper", None, 256, "fp32")
    assert set(whole["data"]) == {f"{name}.jsonl" for name in FIVE}
    assert (cut["shots"], cut["draws"], cut["limit"], cut["complete"]) == ("fixed", 1, 2, False)


def test_a_limit_scores_what_the_whole_evaluation_scores(
    data: Path, tokenizers: Any, model: Any, tmp_path: Path
) -> None:
    evaluate(model, tokenizers["bos"], spec(), data, tmp_path / "a", SILENT)
    evaluate(model, tokenizers["bos"], spec(limit=3), data, tmp_path / "b", SILENT)
    whole = {(r["task"], r["protocol"], r["subcategory"], r["idx"], r["choice"]): r for r in
             read_choices(tmp_path / "a").to_pylist()}  # fmt: skip
    part = read_choices(tmp_path / "b").to_pylist()
    assert {row["idx"] for row in part} == {0, 1, 2}
    for row in part:
        twin = whole[row["task"], row["protocol"], row["subcategory"], row["idx"], row["choice"]]
        assert row["request_sha1"] == twin["request_sha1"]
        assert row["sum_logprob"] == pytest.approx(twin["sum_logprob"], abs=1e-4)


@pytest.mark.parametrize("shots", ["paper", "fixed"])
def test_a_killed_evaluation_goes_on_and_ends_with_the_same_files(
    data: Path, tokenizers: Any, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shots: str
) -> None:
    request = spec(shots=shots, batch_tokens=150)
    evaluate(model, tokenizers["bos"], request, data, tmp_path / "whole", SILENT)
    real, runs = engine_module.Engine._timed, []

    def mortal(self: Any, *work: Any) -> Any:
        if len(runs) in (3, 9):
            runs.append("killed")
            raise KeyboardInterrupt
        runs.append("run")
        return real(self, *work)

    monkeypatch.setattr(engine_module.Engine, "_timed", mortal)
    out = tmp_path / "killed"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            evaluate(model, tokenizers["bos"], request, data, out, SILENT)
        assert sorted(path.name for path in out.iterdir()) == ["journal.jsonl"]
    with (out / "journal.jsonl").open("a") as file:
        file.write('{"task": "pick/3-shot", "chunk": 0, "pa')
    evaluate(model, tokenizers["bos"], request, data, out, SILENT)
    for name in ("items.parquet", "choices.parquet"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    volatile = ("created", "seconds")
    first, second = (
        {k: v for k, v in read_json(folder / "eval.json").items() if k not in volatile}
        for folder in (out, tmp_path / "whole")
    )
    assert first == second
    monkeypatch.undo()


def test_eval_json_never_stands_beside_tables_of_another_evaluation(
    data: Path, tokenizers: Any, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies between the files leaves no eval.json, which says that all is there; the next one ends."""
    out = tmp_path / "out"
    first = evaluate(model, tokenizers["bos"], spec(tasks=("pick",)), data, out, SILENT)
    seen: list[list[str]] = []

    def dies(path: Path, value: Any) -> None:
        seen.append(sorted(path.name for path in out.iterdir()))
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_module, "write_json", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, tokenizers["bos"], spec(tasks=("who",)), data, out, SILENT)
    assert seen == [["choices.parquet", "items.parquet", "journal.jsonl"]]
    assert {row["task"] for row in read_items(out).to_pylist()} == {"who"}
    monkeypatch.undo()
    second = evaluate(model, tokenizers["bos"], spec(tasks=("who",)), data, out, SILENT)
    assert (read_eval(out), second["eval_id"]) == (second, second["eval_id"])
    assert second["eval_id"] != first["eval_id"]


def test_an_evaluation_whose_tables_are_gone_is_made_again(
    data: Path, tokenizers: Any, model: Any, tmp_path: Path
) -> None:
    evaluate(model, tokenizers["bos"], spec(tasks=("pick",)), data, tmp_path, SILENT)
    (tmp_path / "items.parquet").unlink()
    evaluate(model, tokenizers["bos"], spec(tasks=("pick",)), data, tmp_path, SILENT)
    assert read_items(tmp_path).num_rows == 17


def test_items_say_what_was_cut_and_what_a_schema_goes_on_with(
    data: Path, tokenizers: Any, model: Any, tmp_path: Path
) -> None:
    evaluate(model, tokenizers["bos"], spec(tasks=("who", "pick"), max_seq_len=40), data, tmp_path, SILENT)
    rows = read_items(tmp_path).to_pylist()
    written = [json.loads(line)["continuation"] for line in (data / "who.jsonl").read_text().splitlines()]
    assert [row["continuation"] for row in rows if row["task"] == "who"] == written
    assert {row["continuation"] for row in rows if row["task"] == "pick"} == {None}
    assert all(row["n_cut"] > 0 for row in rows if len(tokenizers["bos"](row["context"])["input_ids"]) > 42)
    assert any(row["n_cut"] > 0 for row in rows)


def test_prompts_longer_than_the_model_was_made_for_are_counted(data: Path, tokenizers: Any, tmp_path: Path) -> None:
    import transformers

    from limit.core import read_jsonl

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    short = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**shape, vocab_size=420, max_position_embeddings=48)
    ).eval()
    (tmp_path / "job").mkdir()
    request = spec(tasks=("pick", "sums"))
    rows = evaluate(short, tokenizers["bos"], request, data, tmp_path / "out", JobContext(tmp_path / "job"))["tasks"]
    assert [row["beyond_positions"] > 0 for row in rows] == [True, True]
    notes = [row["text"] for row in read_jsonl(tmp_path / "job" / "events.jsonl") if row["kind"] == "note"]
    assert any("48 tokens that the model was made for" in note for note in notes)
    fits = evaluate(short, tokenizers["bos"], spec(tasks=("pick",), max_seq_len=48), data, tmp_path / "b", SILENT)
    assert fits["tasks"][0]["beyond_positions"] == 0


def test_a_stop_request_keeps_the_journal(data: Path, tokenizers: Any, model: Any, tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    (job / "cancel").write_text("{}")
    result = evaluate(model, tokenizers["bos"], spec(), data, tmp_path / "out", JobContext(job))
    assert result["stopped"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["journal.jsonl"]


def test_a_constant_model_is_flagged_as_near_ties(data: Path, tokenizers: Any, tmp_path: Path) -> None:
    import torch

    constant = build_model("llama")
    torch.nn.init.zeros_(constant.lm_head.weight)
    result = evaluate(constant, tokenizers["bos"], spec(tasks=("pick",)), data, tmp_path / "out", SILENT)
    row = result["tasks"][0]
    assert (row["near_ties"], row["nan"]) == (17, 0)
    assert set(read_items(tmp_path / "out").column("prediction").to_pylist()) == {0}


def test_nan_is_counted(data: Path, tokenizers: Any, tmp_path: Path) -> None:
    import math

    import torch

    broken = build_model("llama")
    torch.nn.init.constant_(broken.model.norm.weight, math.nan)
    result = evaluate(broken, tokenizers["bos"], spec(tasks=("pick",)), data, tmp_path / "out", SILENT)
    assert result["tasks"][0]["nan"] == 17
    assert json.loads((tmp_path / "out" / "eval.json").read_text())["tasks"][0]["near_ties"] == 0


def test_answers_that_fit_every_text_are_counted(data: Path, tokenizers: Any, model: Any, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (data / "sums.jsonl").read_text().splitlines()]
    rows[2]["aliases"] = ["(a"]  # as in triviaqa: nothing is left of it once it is normalised
    (data / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = evaluate(model, tokenizers["bos"], spec(tasks=("sums", "who")), data, tmp_path / "out", SILENT)
    assert {row["task"]: row["always_right"] for row in result["tasks"]} == {"sums": 1, "who": 0}


def test_two_evaluations_are_compared_item_by_item(data: Path, tokenizers: Any, model: Any, tmp_path: Path) -> None:
    evaluate(model, tokenizers["bos"], spec(), data, tmp_path / "a", SILENT)
    evaluate(build_model("neox"), tokenizers["bos"], spec(), data, tmp_path / "b", SILENT)
    rows = {(row["task"], row["num_fewshot"]): row for row in compare(tmp_path / "a", tmp_path / "b")}
    pick = rows["pick", 3]
    assert pick["only_a"] + pick["only_b"] == len(disagreements(tmp_path / "a", tmp_path / "b", "pick"))
    assert pick["difference"] == pytest.approx((pick["only_a"] - pick["only_b"]) / 17)
    assert pick["p_holm"] >= pick["p_value"]
    same = compare(tmp_path / "a", tmp_path / "a")
    assert {row["verdict"] for row in same} == {"cannot tell"}


def test_every_pair_of_models_is_adjusted_for_all_pairs(data: Path, tokenizers: Any, tmp_path: Path) -> None:
    from limit.statistics import holm

    kinds = ("llama", "neox", "gpt2")
    for kind in kinds:
        evaluate(build_model(kind), tokenizers["bos"], spec(tasks=("pick", "letter")), data, tmp_path / kind, SILENT)
    evaluate(
        build_model("llama"), tokenizers["bos"], spec(tasks=("letter",), shots="fixed"), data, tmp_path / "x", SILENT
    )
    rows = compare_pairs([tmp_path / name for name in (*kinds, "x")], "letter", 2)
    assert [(row["first"], row["second"]) for row in rows] == [(0, 1), (0, 2), (1, 2)]
    assert [row["p_holm"] for row in rows] == holm([row["p_value"] for row in rows])
    alone = {(row["task"], row["num_fewshot"]): row for row in compare(tmp_path / "llama", tmp_path / "neox")}
    same = ("n", "a", "b", "difference", "p_value", "only_a", "only_b", "needed_n")
    assert {key: rows[0][key] for key in same} == {key: alone["letter", 2][key] for key in same}


def test_items_of_different_protocols_do_not_pair(data: Path, tokenizers: Any, model: Any, tmp_path: Path) -> None:
    evaluate(model, tokenizers["bos"], spec(tasks=("pick",)), data, tmp_path / "a", SILENT)
    evaluate(model, tokenizers["bos"], spec(tasks=("pick",), shots="fixed"), data, tmp_path / "b", SILENT)
    with pytest.raises(LimitError, match="differ in shots"):
        compare(tmp_path / "a", tmp_path / "b")


def test_a_task_that_was_changed_in_between_does_not_pair(
    data: Path, tokenizers: Any, model: Any, tmp_path: Path
) -> None:
    both = spec(tasks=("pick", "who"))
    evaluate(model, tokenizers["bos"], both, data, tmp_path / "a", SILENT)
    (data / "pick.jsonl").write_text((data / "pick.jsonl").read_text().replace("river", "rivers"))
    evaluate(model, tokenizers["bos"], both, data, tmp_path / "b", SILENT)
    assert [row["task"] for row in compare(tmp_path / "a", tmp_path / "b")] == ["who"]
    assert compare_pairs([tmp_path / "a", tmp_path / "b"], "pick", 3) == []
    with pytest.raises(LimitError, match="files or settings of pick were changed in between"):
        disagreements(tmp_path / "a", tmp_path / "b", "pick")
    with pytest.raises(LimitError, match="have no items in common; evaluate"):
        disagreements(tmp_path / "a", tmp_path / "b", "next")


def test_a_missing_file_makes_the_category_partial(data: Path, tokenizers: Any, model: Any, tmp_path: Path) -> None:
    (data / "letter.jsonl").unlink()
    result = evaluate(model, tokenizers["bos"], spec(), data, tmp_path / "out", SILENT)
    reading = result["categories"][0]
    assert (reading["score"], reading["partial"], reading["missing"]) == (None, True, ["letter"])
    assert result["absent"] == ["letter/2-shot", "letter/0-shot"]
    shutil.rmtree(data)
    data.mkdir()
    with pytest.raises(LimitError, match="holds no file of"):
        evaluate(model, tokenizers["bos"], GauntletSpec(tasks=("copa",)), data, tmp_path / "none", SILENT)


def test_a_table_of_positions_that_is_too_short_is_named(data: Path, tokenizers: Any, tmp_path: Path) -> None:
    import transformers

    short = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=420, n_positions=32)
    )
    with pytest.raises(LimitError, match="--max-seq-len 32"):
        evaluate(short.eval(), tokenizers["bos"], spec(tasks=("pick",)), data, tmp_path / "out", SILENT)
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_tokenizer_of_another_model_is_named(data: Path, tokenizers: Any, tmp_path: Path) -> None:
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    small = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, vocab_size=300)).eval()
    with pytest.raises(LimitError, match="but the model knows 300 tokens"):
        evaluate(small, tokenizers["bos"], spec(tasks=("pick",)), data, tmp_path / "out", SILENT)


@pytest.mark.parametrize(("room", "fits"), [(48, False), (300, True)])
def test_an_mpt_is_asked_for_no_more_than_its_max_seq_len(
    data: Path, tokenizers: Any, tmp_path: Path, room: int, fits: bool
) -> None:
    """transformers cuts an MPT's ALiBi table at `max_seq_len`; beyond it scores would be wrong without a word."""
    import transformers

    config = transformers.MptConfig(d_model=32, n_heads=4, n_layers=1, vocab_size=420, max_seq_len=room)
    mpt = transformers.MptForCausalLM(config).eval()
    request = spec(tasks=("pick", "sums"), max_seq_len=256)
    if fits:
        assert evaluate(mpt, tokenizers["bos"], request, data, tmp_path / "out", SILENT)["tasks"]
        return
    with pytest.raises(LimitError, match=f"{room} positions.*--max-seq-len {room}"):
        evaluate(mpt, tokenizers["bos"], request, data, tmp_path / "out", SILENT)


def test_answers_that_fill_the_limit_leave_prompts_whole_and_it_is_said(
    data: Path, tokenizers: Any, model: Any, tmp_path: Path
) -> None:
    """llm-foundry then raises its limit to the answer's length, and an empty slice keeps the whole prompt."""
    from limit.core import read_jsonl
    from limit.gauntlet.prompts import Encoder, build_items
    from limit.gauntlet.records import load_records
    from limit.gauntlet.tasks import load_version

    rows = [json.loads(line) for line in (data / "sums.jsonl").read_text().splitlines()]
    rows[0]["chain_of_thought"] = "one and two and three. " * 10
    (data / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_version("v0", data).select(("sums",))[0]
    encoder = Encoder(tokenizers["bos"])
    (items,) = build_items(task, load_records(task, data), encoder, max_seq_len=64)
    assert items[0].max_new_tokens > 64
    assert any(len(item.requests[0].context) > 64 for item in items)
    (tmp_path / "job").mkdir()
    evaluate(model, tokenizers["bos"], spec(tasks=("sums",), max_seq_len=64, limit=1), data, tmp_path / "out",
             JobContext(tmp_path / "job"))  # fmt: skip
    notes = [row["text"] for row in read_jsonl(tmp_path / "job" / "events.jsonl") if row["kind"] == "note"]
    assert any("sums/2-shot" in note and "not cut" in note for note in notes)
