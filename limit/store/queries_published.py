"""The paper's numbers as rows for charts. A number that was not published is None, never zero.

Preference rates are recomputed from the released counts by the paper's rule. Their interval is the bootstrap over
prompts that ships as a fact, because it needs the released answers; from counts alone only the spread over three seeds
can be computed, and that is given beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from limit.statistics import seed_interval
from limit.store.index import Store
from limit.store.schema import Row
from limit.store.series import PAPER_SERIES

LABELS = {
    "base": "base",
    "lima": "LIMA",
    "subset": "Instruct subset",
    "subset+lima": "Instruct subset + LIMA",
    "full": "full Instruct",
}
SIZES = ("7B", "30B")


def paper_models(store: Store) -> list[Row]:
    """The ten models: model_size, series, name, samples, dataset, judged_epoch, trust, source."""
    rows = store.rows("select * exclude (file, origin) from published_models")
    return sorted(rows, key=lambda row: (SIZES.index(row["model_size"]), PAPER_SERIES.index(row["series"])))


def paper_recipes(store: Store) -> list[Row]:
    """Training settings of both sizes, one row each."""
    return store.rows("select * exclude (file, origin) from published_recipes order by model_size desc")


def paper_datasets(store: Store) -> list[Row]:
    """The datasets with rows, bytes a row and licence."""
    return store.rows("select * exclude (file, origin) from published_datasets order by id")


def foundry_scores(store: Store) -> list[Row]:
    """Scores of the same models that llm-foundry and the Open LLM Leaderboard printed; versions do not compare."""
    return store.rows("select * exclude (file, origin) from published_scores order by model, version, benchmark")


def paper_gauntlet(store: Store, sizes: Sequence[str] = SIZES) -> list[Row]:
    """Rows for `charts.gauntlet_panels`: digitised scores with their reading error, gaps where none is known."""
    rows = store.rows(
        "select * exclude (file, origin) from published_gauntlet where list_contains(?, model_size)", [list(sizes)]
    )
    out = []
    for row in rows:
        score, error = row["score"], row["error"]
        out.append(
            {
                **row,
                "group": row["model_size"],
                "label": LABELS[row["series"]],
                "low": None if score is None else score - error,
                "high": None if score is None else score + error,
                "note": None if score is None else f"read off the figure, reading error {error:.4f}",
                "key": f"paper:{row['model_size']}:{row['series']}",
            }
        )
    return sorted(out, key=lambda row: (SIZES.index(row["group"]), PAPER_SERIES.index(row["series"])))


def paper_preferences(store: Store, prompt_set: str | None = "lima", sizes: Sequence[str] = SIZES) -> list[Row]:
    """Rows for `charts.preference_bars`, one for each size, prompt set and candidate against LIMA of the same size.

    `preference_pct` follows the paper's rule; `low`, `high` are the shipped bootstrap over prompts; `seed_low`,
    `seed_high` are a t interval over the three seeds; `published_pct` is the printed number where there is one.
    """
    counts = store.rows("select * from published_judgments order by seed")
    facts = {_key(row): row for row in store.rows("select * from published_preferences")}
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in counts:
        if row["model_size"] in sizes and prompt_set in (None, row["prompt_set"]):
            groups.setdefault(_key(row), []).append(row)
    rows = [_pooled(files, facts.get(key, {})) for key, files in groups.items()]
    return sorted(rows, key=lambda r: (SIZES.index(r["model_size"]), r["prompt_set"], PAPER_SERIES.index(r["series"])))


def _key(row: Row) -> tuple[str, str, str]:
    return row["model_size"], row["prompt_set"], row["series"]


def _pooled(files: Sequence[Row], fact: Row) -> Row:
    """One bar: candidate / (candidate + LIMA) in each seed, then the plain mean."""
    rates = [100 * f["wins_candidate"] / (f["wins_candidate"] + f["wins_baseline"]) for f in files]
    spread = seed_interval(rates)
    first = files[0]
    size = first["model_size"]
    return {
        "model_size": size,
        "prompt_set": first["prompt_set"],
        "series": first["series"],
        "label": f"{size} {LABELS[first['series']]} vs LIMA",
        "candidate": first["candidate"],
        "baseline": first["baseline"],
        "candidate_series": first["series"],
        "baseline_series": first["baseline_series"],
        "preference_pct": sum(rates) / len(rates),
        "low": fact.get("ci_low_pct"),
        "high": fact.get("ci_high_pct"),
        "interval": fact.get("interval"),
        "seed_low": None if math.isnan(spread.low) else spread.low,
        "seed_high": None if math.isnan(spread.high) else spread.high,
        "published_pct": fact.get("published_pct"),
        "seeds": rates,
        "wins": sum(f["wins_candidate"] for f in files),
        "losses": sum(f["wins_baseline"] for f in files),
        "ties": sum(f["ties"] for f in files),
        "invalid": sum(f["invalid"] for f in files),
        "n_prompts": max(f["prompts"] for f in files),
        "rows": sum(f["rows"] for f in files),
        "longer_wins_pct": [f["longer_answer_wins_pct"] for f in files],
        "invalid_codes": [json.loads(f["invalid_codes"]) for f in files],
        "judge": first["judge"],
        "source": first["source"],
        "trust": first["trust"],
        "key": f"paper:{size}:{first['series']}:{first['prompt_set']}",
    }
