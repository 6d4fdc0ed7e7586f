"""What a study is: a grid of mixes, models and seeds with what is measured, as one frozen request.

Presets are data: one YAML file each in `data/studies/`. A study of your own is such a file, given by its path.
"""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import yaml

from limit.core import Json, LimitError, content_id, read_json
from limit.judge.requests import parse_judge
from limit.recipes import load_recipe
from limit.settings import SHIPPED, Workspace, safe_name
from limit.specs.base import Spec, option
from limit.specs.gauntlet import Version
from limit.specs.mix import MixPart
from limit.specs.run import Recipe

PRESETS = SHIPPED / "studies"
SHIPPED_RESULTS = SHIPPED / "tiny" / "results"
MAX_SEED = 2**31 - 1  # what a run's seed may be
PAPER = "paper"  # names the published results
BASE = "base"  # label of the base model's row
PLAN = "plan.json"  # beside study.json: what is to be run, before it is started


class StudyMix(Spec):
    """One row of the grid: a mix, and the seeds it is made with if they differ from the study's."""

    label: str = option("short name in charts and tables")
    parts: tuple[str, ...] = option("the parts, each SOURCE[/SUBSET]:N")
    seeds: tuple[int, ...] = option("only these seeds; empty: all of the study", default=())

    def check(self) -> None:
        object.__setattr__(self, "label", self.label.strip())
        if not self.label or not self.parts:
            raise LimitError(f"a study's mix needs a label and at least one part, not {self.label!r} of {self.parts!r}")
        if "=" in self.label or len(self.label.splitlines()) > 1:
            raise LimitError(f"mix label {self.label!r} holds '=' or a line break; give the mix a label without them")
        for part, text in zip(self.read_parts(), self.parts, strict=True):
            if part.share is not None:
                raise LimitError(
                    f"mix {self.label!r} asks for {text!r}, a share, but a study's mix has no total to share; "
                    "give a number of samples, 'all', or tokens such as '200000t'"
                )

    def read_parts(self) -> tuple[MixPart, ...]:
        """The parts as a mix takes them. Raises LimitError."""
        return tuple(MixPart.parse(part) for part in self.parts)


class StudySpec(Spec):
    """A grid of mixes, models and seeds, and what is measured on every run of it."""

    title: str = option("one line for people")
    models: tuple[str, ...] = option("base models, each with every mix")
    mixes: tuple[StudyMix, ...] = option("the mixes, in the order in which they are started")
    seeds: tuple[int, ...] = option("seed of draw, order and training; one run of every mix for each", default=(17,))
    include_base: bool = option("measure the base models as well", default=True)
    recipe: str = option("recipe of every finetune", default="full")
    settings: tuple[str, ...] = option("changes to the recipe, each KEY=VALUE", default=())
    gauntlet: Version | None = option("Gauntlet version; empty: no Gauntlet", default="v0")
    gauntlet_limit: int | None = option("score the first N records of each task", default=None, ge=1)
    prompts: tuple[str, ...] = option("prompt sets that every run answers", default=())
    max_new_tokens: int = option("longest answer in tokens", default=512, ge=1)
    judge: str | None = option("who compares the answers; empty: nobody", default=None)
    other_judges: tuple[str, ...] = option("further judges of the same answers", default=())
    baseline: str | None = option("label of the mix that answers are compared with", default=None)

    def check(self) -> None:
        labels = [mix.label for mix in self.mixes]
        doubled = sorted({label for label in labels if labels.count(label) > 1})
        if doubled:
            raise LimitError(f"two mixes of the study are called {doubled[0]!r}; give each its own label")
        if self.include_base and BASE in labels:
            raise LimitError(f"a mix is called {BASE!r}, which is the base model's label; give it another")
        if not self.models or not self.seeds or not (self.mixes or self.include_base):
            raise LimitError("a study needs at least one model, one seed, and mixes or the base model")
        for what, values in (
            ("model", self.models),
            ("seed", self.seeds),
            ("prompt set", self.prompts),
            ("judge", self.judges()),
            *((f"seed of mix {mix.label!r}", mix.seeds) for mix in self.mixes),
        ):
            _refuse_repeats(what, values)
        self._refuse_same_runs()
        if self.judges() and (not self.prompts or self.baseline not in labels):
            raise LimitError(
                f"a judged study needs prompts and a baseline among its mixes ({', '.join(labels)}), "
                f"not {self.baseline!r}"
            )
        wrong = [s for s in (*self.seeds, *(s for mix in self.mixes for s in mix.seeds)) if not 0 <= s <= MAX_SEED]
        if wrong:
            raise LimitError(f"seed {wrong[0]} of the study is not a whole number from 0 to {MAX_SEED:,}")
        for judge in self.judges():
            parse_judge(judge)
        self.full_recipe()

    def _refuse_same_runs(self) -> None:
        """Two labels for one run would be one row with one of the labels."""
        for one, other in combinations(self.mixes, 2):
            shared = sorted(set(one.seeds or self.seeds) & set(other.seeds or self.seeds))
            if shared and one.read_parts() == other.read_parts():
                raise LimitError(
                    f"mixes {one.label!r} and {other.label!r} have the same parts ({' + '.join(one.parts)}) and share "
                    f"seed {shared[0]}, so they are the same run; leave one out, or give each seeds of its own"
                )

    def full_recipe(self) -> Recipe:
        """The recipe with the study's settings."""
        return load_recipe(self.recipe).with_settings(self.settings)

    def judges(self) -> list[str]:
        """All judges, the main one first."""
        return [*([self.judge] if self.judge else []), *self.other_judges]


