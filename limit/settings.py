"""Where things are: the workspace that a user makes, and the data that ships with the project."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from limit.core import LimitError, explained

PROJECT = Path(__file__).resolve().parent.parent
SHIPPED = PROJECT / "data"
# Open-ended questions that ship, one a line, by the name of their prompt set: the embedded study's, and everyday ones.
SMALL_SET, SMALL_PROMPTS = "tiny-open", SHIPPED / "tiny" / "prompts.txt"
EVERYDAY_SET, EVERYDAY_PROMPTS = "everyday", SHIPPED / "judge" / "everyday.txt"

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def safe_name(name: str, what: str = "name") -> str:
    """Return `name` if it can be a folder name on any machine, else raise LimitError."""
    if not _SAFE_NAME.fullmatch(name) or ".." in name:
        raise LimitError(
            f"{what} {name!r} cannot be used; take letters, digits, '.', '_' and '-' "
            "(at most 100, the first a letter or digit)"
        )
    return name


@dataclass(frozen=True)
class Workspace:
    """The folder that holds everything a user makes; its layout is listed in the README."""

    root: Path

    @property
    def sources(self) -> Path:
        return self.root / "sources"

    @property
    def mixes(self) -> Path:
        return self.root / "mixes"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def prompts(self) -> Path:
        return self.root / "prompts"

    @property
    def comparisons(self) -> Path:
        return self.root / "comparisons"

    @property
    def votes(self) -> Path:
        return self.root / "votes"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def studies(self) -> Path:
        return self.root / "studies"

    @property
    def claims(self) -> Path:
        return self.root / "claims"

    @property
    def index(self) -> Path:
        return self.root / "limit.duckdb"

    def source(self, name: str) -> Path:
        return self.sources / safe_name(name, "source")

    def mix(self, mix_id: str) -> Path:
        return self.mixes / safe_name(mix_id, "mix")

    def run(self, run_id: str) -> Path:
        return self.runs / safe_name(run_id, "run")

    def job(self, job_id: str) -> Path:
        return self.jobs / safe_name(job_id, "job")

    def comparison(self, comparison_id: str) -> Path:
        return self.comparisons / safe_name(comparison_id, "comparison")

    def make(self) -> Workspace:
        """Create the root folder if need be. Raises LimitError when it cannot be written."""
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            if not os.access(self.root, os.W_OK | os.X_OK):
                raise PermissionError(13, "no permission", str(self.root))
        return self


def workspace() -> Workspace:
    """The workspace named by LIMIT_HOME, by default `workspace/` in the project."""
    return Workspace(Path(os.environ.get("LIMIT_HOME") or PROJECT / "workspace").expanduser().resolve())
