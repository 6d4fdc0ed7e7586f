"""The Runs page: what is active and queued (kept fresh without rerunning the page), and what has ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import streamlit as st

from limit import jobs
from limit.core import Json
from limit.formats import duration
from limit.settings import Workspace
from limit.ui.clicks import clicked
from limit.ui.runs_compare import show_comparison
from limit.ui.runs_detail import show_job
from limit.ui.runs_live import (
    device_words,
    keep_going,
    open_job,
    share_done,
    show_live,
    signature,
    train_folder,
)
from limit.ui.runs_mix import CELL_WIDTH, mix_bars
from limit.ui.runs_spark import spark
from limit.ui.runs_where import show_where
from limit.ui.shell import errors_in_words, next_step, open_workspace

KIND_WORDS = {
    "finetune": "Finetune",
    "gauntlet": "Gauntlet",
    "respond": "Answers",
    "judge": "Judging",
    "fetch": "Download",
    "index": "Search index",
    "export": "Export",
}
HISTORY = "runs-history"
SPARKS = 25  # newest jobs whose loss is drawn in the table; older ones show theirs when opened


def show_runs() -> None:
    """The list, or with `?job=ID` one job, or with `?compare=ID&compare=ID` several side by side."""
    ws = open_workspace()
    if "job" in st.query_params:
        show_job(ws, st.query_params["job"])
    elif "compare" in st.query_params:
        show_comparison(ws, st.query_params.get_all("compare"))
    else:
        _show_list(ws)


def _show_list(ws: Workspace) -> None:
    keep_going(ws)
    found = jobs.list_jobs(ws)
    if not found:
        next_step(
            "Nothing has been started yet. A job appears here when you launch a run.", "pages/launch.py", "Launch"
        )
        show_where(ws)
        return
    st.session_state["runs-signature"] = signature(found)
    show_live(ws, found)
    ended = [job for job in found if job["status"]["state"] in jobs.ENDED]
    if ended:
        st.subheader("History", anchor=False)
        _show_history(ws, _filtered(ended))
    show_where(ws)


def _filtered(ended: list[Json]) -> list[Json]:
    """The jobs that the filters leave; the filters live in the URL."""
    left, middle, right = st.columns([2, 2, 2], vertical_alignment="bottom")
    state = left.segmented_control("State", list(jobs.ENDED), key="state", bind="query-params")
    kinds = sorted({job["kind"] for job in ended})
    kind = middle.multiselect("Kind", kinds, format_func=kind_words, key="kind", bind="query-params")
    words = right.text_input(
        "Search", key="q", type="search", placeholder="name, id or reason", bind="query-params", live="400ms"
    )
    wanted = (words or "").casefold().split()
    return [
        job
        for job in ended
        if (not state or job["status"]["state"] == state)
        and (not kind or job["kind"] in kind)
        and all(word in _haystack(job) for word in wanted)
    ]


def _haystack(job: Json) -> str:
    return f"{job['title']} {job['job_id']} {job['status']['reason'] or ''}".casefold()


def kind_words(kind: str) -> str:
    """A job's kind as people say it."""
    return KIND_WORDS.get(kind, kind.capitalize())


def _show_history(ws: Workspace, ended: list[Json]) -> None:
    if not ended:
        st.caption("No job fits these filters.")
        return
    ids = [job["job_id"] for job in ended]
    bars = mix_bars(ws, ended)
    rows = [{**_history_row(job), "Mix": bar} for job, bar in zip(ended, bars, strict=True)]
    picked = st.dataframe(
        [
            {**row, "Loss": spark(train_folder(ws, job)) if n < SPARKS else None}
            for n, (row, job) in enumerate(zip(rows, ended, strict=True))
        ],
        hide_index=True,
        column_order=(
            "Name",
            *(["Mix"] if any(bars) else []),
            "State",
            "Progress",
            "Loss",
            "Reason",
            "What to do",
            "GPU",
            "Started",
            "Took",
            "Ended",
            "Kind",
            "By",
            "Id",
        ),
        key=HISTORY,
        on_select="rerun",
        selection_mode="multi-row",
        lazy=False,
        placeholder="",
        alt="Jobs that have ended, newest first: name, state with its reason, what to do, duration and time of end",
        column_config={
            "Name": st.column_config.TextColumn(width=370),
            "Mix": st.column_config.ImageColumn(width=CELL_WIDTH, help="Rows by source; open the run for their names"),
            "Reason": st.column_config.TextColumn(width="medium"),
            "What to do": st.column_config.TextColumn(width="medium"),
            "Loss": st.column_config.LineChartColumn(width="small"),
            "Progress": st.column_config.ProgressColumn(width="small", format="percent", help="Steps made of all"),
            "Started": st.column_config.DatetimeColumn(format="D MMM, HH:mm", help="Start of the last attempt, UTC"),
            "Ended": st.column_config.DatetimeColumn(format="D MMM, HH:mm", help="UTC"),
        },
    )
    chosen = [ids[row] for row in picked.selection.rows if row < len(ids)]
    _show_choice(ws, chosen)


def _show_choice(ws: Workspace, chosen: list[str]) -> None:
    """What can be done with the ticked rows."""
    if not chosen:
        st.caption("Tick a row to open it, or several to compare them.")
        return
    with st.container(horizontal=True):
        if len(chosen) == 1 and st.button("Open", type="primary", key="open-chosen"):
            open_job(chosen[0])
        if len(chosen) > 1 and st.button(f"Compare {len(chosen)}", type="primary", key="compare-chosen"):
            st.query_params.from_dict({"compare": chosen})
            st.rerun()
        if clicked("Remove from history", "remove-chosen", icon=":material/delete:", help="Results stay."):
            with errors_in_words():
                for job_id in chosen:
                    jobs.remove(ws, job_id)
                st.rerun()


def _history_row(job: Json) -> dict[str, Any]:
    now = job["status"]
    return {
        "Name": job["title"],
        "Kind": kind_words(job["kind"]),
        "State": now["state"],
        "Reason": now["reason"],
        "What to do": now["what_to_do"] if now["state"] in ("failed", "lost") else None,
        "Progress": share_done(now),
        "GPU": device_words(now),
        "Started": _moment(now["started"]),
        "Took": duration(seconds_between(now["started"], now["ended"])),
        "Ended": _moment(now["ended"]),
        "By": job.get("created_by"),
        "Id": job["job_id"],
    }


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except (TypeError, ValueError):
        return None


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds between two moments as the files hold them; a clock that was set back gives 0."""
    first, last = _moment(start), _moment(end)
    return None if first is None or last is None else max(0.0, (last - first).total_seconds())
