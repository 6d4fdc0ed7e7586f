"""Active and queued jobs, drawn again every two seconds in a fragment of their own; the page around them rests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import streamlit as st

from limit import jobs
from limit.access import may
from limit.charts.palette import Palette
from limit.core import Json, LimitError
from limit.formats import count, duration
from limit.settings import Workspace
from limit.ui.clicks import clicked
from limit.ui.runs_mix import show_mix_bar
from limit.ui.runs_spark import is_number, latest, spark, spark_html
from limit.ui.shell import errors_in_words, is_dark, plain, show_error

TICK_S = 2.0
QUEUE_SHOWN = 8
MOVES: dict[jobs.Place, str] = {
    "top": ":material/vertical_align_top:",
    "up": ":material/arrow_upward:",
    "down": ":material/arrow_downward:",
}


def signature(found: list[Json]) -> tuple[tuple[str, str], ...]:
    """Changes when a job appears, starts or ends: then the whole page is drawn again."""
    return tuple(sorted((job["job_id"], job["status"]["state"]) for job in found))


def keep_going(ws: Workspace) -> None:
    """Let the queue go on; a workspace that cannot be written says so, and is shown all the same."""
    try:
        jobs.schedule(ws)
    except LimitError as error:
        show_error(f"the queue does not go on: {error}")


def show_live(ws: Workspace, found: list[Json]) -> None:
    """The live part, drawn first from `found` and then by itself, more often while anything is active or waits."""
    busy = any(job["status"]["state"] not in jobs.ENDED for job in found)
    st.fragment(run_every=TICK_S if busy else TICK_S * 5)(_draw)(ws, [found])


def _draw(ws: Workspace, first: list[list[Json]]) -> None:
    with errors_in_words():
        if not first:
            keep_going(ws)
        found = first.pop() if first else jobs.list_jobs(ws)
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
                st.caption(plain(" · ".join(facts(job, figures(ws, job)))))
                show_mix_bar(ws, job)
            with right:
                progress(job["status"])
                _show_loss(ws, job)


def train_folder(ws: Workspace, job: Json) -> Path | None:
    """Where a finetune's metrics lie; None for other jobs."""
    run_id = job["subject"].get("run_id")
    if job["kind"] != "finetune" or not run_id:
        return None
    try:
        return ws.run(str(run_id)) / "train"
    except LimitError:
        return None


def _show_loss(ws: Workspace, job: Json) -> None:
    line = spark(train_folder(ws, job))
    if line:
        palette = Palette.dark() if is_dark() else Palette.light()
        st.html(spark_html(line, palette.colour("lima")))
        st.caption(f"loss {line[0]:.3f} to {line[-1]:.3f}")


def job_link(job: Json, place: str) -> None:
    """The job's name, leading to its view. A page link would not put the id into the URL of the page it stands on."""
    if st.button(f"**{plain(job['title'])}**", type="tertiary", key=f"open-{place}-{job['job_id']}", help="Open"):
        open_job(job["job_id"])


def open_job(job_id: str) -> None:
    """Go to one job's view; its address can be shared."""
    st.query_params.from_dict({"job": job_id})
    st.rerun()


def figures(ws: Workspace, job: Json) -> Json:
    """What the job says of itself: its latest training row, and what came with its progress."""
    said = job["status"]["progress"]
    return {**latest(train_folder(ws, job)), **(said if isinstance(said, dict) else {})}


def facts(job: Json, shown: Json) -> list[str]:
    """State and figures of an active job in words."""
    now = job["status"]
    words = [state_words(now)]
    for name, unit in (("loss", "loss {:.3f}"), ("tokens_per_s", "{:,.0f} tokens/s"), ("memory_gb", "{:.1f} GB")):
        if is_number(shown.get(name)):
            words.append(unit.format(shown[name]))
    if isinstance(shown.get("task"), str):
        words.append(f"task {shown['task'][:60]}")
    where = device_words(now) or now.get("host")
    words += [str(where)] if where else []
    if isinstance(now["started"], str):
        words.append(f"since {now['started'][11:16]} UTC")
    return [*words, f"by {job['created_by']}"] if job.get("created_by") else words


