"""Imports go one way, the app never loads torch, and a worker needs neither streamlit nor duckdb."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from limit.settings import PROJECT

# A package may import those of a lower rank; data goes source -> mix -> run -> result -> store -> chart.
RANKS = (
    ("core",),
    ("settings", "access", "formats"),
    ("specs", "statistics", "cli"),
    ("jobs",),
    ("sources", "models", "recipes"),
    ("encoding",),
    ("mixes", "runs"),
    ("finetune", "gauntlet", "responses"),
    ("tiny",),
    ("judge",),
    ("studies",),
    ("store", "charts"),
    ("claims",),
    ("export",),
    ("ui",),
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
TOP = ("cli", "doctor", "serve", "__main__", "__init__")
WORKERS = (
    "encoding",
    "finetune",
    "gauntlet",
    "responses",
    "judge",
    "models",
    "runs",
    "jobs",
    "sources",
    "mixes",
    "tiny",
    "studies",
)


def modules() -> list[Path]:
    return sorted((PROJECT / "limit").rglob("*.py"))


def package_of(path: Path) -> str:
    parts = path.relative_to(PROJECT / "limit").with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, `limit.x.y` written out."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_every_package_has_a_rank() -> None:
    assert {package_of(path) for path in modules()} - set(RANK) - set(TOP) == set()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_arrows_point_down(path: Path) -> None:
    mine = package_of(path)
    if mine in TOP or path.stem == "commands":  # the command line's skin may call anything below the pages
        return
    names = imported(path)
    ours = {name.split(".")[1] for name in names if name.startswith("limit.") and name.split(".")[1] in RANK}
    wrong = {name for name in ours if name != mine and RANK[name] >= RANK[mine]}
    assert wrong == set()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_only_the_pages_code_imports_streamlit(path: Path) -> None:
    if package_of(path) != "ui":
        assert not [name for name in imported(path) if name.split(".")[0] == "streamlit"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_modules_stay_readable_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def test_the_app_process_never_loads_torch() -> None:
    pages = [dotted(path) for path in modules() if package_of(path) == "ui" or path.stem in ("commands", "launch")]
    run_python(
        "import sys, importlib\n"
        f"for name in {pages!r}: importlib.import_module(name)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "assert 'transformers' not in sys.modules, 'transformers was imported'\n"
    )


def test_workers_import_without_the_apps_packages() -> None:
    names = [dotted(path) for path in modules() if package_of(path) in WORKERS]
    run_python(
        "import sys, importlib\n"
        "for name in ('streamlit', 'duckdb', 'datasets', 'pydantic', 'openai', 'plotly', 'pptx', 'datasketch'):\n"
        "    sys.modules[name] = None\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
    )
