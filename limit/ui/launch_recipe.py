"""The recipe on the Launch page: a preset, and a form made from the fields of `Recipe`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from limit.core import LimitError
from limit.finetune.memory import devices, has_bitsandbytes
from limit.recipes import RecipeFile
from limit.specs.base import OptionInfo, parse_text
from limit.specs.run import Recipe, RunSpec
from limit.ui.shell import plain, show_error

COMMON = (
    "method", "epochs", "stop_after_epoch", "learning_rate", "warmup_steps", "global_batch_size", "micro_batch_size",
    "max_seq_len", "template", "save_every_epochs",
)  # fmt: skip


def edit_recipe(recipes: Sequence[RecipeFile], clone: RunSpec | None, tiny: bool) -> tuple[str, Recipe]:
    """The preset's name and the recipe as changed by the form; a setting that is wrong keeps the preset's value."""
    offered = {file.name: file for file in recipes if file.recipe.method != "qlora" or _qlora_works()}
    first = clone.recipe_name if clone and clone.recipe_name in offered else ("tiny" if tiny else "full")
    names = list(offered)
    name = st.selectbox(
        "Recipe", names, index=names.index(first), key=f"launch-recipe-{first}",
        format_func=lambda preset: offered[preset].title, help="A preset; every setting can be changed below.",
    )  # fmt: skip
    preset = offered[name].recipe
    start = clone.recipe if clone and clone.recipe and clone.recipe_name == name else preset
    # Its label stays as it is: an expander with a new one would close after every change.
    with st.expander("All settings"):
        st.caption(plain(offered[name].origin))
        recipe = _form(start, name)
    differences = recipe.differences(preset)
    if differences:
        words = [f"{key} {value} (preset: {before})" for key, (value, before) in differences.items()]
        some = f"{len(words)} setting{'s' * (len(words) > 1)} differ{'s' * (len(words) == 1)} from the recipe: "
        st.caption(plain(some + "; ".join(words)))
    return name, recipe


def _qlora_works() -> bool:
    device, _ = devices()
    return device.gpu and has_bitsandbytes()


def _form(start: Recipe, name: str) -> Recipe:
    options = {info.name: info for info in Recipe.options()}
    values: dict[str, Any] = {}
    left, right = st.columns(2)
    for number, key in enumerate(COMMON):
        with (left, right)[number % 2]:
            values[key] = _field(options[key], getattr(start, key), name)
    with st.popover("More settings", width="stretch"):
        for key, info in options.items():
            if key not in COMMON:
                values[key] = _field(info, getattr(start, key), name)
    try:
        return start.replace(**values)
    except LimitError as error:
        show_error(str(error))
        return start


def _field(info: OptionInfo, value: Any, name: str) -> Any:
    """One widget for one field; text that cannot be read keeps the old value and says why."""
    label, key = info.name.replace("_", " ").capitalize(), f"launch-{name}-{info.name}"
    help = plain(info.help)
    if info.type is bool:
        return st.checkbox(label, value=value, key=key, help=help)
    if info.choices:
        return st.selectbox(label, info.choices, index=info.choices.index(value), key=key, help=help)
    shown = "" if value is None else _exactly(value) if isinstance(value, float) else str(value)
    text = st.text_input(label, value=shown, key=key, help=help, placeholder="none").strip()
    try:
        return parse_text(info, text)
    except LimitError as error:
        show_error(str(error))
        return value


def _exactly(value: float) -> str:
    """The shortest text that is read back as the same number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
