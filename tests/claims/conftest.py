"""A study of four models that the tests of differences and of claims look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from limit.settings import Workspace
from limit.store import Store
from limit.store.queries_models import own_rows
from tests.store.study import (
    nothing,
    put_study,
)


@pytest.fixture
def store(ws: Workspace, tmp_path: Path) -> Iterator[Store]:
    put_study(ws, seeds=2, items=150, prompts=60)
    with Store.open(ws, shipped=nothing(tmp_path)) as opened:
        yield opened


def model(store: Store, label: str) -> dict[str, object]:
    return next(row for row in own_rows(store) if row["label"] == label)
