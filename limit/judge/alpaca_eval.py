"""AlpacaEval's annotations.json out: the rows of a comparison as that package reads them."""

from __future__ import annotations

from collections.abc import Sequence

from limit.core import Json
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
