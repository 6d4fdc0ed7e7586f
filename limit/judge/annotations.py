"""AlpacaEval annotation files in, with every quirk of LIMIT's 36 files.

Baseline, candidate, prompt set and seed come from the paper's file names, `[instructv3_]A_vs_B_seedN.json`, or from
options; rows whose generators say that their sides stand the other way round are turned. The seeds of one pair make
one comparison. An import of several files is all or nothing, and importing a file
again changes nothing.
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limit.access import require
from limit.core import Json, LimitError, content_id, explained, sync_folder, utc_now, write_atomic, write_json
from limit.judge.judgments import (
    JOURNAL,
    Comparison,
    flipped,
    journal_text,
    judgement_key,
    judgment_row,
    list_comparisons,
    locked,
    read_judgments,
)
from limit.responses.identity import prompt_id
from limit.responses.outputs import json_type, parse_array, read_bytes
from limit.settings import Workspace

PAPER_NAME = re.compile(r"(?P<v3>instructv3_)?(?P<a>.+?)_vs_(?P<b>.+?)(_seed(?P<seed>\d+))?\.json")
DEFAULT_SEED = 1
TEXT_FIELDS = ("instruction", "output_1", "output_2")
PRICE_FIELDS = ("price_per_example", "preference_price_per_example")
TIME_FIELDS = ("time_per_example", "preference_time_per_example")
RAW_FIELDS = ("raw_completion", "preference_raw_completion")


@dataclass(frozen=True)
class ParsedFile:
    """One annotation file, read and checked: which comparison and seed it belongs to, and its rows."""

    path: Path
    sha256: str
    comparison: Comparison
    seed: int
    rows: list[Json]
    turned: int = 0


def import_files(
    ws: Workspace,
    paths: Sequence[str | Path],
    *,
    baseline: str | None = None,
    candidate: str | None = None,
    prompt_set: str | None = None,
    seed: int | None = None,
) -> Json:
    """Read AlpacaEval annotation files into comparisons; returns {comparisons, rows, invalid} over these files.

    `turned` is added when rows had baseline and candidate the other way round than the comparison has them.
    Options win over what a file says of itself. Raises LimitError naming the file (and row) when one cannot be
    used; then nothing is written for any of them.
    """
    require("operator", "import judgments")
    if not paths:
        raise LimitError("no annotation file given; name at least one annotations.json")
    parsed = [parse_file(Path(path), baseline, candidate, prompt_set, seed) for path in paths]
    with locked(ws.comparisons / ".import.lock", "another import is running in this workspace; try again when it ends"):
        _write_all(ws, parsed)
    rows = [row for file in parsed for row in file.rows]
    turned = sum(file.turned for file in parsed)
    return {
        "comparisons": sorted({file.comparison.comparison_id for file in parsed}),
        "rows": len(rows),
        "invalid": sum(row["status"] == "invalid" for row in rows),
        **({"turned": turned} if turned else {}),
    }


def parse_file(
    path: Path,
    baseline: str | None = None,
    candidate: str | None = None,
    prompt_set: str | None = None,
    seed: int | None = None,
) -> ParsedFile:
    """Read and check one annotation file. Raises LimitError naming the file, the row and what is wrong."""
    data = read_bytes(path)
    rows = parse_array(path, data)
    named = PAPER_NAME.fullmatch(path.name)
    for index, row in enumerate(rows):
        _check_row(path, index, row)
    seed = seed if seed is not None else int(named["seed"]) if named and named["seed"] else DEFAULT_SEED
    comparison = _comparison_of(
        path,
        rows,
        baseline or (named["a"] if named else None),
        candidate or (named["b"] if named else None),
        prompt_set or (("instruct-v3" if named["v3"] else "lima") if named else None),
    )
    turned = [_is_turned(row, comparison) for row in rows]
    judgments = _to_judgments(rows, turned, comparison, seed)
    return ParsedFile(path, hashlib.sha256(data).hexdigest(), comparison, seed, judgments, sum(turned))


def _check_row(path: Path, index: int, row: Any) -> None:
    where = f"{path} row {index + 1}"
    if not isinstance(row, dict):
        raise LimitError(f"{where} is a JSON {json_type(row)}, expected an object")
    for name in TEXT_FIELDS:
        if name not in row:
            raise LimitError(f"{where} has no {name!r}; each row needs instruction, output_1, output_2 and preference")
        if not isinstance(row[name], str):
            raise LimitError(f"{where} has a {json_type(row[name])} as {name!r}, expected text")
    if not row["instruction"].strip():
        raise LimitError(f"{where} has an empty 'instruction'; each row needs its prompt")
    if "preference" not in row:
        raise LimitError(f"{where} has no 'preference'; each row needs instruction, output_1, output_2 and preference")
    try:
        read_preference(row["preference"])
    except ValueError as error:
        raise LimitError(f"{where} has {error}; known are 1, 2, any number between, 0 or 1.5, -1 and null") from None


def read_preference(value: Any) -> tuple[str | None, float | None]:
    """The verdict ('1', '2', 'tie', None) and the candidate's share behind one `preference` value.

    1 and 2 are wins, numbers between are soft wins of the nearer side, 0 and 1.5 are ties, -1, null and NaN are no
    verdict. Raises ValueError on anything else.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None, None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"the preference {str(value)[:40]!r}")
    if value == -1:
        return None, None
    if value in (0, 1.5):
        return "tie", 0.5
    if not 1 <= value <= 2:
        raise ValueError(f"the preference {value!r}")
    return ("2" if value > 1.5 else "1"), float(value) - 1


