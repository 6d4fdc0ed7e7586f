"""The data model of judging: comparisons, judgments, and the journal that holds exactly one row per judgment.

A judgment is named by content (`judgement_key`): judge, prompt, both texts, the order shown and the repeat. So a
re-run, a crash or a second comparison of the same answers finds the row that exists, and a changed prompt or model
makes new ones. Verdicts are kept in the comparison's frame (response 1 = baseline, 2 = candidate) together with which
response was shown first, so that the effect of the seat stays computable.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from limit.core import (
    Json,
    LimitError,
    append_jsonl,
    explained,
    read_each,
    read_json,
    read_jsonl,
    utc_now,
    write_atomic,
    write_json,
)
from limit.responses.identity import prompt_id
from limit.settings import Workspace

Status = Literal["ok", "tie_identical", "invalid", "refused", "error", "skipped_budget", "skipped", "revealed"]
JOURNAL = "judgments.jsonl"

COLUMNS: tuple[str, ...] = (
    "judgement_key", "comparison_id", "seed", "prompt_id", "prompt", "text_1", "text_2", "order", "replicate",
    "first_response", "status", "verdict", "score", "p_first", "p_tie", "extraction", "raw_text", "reason",
    "logprobs_json", "model_reported", "system_fingerprint", "prompt_tokens", "completion_tokens", "cost_usd",
    "latency_s", "attempts", "error_text", "voter", "truncated", "source_row", "created",
)  # fmt: skip


def text_sha(text: str) -> str:
    """16 hex of sha256 over an answer exactly as it stands."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def judgement_key(
    judge_id: str, prompt: str, shown: tuple[str, str], replicate: int = 0, seed: int | None = None
) -> str:
    """Content address of one judgment: `shown` holds the two answers in the order that the judge reads them.

    The pair is put in a canonical order first and the order shown becomes a flag, so A against B and B against A
    share rows. `seed` keeps imported rows of different training seeds apart where their texts are the same.
    """
    first, second = (text_sha(text) for text in shown)
    order = "ab" if first <= second else "ba"
    a, b = sorted((first, second))
    parts = [judge_id, prompt_id(prompt), a, b, order, str(replicate)]
    if seed is not None:
        parts.append(f"seed{seed}")
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def score_of(verdict: str | None, p_2: float | None = None) -> float | None:
    """The candidate's share of one judgment: 1 win, 0.5 tie, 0 loss, or its probability; None without a verdict."""
    if verdict is None:
        return None
    return p_2 if p_2 is not None else {"1": 0.0, "tie": 0.5, "2": 1.0}[verdict]


def judgment_row(**values: Any) -> Json:
    """A complete journal row: every column of `COLUMNS`, None where nothing is known."""
    unknown = set(values) - set(COLUMNS)
    if unknown:
        raise KeyError(f"no such judgment column: {sorted(unknown)}")
    row: Json = dict.fromkeys(COLUMNS)
    return {**row, "created": utc_now(), **values}


def flipped(row: Json) -> Json:
    """A judgment as the comparison with baseline and candidate exchanged sees it."""
    score, first, other = row.get("score"), row.get("first_response"), {"1": "2", "2": "1"}
    return {
        **row,
        "verdict": other.get(str(row.get("verdict")), row.get("verdict")),
        "score": None if score is None else 1 - score,
        "text_1": row["text_2"],
        "text_2": row["text_1"],
        "first_response": None if first is None else 3 - first,
        "order": {"ab": "ba", "ba": "ab"}.get(row.get("order") or ""),
    }


@dataclass(frozen=True)
class Comparison:
    """A candidate against a baseline on one prompt set by one judge; stored as comparison.json."""

    comparison_id: str
    kind: Literal["imported", "judged", "votes"]
    baseline: str
    candidate: str
    prompt_set: str
    judge: str
    baseline_run: str | None = None
    candidate_run: str | None = None
    order: str | None = None
    seeds: tuple[int, ...] = ()
    created: str = ""
    origin: Json = field(default_factory=dict)

    def to_json(self) -> Json:
        """The contents of comparison.json."""
        return {**self.__dict__, "seeds": list(self.seeds), "created": self.created or utc_now()}

    def label(self) -> str:
        """Short text such as `7b_instructv1 against 7b_lima on lima`."""
        return f"{self.candidate} against {self.baseline} on {self.prompt_set}"


