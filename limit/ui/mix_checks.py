"""Checks of a saved mix: run as a job, shown with the rows to look at and one click to leave them out."""

from __future__ import annotations

import streamlit as st

from limit import jobs
from limit.access import may
from limit.charts.style import category_label
from limit.core import Json
from limit.mixes.checks import kept_check, without
from limit.mixes.launch import launch_check
from limit.settings import Workspace
from limit.specs import MixSpec
from limit.ui.clicks import clicked
from limit.ui.mix_live import show_alignment
from limit.ui.mix_state import load
from limit.ui.samples_words import first_line
from limit.ui.shell import errors_in_words, note_line, plain, show_text

REFRESH_S = 2.0


def checks_section(ws: Workspace, mix: Json) -> None:
    """The last check of the mix, or the button that starts one."""
    found = kept_check(ws, mix["mix_id"])
    st.subheader("Checks", anchor=False)
    licence = {True: "non-commercial", False: "commercial use allowed", None: "licence of a part unknown"}
    st.caption(
        plain(
            f"Licence: {licence[mix['non_commercial']]}, because of {', '.join(mix['licence_because_of'])} "
            f"({mix['licence'] or 'unknown'})"
        )
    )
    job_id = st.session_state.get(f"check-{mix['mix_id']}")
    if job_id and jobs.status(ws, job_id)["state"] not in jobs.ENDED:
        _follow(ws, job_id)
    elif job_id and jobs.status(ws, job_id)["state"] != "finished":
        status = jobs.status(ws, job_id)
        st.error(plain(f"The check ended as {status['state']}: {status.get('reason') or 'see its log'}"))
    if found is not None:
        _results(ws, mix, found)
    with st.popover("Check again" if found else "Check this mix", icon=":material/fact_check:"):
        data = st.text_input(
            "Folder of Gauntlet items", key="check-data", placeholder="what was fetched, or what ships"
        )
        if clicked("Start the check", "check-start", disabled=not may("operator")):
            with errors_in_words():
                started = launch_check(ws, mix["mix_id"], (data or "").strip() or None)
                st.session_state[f"check-{mix['mix_id']}"] = started["job_id"]
                st.rerun()


@st.fragment(run_every=REFRESH_S)
def _follow(ws: Workspace, job_id: str) -> None:
    status = jobs.status(ws, job_id)
    if status["state"] in jobs.ENDED:
        st.rerun()
    step, total = status.get("step") or 0, status.get("total") or 1
    st.progress(min(1.0, step / total), text=f"Checking: {status['state']}")


def _results(ws: Workspace, mix: Json, found: Json) -> None:
    double, leaks, odd = found["duplicates"], found["leaks"], found["responses"]
    for column, (name, value) in zip(
        st.columns(5),
        (
            ("exact duplicates", double["exact"]),
            ("near-duplicates", double["near"]),
            ("samples with leaks", leaks["samples"]),
            ("responses without words", odd["empty"]),
            ("over-long responses", odd["over_long"]),
        ),
        strict=True,
    ):
        column.metric(name, f"{value:,}")
    _duplicates(ws, mix, double)
    _leaks(ws, mix, found)
    if odd["rows"]:
        with st.expander("Odd responses"):
            rows = [
                {
                    "source": row["source"],
                    "row": row["row"],
                    "prompt": first_line(row.get("prompt", "")),
                    "response": first_line(row.get("response", "")),
                    "characters": row["n_response_chars"],
                }
                for row in odd["rows"]
            ]
            numbers = {name: st.column_config.NumberColumn(format="localized") for name in ("row", "characters")}
            st.dataframe(rows, hide_index=True, column_config=numbers, alt="odd responses", lazy=False)
            _leave_out(ws, mix, [row["sample_id"] for row in odd["rows"]], "odd")
    with st.expander("Alignment"):
        show_alignment(found["alignment"], "check-alignment")


def _duplicates(ws: Workspace, mix: Json, double: Json) -> None:
    if not double["groups"]:
        return
    with st.expander(f"Duplicates: {double['group_count']:,} groups, {double['across']:,} across parts"):
        note_line(
            near=f"word 3-grams with a Jaccard similarity of at least {double['threshold']}",
            kept="the sample drawn first of each group",
        )
        _leave_out(ws, mix, double["drop"], "duplicates")
        for number, group in enumerate(double["groups"][:25]):
            st.caption(
                plain(f"{number + 1}. {group['kind']}, similarity {group['similarity']:.2f}, {group['size']} samples")
            )
            for sample in group["samples"][:3]:
                show_text(f"[{sample['source']}] {sample['prompt']}\n→ {sample['response']}", 600)


def _leaks(ws: Workspace, mix: Json, found: Json) -> None:
    leaks = found["leaks"]
    with st.expander(f"Leaks: {leaks['pairs']:,} pair{'s' if leaks['pairs'] != 1 else ''} of a sample and a test item"):
        table = [
            {
                "test": category_label(group["group"]) if group["kind"] == "gauntlet" else group["group"],
                "items": group["items"],
                "checked": group["checked"],
                "items in the mix": group["leaked_items"],
                "samples": group["samples"],
            }
            for group in leaks["groups"]
        ]
        st.dataframe(table, hide_index=True, alt="leaks by category", lazy=False)
        note_line(
            rule="a shared run of 13 words, or the whole of a question of 6 to 12 words",
            shorter_questions="with their answer, if both have 6 words",
        )
        if leaks["drop"]:
            _leave_out(ws, mix, leaks["drop"], "leaks")
        for leak in leaks["leaks"][:25]:
            st.caption(
                plain(f"{leak['group']} / {leak['task']} item {leak['index']}: overlap {100 * leak['overlap']:.0f} %")
            )
            shared = f"\n\nboth hold: {leak['shared']}" if leak.get("shared") else ""
            show_text(f"test: {leak['question']}\n\nsample [{leak['source']}]: {leak['prompt']}{shared}", 1_400)


def _leave_out(ws: Workspace, mix: Json, sample_ids: list[str], what: str) -> None:
    if sample_ids and clicked(
        f"Leave out these {len(sample_ids):,} and draw others", f"out-{what}", disabled=not may("analyst")
    ):
        with errors_in_words():
            with st.spinner("Drawing others", show_time=True):
                changed = without(ws, mix["mix_id"], sample_ids, duplicates_too=what == "duplicates")
            load(MixSpec.from_dict(changed["spec"]), changed["name"])
            st.session_state["mix-opened"] = changed["mix_id"]
            st.query_params["mix"] = changed["mix_id"]
            st.rerun()