def device_words(now: Json) -> str | None:
    """What the job holds: short names of its GPUs, CPU, Ray, or None for a light job."""
    if now["gpus"]:
        return ", ".join(str(gpu)[:12] for gpu in now["gpus"])
    kinds = {"cpu": "CPU", "ray": "Ray"}
    return next((kinds[pool] for slot in now["slots"] if (pool := str(slot).partition("-")[0]) in kinds), None)


def state_words(now: Json) -> str:
    """The state, with what is special about it."""
    if now["stalled"]:
        return f"{now['state']}, but silent for minutes"
    plan = now["stopping"]
    if now["state"] == "stopping" and plan:
        return stop_words(plan)
    return str(now["state"])


def stop_words(plan: Json, at: datetime | None = None) -> str:
    """Where the escalation stands, and in how many seconds the next step comes."""
    if "kill" in plan["sent"]:
        return "stopping: killed"
    if "terminate" in plan["sent"]:
        return f"stopping: terminated; killed in {seconds_left(plan, 'kill_after_s', at)} s"
    return f"stopping: saving; terminated in {seconds_left(plan, 'terminate_after_s', at)} s"


def seconds_left(plan: Json, name: str, at: datetime | None = None) -> int:
    """Whole seconds until a step of the stop; a clock that was set back never makes it more than was planned."""
    try:
        passed = ((at or datetime.now(UTC)) - datetime.fromisoformat(plan["asked"])).total_seconds()
    except (TypeError, ValueError):
        passed = 0.0
    return round(max(0.0, plan[name] - max(0.0, passed)))


def progress(now: Json) -> None:
    """A bar with step, total and time left; a line of words where the total is unknown."""
    step, share = now["step"], share_done(now)
    if share is None:
        st.caption(f"step {count(step)}" if isinstance(step, (int, float)) else "starting up")
        return
    left = f" · {duration(now['eta_s'])} left" if isinstance(now["eta_s"], (int, float)) else ""
    st.progress(share, text=f"{count(step)} of {count(now['total'])}{left}")


def share_done(now: Json) -> float | None:
    """Steps made as a share of all, 0 to 1; None for a job that counted none."""
    step, total = now["step"], now["total"]
    if not isinstance(step, (int, float)) or not isinstance(total, (int, float)) or total <= 0:
        return None
    return min(max(step / total, 0.0), 1.0)


def draw_queue(ws: Workspace, waiting: list[Json]) -> None:
    """The queue in its order, with the buttons that change it."""
    paused = jobs.is_paused(ws)
    if not waiting and not paused:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"Queue · {len(waiting)}", anchor=False)
        label, icon = ("Let it go on", ":material/play_arrow:") if paused else ("Pause", ":material/pause:")
        if clicked(label, "queue-pause", icon=icon, disabled=not may("operator")):
            jobs.pause(ws, not paused)
            st.rerun()
    if paused:
        st.warning("The queue is paused: nothing new starts.", icon=":material/pause:")
    beyond = len(waiting) - QUEUE_SHOWN
    everything = beyond > 0 and st.session_state.get("queue-all", False)
    for job in waiting if everything else waiting[:QUEUE_SHOWN]:
        _queue_row(ws, job)
    if beyond > 0:
        st.toggle(f"Show the other {beyond}", key="queue-all")


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
        if clicked("", f"{place}-{job_id}", icon=icon, help=f"Move {place}", type="tertiary"):
            _act(partial(jobs.move, ws, job_id, place))
    icon = ":material/play_arrow:" if held else ":material/pause:"
    if clicked("", f"hold-{job_id}", icon=icon, help="Release" if held else "Hold", type="tertiary"):
        _act(partial(jobs.hold, ws, job_id, not held))
    if clicked("", f"drop-{job_id}", icon=":material/close:", help="Take out of the queue", type="tertiary"):
        _act(partial(jobs.stop, ws, job_id))


def _act(change: Callable[[], None]) -> None:
    """Do it and draw the page again; a job that has moved on meanwhile says so."""
    with errors_in_words():
        change()
        st.rerun()
