"""`limit doctor`: what this machine has and lacks, with the next thing to do for each lack."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
from typing import Any

from limit import __version__, formats
from limit.cli import Verbs, command
from limit.core import Json, LimitError
from limit.settings import workspace

PACKAGES = ("streamlit", "torch", "transformers", "datasets", "peft", "openai", "plotly", "duckdb")


def add_parser(verbs: Verbs) -> None:
    command(verbs, "doctor", run, "what this machine has and lacks", as_text)


def check(name: str, ok: bool, found: str, advice: str = "", needed: bool = True) -> Json:
    return {"check": name, "ok": ok, "needed": needed, "found": found, "advice": "" if ok else advice}


def check_packages() -> list[Json]:
    """One line for each package that the project stands on."""
    lines = []
    for package in PACKAGES:
        try:
            lines.append(check(package, True, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            lines.append(check(package, False, "missing", "run `make run`, or pip install -r requirements.txt"))
    return lines


def check_workspace() -> list[Json]:
    """Whether the workspace can be written and how much room it has."""
    ws = workspace()
    try:
        ws.make()
    except LimitError as error:
        return [check("workspace", False, str(ws.root), str(error))]
    free = shutil.disk_usage(ws.root).free
    room = check("disk", free > 5e9, f"{formats.size(free)} free", "free some space: a 7B checkpoint takes 14 GB")
    return [check("workspace", True, str(ws.root)), room]


def check_gpus() -> Json:
    """GPUs by NVML, without a CUDA context."""
    try:
        import pynvml

        pynvml.nvmlInit()
        names = [
            pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())
        ]
    except Exception as error:  # NVML raises a class of its own for each cause, all meaning "no usable GPU"
        return check("gpu", False, f"none ({error})", "only the shipped tiny model trains on a CPU", needed=False)
    return check("gpu", bool(names), ", ".join(map(str, names)) or "none", "no GPU is visible", needed=False)


def check_extras() -> list[Json]:
    """What only some uses need."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    token, key = bool(os.environ.get("HF_TOKEN")), bool(os.environ.get("OPENAI_API_KEY"))
    shown = {True: "set", False: "not set"}
    return [
        check(
            "chromium", bool(chromium), chromium or "none", "for PDF and PNG: apt-get install chromium", needed=False
        ),
        check("hub token", token, shown[token], "for gated data such as LIMA: export HF_TOKEN=...", needed=False),
        check("judge key", key, shown[key], "for a judge at OpenAI: export OPENAI_API_KEY=...", needed=False),
    ]


def run(options: argparse.Namespace) -> Any:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = [
        check("limit", True, __version__),
        check("python", sys.version_info >= (3, 11), platform.python_version(), "use Python 3.11"),
        check("machine", True, f"{os.cpu_count()} cores, {formats.size(memory)} of memory"),
        *check_packages(),
        check_gpus(),
        *check_workspace(),
        *check_extras(),
    ]
    return {"ok": all(line["ok"] for line in lines if line["needed"]), "checks": lines}


def as_text(value: Json) -> str:
    rows = [f"{'ok  ' if line['ok'] else 'lack'}  {line['check']:<13} {line['found']}" for line in value["checks"]]
    notes = [f"{line['check']}: {line['advice']}" for line in value["checks"] if line["advice"]]
    return "\n".join([*rows, "", *notes]).rstrip()
