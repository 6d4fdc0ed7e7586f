"""What others published, from `data/published/`: facts with their source, their trust and their reading error."""

from __future__ import annotations

from typing import Any

from limit.core import Json
from limit.store.schema import Row, Rows

CATEGORIES = (
    "world_knowledge",
    "commonsense_reasoning",
    "symbolic_problem_solving",
    "language_understanding",
    "reading_comprehension",
)


def read_published(file: str, data: Json) -> Rows:
    """The rows of one shipped file of facts; a file of another name adds nothing."""
    readers = {
        "gauntlet.json": _gauntlet,
        "judgments.json": _judgments,
        "recipes.json": _recipes,
        "datasets.json": _datasets,
        "llm_foundry.json": _scores,
    }
    return readers[file](data) if file in readers else {}


def _gauntlet(data: Json) -> Rows:
    errors = data["reading_error"]
    rows = []
    for model in data["models"]:
        for category in ("average", *CATEGORIES):
            score = model[category]
            error = None if score is None else errors[category]
            fixed = {key: model[key] for key in ("model_size", "series", "figures", "trust")}
            head = {"version": data["version"], "source": data["source"]}
            rows.append({**fixed, **head, "category": category, "score": score, "error": error})
    return {"published_gauntlet": rows}


def _judgments(data: Json) -> Rows:
    head = {"trust": data["trust"], "source": data["source"], "judge": data["judge"]}
    pooled = {"trust": data["interval_trust"], "source": data["source"], "interval": data["interval"]}
    return {
        "published_judgments": [{**row, **head, "path": row["file"]} for row in data["files"]],
        "published_preferences": [{**row, **pooled} for row in data["pooled"]],
    }


def _with_source(rows: list[Row], source: Any) -> list[Row]:
    return [{"source": source, **row} for row in rows]


def _recipes(data: Json) -> Rows:
    return {
        "published_models": _with_source(data["models"], data["source"]),
        "published_recipes": _with_source(data["recipes"], data["source"]),
    }


def _datasets(data: Json) -> Rows:
    return {
        "published_datasets": _with_source(data["datasets"], data["source"]),
        "published_dataset_parts": _with_source(data["parts"], data["source"]),
    }


def _scores(data: Json) -> Rows:
    rows = []
    for model in data["gauntlet"]:
        head = {key: model[key] for key in ("model", "version", "source", "trust")}
        for benchmark in ("average", *CATEGORIES, "programming", "safety"):
            rows.append({**head, "benchmark": benchmark, "score": model[benchmark]})
    for model in data["open_llm_leaderboard"]:
        head = {
            "model": model["model"],
            "version": "open-llm-leaderboard",
            **{k: model[k] for k in ("source", "trust")},
        }
        scores = {k: v for k, v in model.items() if k not in ("model", "source", "trust")}
        rows += [{**head, "benchmark": k, "score": v} for k, v in scores.items()]
    return {"published_scores": rows}
