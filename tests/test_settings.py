"""Names that become folders, and where the workspace is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from limit.core import LimitError
from limit.settings import Workspace, safe_name, workspace


@pytest.mark.parametrize(
    "name", ["", "..", ".hidden", "a/b", "a\\b", "a b", "a\n", "-x", "ü", "a..b", "x" * 101, "a\x00"]
)
def test_names_that_could_leave_the_workspace_are_refused(name: str) -> None:
    with pytest.raises(LimitError, match="cannot be used"):
        safe_name(name)


@pytest.mark.parametrize("name", ["lima", "instruct-v3", "T0_x.1"])
def test_plain_names_pass(name: str) -> None:
    assert safe_name(name) == name


def test_workspace_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_HOME", str(tmp_path / "elsewhere"))
    assert workspace().root == tmp_path / "elsewhere"


def test_file_in_place_of_the_workspace_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LimitError):
        Workspace(tmp_path / "file" / "ws").make()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_workspace_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LimitError, match="permission"):
        Workspace(tmp_path / "ws").make()
