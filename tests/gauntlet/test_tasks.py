from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from limit.core import LimitError
from limit.gauntlet.records import load_records
from limit.gauntlet.tasks import DEFINITIONS, MINI, load_version

COUNTS = {"v0": 33, "v0.1": 49, "v0.2": 33, "v0.3": 31}


@pytest.mark.parametrize("version", COUNTS)
def test_a_version_counts_as_many_tasks_as_its_source(version: str) -> None:
    gauntlet = load_version(version, DEFINITIONS)
    core = ("world_knowledge", "commonsense_reasoning", "language_understanding", "symbolic_problem_solving",
            "reading_comprehension", "safety")  # fmt: skip
    assert sum(len(gauntlet.categories.get(name, ())) for name in core) == COUNTS[version]


def test_overrides_change_a_task_in_their_version_only() -> None:
    by_version = {v: {t.key: t for t in load_version(v, DEFINITIONS).tasks} for v in ("v0.2", "v0.3")}
    old, new = by_version["v0.2"]["gsm8k/8-shot"], by_version["v0.3"]["gsm8k/0-shot"]
    assert (old.cot_delimiter, old.do_normalization, old.prelimiter) == (" #### ", True, "Q: ")
    assert (new.cot_delimiter, new.do_normalization, new.prelimiter) == ("The answer is ", False, "")
    assert new.early_stopping_criteria == ("\n\n", "Question:")
    assert new.file == "symbolic_problem_solving/gsm8k_prepended_8shot.jsonl"


def test_a_task_at_two_shot_counts_is_counted_at_the_one_the_version_names() -> None:
    tasks = [task for task in load_version("v0.2", DEFINITIONS).tasks if task.name == "arc_challenge"]
    assert [(task.num_fewshot, task.counted) for task in tasks] == [(3, True), (25, False)]


def test_definitions_equal_the_real_ones(shared_data: Path) -> None:
    for version in COUNTS:
        ours = load_version(version, DEFINITIONS)
        theirs = load_version(version, shared_data / "gauntlet")
        assert ours.categories == theirs.categories
        assert ours.averages == theirs.averages
        assert {t.key: t.continuation_delimiter for t in ours.tasks} == {
            t.key: t.continuation_delimiter for t in theirs.tasks
        }


