"""AlpacaEval files out, and model outputs in: annotations.json and model_outputs.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from limit.core import Json, LimitError
from limit.judge.annotations import parse_array, read_bytes
from limit.judge.judgments import Comparison, load_comparison, read_judgments
from limit.judge.summary import resolve_orders
from limit.settings import Workspace


def export_annotations(ws: Workspace, comparison_id: str) -> list[Json]:
    """AlpacaEval annotation rows of one comparison; ties are 1.5 and missing verdicts null, as newer releases write.

    Rows that were imported keep every field they came with, and their preference as it stood. Raises LimitError when
    there is no such comparison.
    """
    return annotation_rows(load_comparison(ws, comparison_id), read_judgments(ws, comparison_id))


def annotation_rows(comparison: Comparison, rows: Sequence[Json]) -> list[Json]:
    """The same from rows at hand, one for each pair of answers."""
    return [_annotation(comparison, row) for row in resolve_orders(rows)]


def _annotation(comparison: Comparison, row: Json) -> Json:
    texts = {"instruction": row.get("prompt"), "output_1": row.get("text_1"), "output_2": row.get("text_2")}
    if isinstance(row.get("source_row"), dict):
        return {**texts, **row["source_row"]}
    return {
        **texts,
        "generator_1": comparison.baseline,
        "dataset": comparison.prompt_set,
        "generator_2": comparison.candidate,
        "annotator": comparison.judge,
        "preference": _preference(row),
        "price_per_example": row.get("cost_usd"),
        "time_per_example": row.get("latency_s"),
        "raw_completion": row.get("raw_text"),
    }


def _preference(row: Json) -> float | None:
    if row.get("verdict") is None:
        return None
    return 1.5 if row["verdict"] == "tie" else float(row["verdict"])


def export_outputs(rows: Sequence[Json], generator: str, dataset: str) -> list[Json]:
    """AlpacaEval model_outputs.json rows of one response set (rows as `read_responses` gives them)."""
    return [
        {"instruction": row["prompt"], "output": row["text"], "generator": generator, "dataset": dataset}
        for row in rows
    ]


def read_outputs(path: Path) -> tuple[str, dict[str, str]]:
    """Generator and {instruction: output} of a model_outputs.json. Raises LimitError naming the file and row."""
    rows = parse_array(path, read_bytes(path))
    outputs: dict[str, str] = {}
    for index, row in enumerate(rows):
        wrong = not isinstance(row, dict) or not all(
            isinstance(row.get(name), str) for name in ("instruction", "output")
        )
        if wrong:
            raise LimitError(f"{path} row {index + 1} needs 'instruction' and 'output' as text")
        outputs.setdefault(row["instruction"], row["output"])
    generators = {str(row.get("generator") or path.stem) for row in rows}
    if len(generators) > 1:
        raise LimitError(f"{path} mixes the outputs of {len(generators)} generators; give one file for each")
    return generators.pop(), outputs
