"""Studies of the embedded kind draw their mixes from the shipped sources: put there once, not by each test."""

from __future__ import annotations

import pytest

from limit.settings import Workspace
from tests.prepared import put_sources


@pytest.fixture
def ws(ws: Workspace) -> Workspace:
    """A workspace that holds the shipped sources."""
    put_sources(ws)
    return ws
