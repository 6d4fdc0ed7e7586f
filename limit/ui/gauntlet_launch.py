"""Score a run from the Gauntlet page: the same function as `limit gauntlet run`."""

from __future__ import annotations

import shlex

import streamlit as st

from limit.access import may
from limit.gauntlet.launch import launch_gauntlet
from limit.specs.gauntlet import GauntletSpec
from limit.store import Store
from limit.store.queries_runs import runs
from limit.ui.clicks import keep_started, show_started, submitted
from limit.ui.shell import errors_in_words, open_workspace, printable


def show_launch(store: Store) -> None:
    """A form behind an expander; the same words for a shell below it."""
    with st.expander("Score a run"):
        names = {run["run_id"]: run["name"] for run in runs(store) if run.get("origin") != "shipped"}
        with st.form("score", border=False):
            run_id = st.selectbox(
                "Run", list(names), format_func=lambda key: printable(f"{names[key]} · {key}"), index=None
            )
            model = st.text_input("or a model", placeholder="folder, hub id, or tiny")
            left, middle, right = st.columns(3)
            version = left.selectbox("Version", _choices("version"), help=_help("version"))
            shots = middle.selectbox("Shots", _choices("shots"), help=_help("shots"))
            limit = right.number_input("First N records", 1, value=None, placeholder="all", help=_help("limit"))
            tasks = st.text_input("Tasks", placeholder="all of the version; or names with commas", help=_help("tasks"))
            data = st.text_input("Folder of task files", placeholder="what ships or was fetched", help=_help("data"))
            sent = submitted("Score", "score-go", type="primary", disabled=not may("operator"))
        if sent:
            with errors_in_words():
                spec = GauntletSpec.from_dict(
                    {
                        "version": version,
                        "shots": shots,
                        "limit": int(limit) if limit else None,
                        "tasks": [name.strip() for name in tasks.split(",") if name.strip()],
                        "data": data.strip() or None,
                    }
                )
                named = model.strip() or None
                started = launch_gauntlet(open_workspace(), spec, run_id=None if named else run_id, model=named)
                keep_started("score", started)
        with errors_in_words():
            _show_started()


def _show_started() -> None:
    started = show_started(open_workspace(), "score")
    if started:
        st.code(f"python -m limit gauntlet show {shlex.quote(started['eval_id'])}", language="bash")


def _choices(name: str) -> tuple[str, ...]:
    return next(option.choices or () for option in GauntletSpec.options() if option.name == name)


def _help(name: str) -> str:
    return next(option.help for option in GauntletSpec.options() if option.name == name)
