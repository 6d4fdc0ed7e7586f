"""Add a source: a file from this browser or this machine with a preview to confirm, or one fetched from the hub."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import streamlit as st

from limit import formats
from limit.access import may
from limit.core import Json
from limit.settings import Workspace
from limit.sources.add import add_source, preview_source
from limit.sources.catalog import catalog
from limit.sources.fetch import resolve
from limit.sources.launch import launch_add, launch_fetch
from limit.sources.recordforms import FORM_NAMES, Columns
from limit.ui.clicks import clicked
from limit.ui.samples_filters import LIFTED
from limit.ui.samples_words import open_samples
from limit.ui.shell import errors_in_words, next_step, plain, printable, show_text

AUTO = "as recognised"
IN_PLACE_BYTES = 200_000_000  # a larger file on the server is read by a job


def add_form(ws: Workspace) -> None:
    """Both ways to a new source."""
    if not may("operator"):
        st.info("Only an operator may add sources.")
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Your own data", anchor=False)
        _own(ws)
    with right:
        st.subheader("From the hub", anchor=False)
        _from_hub(ws)


def _own(ws: Workspace) -> None:
    upload = st.file_uploader("A JSON, JSONL, CSV or Parquet file", key="upload")
    typed = st.text_input("or the path of a file or folder on the server", key="path")
    with errors_in_words():
        if upload is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / (re.sub(r"[^\w.-]", "-", upload.name)[-80:] or "upload")
                path.write_bytes(upload.getbuffer())
                _preview_and_add(ws, path, uploaded=True)
        elif typed:
            _preview_and_add(ws, Path(typed), uploaded=False)


def _preview_and_add(ws: Workspace, path: Path, uploaded: bool) -> None:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.split(".")[0]).strip("-.") or "my-data"
    first = preview_source(path)
    name = st.text_input("Name", stem, key="new-name")
    form = st.selectbox(
        "Form of the records",
        [AUTO, *FORM_NAMES],
        key="form",
        help="What the records look like; change it if the preview below is wrong.",
    )
    columns = _columns(first)
    seen = preview_source(path, "auto" if form == AUTO else form, columns)
    _show_preview(seen)
    keep = st.toggle("Keep all turns of dialogues", True, key="keep", help="Off: only the first exchange is kept.")
    licence = st.text_input("Licence", key="licence", placeholder="such as CC-BY-4.0; empty if unknown")
    skip = st.toggle("Leave out lines that cannot be parsed", False, key="skip")
    if clicked("Add this source", "add-source", type="primary", disabled=seen["form"] is None):
        chosen = "auto" if form == AUTO else form
        if not uploaded and (path.is_dir() or path.stat().st_size > IN_PLACE_BYTES):
            _add_in_background(ws, name, path, chosen, keep, licence, columns, skip)
            return
        with st.spinner("Reading", show_time=True):
            report = add_source(
                ws,
                name,
                path,
                format=chosen,
                keep_turns=keep,
                licence=licence or None,
                columns=columns,
                skip_broken=skip,
            )
        _report(report)


def _add_in_background(
    ws: Workspace, name: str, path: Path, form: str, keep: bool, licence: str, columns: Columns, skip: bool
) -> None:
    options = ["--format", form]
    for flag, value in (("--licence", licence), *((f"--{k}", v) for k, v in vars(columns).items())):
        options += [f"{flag}={value}"] if value else []
    options += [flag for flag, wanted in (("--first-turn-only", not keep), ("--skip-broken", skip)) if wanted]
    started = launch_add(ws, name, str(path.resolve()), options)
    next_step("It is being read in the background.", "pages/runs.py", "Follow it", {"job": started["job_id"]})


def _columns(first: Json) -> Columns:
    options = [None, *first["columns"]]
    with st.expander("Which column is which", expanded=first["form"] is None):
        chosen = [
            st.selectbox(
                label, options, format_func=lambda c: AUTO if c is None else printable(c), key=f"column-{label}"
            )
            for label in ("Prompt", "Response", "Subset")
        ]
    return Columns(*chosen)


def _show_preview(seen: Json) -> None:
    if seen["form"] is None:
        st.warning(plain(seen["describes"]))
        return
    st.caption(plain(f"Read as {seen['form']}: {seen['describes']}"))
    if seen["set_aside"]:
        st.caption(plain(f"Set aside because they are named for testing: {', '.join(seen['set_aside'][:5])}"))
    if seen["unread"]:
        st.caption(plain(f"Not read because their names are none of data files: {', '.join(seen['unread'][:5])}"))
    for row in seen["rows"]:
        if "reason" in row:
            st.caption(plain(f"line {row['line']}: left out, {row['reason']}"))
            continue
        with st.expander(plain(f"line {row['line']} · {printable(row['prompt'][:70])}")):
            show_text(row["prompt"], 2_000)
            show_text(row["response"], 2_000)


def _report(report: Json) -> None:
    stripped = [f"{count:,} {what.replace('_', ' ')}" for what, count in report["stripped"].items() if count]
    words = f"Added {report['rows']:,} samples"
    words += f"; stripped {', '.join(stripped)}" if stripped else ""
    words += f"; {formats.count(report['rejected'])} rows rejected" if report["rejected"] else ""
    st.success(plain(words))
    for reason, count in report["rejects_by_reason"].items():
        st.caption(plain(f"{count:,} rejected: {reason}"))
    st.button("Look at it", on_click=open_samples, args=(report["source"], LIFTED))
    st.page_link("pages/mix.py", label="Put it into a mix")


def _from_hub(ws: Workspace) -> None:
    entries = {entry["id"]: entry for entry in catalog()}
    chosen = st.selectbox(
        "Known data sets",
        [None, *entries],
        key="known",
        format_func=lambda key: "choose one" if key is None else entries[key]["title"],
    )
    typed = st.text_input("or a hub id", key="hub-id", placeholder="owner/name")
    if chosen:
        entry = entries[chosen]
        rows = f"{entry['rows']:,} rows" if entry["rows"] else entry.get("rows_note", "rows unknown")
        st.caption(plain(entry["description"]))
        st.caption(plain(f"{entry['hub_id']} · {rows} · {entry['licence'] or 'no licence stated'}"))
        if entry["gated"]:
            st.caption("Gated: accept its terms on the hub and start the app with HF_TOKEN set.")
    if clicked("Fetch", "fetch-source", disabled=not (chosen or typed), icon=":material/download:"):
        with errors_in_words():
            started = launch_fetch(ws, resolve(chosen or typed.strip()))
            next_step(
                "It is being fetched in the background.", "pages/runs.py", "Follow it", {"job": started["job_id"]}
            )
