"""What judges gave single samples: grades from 1 to 10, kept beside the source by `limit judge samples`.

Only reading is done here, so that pages and filters need nothing of the judges.
"""

from __future__ import annotations

from pathlib import Path

from limit.core import read_jsonl
from limit.settings import Workspace
from limit.sources.listing import source_info


def read_grades(ws: Workspace, source: str) -> dict[str, float]:
    """The mean grade of each graded sample by sample id, over all judges that graded it."""
    by_sample: dict[str, dict[str, int]] = {}
    folder = Path(source_info(ws, source)["path"]) / "grades"
    for journal in sorted(folder.glob("*/judgments.jsonl")):
        for row in read_jsonl(journal):
            grade, sample_id = str(row.get("raw_text") or ""), row.get("prompt_id")
            if row.get("status") == "ok" and grade.isdecimal() and isinstance(sample_id, str):
                by_sample.setdefault(sample_id, {})[journal.parent.name] = int(grade)
    return {sample_id: sum(grades.values()) / len(grades) for sample_id, grades in by_sample.items()}