def test_an_own_task_is_scored_in_its_own_category(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(
        "tasks:\n  mine: {category: my_field, type: language_modeling, file: mine.jsonl, num_fewshot: 2}\n"
        "  guest: {category: world_knowledge, type: language_modeling, file: mine.jsonl, num_fewshot: 0}\n"
    )
    gauntlet = load_version("v0", tmp_path)
    assert [entry.task for entry in gauntlet.categories["my_field"]] == ["mine"]
    assert "guest" not in [entry.task for entry in gauntlet.categories["world_knowledge"]]
    assert [task.counted for task in gauntlet.select(("guest",))] == [False]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("tasks: [1, 2]", "map each task"),
        ("tasks:\n  x: {type: magic, file: a}", "magic"),
        ("tasks:\n  x: {type: schema, file: ../../etc/passwd, num_fewshot: 0}", "inside the data folder"),
        ("tasks:\n  x: {type: schema, file: /etc/passwd, num_fewshot: 0}", "inside the data folder"),
        ("tasks:\n  x: {type: schema, file: a, num_fewshot: -1}", "num_fewshot -1"),
        ("tasks:\n  x: {type: schema, file: a, random_baseline: 1}", "random_baseline 1"),
        ("tasks:\n  x: {type: schema, file: a, num_fewshot: 0, cot_delimiter: 3}", "cot_delimiter 3"),
        ("tasks: {x: [", "YAML"),
        ("tasks:\n  x: {type: schema, fewshot_random_seed: abc}", "fewshot_random_seed 'abc'"),
        ("tasks:\n  x: {type: schema, early_stopping_criteria: stop}", "give a list of texts"),
        ("tasks:\n  x: {type: schema, early_stopping_criteria: ['']}", "texts that are not empty"),
        ("tasks:\n  x: {type: schema, has_categories: 'no'}", "has_categories 'no'; give true or false"),
        ("tasks:\n  x: {type: schema, records_in_source: many}", "records_in_source 'many'"),
        ("tasks:\n  x: {type: schema, random_baseline: true}", "random_baseline True"),
        ("tasks:\n  x: {type: schema, overrides: [1]}", "overrides"),
        ("tasks:\n  x: {type: schema, overrides: {v0: 3}}", "overrides of task 'x' for v0"),
        ("tasks:\n  x: {type: schema, overrides: {v0: {prelimiter: 3}}}", "prelimiter 3"),
        ("tasks:\n  x: {type: schema, numfewshot: 3}", "did you mean 'num_fewshot'"),
        ("tasks:\n  ../x: {type: schema}", "task name '../x'"),
        ("tasks:\n  x: {type: schema, category: core_average}", "both a category and an average"),
        ("defaults: [1]", "`defaults` must map"),
        ("tasks:\n  x: {type: schema}\n  x: {type: schema}", "'x' stands twice in the block that begins in line 2"),
        ("tasks:\n  x: {type: schema, num_fewshot: [2, 2]}", "num_fewshot 2 twice"),
    ],
)
def test_definitions_that_cannot_be_used_are_named(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "tasks.yaml").write_text(text)
    with pytest.raises(LimitError, match=word):
        load_version("v0", tmp_path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("versions: [v0]", "`versions` must map"),
        ("versions: {v0: {categories: [a]}}", "`categories` must map"),
        ("versions: {v0: {categories: {a: [copa]}}}", "category 'a' needs"),
        ("versions: {v0: {averages: [a]}}", "`averages` must map"),
        ("versions: {v0: {averages: {a: b}}}", "`averages` must map"),
        ("aggregation: [EQUAL]", "`aggregation` must map"),
        ("aggregation: {weighting: BY_TASTE}", "weighting 'BY_TASTE'"),
        ("aggregation: {weigthing: EQUAL}", "did you mean 'weighting'"),
        ("aggregation: {rescale_accuracy: 'no'}", "rescale_accuracy 'no'"),
        (
            "versions: {v0: {categories: {a: [{task: copa, num_fewshot: 0, random_baseline: 1}]}}}",
            "random_baseline 1.0",
        ),
        (
            "versions: {v0: {categories: {a: [{task: copa, num_fewshot: 0, random_baseline: 0}, "
            "{task: copa, num_fewshot: 0, random_baseline: 0}]}}}",
            "copa/0-shot twice",
        ),
    ],
)
def test_versions_that_cannot_be_used_are_named(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "gauntlet.yaml").write_text(text)
    with pytest.raises(LimitError, match=word):
        load_version("v0", tmp_path)


def test_remarks_beside_the_settings_are_left_alone_and_names_may_be_numbers(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text("tasks:\n  7: {type: schema, file: a.jsonl, licence: mine, note: by hand}\n")
    assert [task.name for task in load_version("v0", tmp_path).select(("7",))] == ["7"]


def test_an_unknown_task_is_named(data: Path) -> None:
    with pytest.raises(LimitError, match="no task 'mmlu_pro'"):
        load_version("v0", data).select(("mmlu_pro",))


def test_a_task_of_other_versions_is_told_from_an_unknown_one(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text("tasks:\n  x: {type: schema, file: a.jsonl, num_fewshot: {v0.1: [1]}}\n")
    with pytest.raises(LimitError, match="'x' is not part of gauntlet v0"):
        load_version("v0", tmp_path).select(("x",))
    assert [task.key for task in load_version("v0.1", tmp_path).select(("x",))] == ["x/1-shot"]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"query": "a\\ud800", "choices": ["x", "y"], "gold": 1}', "half of a character"),
        ('{"query": "a", "choices": ["x", "y"], "gold": 2}', "`gold` is 2"),
        ('{"query": "a", "choices": ["x", "y"], "gold": true}', "`gold` is True"),
        ('{"query": "a", "choices": "xy", "gold": 0}', "list of texts"),
        ('{"query": 1, "choices": ["x"], "gold": 0}', "expected text"),
        ('{"choices": ["x"], "gold": 0}', "`query` is missing"),
        ('{"query": "a", "choices": ["x", ""], "gold": 0}', "choice 1 is empty"),
        ('{"query": "a", "choices": ["x"], "gold": 0}', "would always be right"),
        ('{"query": "a", "choices": ["x", "y"]}', "`gold` is missing"),
        ('{"query": "a", "choices": ["x", "y"], "gold": ' + "9" * 5000 + "}", "broken JSON"),
        ('{"query": "a"', "broken JSON"),
        ("[1]", "expected a JSON object"),
    ],
)
def test_a_bad_record_is_named_by_file_and_line(data: Path, line: str, word: str) -> None:
    good = (data / "pick.jsonl").read_text().splitlines()[0]
    (data / "pick.jsonl").write_text(f"{good}\n\n{line}\n")
    task = load_version("v0", data).select(("pick",))[0]
    with pytest.raises(LimitError, match=word) as caught:
        load_records(task, data)
    assert "pick.jsonl, line 3" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line", "word"),
    [
        ("sums", '{"context": "a", "answer": " "}', "`answer` is empty"),
        ("next", '{"context": "a", "continuation": "b", "category": " "}', "`category` is missing"),
        ("next", '{"context": "a", "continuation": "b", "category": 1}', "`category` is 1"),
        ("who", '{"context_options": ["a"], "continuation": "b", "gold": 0}', "would always be right"),
        ("who", '{"context_options": ["a", "b"], "continuation": "\\n", "gold": 0}', "`continuation` is empty"),
    ],
)
def test_a_record_that_says_nothing_is_refused(data: Path, name: str, line: str, word: str) -> None:
    (data / f"{name}.jsonl").write_text(line + "\n")
    with pytest.raises(LimitError, match=word):
        load_records(load_version("v0", data).select((name,))[0], data)