def _comparison_of(
    path: Path, rows: list[Json], baseline: str | None, candidate: str | None, prompt_set: str | None
) -> Comparison:
    if baseline is None or candidate is None:
        baseline, candidate = _named(path, rows, baseline, candidate)
    if baseline == candidate:
        raise LimitError(f"{path} names both sides {baseline!r}; tell them apart with --baseline and --candidate")
    if prompt_set is None:
        datasets = {row["dataset"] for row in rows if isinstance(row.get("dataset"), str)}
        prompt_set = datasets.pop() if len(datasets) == 1 else "unnamed"
    judge = "+".join(sorted({str(row.get("annotator") or "unknown judge") for row in rows}))
    names = {"kind": "imported", "baseline": baseline, "candidate": candidate, "prompt_set": prompt_set}
    return Comparison(
        comparison_id=content_id({**names, "judge": judge}),
        kind="imported",
        baseline=baseline,
        candidate=candidate,
        prompt_set=prompt_set,
        judge=judge,
    )


def _named(path: Path, rows: list[Json], baseline: str | None, candidate: str | None) -> tuple[str, str]:
    """Baseline and candidate by the rows' generators, where a file name or option leaves one open.

    Both orders of one pair may stand in a file: the commoner one counts. Raises LimitError when rows name others.
    """
    orders = Counter(found for row in rows if None not in (found := _generators(row)))
    if len({frozenset(order) for order in orders}) == 1:
        first, second = (str(name) for name in orders.most_common(1)[0][0])
        if baseline == second or candidate == first:
            first, second = second, first
        return baseline or first, candidate or second
    return baseline or _only(path, rows, "generator_1", "--baseline"), candidate or _only(
        path, rows, "generator_2", "--candidate"
    )


def _generators(row: Json) -> tuple[str | None, str | None]:
    names = [row.get(f"generator_{side}") for side in (1, 2)]
    one, two = (name if isinstance(name, str) and name.strip() else None for name in names)
    return one, two


def _is_turned(row: Json, comparison: Comparison) -> bool:
    """Whether a row's generators say that its output_1 is the candidate's and its output_2 the baseline's."""
    return comparison.baseline != comparison.candidate and _generators(row) == (
        comparison.candidate,
        comparison.baseline,
    )


def _only(path: Path, rows: list[Json], field: str, flag: str) -> str:
    names = {row[field] for row in rows if isinstance(row.get(field), str) and row[field].strip()}
    if len(names) != 1:
        found = f"{len(names)} different names" if names else "no name"
        raise LimitError(f"{path} has {found} in {field!r} and is not called A_vs_B_seedN.json; name it with {flag}")
    return names.pop()


