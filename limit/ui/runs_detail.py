"""One job: what state it is in and why, its curves, log, configuration and chain, and the buttons that fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from limit import jobs
from limit.access import may
from limit.charts.curves import loss_curves
from limit.core import Json, LimitError, read_json, read_jsonl
from limit.formats import count, duration, percent, size, tokens
from limit.settings import Workspace
from limit.store.series import source_series
from limit.ui.clicks import clicked
from limit.ui.runs_live import device_words, figures, job_link, keep_going, progress, state_words, train_folder
from limit.ui.runs_mix import mix_of, mix_palette, mix_parts, show_mix_bar
from limit.ui.runs_spark import is_number
from limit.ui.shell import chart, errors_in_words, note_line, plain, show_text

TICK_S = 2.0
LOG_LINES = 200
LAST_LINES = 30
NOTES_SHOWN = 6
BADGES = {"finished": "green", "failed": "red", "lost": "orange", "stopped": "gray", "queued": "gray"}


def show_job(ws: Workspace, job_id: str) -> None:
    """The whole view of one job, or that there is none."""
    back_to_list()
    job = find_job(ws, job_id)
    if job is None:
        return
    st.subheader(plain(job["title"]), anchor=False)
    show_mix_bar(ws, job)
    st.session_state[f"state-{job_id}"] = job["status"]["state"]
    live = job["status"]["state"] not in jobs.ENDED
    st.fragment(run_every=TICK_S if live else None)(draw_head)(ws, job_id)
    _show_tabs(ws, job, live)


def back_to_list() -> None:
    """The way from one job, or from several side by side, to all of them."""
    if st.button("All jobs", icon=":material/arrow_back:", type="tertiary", key="all-jobs"):
        st.query_params.from_dict({})  # `clear` refuses while a tab stands in the address
        st.rerun()


def find_job(ws: Workspace, job_id: str) -> Json | None:
    """A job of the address; where it is gone, the page says so."""
    try:
        return jobs.show(ws, job_id)
    except LimitError:
        words = f"There is no job {job_id[:40]} here; it may have been removed from the history."
        st.info(plain(words), icon=":material/link_off:")
        return None


def draw_head(ws: Workspace, job_id: str) -> None:
    """State, reason, progress and buttons; the part that is kept fresh."""
    with errors_in_words():
        keep_going(ws)
        job = jobs.show(ws, job_id)
        now = job["status"]
        if now["state"] != st.session_state.get(f"state-{job_id}", now["state"]):
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(plain(state_words(now)), color=BADGES.get(now["state"], "blue"))  # type: ignore[arg-type]
            st.caption(plain(" · ".join(_facts(job))))
        _show_reason(ws, job)
        if now["state"] in jobs.ACTIVE:
            progress(now)
        _show_figures(now, figures(ws, job))
        show_buttons(ws, job)


def _facts(job: Json) -> list[str]:
    now = job["status"]
    words = [job["kind"], job["job_id"]]
    words += [f"attempt {now['attempt']}"] if now["attempt"] > 1 else []
    words += [f"started {now['started'][:16].replace('T', ' ')} UTC"] if isinstance(now["started"], str) else []
    words += [f"on {device_words(now)}"] if device_words(now) else []
    return [*words, f"by {job['created_by']}"] if job.get("created_by") else words


def _show_reason(ws: Workspace, job: Json) -> None:
    """Why it ended badly, what to change and how the log ends; why a stop takes a moment."""
    now = job["status"]
    if now["state"] in ("failed", "lost"):
        reason = str(now["reason"] or "no reason is known")
        advice = f"\n\n{plain(now['what_to_do'])}" if now["what_to_do"] and ";" not in reason else ""
        st.error(f"**{plain(reason)}**{advice}", icon=":material/error:")
        with st.expander(f"The last {LAST_LINES} lines of its log"):
            show_text(
                "\n".join(line[:2000] for line in jobs.tail(ws, job["job_id"], LAST_LINES)) or "it is empty", 40_000
            )
    elif now["state"] == "stopped" and now["reason"]:
        st.info(plain(now["reason"]), icon=":material/stop_circle:")
    elif now["stalled"]:
        st.warning("It is alive but has said nothing for minutes. Look at the log; stop it if it hangs.")


def _show_figures(now: Json, shown: Json) -> None:
    offered = [
        ("loss", shown.get("loss"), lambda v: f"{v:.3f}"),
        ("gradient norm", shown.get("grad_norm"), lambda v: f"{v:.2f}"),
        ("learning rate", shown.get("lr"), lambda v: f"{v:.2g}"),
        ("tokens/s", shown.get("tokens_per_s"), tokens),
        ("MFU", shown.get("mfu"), lambda v: percent(100 * v)),
        ("memory", shown.get("memory_gb"), lambda v: f"{v:.1f} GB"),
        ("left", now["eta_s"] if now["state"] in jobs.ACTIVE else None, duration),
    ]
    known = [(name, value, form) for name, value, form in offered if is_number(value)]
    if known:
        with st.container(horizontal=True):
            for name, value, form in known:
                st.metric(name, form(value), width="content")


def show_buttons(ws: Workspace, job: Json) -> None:
    """Only what can be done with a job in this state."""
    if not may("operator"):
        return
    job_id, state, attempt = job["job_id"], job["status"]["state"], job["status"]["attempt"]
    run_id = job["subject"].get("run_id")
    with st.container(horizontal=True, vertical_alignment="center"):
        if state in jobs.ACTIVE and state != "stopping":
            _button("Stop and keep", f"stop-{attempt}", job_id, lambda: jobs.stop(ws, job_id), ":material/stop_circle:")
        if state in jobs.ACTIVE:
            _discard(ws, job_id, attempt)
        if state == jobs.QUEUED:
            held = job["status"]["held"]
            _button("Release" if held else "Hold", "hold", job_id, lambda: jobs.hold(ws, job_id, not held))
            _button("Start next", "top", job_id, lambda: jobs.move(ws, job_id, "top"))
            _button("Take out of the queue", "drop", job_id, lambda: jobs.stop(ws, job_id))
        if state in ("stopped", "failed", "lost") and not job.get("broken"):
            _button("Resume", "resume", job_id, lambda: jobs.resume(ws, job_id), ":material/play_arrow:")
            _discard(ws, job_id, attempt)
        if job["kind"] == "finetune" and run_id:
            st.page_link(
                "pages/launch.py",
                label="Clone with one change",
                icon=":material/content_copy:",
                query_params={"clone": run_id},
            )


def _button(label: str, name: str, job_id: str, act: Callable[[], None], icon: str | None = None) -> None:
    """What ends a job names the attempt that it is meant for: a late click must not end the next one."""
    if clicked(label, f"{name}-{job_id}", icon=icon):
        with errors_in_words():
            act()
            st.rerun()


def _discard(ws: Workspace, job_id: str, attempt: int) -> None:
    """A second click, because what a discard removes does not come back."""
    with st.popover("Discard", icon=":material/delete_forever:"):
        st.write("The job is ended at once, and what it has made so far is removed. This cannot be taken back.")
        _button("Discard it", f"discard-{attempt}", job_id, lambda: jobs.stop(ws, job_id, discard=True))


def _show_tabs(ws: Workspace, job: Json, live: bool) -> None:
    train = train_folder(ws, job)
    names = (["Curves"] if train else []) + ["Log", "Configuration", "Chain"]
    tabs = dict(zip(names, st.tabs(names, key="tab", bind="query-params"), strict=True))
    every = TICK_S if live else None
    if train is not None:
        with tabs["Curves"]:
            st.fragment(run_every=every)(draw_curves)(train, job["title"], mix_parts(ws, mix_of(ws, job)))
    with tabs["Log"]:
        st.fragment(run_every=every)(draw_log)(ws, job["job_id"])
    with tabs["Configuration"]:
        _show_configuration(ws, job)
    with tabs["Chain"]:
        _show_chain(ws, job)


@st.cache_data(max_entries=16, show_spinner=False)
def metrics(path: str, length: int) -> list[Json]:
    """The rows of a run's metrics file, read again when it has grown."""
    return list(read_jsonl(Path(path)))


