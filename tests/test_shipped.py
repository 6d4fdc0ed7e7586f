"""What ships names nothing of the machine that made it."""

from __future__ import annotations

import re

from limit.settings import SHIPPED

PLACES = re.compile(r'"(/[\w.-]+){2,}|file:///|[A-Z]:\\\\')


def test_no_shipped_text_holds_a_path_of_a_machine() -> None:
    texts = [path for path in SHIPPED.rglob("*") if path.suffix in (".json", ".jsonl", ".yaml", ".md", ".txt")]
    found = {str(path.relative_to(SHIPPED)) for path in texts if PLACES.search(path.read_text(encoding="utf-8"))}
    assert found == set()
