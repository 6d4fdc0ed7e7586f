"""Runs: one frozen `run.json` per model, named by the hash of its request, so the same request is the same run."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from limit.access import require
from limit.core import Json, LimitError, read_each, read_json, utc_now, write_json
from limit.models import canonical_name
from limit.recipes import recipe_changes
from limit.settings import Workspace
from limit.specs.run import RunSpec

_VERSIONED = ("torch", "transformers", "peft", "accelerate", "tokenizers")


def ensure_run(ws: Workspace, spec: RunSpec, name: str | None = None) -> str:
    """Write `runs/<run_id>/run.json` unless it exists, and return the run id.

    A model folder is stored by its absolute path. `name` is for people and not part of the id.
    Raises LimitError when the model or the mix cannot be found, or the workspace cannot be written.
    """
    spec = spec.replace(model=canonical_name(ws, spec.model))
    run_id = spec.id()
    path = ws.run(run_id) / "run.json"
    if not path.exists():
        mix_name = None if spec.mix_id is None else _mix_name(ws, spec.mix_id)
        write_json(path, {"run_id": run_id, **_frozen(spec, name or default_name(spec, mix_name))})
    return run_id


def ensure_outside_run(ws: Workspace, name: str) -> str:
    """The run of this id, or one named `name` for a model that ran elsewhere and of which only answers are at hand.

    Raises LimitError when `name` looks like the id of a run that is not there, or a new run may not be added.
    """
    if re.fullmatch(r"[0-9a-f]{12}", name) or (ws.run(name) / "run.json").exists():
        return str(load_run(ws, name)["run_id"])
    spec = RunSpec(model=name)
    run_id = spec.id()
    path = ws.run(run_id) / "run.json"
    if not path.exists():
        require("operator", "add runs")
        write_json(path, {"run_id": run_id, **_frozen(spec, name)})
    return run_id


def _frozen(spec: RunSpec, name: str) -> Json:
    return {
        "kind": "base" if spec.mix_id is None else "finetune",
        "name": name,
        **spec.to_dict(),
        "recipe_changes": {} if spec.recipe is None else recipe_changes(spec.recipe_name, spec.recipe),
        "created": utc_now(),
        "versions": {package: _version(package) for package in _VERSIONED},
    }


def default_name(spec: RunSpec, mix_name: str | None) -> str:
    """A short name such as `tiny · lima 300 · tiny · seed 17`."""
    model = Path(spec.model).name if Path(spec.model).is_absolute() else spec.model
    if spec.mix_id is None:
        return f"{model} (base)"
    return f"{model} · {mix_name or spec.mix_id} · {spec.recipe_name} · seed {spec.seed}"


def _mix_name(ws: Workspace, mix_id: str) -> str | None:
    folder = ws.mix(mix_id)
    if not (folder / "mix.json").exists():
        raise LimitError(f"there is no mix {mix_id!r} in {ws.mixes}; build one with `limit mix build`")
    label = folder / "label.json"
    return str(read_json(label).get("name") or "") or None if label.exists() else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def load_run(ws: Workspace, run_id: str) -> Json:
    """The frozen record of a run. Raises LimitError when there is none."""
    path = ws.run(run_id) / "run.json"
    if not path.exists():
        raise LimitError(f"there is no run {run_id!r} in {ws.runs}; the Runs page lists those that exist")
    return read_json(path)


def run_spec(run: Json) -> RunSpec:
    """The request behind a run record."""
    return RunSpec.from_dict({info.name: run[info.name] for info in RunSpec.options() if info.name in run})


def list_runs(ws: Workspace) -> list[Json]:
    """All run records, oldest first; a record that cannot be read is left out."""
    runs = read_each(ws.runs, "run.json").values()
    return sorted(runs, key=lambda run: (str(run.get("created", "")), str(run.get("run_id", ""))))
