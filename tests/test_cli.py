"""The command line as a whole: every verb explains itself, problems are one line and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from limit.cli import VERBS, build_parser, main
from limit.settings import PROJECT, Workspace


def subcommands(verb: str) -> list[str]:
    """The second words of a verb, such as `mix build`."""
    actions = build_parser(verb)._subparsers._group_actions[0].choices[verb]._actions  # type: ignore[union-attr]
    for action in actions:
        if hasattr(action, "choices") and isinstance(action.choices, dict):
            return list(action.choices)
    return []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_stands_in_the_readme(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    for words in [[verb], *([verb, sub] for sub in subcommands(verb))]:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--help"])
        assert ended.value.code == 0
        assert "usage:" in capsys.readouterr().out
    assert f"limit {verb}" in readme


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["mix", "build", "--part", "nowhere:5"],
        ["mix", "show", "000000000000"],
        ["sources", "show", "nowhere"],
        ["sources", "add", "x", "/no/such/file.json"],
        ["sources", "add", "../x", "/dev/null"],
        ["finetune", "--model", "/no/such/model", "--mix", "000000000000"],
        ["gauntlet", "run", "--model", "/no/such/model", "--version", "v0"],
        ["gauntlet", "run", "--model", "tiny", "--version", "v9"],
        ["respond", "--run", "000000000000", "--prompts", "none"],
        ["judge", "import", "/no/such/file.json"],
        ["jobs", "show", "nothing"],
        ["study", "show", "nothing"],
        ["serve", "--port", "99999"],
    ],
)
def test_a_problem_is_one_line_on_stderr_and_exit_code_two(
    words: list[str], ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("limit: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err


def test_json_is_one_value_on_stdout(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["doctor"], ["sources", "list"], ["jobs", "list"], ["judge", "summary"]):
        assert main([*words, "--json"]) == 0
        json.loads(capsys.readouterr().out)


def test_a_workspace_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "LIMIT_HOME": str(tmp_path / "file" / "ws")}
    done = subprocess.run(
        [sys.executable, "-m", "limit", "mix", "build", "--part", "lima:1"],
        cwd=PROJECT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m limit doctor | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def test_the_readme_has_a_line_for_every_module() -> None:
    tree = (PROJECT / "README.md").read_text(encoding="utf-8").partition("## What lies where")[2].partition("## ")[0]
    listed = [line.split()[0] for line in tree.splitlines() if line.strip()]
    files = [PROJECT / "app.py", *(PROJECT / "pages").glob("*.py"), *(PROJECT / "limit").rglob("*.py")]
    names = sorted(path.name for path in files if path.name != "__init__.py")
    assert sorted(name for name in listed if name.endswith(".py")) == names
