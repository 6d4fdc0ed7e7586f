"""A study that was run here beside the results that ship with the project: the same runs, score by score."""

from __future__ import annotations

from limit.core import Json
from limit.settings import Workspace
from limit.studies.show import show_study
from limit.studies.spec import SHIPPED_RESULTS


def against_shipped(ws: Workspace, study: str) -> list[Json]:
    """Runs that were measured both here and for the shipped results, in the study's order.

    Each is {label, seed, run_id, gauntlet, gauntlet_shipped, gauntlet_difference, preference, preference_shipped,
    preference_difference}: Gauntlet averages from 0 to 1, preferences in per cent against the study's baseline. What
    one side lacks is None. Empty when the study does not ship or was not started here.
    """
    shipped = Workspace(SHIPPED_RESULTS)
    if not all((place.studies / study / "study.json").is_file() for place in (ws, shipped)):
        return []
    theirs = {run["run_id"]: run for run in show_study(shipped, study)["runs"]}
    return [_beside(run, theirs[run["run_id"]]) for run in show_study(ws, study)["runs"] if run["run_id"] in theirs]


def _beside(own: Json, shipped: Json) -> Json:
    row: Json = {key: own[key] for key in ("label", "seed", "run_id")}
    for name, score in (("gauntlet", _gauntlet), ("preference", _preference)):
        mine, theirs = score(own), score(shipped)
        difference = mine - theirs if mine is not None and theirs is not None else None
        row |= {name: mine, f"{name}_shipped": theirs, f"{name}_difference": difference}
    return row


def _gauntlet(run: Json) -> float | None:
    return run["gauntlet"]["average"] if run["gauntlet"] else None


def _preference(run: Json) -> float | None:
    """Of a run with one comparison; a base model that meets every seed's baseline has the mean of them."""
    rates = [rate["preference_pct"] for rate in run["preference"] if rate["preference_pct"] is not None]
    return sum(rates) / len(rates) if rates else None


def difference_text(rows: list[Json]) -> str:
    """One line: how many runs can be compared, and the largest differences."""
    scores = [abs(row["gauntlet_difference"]) for row in rows if row["gauntlet_difference"] is not None]
    rates = [abs(row["preference_difference"]) for row in rows if row["preference_difference"] is not None]
    if not scores:
        return "No run of yours is scored yet that the shipped results hold too."
    text = f"{len(scores)} of {len(rows)} runs scored here too: Gauntlet averages differ by at most {max(scores):.3f}"
    return f"{text}, preferences by at most {max(rates):.1f} points." if rates else f"{text}."
