"""The export buttons: what each file holds, how large it is, and why one cannot be made here."""

from __future__ import annotations

import tempfile
from pathlib import Path

import streamlit as st

from limit.export.printing import browser, missing_browser
from limit.export.report import study_names
from limit.export.write import write_report
from limit.formats import size
from limit.store import Store
from limit.ui.clicks import clicked
from limit.ui.shell import errors_in_words, open_workspace

KINDS = {
    "html": ("HTML", "text/html", "one page that works offline, about 5 MB"),
    "pptx": ("PowerPoint", "application/vnd.openxmlformats-officedocument.presentationml.presentation",
             "slides with charts that can be edited, about 0.1 MB"),
    "csv": ("CSV", "text/csv", "one row for each number, some kB"),
    "parquet": ("Parquet", "application/vnd.apache.parquet", "the same with types, some kB"),
    "pdf": ("PDF", "application/pdf", "the page printed, about 0.2 MB; takes some seconds"),
    "png": ("PNG", "image/png", "the page as one picture, about 0.5 MB; takes some seconds"),
}  # fmt: skip


def show_exports(store: Store) -> None:
    """One line for each format: prepare, then download. Each file carries ids, protocol, judge, n, date and version."""
    st.subheader("Take away", anchor=False)
    study = st.selectbox("What to export", study_names(store), key="export", bind="query-params")
    for format, (label, mime, words) in KINDS.items():
        row = st.container(horizontal=True, vertical_alignment="center", wrap=False)
        row.caption(f"**{label}**: {words}", width="stretch")
        with row:
            _button(store, format, label, mime, study)
    if browser() is None:
        st.caption(missing_browser())
    st.caption(
        "Each file carries run ids, mix hashes, protocol, judge, n, intervals, date and version; numbers are frozen."
    )


def _button(store: Store, format: str, label: str, mime: str, study: str) -> None:
    """Prepare the file on request and offer it; PDF and PNG are off where no Chromium is installed."""
    off = format in ("pdf", "png") and browser() is None
    key = f"{format}-{study}-{store.version}"
    made = st.session_state.get("exports", {}).get(key)
    if made is not None:
        name = f"limit-{study.replace('/', '-').replace(' ', '-')}.{format}"
        st.download_button(f"Download {size(len(made))}", made, name, mime, key=f"get-{format}", on_click="ignore")
    elif clicked(f"Prepare {label}", f"make-{format}", disabled=off, help=missing_browser() if off else None):
        with st.spinner(f"Writing {label}"), errors_in_words(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"report.{format}"
            write_report(store, open_workspace(), format, path, study)
            st.session_state["exports"] = {key: path.read_bytes()}
            st.rerun()