def metric_rows(train: Path) -> list[Json]:
    """Rows of `metrics.jsonl`; none before the first step."""
    path = train / "metrics.jsonl"
    return metrics(str(path), path.stat().st_size) if path.exists() else []


def loss_rows(rows: list[Json], label: str, series: str) -> list[Json]:
    """Training and held-out losses as `limit.charts` wants them; rows with no usable number are left out."""
    return [
        {"step": row["step"], "loss": row["loss"], "label": label, "series": series,
         "source": str(row.get("source")) if row["kind"] == "eval" else None}
        for row in rows
        if row.get("kind") in ("train", "eval") and is_number(row.get("step")) and is_number(row.get("loss"))
    ]  # fmt: skip


def draw_curves(train: Path, title: str, parts: list[Json]) -> None:
    """Loss by step, held-out loss by source in the colours of the mix's bar, and what the model writes meanwhile."""
    rows = metric_rows(train)
    drawn = [_by_source(row) for row in loss_rows(rows, "training", "")]
    chart(loss_curves(drawn, mix_palette(parts)), f"Loss of {title} by step, {len(drawn)} points", "loss-curve")
    steps = [row for row in rows if row.get("kind") == "train"]
    note_line(n=f"{count(len(steps))} steps", source="train/metrics.jsonl")
    for row in [row for row in rows if row.get("kind") == "note"][-NOTES_SHOWN:]:
        st.caption(plain(f"Step {row.get('step')}: {str(row.get('text'))[:500]}"))
    _show_generations([row for row in rows if row.get("kind") == "generation"])