def _to_judgments(rows: list[Json], turned: list[bool], comparison: Comparison, seed: int) -> list[Json]:
    judgments: dict[str, Json] = {}
    copies: dict[tuple[str, str, str], int] = {}
    for row, other_way in zip(rows, turned, strict=True):
        outputs = (row["output_2"], row["output_1"]) if other_way else (row["output_1"], row["output_2"])
        texts = (row["instruction"], *outputs)
        copy = copies[texts] = copies.get(texts, -1) + 1
        key = judgement_key(comparison.judge, texts[0], outputs, copy, seed)
        judgment = _to_judgment(row, key, comparison.comparison_id, seed, copy)
        judgments[key] = _turn(judgment, row) if other_way else judgment
    return list(judgments.values())


def _turn(judgment: Json, row: Json) -> Json:
    """A judgment seen from the other side; the row's own outputs are kept, so that it can be written as it was."""
    source = {**judgment["source_row"], "output_1": row["output_1"], "output_2": row["output_2"]}
    return {**flipped(judgment), "source_row": source}


def _to_judgment(row: Json, key: str, comparison_id: str, seed: int, copy: int) -> Json:
    verdict, share = read_preference(row["preference"])
    raw = _first(row, RAW_FIELDS)
    identical = verdict == "tie" and row["output_1"] == row["output_2"]
    return judgment_row(
        judgement_key=key,
        comparison_id=comparison_id,
        seed=seed,
        prompt_id=prompt_id(row["instruction"]),
        prompt=row["instruction"],
        text_1=row["output_1"],
        text_2=row["output_2"],
        replicate=copy,
        status="invalid" if verdict is None else "tie_identical" if identical else "ok",
        verdict=verdict,
        score=share,
        extraction="imported",
        raw_text=raw if isinstance(raw, str) else None,
        cost_usd=_number(_first(row, PRICE_FIELDS)),
        latency_s=_number(_first(row, TIME_FIELDS)),
        source_row={name: value for name, value in row.items() if name not in TEXT_FIELDS},
    )


def _first(row: Json, names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _number(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def _write_all(ws: Workspace, parsed: Sequence[ParsedFile]) -> None:
    """Stage every changed comparison beside the others, then rename each into place."""
    existing = {c.comparison_id: c for c in list_comparisons(ws)}
    plans: dict[str, tuple[Comparison, list[Json]]] = {}
    for file in parsed:
        id_ = file.comparison.comparison_id
        known, rows = plans.get(id_) or (existing.get(id_), read_judgments(ws, id_))
        merged = _merge(known or file.comparison, file)
        if merged is not None:
            plans[id_] = (merged, [row for row in rows if row.get("seed") != file.seed] + file.rows)
    if not plans:
        return
    with explained(ws.comparisons):
        staging = Path(tempfile.mkdtemp(prefix=".import-", dir=ws.comparisons))
        try:
            for id_, (comparison, rows) in plans.items():
                write_atomic(staging / id_ / JOURNAL, journal_text(rows))
                write_json(staging / id_ / "comparison.json", comparison.to_json())
            for id_ in plans:
                _move_in(staging / id_, ws.comparison(id_))
            sync_folder(ws.comparisons)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _merge(comparison: Comparison, file: ParsedFile) -> Comparison | None:
    """The comparison with this file's seed added, or None when it holds this very file already."""
    files: list[Json] = list(comparison.origin.get("files", []))
    for known in files:
        if known["seed"] == file.seed and known["sha256"] == file.sha256:
            return None
        if known["seed"] == file.seed:
            raise LimitError(
                f"{file.path} is seed {file.seed} of {comparison.label()}, but {known['name']} with other contents was "
                "imported as that seed; give another --seed, or other names with --baseline and --candidate"
            )
    files.append({"name": file.path.name, "sha256": file.sha256, "seed": file.seed, "rows": len(file.rows)})
    files.sort(key=lambda entry: entry["seed"])
    seeds = tuple(entry["seed"] for entry in files)
    return replace(comparison, seeds=seeds, origin={"files": files}, created=comparison.created or utc_now())


def _move_in(staged: Path, target: Path) -> None:
    """Rename a staged comparison into place; the journal goes first, so no seed is listed without its rows."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (JOURNAL, "comparison.json"):
        (staged / name).replace(target / name)
    sync_folder(target)
