"""Requests: validated where they enter, the same in JSON, on the command line and in a form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limit.core import LimitError
from limit.specs import GauntletSpec, JudgeSpec, MixPart, MixSpec, Recipe, RespondSpec, RunSpec, Spec

ALL = (GauntletSpec, JudgeSpec, MixPart, MixSpec, Recipe, RespondSpec, RunSpec)


@pytest.mark.parametrize("spec", ALL)
def test_every_field_has_a_description(spec: type[Spec]) -> None:
    assert [info.name for info in spec.options() if not info.help] == []


@pytest.mark.parametrize("spec", [Recipe(), GauntletSpec(), RespondSpec(prompts="p"), JudgeSpec(model="m")])
def test_json_round_trip_is_the_same_request(spec: Spec) -> None:
    assert type(spec).from_dict(spec.to_dict()) == spec


def test_nested_round_trip() -> None:
    run = RunSpec(model="m", mix_id="x", recipe=Recipe(epochs=2))
    assert RunSpec.from_dict(run.to_dict()) == run


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"learning_rat": 1.0}, "learning_rate"),
        ({"epochs": -1}, "more than 0"),
        ({"epochs": float("nan")}, "finite"),
        ({"epochs": "three"}, "expected a number"),
        ({"global_batch_size": 1.5}, "whole number"),
        ({"global_batch_size": True}, "whole number"),
        ({"optimizer": "sgd"}, "choose one of"),
        ({"packing": 1}, "true or false"),
    ],
)
def test_bad_values_name_the_field_and_the_way_out(data: dict[str, Any], words: str) -> None:
    with pytest.raises(LimitError, match=words) as caught:
        Recipe.from_dict(data)
    assert next(iter(data)) in str(caught.value)


def test_missing_field_is_named() -> None:
    with pytest.raises(LimitError, match="prompts"):
        RespondSpec.from_dict({})


def test_settings_from_the_command_line() -> None:
    recipe = Recipe().with_settings(["learning_rate=2e-4", "packing=no", "max_steps=1,000", "stop_after_epoch=none"])
    assert (recipe.learning_rate, recipe.packing, recipe.max_steps) == (2e-4, False, 1000)
    assert set(recipe.differences(Recipe())) == {"learning_rate", "packing", "max_steps"}


@pytest.mark.parametrize("setting", ["learning_rate", "nothing=1", "epochs=many"])
def test_bad_settings_are_refused(setting: str) -> None:
    with pytest.raises(LimitError):
        Recipe().with_settings([setting])


@pytest.mark.parametrize(
    ("text", "source", "subset", "take"),
    [
        ("lima:200", "lima", None, 200),
        ("t0/scrolls/summ_screen_fd:1,000", "t0", "scrolls/summ_screen_fd", 1000),
        ("t0/a:b:all", "t0", "a:b", None),
    ],
)
def test_mix_parts_as_typed(text: str, source: str, subset: str | None, take: int | None) -> None:
    part = MixPart.parse(text)
    assert (part.source, part.subset, part.take) == (source, subset, take)


@pytest.mark.parametrize("text", ["lima", "lima:", ":5", "lima:-3", "lima:1.5", "lima:0", "lima:many"])
def test_bad_mix_parts_are_refused(text: str) -> None:
    with pytest.raises(LimitError):
        MixPart.parse(text)


@given(
    st.dictionaries(
        st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.floats() | st.text(), max_size=4
    )
)
def test_arbitrary_json_is_a_request_or_a_clear_error(data: dict[str, Any]) -> None:
    for spec in ALL:
        try:
            assert spec.from_dict(data).to_dict() is not None
        except LimitError as error:
            assert str(error)


def test_help_of_settings_names_choices_and_defaults() -> None:
    words = JudgeSpec.settings_help("model")
    assert "order (which answer is shown first: both, seeded, fixed; default: both)" in words
    assert "base_url (" in words and "default: none)" in words and "None" not in words and "model (" not in words
