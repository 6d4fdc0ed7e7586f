"""Runs, mixes, jobs and training curves as plain rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from limit.store.index import Store
from limit.store.schema import Row
from limit.store.series import as_json, mix_series, source_series


def mixes(store: Store) -> list[Row]:
    """Every mix, oldest first: mix_id, name, note, rows, chars, licence, non_commercial, seed, origin, series, parts.

    `parts` is a list of {source, subset, rows, series} in the order of the mix.
    """
    return store.remember("mixes", lambda: _mixes(store))


def _mixes(store: Store) -> list[Row]:
    rows = store.rows(
        """select m.* exclude (file), l.name, l.note, l.created
           from mixes m left join mix_labels l using (mix_id)
           order by l.created nulls first, mix_id"""
    )
    parts: dict[str, list[Row]] = {}
    for part in store.rows("select mix_id, source, subset, rows from mix_counts order by mix_id, part"):
        named = {**part, "series": source_series(part["source"] or "")}
        parts.setdefault(part["mix_id"], []).append(named)
    for row in rows:
        row["parts"] = parts.get(row["mix_id"], [])
    series = mix_series(rows)
    names = {row["mix_id"]: row["name"] if (row["name"] or "").strip() else row["mix_id"] for row in rows}
    return [{**row, "series": series[row["mix_id"]], "name": names[row["mix_id"]]} for row in rows]


def runs(store: Store) -> list[Row]:
    """Every run, oldest first, with its mix and the state of its latest finetune job.

    run_id, name, kind, model, mix_id, mix_name, parts, samples (rows of the mix, 0 for a base model), series,
    recipe_name, recipe and recipe_changes (JSON text), seed, created, origin, state, reason, loss (last training loss).
    """
    return store.remember("runs", lambda: _runs(store))


def _runs(store: Store) -> list[Row]:
    by_mix = {mix["mix_id"]: mix for mix in mixes(store)}
    rows = store.rows(
        """with latest as (
             select j.run_id, s.state, s.reason
             from jobs j join job_status s using (job_id) where j.kind = 'finetune'
             qualify row_number() over (partition by j.run_id order by j.created desc) = 1)
           select r.* exclude (file), latest.state, latest.reason, t.loss, t.steps, t.seconds
           from runs r left join latest using (run_id) left join train_summaries t using (run_id)
           order by r.created nulls first, run_id"""
    )
    for row in rows:
        mix = by_mix.get(row["mix_id"] or "")
        row["mix_name"] = mix["name"] if mix else None
        row["parts"] = mix["parts"] if mix else []
        request = as_json(mix["spec"]) if mix else None
        row["mix_request"] = {key: value for key, value in (request or {}).items() if key != "seed"}
        row["samples"] = 0 if row["mix_id"] is None else mix["rows"] if mix else None
        row["series"] = "base" if row["mix_id"] is None else mix["series"] if mix else row["mix_id"]
    return rows


def training_metrics(store: Store, run_ids: Sequence[str], kind: str = "train") -> list[Row]:
    """Steps of some runs in the order written; `kind` is train, eval, generation or note."""
    return store.rows(
        """select * exclude (file, origin) from training_metrics
           where list_contains(?, run_id) and kind = ? order by run_id, line""",
        [list(run_ids), kind],
    )


def jobs(store: Store, states: Sequence[str] | None = None, limit: int = 200) -> list[Row]:
    """Jobs with their status, newest first; `states` keeps only some."""
    wanted = [None if states is None else 1, list(states or []), limit]
    query = """select j.* exclude (file, origin), s.* exclude (file, origin, job_id)
               from jobs j left join job_status s using (job_id)
               where ? is null or list_contains(?, s.state)
               order by j.created desc, job_id limit ?"""
    return store.recall(f"jobs {wanted}", lambda: store.rows(query, wanted))


def studies(store: Store) -> list[Row]:
    """Named studies that were started, newest first: study, title, created, origin, run_ids, eval_ids, comparison_ids.

    The ids are those that the study's own plan names; runs, evaluations and comparisons may belong to several studies.
    """
    return store.remember("studies", lambda: _studies(store))


def _studies(store: Store) -> list[Row]:
    rows = store.rows("select study, title, created, origin, plan from studies order by created desc, study")
    for row in rows:
        plan = as_json(row.pop("plan")) or {}
        members = plan.get("runs") if isinstance(plan, dict) else None
        found = [run for run in members if isinstance(run, dict)] if isinstance(members, list) else []
        compared = [run["comparisons"] for run in found if isinstance(run.get("comparisons"), dict)]
        row["run_ids"] = _texts(run.get("run_id") for run in found)
        row["eval_ids"] = _texts(run.get("eval_id") for run in found)
        row["comparison_ids"] = _texts(one for pairs in compared for one in pairs.values())
    return rows


def _texts(values: Iterable[object]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def answered_runs(store: Store) -> dict[str, list[str]]:
    """Own runs that have answered each prompt set of the workspace: prompt set to run ids."""
    query = """select prompt_set, list(distinct run_id order by run_id) as runs from response_sets
               where origin = 'workspace' and prompt_set in
                 (select prompt_set from prompt_sets where origin = 'workspace')
               group by prompt_set order by prompt_set"""
    return {row["prompt_set"]: row["runs"] for row in store.remember("answered", lambda: store.rows(query))}


def problems(store: Store) -> list[Row]:
    """Files that could not be read, with the reason."""
    every = "select file, problem from problems order by file, problem"
    return store.remember("problems", lambda: store.rows(every))


def recipe_of(run: Row) -> Row:
    """A run's recipe as a dictionary; empty for a base model."""
    return as_json(run.get("recipe")) or {}
