"""Recipes are data: one YAML file per preset in `data/recipes/`, read into the frozen `Recipe` model."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from limit.core import Json, LimitError
from limit.settings import SHIPPED
from limit.specs.run import Recipe

RECIPES = SHIPPED / "recipes"


@dataclass(frozen=True)
class RecipeFile:
    """A preset with its title and where its numbers come from."""

    name: str
    title: str
    origin: str
    recipe: Recipe


def list_recipes(folder: Path = RECIPES) -> list[RecipeFile]:
    """All presets, in the order of their `order` field."""
    files = [(_read(path), path.stem) for path in folder.glob("*.yaml")]
    return [_build(data, name) for data, name in sorted(files, key=lambda pair: (pair[0].get("order", 99), pair[1]))]


def load_recipe(name: str, folder: Path = RECIPES) -> Recipe:
    """The hyperparameters of a preset. Raises LimitError for an unknown name."""
    known = {path.stem: path for path in folder.glob("*.yaml")}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(sorted(known))}"
        raise LimitError(f"there is no recipe {name!r}; {hint}")
    return _build(_read(known[name]), name).recipe


def recipe_changes(name: str, recipe: Recipe) -> Json:
    """Fields of `recipe` that differ from the preset `name`: {field: [preset, now]}; an unknown preset has none."""
    if not (RECIPES / f"{name}.yaml").exists():
        return {}
    return {key: [before, now] for key, (now, before) in recipe.differences(load_recipe(name)).items()}


def _read(path: Path) -> dict[str, Any]:
    """A recipe file, read again only when it changed; not to be changed."""
    try:
        info = path.stat()
    except OSError as error:
        raise LimitError(f"recipe file {path} cannot be read: {error}") from error
    return _parsed(path, info.st_mtime_ns, info.st_size)


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, changed_ns: int, size: int) -> dict[str, Any]:
    del changed_ns, size  # part of the cache key only
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LimitError(f"recipe file {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or not isinstance(data.get("recipe"), dict):
        raise LimitError(f"recipe file {path} needs a `recipe:` block with hyperparameters")
    return data


def _build(data: dict[str, Any], name: str) -> RecipeFile:
    recipe = Recipe.from_dict(data["recipe"])
    return RecipeFile(name, str(data.get("title", name)), str(data.get("origin", "")), recipe)
