"""Judged comparisons as rows for charts, verdicts by prompt, and the texts of a pair."""

from __future__ import annotations

import json
from collections.abc import Sequence

from limit.core import Json
from limit.store.index import Store
from limit.store.preference import mean_scores, scores_by_prompt
from limit.store.queries_runs import runs
from limit.store.schema import Row
from limit.store.series import as_json, named_role


def comparisons(
    store: Store, prompt_set: str | None = None, judge: str | None = None, baseline_run: str | None = None
) -> list[Row]:
    """Rows for `charts.preference_bars`, newest last, with the comparison's own columns beside them."""
    rows = store.remember("comparisons", lambda: _comparisons(store))
    wanted = {"prompt_set": prompt_set, "judge": judge, "baseline_run": baseline_run}
    return [row for row in rows if all(value is None or row[name] == value for name, value in wanted.items())]


def _comparisons(store: Store) -> list[Row]:
    by_run = {run["run_id"]: run for run in runs(store)}
    rows = store.rows(
        """select c.* exclude (file, config),
                  p.* exclude (file, origin, comparison_id, prompts, scores)
           from comparisons c left join preferences p using (comparison_id) order by c.created, comparison_id"""
    )
    return [_bar(row, by_run) for row in rows]


def _bar(row: Row, by_run: dict[str, Row]) -> Row:
    candidate = by_run.get(row["candidate_run"] or "", {})
    baseline = by_run.get(row["baseline_run"] or "", {})
    per_seed = as_json(row["per_seed"]) or []
    return {
        **row,
        "label": f"{candidate.get('name') or row['candidate']} vs {baseline.get('name') or row['baseline']}",
        "candidate_series": candidate.get("series") or named_role(row["candidate"]),
        "baseline_series": baseline.get("series") or named_role(row["baseline"]),
        "low": row["ci_low"],
        "high": row["ci_high"],
        "per_seed": per_seed,
        "seeds": [seed["preference_pct"] for seed in per_seed if seed["preference_pct"] is not None],
        "note": f"judge {row['judge']}" if row["judge"] else None,
        "key": row["comparison_id"],
    }


def prompt_means(store: Store, groups: dict[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """For each named group of comparisons the mean over them of the candidate's score of each prompt.

    A win counts 1, a tie one half, a loss 0; pairs are resolved as for the preference rate. In order of prompt ids.
    """
    found = _scored(store, [one for group in groups.values() for one in group])
    return {name: mean_scores([found[one] for one in group if one in found]) for name, group in groups.items()}


def scores_of(store: Store, comparison_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """For each comparison the candidate's score of each prompt."""
    return {key: scores_by_prompt(row) for key, row in _scored(store, comparison_ids).items()}


def _scored(store: Store, comparison_ids: Sequence[str]) -> dict[str, Row]:
    ids = list(dict.fromkeys(comparison_ids))
    query = f"""select comparison_id, prompts, scores from preferences
                where comparison_id in ({", ".join("?" * len(ids))})"""
    return {row["comparison_id"]: row for row in store.rows(query, ids)} if ids else {}


def judgments(
    store: Store,
    comparison_id: str,
    verdicts: Sequence[str | None] | None = None,
    limit: int = 25,
    offset: int = 0,
) -> list[Row]:
    """Verdict rows of one comparison in the order written, a page at a time; None in `verdicts` means invalid."""
    wanted = ["invalid" if verdict is None else verdict for verdict in verdicts or []]
    return store.rows(
        """select * exclude (file, origin) from judgments
           where comparison_id = ? and (? is null or list_contains(?, coalesce(verdict, 'invalid')))
           order by line limit ? offset ?""",
        [comparison_id, None if verdicts is None else 1, wanted, limit, offset],
    )


def prompt_outcomes(store: Store, a: Row, b: Row) -> list[Row]:
    """Prompts on which both models were judged: prompt_id, a and b (mean score, 0-1; the baseline itself 0.5).

    `a` and `b` are rows of `queries_models`. A model's verdicts are those of its comparisons with the baseline.
    """
    means = prompt_means(store, {"a": a["comparison_ids"], "b": b["comparison_ids"]})
    first, second = (
        dict.fromkeys(means[other], 0.5) if row["is_baseline"] else means[name]
        for name, other, row in (("a", "b", a), ("b", "a", b))
    )
    return [{"prompt_id": prompt, "a": first[prompt], "b": second[prompt]} for prompt in first if prompt in second]


def answers_to(store: Store, a: Row, b: Row, prompt_id: str) -> Json | None:
    """{prompt, a, b}: a prompt with an answer of each model, of its first seed that has one; None without texts.

    A baseline's answer is the one that its rival was compared with.
    """
    found: Json = {}
    for name, row, other in (("a", a, b), ("b", b, a)):
        side, ids = ("1", other["comparison_ids"]) if row["is_baseline"] else ("2", row["comparison_ids"])
        for line in store.rows(
            """select comparison_id, line from judgments where prompt_id = ? and list_contains(?, comparison_id)
               order by list_position(?, comparison_id), line limit 5""",
            [prompt_id, ids, ids],
        ):
            stored = pair_texts(store, line["comparison_id"], [line["line"]]).get(line["line"], {})
            if isinstance(stored.get(f"text_{side}"), str):
                found = {**found, "prompt": str(stored.get("prompt") or ""), name: stored[f"text_{side}"]}
                break
    return {"a": None, "b": None, **found} if found else None


def pair_texts(store: Store, comparison_id: str, lines: Sequence[int]) -> dict[int, Json]:
    """The stored rows of some lines of a comparison's journal, with prompt and answers; texts stay in the files."""
    found = store.rows("select file from comparisons where comparison_id = ?", [comparison_id])
    if not found:
        return {}
    path = store.path_of(found[0]["file"]).with_name("judgments.jsonl")
    wanted = set(lines)
    texts: dict[int, Json] = {}
    if not path.is_file():
        return texts
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if number in wanted:
                texts[number] = json.loads(line)
    return texts
