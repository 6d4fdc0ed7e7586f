"""Duplicates, leaks and alignment: planted ones are found, others are not, and real data come out as the paper says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limit.core import LimitError
from limit.jobs.context import JobContext
from limit.mixes import build_mix, check, mix_samples, without
from limit.mixes.alignment import align
from limit.mixes.checks import kept_check
from limit.mixes.duplicates import find_duplicates, jaccard
from limit.mixes.leaks import find_leaks
from limit.mixes.ngrams import WordHasher, grams
from limit.mixes.reference import Reference, load_references, reference_facts
from limit.responses.prompt_sets import SHIPPED_SETS, save_prompt_set
from limit.settings import EVERYDAY_PROMPTS, EVERYDAY_SET, SMALL_SET, Workspace
from limit.sources import add_source
from limit.tiny import PROMPT_SET, ensure_sources
from tests.mixes.conftest import short_rows, write_rows
from tests.mixes.test_build import spec

TEXT = (
    "The old lighthouse keeper climbed one hundred and twelve steps every evening to light the lamp that guided ships "
    "past the rocks, and he counted each of them aloud so that the dark would know he was there."
)
CALM = JobContext(None)


def sample(number: int, prompt: str, response: str = "fine", part: int = 0) -> dict[str, Any]:
    return {
        "sample_id": f"{number:016x}",
        "source": "s",
        "subset": "",
        "part": part,
        "row": number,
        "prompt": prompt,
        "response": response,
    }


def test_exact_and_near_duplicates_are_found_and_others_are_not() -> None:
    samples = [
        sample(0, TEXT),
        sample(1, TEXT.upper() + "  "),
        sample(2, TEXT.replace("evening", "night"), part=1),
        sample(3, "A wholly different text about bread, butter, jam and a very long breakfast in the garden."),
        sample(
            4,
            TEXT,
            "another answer that is a good deal longer than the first one was, so that they share less "
            "and less of their words with every further word that is added to the end of this sentence",
        ),
    ]
    found = find_duplicates(samples, CALM)
    assert (found["exact"], found["near"], found["across"]) == (1, 1, 1)
    assert found["drop"] == [samples[1]["sample_id"], samples[2]["sample_id"]]
    assert found["groups"][0]["size"] == 3


def test_near_duplicates_agree_with_all_pairs() -> None:
    rng = np.random.default_rng(1)
    words = [f"w{n}" for n in range(300)]
    samples = []
    for n in range(60):
        base = [words[i] for i in np.random.default_rng(n // 3).integers(0, 300, 60)]
        for at in rng.integers(0, 60, (n % 3) * 2):
            base[at] = words[int(rng.integers(0, 300))]
        samples.append(sample(n, " ".join(base)))
    hasher = WordHasher()
    shingles = [
        np.unique(grams(np.concatenate([hasher.words(s["prompt"]), hasher.words(s["response"])]), 3)) for s in samples
    ]
    expected = set()
    for i in range(60):
        for j in range(i):
            if jaccard(shingles[i], shingles[j]) >= 0.8:
                expected.add(i)
    found = {int(sample_id, 16) for sample_id in find_duplicates(samples, CALM)["drop"]}
    assert found == expected
    assert expected


def test_grams_depend_on_order_and_length() -> None:
    hasher = WordHasher()
    a, b = hasher.words("One two THREE four"), hasher.words("two one three four")
    assert (hasher.words("one, two; three? four") == a).all()
    assert len(grams(a, 2)) == 3
    assert not set(grams(a, 2)[:1].tolist()) & set(grams(b, 2)[:1].tolist())
    assert len(grams(a, 5)) == 0


def reference(index: int, question: str, group: str = "reading") -> Reference:
    return Reference("gauntlet", group, "task", index, question, "answer")


def test_leaks_are_found_by_runs_of_words() -> None:
    references = [
        reference(0, TEXT),
        reference(1, "Who painted the ceiling of the chapel?"),
        reference(2, "25-759="),
        reference(3, "Something else entirely that nobody in this mix has ever written down before now, I hope."),
    ]
    samples = [
        sample(0, "Context: " + " ".join(TEXT.split()[5:25]) + " Question: why?"),
        sample(1, "Tell me who painted the ceiling of the chapel, please."),
        sample(2, " ".join(TEXT.split()[:12])),
        sample(3, "What is 25-759= ?"),
    ]
    found = find_leaks(samples, references, CALM)
    assert [(leak["sample_id"], leak["index"]) for leak in found["leaks"]] == [
        (samples[1]["sample_id"], 1),
        (samples[0]["sample_id"], 0),
    ]
    assert found["drop"] == [samples[0]["sample_id"], samples[1]["sample_id"]]
    group = found["groups"][0]
    assert (group["items"], group["checked"], group["leaked_items"], group["samples"]) == (4, 3, 2, 2)


def test_the_wording_of_a_task_is_no_leak() -> None:
    words = "Read the following passage with great care and then answer the question that stands below it in full: "
    references = [reference(n, words + f"item {n}") for n in range(30)]
    assert find_leaks([sample(0, words + "something else")], references, CALM)["pairs"] == 0


def dialogue(number: int, *turns: str) -> dict[str, Any]:
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]
    return {**sample(number, turns[0], turns[1]), "meta": json.dumps({"messages": messages})}


def test_later_turns_of_dialogues_are_looked_at() -> None:
    other = "A wholly different text about bread, butter, jam and a very long breakfast in the garden."
    talks = [dialogue(0, "Hi", "Hello", other, "Yes."), dialogue(1, "Hi", "Hello", f"Well. {TEXT}", "Yes.")]
    assert find_duplicates(talks, CALM)["drop"] == []
    assert find_duplicates([*talks, dialogue(2, "hi", "hello", other, "yes.")], CALM)["exact"] == 1
    found = find_leaks(talks, [reference(0, TEXT)], CALM)
    assert [(leak["sample_id"], leak["shared"]) for leak in found["leaks"]] == [
        (talks[1]["sample_id"], " ".join(TEXT.split()[:13]))
    ]


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        ("Question: What is the largest organ of the body?\nAnswer:", "skin", "what is the largest organ of the body"),
        ("Q: Is the _old_ bridge over the river open?\nA:", "yes", "is the old bridge over the river open"),
        ("How to dry shoes?", "Stuff them with newspaper.", "How to dry shoes? Stuff them with newspaper!"),
        ("Who met Zoë at the café in Besançon?", "Ann", "who met zoe\u0308 at the cafe\u0301 in besanc\u0327on"),
    ],
)
def test_a_leak_is_found_without_labels_marks_accents_in_one_piece_or_a_long_question(
    question: str, answer: str, text: str
) -> None:
    item = Reference("gauntlet", "c", "task", 0, question, answer)
    assert find_leaks([sample(0, text)], [item], CALM)["samples"] == 1
    assert find_leaks([sample(0, text.replace("the", "a").replace("to", "we"))], [item], CALM)["samples"] == 0


@pytest.fixture
def gauntlet(tmp_path: Path) -> Path:
    """Two categories of items, and one whose items may leak but which no mix is aligned with."""
    folder = tmp_path / "gauntlet"
    for category, question in (
        ("arithmetic", "Is {} even?"),
        ("stories", "Once upon a time there was a {} who"),
        ("safety", "x {}"),
    ):
        (folder / category).mkdir(parents=True)
        rows = [{"query": question.format(n), "choices": ["yes", "no"], "gold": n % 2} for n in range(60)]
        (folder / category / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_references_come_from_the_folder_named(ws: Workspace, gauntlet: Path) -> None:
    facts = reference_facts(load_references(ws, gauntlet))
    asked = [("arithmetic", 60), ("safety", 60), ("stories", 60)]
    assert [(f["group"], f["items"]) for f in facts] == [*asked, ("everyday", 100)]
    with pytest.raises(LimitError, match="no folder of Gauntlet items"):
        load_references(ws, gauntlet / "nothing")


def test_open_prompts_are_those_of_the_workspace_else_some_that_ship(ws: Workspace, gauntlet: Path) -> None:
    def groups(data: Path | None) -> dict[str, int]:
        return {f["group"]: f["items"] for f in reference_facts(load_references(ws, data)) if f["kind"] == "prompts"}

    assert (groups(None), groups(gauntlet)) == ({"tiny-open": 120}, {"everyday": 100})
    ensure_sources(ws)
    assert (groups(None), groups(gauntlet)) == ({"tiny-open": 120}, {"tiny-open": 120, "everyday": 100})
    save_prompt_set(ws, "mine", ["a", "b"])
    assert groups(gauntlet) == {"mine": 2, "tiny-open": 120}
    assert (PROMPT_SET, *next(iter(SHIPPED_SETS.items()))) == (SMALL_SET, EVERYDAY_SET, EVERYDAY_PROMPTS)


def test_items_of_every_task_type_are_read(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "g" / "c"
    folder.mkdir(parents=True)
    rows = [
        {"query": "q", "choices": ["a", "b"], "gold": 1},
        {"context_options": ["x", "y"], "continuation": "z", "gold": 1},
        {"context": "c", "continuation": "d"},
        {"context": "c", "answer": "5"},
        {"other": 1},
        {"query": "q", "choices": [], "gold": 9},
        {"task_id": "HumanEval/1", "prompt": "def f():", "canonical_solution": "    return 1"},
    ]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    read = [item for item in load_references(ws, tmp_path / "g") if item.kind == "gauntlet"]
    found = [(item.question, item.answer) for item in read]
    assert found == [("q", "b"), ("y", "z"), ("c", "d"), ("c", "5"), ("q", ""), ("def f():", "    return 1")]


def test_a_check_finds_what_was_planted_and_leaves_it_out(stocked: Workspace, tmp_path: Path, gauntlet: Path) -> None:
    leak = "Once upon a time there was a 7 who"
    rows: list[dict[str, object]] = [
        {"prompt": f"Say it: {leak}", "response": "!!!"},
        {"prompt": TEXT, "response": "x" * 9_000},
        {"prompt": TEXT, "response": "x" * 9_000},
    ]
    add_source(stocked, "bad", write_rows(tmp_path / "bad.jsonl", rows))
    mix = build_mix(stocked, spec("bad:all", "long:20"))
    found = check(stocked, mix["mix_id"], gauntlet)
    assert found["duplicates"]["exact"] == 1
    assert found["leaks"]["samples"] == 1
    assert (found["responses"]["empty"], found["responses"]["over_long"]) == (1, 2)
    assert kept_check(stocked, mix["mix_id"]) == json.loads(json.dumps(found))
    smaller = without(stocked, mix["mix_id"], found["leaks"]["drop"])
    left = mix_samples(stocked, smaller["mix_id"]).to_pylist()
    assert not any(leak in row["prompt"] for row in left)
    assert smaller["rows"] == mix["rows"] - 1


def test_of_equal_samples_in_two_sources_one_stays_and_no_duplicate_takes_a_free_place(
    stocked: Workspace, tmp_path: Path
) -> None:
    texts = [f"{n} {TEXT.replace('lighthouse', f'house{n} at bay{n} with a garden{n}')} {n * n}" for n in range(12)]
    rows: list[dict[str, object]] = [{"prompt": text, "response": "Yes."} for text in texts]
    again: list[dict[str, object]] = [{**row, "response": "Yes"} for row in rows]
    add_source(stocked, "one", write_rows(tmp_path / "one.jsonl", rows))
    add_source(stocked, "two", write_rows(tmp_path / "two.jsonl", [*rows, *again, *short_rows(4)]))
    mix = build_mix(stocked, spec("one:4", "two:3"))
    drop = find_duplicates(mix_samples(stocked, mix["mix_id"]).to_pylist(), CALM)["drop"]
    smaller = without(stocked, mix["mix_id"], drop, duplicates_too=True)
    left = mix_samples(stocked, smaller["mix_id"]).to_pylist()
    assert find_duplicates(left, CALM)["drop"] == []
    assert [row["source"] for row in left] == ["one"] * 4 + ["two"] * 3
    whole = without(stocked, build_mix(stocked, spec("one:all", "two:all"))["mix_id"], [], duplicates_too=True)
    assert [row["source"] for row in mix_samples(stocked, whole["mix_id"]).to_pylist()] == ["one"] * 12 + ["two"] * 4


def test_a_mix_whose_source_changed_cannot_be_drawn_again_in_part(stocked: Workspace, tmp_path: Path) -> None:
    mix = build_mix(stocked, spec("short:20"))
    first = mix_samples(stocked, mix["mix_id"])["sample_id"][0].as_py()
    add_source(stocked, "short", write_rows(tmp_path / "other.jsonl", short_rows(30)), replace=True)
    with pytest.raises(LimitError, match="source 'short' is gone or has changed"):
        without(stocked, mix["mix_id"], [first])


def test_alignment_tells_the_groups_apart(stocked: Workspace, gauntlet: Path) -> None:
    mix = build_mix(stocked, spec("short:100"))
    found = align(stocked, mix_samples(stocked, mix["mix_id"]), gauntlet)
    shares = {group["group"]: group for group in found["groups"]}
    assert list(shares) == ["arithmetic", "stories", "everyday"]
    assert shares["arithmetic"]["share"] > 0.7
    assert sum(group["share"] for group in found["groups"]) == pytest.approx(1)
    assert all(group["low"] <= group["share"] <= group["high"] for group in found["groups"])
    assert found["accuracy"] > 0.9
    assert found["items_from"] == f"the items in {gauntlet.name}"
    assert align(stocked, mix_samples(stocked, mix["mix_id"]))["items_from"] == "the small Gauntlet that ships"


def test_alignment_with_nothing_to_compare_is_empty(stocked: Workspace, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    mix = build_mix(stocked, spec("short:10"))
    assert align(stocked, mix_samples(stocked, mix["mix_id"]), tmp_path / "none")["groups"] == []


@pytest.mark.slow
def test_alignment_on_real_data_is_as_the_paper_says(ws: Workspace, shared_data: Path) -> None:
    from limit.responses.prompt_sets import ensure_prompt_set

    for name in ("lima", "instructv3"):
        ensure_prompt_set(ws, str(shared_data / "judge" / "test_prompts" / f"{name}_test_prompts.txt"))
    for name, file in (("lima", "lima.json"), ("t0", "t0_instruct.jsonl"), ("gsm8k", "gsm8k_train.jsonl")):
        add_source(ws, name, shared_data / "sources" / file)
    found = {}
    for name in ("lima", "t0", "gsm8k"):
        mix = build_mix(ws, spec(f"{name}:800"))
        found[name] = align(ws, mix_samples(ws, mix["mix_id"]), shared_data / "gauntlet")
    assert found["lima"]["accuracy"] > 0.85
    assert found["lima"]["open_ended"]["low"] > 0.5 > found["t0"]["open_ended"]["high"]
    top = {name: max(value["groups"], key=lambda group: group["share"])["group"] for name, value in found.items()}
    assert top == {"lima": "lima", "t0": "reading_comprehension", "gsm8k": "symbolic_problem_solving"}