def save_comparison(ws: Workspace, comparison: Comparison) -> Path:
    """Write comparison.json; returns the comparison's folder."""
    folder = ws.comparison(comparison.comparison_id)
    write_json(folder / "comparison.json", comparison.to_json())
    return folder


def load_comparison(ws: Workspace, comparison_id: str) -> Comparison:
    """Read one comparison. Raises LimitError when there is none of that id or it is damaged."""
    path = ws.comparison(comparison_id) / "comparison.json"
    if not path.is_file():
        known = ", ".join(c.comparison_id for c in list_comparisons(ws)[:5]) or "none yet"
        raise LimitError(f"there is no comparison {comparison_id!r}; known: {known}; see `limit judge summary`")
    return _comparison(path, read_json(path))


def _comparison(path: Path, data: Json) -> Comparison:
    try:
        known_fields = {name: data[name] for name in Comparison.__dataclass_fields__ if name in data}
        return Comparison(**{**known_fields, "seeds": tuple(data.get("seeds") or ())})
    except TypeError as error:
        raise LimitError(f"{path} is not a comparison ({error}); delete its folder and make it again") from error


def list_comparisons(ws: Workspace) -> list[Comparison]:
    """All comparisons of the workspace, oldest first; a folder without a readable comparison.json is left out."""
    found = []
    for name, data in read_each(ws.comparisons, "comparison.json").items():
        with contextlib.suppress(LimitError):
            found.append(_comparison(ws.comparisons / name / "comparison.json", data))
    return sorted(found, key=lambda c: (str(c.created), str(c.comparison_id)))


def read_judgments(ws: Workspace, comparison_id: str) -> list[Json]:
    """The rows of one comparison in the order written; of rows with one key the first counts."""
    return list(unique_rows(read_jsonl(ws.comparison(comparison_id) / JOURNAL)))


def unique_rows(rows: Iterable[Json]) -> Iterator[Json]:
    """Rows with a key, each key once."""
    seen: set[str] = set()
    for row in rows:
        key = row.get("judgement_key")
        if isinstance(key, str) and key not in seen:
            seen.add(key)
            yield row


class Journal:
    """Append-only judgments of one comparison, open for writing by one process at a time.

    On opening, what a crash left behind is put right: a torn last line and rows written twice are removed, so that
    the file again holds one line per key.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        lines = list(read_jsonl(self.path))
        kept = list(unique_rows(lines))
        self.rows: dict[str, Json] = {row["judgement_key"]: row for row in kept}
        if self.path.exists() and (len(kept) != len(lines) or _is_torn(self.path)):
            self._rewrite()

    def add(self, rows: Iterable[Json]) -> None:
        """Write rows whose key is new; each is on disk when this returns."""
        fresh = {row["judgement_key"]: row for row in rows if row["judgement_key"] not in self.rows}
        append_jsonl(self.path, fresh.values())
        self.rows.update(fresh)

    def drop(self, statuses: set[Status]) -> int:
        """Remove rows of these statuses, so that a resumed run asks again; returns how many went."""
        gone = [key for key, row in self.rows.items() if row.get("status") in statuses]
        for key in gone:
            del self.rows[key]
        if gone:
            self._rewrite()
        return len(gone)

    def _rewrite(self) -> None:
        write_atomic(self.path, journal_text(self.rows.values()))


def journal_text(rows: Iterable[Json]) -> str:
    """Rows as the lines of a journal."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _is_torn(path: Path) -> bool:
    """Whether any line fails to parse or the last one has no end."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        return True
    for line in data.splitlines():
        try:
            json.loads(line)
        except ValueError:
            return True
    return False


@contextlib.contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold an exclusive lock file; the kernel frees it when the process dies. Raises LimitError(busy) when taken."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LimitError(busy) from None
            yield