def _by_source(row: Json) -> Json:
    """A held-out loss as its source's series; the training loss, which is all sources', as none's."""
    source = row["source"]
    return {**row, "series": None} if source is None else {**row, "label": "", "series": source_series(source)}


def _show_generations(rows: list[Json]) -> None:
    """What the model last wrote to each of its sample prompts."""
    if not rows:
        return
    st.caption(plain(f"What it writes at step {rows[-1].get('step')}"))
    for row in [row for row in rows if row.get("step") == rows[-1].get("step")]:
        st.caption(plain(str(row.get("prompt"))[:200]))
        show_text(str(row.get("text") or "(no text)"), 2000)


def draw_log(ws: Workspace, job_id: str) -> None:
    """The end of the log."""
    lines = jobs.tail(ws, job_id, LOG_LINES)
    log = ws.job(job_id) / "log.txt"
    show_text("\n".join(line[:2000] for line in lines) or "nothing yet", 40_000)
    note_line(lines=f"last {len(lines)}", file=f"{log} ({size(log.stat().st_size if log.exists() else 0)})")


def _show_configuration(ws: Workspace, job: Json) -> None:
    """The request, the command that does the same by hand, and the run's frozen settings."""
    st.caption("The same by hand")
    st.code("python -m limit " + " ".join(str(word) for word in job["arguments"]), language="bash", wrap_lines=True)
    run = _run_record(ws, job)
    if run is not None:
        st.caption("Run")
        st.json(run, expanded=False)
    st.caption("Job")
    st.json({key: value for key, value in job.items() if key != "status"}, expanded=False)
    st.caption("Status")
    st.json(job["status"], expanded=False)
    note_line(folder=str(ws.job(job["job_id"])))


def _run_record(ws: Workspace, job: Json) -> Json | None:
    run_id = job["subject"].get("run_id")
    try:
        return read_json(ws.run(str(run_id)) / "run.json") if run_id else None
    except LimitError:
        return None


def _show_chain(ws: Workspace, job: Json) -> None:
    """What comes before and after, and how that stands."""
    known = jobs.list_jobs(ws)
    before = [other for other in known if other["job_id"] in job["after"]]
    after = [other for other in known if job["job_id"] in other["after"]]
    if not before and not after:
        st.caption("It stands alone: no job waits for it, and it waits for none.")
    for words, others in (("After", before), ("Before", after)):
        for other in others:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(words)
                job_link(other, words)
                reason = f" ({other['status']['reason']})" if other["status"]["reason"] else ""
                st.caption(plain(f"{other['status']['state']}{reason}"))
