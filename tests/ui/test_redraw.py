"""A page of results asks to be drawn again when a job has ended, and only then; other pages never do."""

from __future__ import annotations

from typing import Any

import pytest

from limit.settings import Workspace
from limit.ui import shell
from tests.test_pages import open_page


@pytest.mark.parametrize(("page", "redrawn"), [("overview.py", True), ("preferences.py", True), ("mix.py", False)])
def test_results_are_redrawn_when_a_job_ends(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, page: str, redrawn: bool
) -> None:
    running: list[int] = [2]
    asked: list[dict[str, Any]] = []

    def counts(_: Any) -> dict[str, int]:
        return {"running": running[0], "queued": 0, "failed": 0, "unwatched": 0}

    monkeypatch.setattr(shell, "counts", counts)
    monkeypatch.setattr(shell.st, "rerun", lambda **scope: asked.append(scope))
    app = open_page(page)
    app.run()
    running[0] = 3
    app.run()
    assert asked == []  # nothing has ended
    running[0] = 1
    app.run()
    app.run()
    assert asked == [{"scope": "app"}] * redrawn