def test_a_file_name_that_no_disk_takes_is_named(data: Path) -> None:
    task = replace(load_version("v0", data).select(("pick",))[0], file="x" * 300)
    with pytest.raises(LimitError, match=r"'pick'.*too long"):
        load_records(task, data)


def test_pairs_of_code_units_and_other_line_separators_are_text(data: Path) -> None:
    line = json.dumps({"query": "\U0001f600", "choices": ["a\u2028", "b"], "gold": 0})
    raw = json.dumps({"query": "x\u2028y\u2029z", "choices": ["a\x85", "b"], "gold": 1}, ensure_ascii=False)
    (data / "pick.jsonl").write_bytes(f"{line}\n{raw}\n".encode())
    (records,) = load_records(load_version("v0", data).select(("pick",))[0], data).values()
    assert [record["query"] for record in records] == ["\U0001f600", "x\u2028y\u2029z"]


@pytest.mark.parametrize("text", ["\r\n", "\ufeff"])
def test_line_ends_and_marks_of_other_systems_are_read(data: Path, text: str) -> None:
    path = data / "pick.jsonl"
    plain = load_records(load_version("v0", data).select(("pick",))[0], data)
    content = path.read_text().replace("\n", "\r\n") if text == "\r\n" else text + path.read_text()
    path.write_bytes(content.encode())
    assert load_records(load_version("v0", data).select(("pick",))[0], data) == plain


@pytest.mark.parametrize(("content", "word"), [(b"", "no records"), (b"\xff\xfe{}", "UTF-8")])
def test_a_file_without_readable_records_is_named(data: Path, content: bytes, word: str) -> None:
    (data / "pick.jsonl").write_bytes(content)
    with pytest.raises(LimitError, match=word):
        load_records(load_version("v0", data).select(("pick",))[0], data)


def test_a_link_that_leads_out_of_the_folder_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_text("{}")
    (data / "pick.jsonl").unlink()
    (data / "pick.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(LimitError, match="leads out"):
        load_records(load_version("v0", data).select(("pick",))[0], data)


def test_strings_are_stripped_and_strings_in_lists_are_not(data: Path) -> None:
    (data / "pick.jsonl").write_text('{"query": "  a \\n", "choices": [" x ", "y"], "gold": 0}\n')
    record = load_records(load_version("v0", data).select(("pick",))[0], data)[""][0]
    assert (record["query"], record["choices"]) == ("a", [" x ", "y"])


def test_the_embedded_version_ships_every_record_it_counts() -> None:
    gauntlet = load_version("mini", MINI)
    assert set(gauntlet.categories) >= {"world_knowledge", "commonsense_reasoning", "symbolic_problem_solving",
                                        "language_understanding", "reading_comprehension"}  # fmt: skip
    for task in gauntlet.tasks:
        assert sum(map(len, load_records(task, MINI).values())) == task.records_in_source, task.name
