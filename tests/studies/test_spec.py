"""Studies as requests: presets can be read, mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from limit.core import LimitError
from limit.settings import Workspace
from limit.specs.mix import MixPart
from limit.studies import StudyMix, StudySpec, load_study, preset_names
from limit.studies.launch import grid


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
    ],
)
def test_a_mistake_is_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(LimitError, match=words):
        spec_with(**changes)


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
