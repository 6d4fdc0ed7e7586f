"""Several jobs side by side: their curves in one chart, and only those settings in which they differ."""

from __future__ import annotations

from typing import Any

import streamlit as st

from limit.charts.curves import loss_curves
from limit.charts.palette import Palette
from limit.core import Json, LimitError, read_json
from limit.settings import Workspace
from limit.ui.runs_detail import back_to_list, find_job, loss_rows, metric_rows
from limit.ui.shell import chart, is_dark, note_line, plain

IGNORED = ("run_id", "created", "job_id", "request_id", "created_by", "subject", "status", "arguments")


def show_comparison(ws: Workspace, ids: list[str]) -> None:
    """Overlaid losses and a table of differences; jobs that are gone are named and left out."""
    back_to_list()
    found = [job for job_id in dict.fromkeys(ids) if (job := find_job(ws, job_id)) is not None]
    if not found:
        return
    labels = _labels(found)
    _show_curves(ws, found, labels)
    st.subheader("Where they differ", anchor=False)
    rows = differences([_settings(ws, job) for job in found], labels)
    if rows:
        st.dataframe(rows, hide_index=True, alt="Settings in which the jobs differ, one column a job")
    else:
        st.caption("They have the same settings.")


def _labels(found: list[Json]) -> list[str]:
    """Titles; those that occur twice get their id."""
    titles = [job["title"] for job in found]
    return [f"{t} ({job['job_id'][-6:]})" if titles.count(t) > 1 else t for t, job in zip(titles, found, strict=True)]


def _show_curves(ws: Workspace, found: list[Json], labels: list[str]) -> None:
    rows: list[Json] = []
    for job, label in zip(found, labels, strict=True):
        run_id = job["subject"].get("run_id")
        if job["kind"] == "finetune" and run_id:
            rows += loss_rows(
                metric_rows(ws.run(str(run_id)) / "train"), label, str(job["subject"].get("mix_id") or run_id)
            )
    if rows:
        palette = Palette.dark() if is_dark() else Palette.light()
        chart(loss_curves(rows, palette), f"Loss by step of {', '.join(labels)}", "compare-curves")
        note_line(n=f"{len(labels)} jobs", source="train/metrics.jsonl")
    else:
        st.caption(plain(f"{', '.join(labels)}: none of them has training curves."))


def _settings(ws: Workspace, job: Json) -> Json:
    run_id = job["subject"].get("run_id")
    try:
        run = read_json(ws.run(str(run_id)) / "run.json") if run_id else {}
    except LimitError:
        run = {}
    flat = flatten({key: value for key, value in {**job, **run}.items() if key not in IGNORED})
    return {**flat, "arguments": " ".join(job["arguments"]), "state": job["status"]["state"]}


def flatten(value: Json, prefix: str = "") -> Json:
    """Nested settings by dotted names."""
    flat: Json = {}
    for key, item in value.items():
        flat |= flatten(item, f"{prefix}{key}.") if isinstance(item, dict) else {f"{prefix}{key}": item}
    return flat


def differences(settings: list[Json], labels: list[str]) -> list[dict[str, Any]]:
    """One row a setting whose value is not the same for all: {setting, label: value, ...}."""
    names = dict.fromkeys(name for one in settings for name in one)
    return [
        {"Setting": name, **{label: str(one.get(name, "")) for label, one in zip(labels, settings, strict=True)}}
        for name in names
        if len({str(one.get(name)) for one in settings}) > 1
    ]
