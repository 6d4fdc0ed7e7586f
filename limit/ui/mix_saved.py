"""Mixes that were saved: open, compare two, take one away as files."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Literal

import streamlit as st

from limit import formats
from limit.core import Json
from limit.mixes.export import export_mix
from limit.mixes.listing import diff, list_mixes
from limit.settings import Workspace
from limit.ui.shell import errors_in_words, plain, printable

LARGEST_DOWNLOAD = 200_000  # rows; beyond, the command line writes to a folder without holding it in memory


def saved_mixes(ws: Workspace) -> None:
    """The list, newest first, with what can be done with one or two."""
    mixes = list_mixes(ws)
    if not mixes:
        return
    st.subheader("Saved mixes", anchor=False)
    rows = [
        {
            "id": mix["mix_id"],
            "name": printable(mix["name"]),
            "samples": mix["rows"],
            "non-commercial": {True: "yes", False: "no", None: "unknown"}.get(mix.get("non_commercial"), "unknown"),
            "created": mix["created"][:16].replace("T", " "),
        }
        for mix in mixes
    ]
    event = st.dataframe(
        rows,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key="saved-list",
        column_config={"samples": st.column_config.NumberColumn(format="localized")},
        lazy=False,
        alt="saved mixes",
    )
    picked = [mixes[i] for i in (event.selection.rows if event and event.selection else []) if i < len(mixes)]
    if len(picked) == 1:
        _one(ws, picked[0])
    elif len(picked) == 2:
        _two(ws, picked[0], picked[1])
    else:
        st.caption("Tick one mix to open or export it, two to compare them.")


def _one(ws: Workspace, mix: Json) -> None:
    open_, launch, jsonl, parquet = st.columns(4)
    open_.button("Open a copy", icon=":material/content_copy:", on_click=_open, args=(mix["mix_id"],))
    launch.page_link(
        "pages/launch.py", label="Launch", icon=":material/rocket_launch:", query_params={"mix": mix["mix_id"]}
    )
    if mix["rows"] > LARGEST_DOWNLOAD:
        jsonl.caption(plain(f"Large: use python -m limit mix export {mix['mix_id']} --out FOLDER"))
        return
    for column, format in ((jsonl, "jsonl"), (parquet, "parquet")):
        with column:
            _download(ws, mix, format)  # type: ignore[arg-type]


def _open(mix_id: str) -> None:
    """Put a saved mix on the screen, also when it was opened before and changed since."""
    st.session_state.pop("mix-opened", None)
    st.query_params.pop("draft", None)
    st.query_params["mix"] = mix_id


def _download(ws: Workspace, mix: Json, format: Literal["jsonl", "parquet"]) -> None:
    st.download_button(
        f"{format.upper() if format == 'jsonl' else 'Parquet'} and card (zip)",
        data=lambda: zipped(ws, mix["mix_id"], format),
        file_name=f"mix-{mix['mix_id']}-{format}.zip",
        mime="application/zip",
        on_click="ignore",
        key=f"download-{format}",
    )


def zipped(ws: Workspace, mix_id: str, format: Literal["jsonl", "parquet"]) -> bytes:
    """The exported folder of a mix as a zip file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(export_mix(ws, mix_id, Path(folder) / f"mix-{mix_id}", format)["path"])
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(path.iterdir()):
                archive.write(file, f"{path.name}/{file.name}")
        return held.getvalue()


def _two(ws: Workspace, first: Json, second: Json) -> None:
    with errors_in_words():
        found = diff(ws, first["mix_id"], second["mix_id"])
        st.caption(
            plain(
                f"{formats.count(found['shared'])} samples in both, {formats.count(found['only_a'])} only in "
                f"{first['mix_id']}, {formats.count(found['only_b'])} only in {second['mix_id']}"
            )
        )
        rows = [
            {
                "source": row["source"],
                "subset": printable(row["subset"]),
                first["mix_id"]: row["a"],
                second["mix_id"]: row["b"],
            }
            for row in found["counts"]
            if row["a"] != row["b"]
        ]
        if rows:
            st.dataframe(rows, hide_index=True, alt="samples of each mix by subset", lazy=False)
        changed = [
            f"{name}: {pair[0]} → {pair[1]}" for name, pair in found["spec"].items() if name not in ("parts", "exclude")
        ]
        if changed:
            st.caption(plain("; ".join(changed)))
