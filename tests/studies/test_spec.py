"""Studies as requests: presets can be read, mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from limit.core import LimitError
from limit.settings import Workspace
from limit.specs.mix import MixPart
from limit.studies import StudyMix, StudySpec, load_study, preset_names
from limit.studies.cost import comparisons_of
from limit.studies.launch import grid
from limit.studies.spec import PRESETS


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_read_and_has_a_baseline_among_its_mixes(ws: Workspace, name: str) -> None:
    study, spec = load_study(ws, name)
    assert study == name
    assert spec.baseline in [mix.label for mix in spec.mixes]
    assert all(MixPart.parse(part) for mix in spec.mixes for part in mix.parts)
    assert StudySpec.from_dict(spec.to_dict()) == spec


def test_the_paper_studies_hold_its_mixes_and_recipes(ws: Workspace) -> None:
    small, large = load_study(ws, "paper-7b")[1], load_study(ws, "paper-30b")[1]
    assert [mix.parts for mix in small.mixes] == [
        ("lima-single-turn:all",),
        ("instruct-v1:5000",),
        ("instruct-v1:5000", "lima-single-turn:all"),
        ("instruct-v1:all",),
    ]
    assert small.full_recipe().optimizer == "decoupled_adamw"
    assert small.full_recipe().stop_after_epoch == 4
    assert large.full_recipe().optimizer == "decoupled_lionw"
    assert large.full_recipe().stop_after_epoch == 6


def test_mini_has_the_main_mixes_first_and_seed_by_seed(ws: Workspace) -> None:
    spec = load_study(ws, "mini")[1]
    order = [(seed, mix.label) for seed, mix in grid(spec)]
    assert order[:3] == [(17, "LIMA only"), (17, "Instruct only"), (17, "Instruct + LIMA")]
    assert [seed for seed, _ in order[3:6]] == [18, 18, 18]
    assert spec.include_base


def spec_with(**changes: object) -> StudySpec:
    plain = {
        "title": "t",
        "models": ["tiny"],
        "mixes": [StudyMix(label="a", parts=("tiny-lima:10",)).to_dict()],
        "prompts": ["tiny-open"],
        "judge": "rubric",
        "baseline": "a",
        "recipe": "tiny",
        "gauntlet": "mini",
    }
    return StudySpec.from_dict({**plain, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"baseline": "b"}, "baseline"),
        ({"models": []}, "at least one model"),
        ({"seeds": []}, "at least one"),
        ({"recipe": "tinny"}, "did you mean 'tiny'"),
        ({"settings": ["learning_rat=1"]}, "learning_rate"),
        ({"judge": "oracle"}, "no judge 'oracle'"),
        ({"mixes": [{"label": "a", "parts": ["x:1"]}, {"label": "a", "parts": ["y:1"]}]}, "called 'a'"),
        ({"mixes": [{"label": "a", "parts": ["x:many"]}]}, "'many'"),
        ({"mixes": [{"label": "a", "parts": ["x:1"]}, {"label": "b", "parts": ["x:1"]}]}, "'a' and 'b' have the same"),
        ({"mixes": [{"label": "a", "parts": ["x:1"]}, {"label": "b", "parts": ["x: 1"], "seeds": [17]}]}, "seed 17"),
        ({"mixes": [{"label": "a", "parts": ["x:1"], "seeds": [3, 3]}]}, "seed of mix 'a' 3 is named twice"),
        ({"mixes": [{"label": "base", "parts": ["x:1"]}], "baseline": "base"}, "the base model's label"),
        ({"seeds": [17, 17]}, "seed 17 is named twice"),
        ({"models": ["tiny", "tiny"]}, "model tiny is named twice"),
        ({"other_judges": ["rubric"]}, "judge rubric is named twice"),
        ({"judge": None, "other_judges": ["rubric"], "baseline": None}, "baseline"),
        ({"mixes": [{"label": "a=b", "parts": ["x:1"]}], "baseline": "a=b"}, "without them"),
        ({"mixes": [{"label": "a", "parts": ["x:25%"]}]}, "'a' asks for 'x:25%', a share"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(LimitError, match=words):
        spec_with(**changes)


def test_the_same_parts_with_seeds_of_their_own_are_two_mixes() -> None:
    mixes = [{"label": label, "parts": ["x:1"], "seeds": seeds} for label, seeds in (("a", [1]), ("b", [2, 3]))]
    assert [mix.label for _, mix in grid(spec_with(mixes=mixes))] == ["a", "b", "b"]


def test_other_judges_alone_are_judges() -> None:
    mixes = [{"label": label, "parts": [f"x:{size}"]} for size, label in enumerate("ab", 1)]
    assert comparisons_of(spec_with(judge=None, other_judges=["rubric"], mixes=mixes)) == 2


def named(ws: Workspace, folder: Path, stem: str) -> str:
    path = folder / f"{stem}.yaml"
    path.write_text("title: t\nmodels: [tiny]\nrecipe: tiny\nmixes: [{label: a, parts: ['x:1']}]\n", encoding="utf-8")
    return load_study(ws, str(path))[0]


def test_study_files_with_different_names_are_different_studies(ws: Workspace, tmp_path: Path) -> None:
    assert named(ws, tmp_path, "my grid") == "my-grid"
    names = {named(ws, tmp_path, stem) for stem in ("研究-a", "実験-a", "a", "Größe", "Grüße")}
    assert len(names) == 5


@pytest.mark.parametrize("stem", ["研究", "paper", "mini", "---"])
def test_a_study_file_without_a_name_of_its_own_has_to_be_renamed(ws: Workspace, tmp_path: Path, stem: str) -> None:
    with pytest.raises(LimitError, match="rename it"):
        named(ws, tmp_path, stem)


def test_a_presets_own_file_is_the_preset(ws: Workspace) -> None:
    assert load_study(ws, str(PRESETS / "mini.yaml"))[0] == "mini"


def test_an_unknown_study_names_the_close_one(ws: Workspace) -> None:
    with pytest.raises(LimitError, match="did you mean 'mini'"):
        load_study(ws, "minni")


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "mixes: 3\n", "title: [", "mixes: [7]\n", "title: x\nmodles: [a]\n"]
)
def test_a_broken_study_file_is_a_sentence(ws: Workspace, tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(LimitError):
        load_study(ws, str(path))


def test_a_study_file_that_is_missing_is_named(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="no study file"):
        load_study(ws, str(tmp_path / "gone.yaml"))