def _refuse_repeats(what: str, values: Sequence[object]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise LimitError(f"{what} {value} is named twice in the study; name it once")


def preset_names() -> list[str]:
    """The built-in studies."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset_titles() -> dict[str, str]:
    """The built-in studies by name, with their titles."""
    return {name: _read_spec(PRESETS / f"{name}.yaml").title for name in preset_names()}


def load_study(ws: Workspace, name: str) -> tuple[str, StudySpec]:
    """(study name, spec) of a study that was started or planned, a preset, or a YAML file. Raises LimitError."""
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        return _file_study(path), _read_spec(path)
    if path.is_file() or "/" in name:
        raise LimitError(f"a study file ends in .yaml, not {path.name!r}; or give the name of a study")
    for stored in ("study.json", PLAN):
        path = ws.studies / safe_name(name, "study") / stored
        if path.is_file():
            return name, _stored_spec(path)
    if name not in preset_names():
        close = difflib.get_close_matches(name, preset_names(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"built in are {', '.join(preset_names())}"
        raise LimitError(f"there is no study {name!r}; {hint}; or give a YAML file")
    return name, _read_spec(PRESETS / f"{name}.yaml")


def is_reserved(study: str) -> bool:
    """Whether a name means a built-in study or the published results, so that no other study may have it."""
    return study == PAPER or (PRESETS / f"{study}.yaml").is_file()


def _file_study(path: Path) -> str:
    """The name of a file's study: its stem, spaces as dashes. Where other letters have to go, a hash of the stem tells
    it from stems that differ in those alone. Raises LimitError."""
    stem = re.sub(r"\s+", "-", unicodedata.normalize("NFC", path.stem))
    study = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")
    if not study:
        raise LimitError(f"study file {path.name!r} has no letter or digit from A-Z, a-z, 0-9 in its name; rename it")
    if re.search(r"[^A-Za-z0-9._-]", stem):
        study = f"{study}-{content_id(stem, 6)}"
    if is_reserved(study) and path.resolve() != (PRESETS / f"{study}.yaml").resolve():
        raise LimitError(f"study file {path.name!r} has the name of a built-in study, {study!r}; rename it")
    return safe_name(study, "study")


def _stored_spec(path: Path) -> StudySpec:
    spec = read_json(path).get("spec")
    if not isinstance(spec, dict):
        raise LimitError(f"{path} does not say what its study is; restore it, or remove its folder")
    return StudySpec.from_dict(spec)


def _read_spec(path: Path) -> StudySpec:
    """The study of a YAML file, read again only when it changed."""
    try:
        facts = path.stat()
        return _parsed(path, facts.st_mtime_ns, facts.st_size)
    except FileNotFoundError:
        raise LimitError(f"there is no study file {path}") from None
    except OSError as error:
        raise LimitError(f"study file {path} cannot be read: {error}") from error


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, changed_ns: int, size: int) -> StudySpec:
    del changed_ns, size  # part of the cache key only
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LimitError(f"study file {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise LimitError(f"study file {path} needs `title`, `models` and `mixes`")
    return StudySpec.from_dict(_as_request(data, path))


def _as_request(data: Json, path: Path) -> Json:
    """YAML lists of mappings as the spec reads them."""
    mixes = data.get("mixes") or []
    if not isinstance(mixes, list) or not all(isinstance(mix, dict) for mix in mixes):
        raise LimitError(f"study file {path}: `mixes` must be a list of label and parts")
    return {**data, "mixes": [StudyMix.from_dict(mix) for mix in mixes]}
