"""A page of results asks to be drawn again when a job has ended, and only then; other pages never do.

While a page is being drawn for another reason, such as a click, it is not interrupted: it then shows what is new.
"""

from __future__ import annotations

from typing import Any

import pytest

from limit.settings import Workspace
from limit.ui import shell
from tests.pages import open_page


@pytest.mark.parametrize(
    ("page", "by_timer", "redrawn"),
    [
        ("preferences", True, True),
        ("preferences", False, False),
        ("mix", True, False),
    ],
)
def test_results_are_redrawn_when_a_job_ends(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, page: str, by_timer: bool, redrawn: bool
) -> None:
    ended: list[int] = [2]
    asked: list[dict[str, Any]] = []

    def counts(_: Any) -> dict[str, int]:
        return {"running": 0, "queued": 0, "failed": 0, "ended": ended[0], "unwatched": 0}

    monkeypatch.setattr(shell, "counts", counts)
    if by_timer:
        drawn_with_page = shell.jobs_pill
        monkeypatch.setattr(shell, "jobs_pill", lambda results, _: drawn_with_page(results, []))
    app = open_page(page)
    monkeypatch.setattr(shell.st, "rerun", lambda **scope: asked.append(scope))
    app.run()
    ended[0] = 1
    app.run()
    assert asked == []  # nothing has ended: one was removed from the history
    ended[0] = 2
    app.run()
    app.run()
    assert asked == [{"scope": "app"}] * redrawn
