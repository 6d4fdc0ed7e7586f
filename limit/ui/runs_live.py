"""Active and queued jobs, drawn again every two seconds in a fragment of their own; the page around them rests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from limit import jobs
from limit.access import may
from limit.core import Json
from limit.formats import count, duration
from limit.settings import Workspace
from limit.ui.runs_mix import show_mix_bar
from limit.ui.shell import errors_in_words, plain

TICK_S = 2.0
QUEUE_SHOWN = 12
MOVES: dict[jobs.Place, str] = {
    "top": ":material/vertical_align_top:",
    "up": ":material/arrow_upward:",
    "down": ":material/arrow_downward:",
}


def signature(found: list[Json]) -> tuple[tuple[str, str], ...]:
    """Changes when a job appears, starts or ends: then the whole page is drawn again."""
    return tuple(sorted((job["job_id"], job["status"]["state"]) for job in found))


def show_live(ws: Workspace, found: list[Json]) -> None:
    """The live part, refreshed more often while anything is active or waits."""
    busy = any(job["status"]["state"] not in jobs.ENDED for job in found)
    st.fragment(run_every=TICK_S if busy else TICK_S * 5)(_draw)(ws)


def _draw(ws: Workspace) -> None:
    with errors_in_words():
        jobs.schedule(ws)
        found = jobs.list_jobs(ws)
        if signature(found) != st.session_state.get("runs-signature", signature(found)):
            st.session_state["runs-signature"] = signature(found)
            st.rerun()
        draw_active(ws, [job for job in found if job["status"]["state"] in jobs.ACTIVE])
        draw_queue(ws, [job for job in found if job["status"]["state"] == jobs.QUEUED])


def draw_active(ws: Workspace, active: list[Json]) -> None:
    """One card per active job."""
    if not active:
        st.caption("Nothing is running.")
    for job in active:
        with st.container(border=True):
            left, right = st.columns([3, 2], vertical_alignment="center")
            with left:
                job_link(job, "active")
                st.caption(plain(" · ".join(facts(job))))
                show_mix_bar(ws, job)
            with right:
                progress(job["status"])


def job_link(job: Json, place: str) -> None:
    """The job's name, leading to its view. A page link would not put the id into the URL of the page it stands on."""
    if st.button(f"**{plain(job['title'])}**", type="tertiary", key=f"open-{place}-{job['job_id']}", help="Open"):
        open_job(job["job_id"])


def open_job(job_id: str) -> None:
    """Go to one job's view; its address can be shared."""
    st.query_params.from_dict({"job": job_id})
    st.rerun()


def facts(job: Json) -> list[str]:
    """State and figures of an active job in words."""
    now = job["status"]
    words = [state_words(now)]
    shown = now["progress"] if isinstance(now["progress"], dict) else {}
    for name, unit in (("loss", "loss {:.3f}"), ("tokens_per_s", "{:,.0f} tokens/s"), ("memory_gb", "{:.1f} GB")):
        value = shown.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            words.append(unit.format(value))
    where = ", ".join(slot[:12] for slot in now["slots"]) or now.get("host")
    return [*words, *([str(where)] if where else [])]


def state_words(now: Json) -> str:
    """The state, with what is special about it."""
    if now["stalled"]:
        return f"{now['state']}, but silent for minutes"
    plan = now["stopping"]
    if now["state"] == "stopping" and plan:
        return stop_words(plan)
    return str(now["state"])


def stop_words(plan: Json) -> str:
    """Where the escalation stands and what comes next."""
    if "kill" in plan["sent"]:
        return "stopping: killed"
    if "terminate" in plan["sent"]:
        return f"stopping: terminated, killed {plan['kill_after_s']:.0f} s after it was asked"
    return f"stopping: saving; terminated {plan['terminate_after_s']:.0f} s after it was asked"


def progress(now: Json) -> None:
    """A bar with step, total and time left; a line of words where the total is unknown."""
    step, total = now["step"], now["total"]
    if not isinstance(step, (int, float)) or not isinstance(total, (int, float)) or total <= 0:
        st.caption("starting up" if step is None else f"step {count(step)}")
        return
    left = f" · {duration(now['eta_s'])} left" if isinstance(now["eta_s"], (int, float)) else ""
    st.progress(min(max(step / total, 0.0), 1.0), text=f"{count(step)} of {count(total)}{left}")


def draw_queue(ws: Workspace, waiting: list[Json]) -> None:
    """The queue in its order, with the buttons that change it."""
    paused = jobs.is_paused(ws)
    if not waiting and not paused:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"Queue · {len(waiting)}", anchor=False)
        label, icon = ("Let it go on", ":material/play_arrow:") if paused else ("Pause", ":material/pause:")
        if st.button(label, icon=icon, key="queue-pause", disabled=not may("operator")):
            jobs.pause(ws, not paused)
            st.rerun()
    if paused:
        st.warning("The queue is paused: nothing new starts.", icon=":material/pause:")
    for job in waiting[:QUEUE_SHOWN]:
        _queue_row(ws, job)
    if len(waiting) > QUEUE_SHOWN:
        st.caption(f"and {len(waiting) - QUEUE_SHOWN} more")


def _queue_row(ws: Workspace, job: Json) -> None:
    now = job["status"]
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.markdown(f"{now['position']}.", width="content")
            job_link(job, "queue")
            waits = now["waits_for"]
            st.caption(plain(f"waits for {waits}" if waits.startswith("a ") else waits), width="content")
        if may("operator"):
            with st.container(horizontal=True, wrap=False, width="content", gap="xsmall"):
                _queue_buttons(ws, job["job_id"], now["held"])


def _queue_buttons(ws: Workspace, job_id: str, held: bool) -> None:
    for place, icon in MOVES.items():
        if st.button("", icon=icon, key=f"{place}-{job_id}", help=f"Move {place}", type="tertiary"):
            _act(partial(jobs.move, ws, job_id, place))
    icon = ":material/play_arrow:" if held else ":material/pause:"
    if st.button("", icon=icon, key=f"hold-{job_id}", help="Release" if held else "Hold", type="tertiary"):
        _act(partial(jobs.hold, ws, job_id, not held))
    if st.button("", icon=":material/close:", key=f"drop-{job_id}", help="Take out of the queue", type="tertiary"):
        _act(partial(jobs.stop, ws, job_id))


def _act(change: Callable[[], None]) -> None:
    """Do it and draw the page again; a job that has moved on meanwhile says so."""
    with errors_in_words():
        change()
        st.rerun()
