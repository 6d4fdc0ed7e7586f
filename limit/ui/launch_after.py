"""What follows each finetune: the Gauntlet, answers to a prompt set, a judge against a baseline."""

from __future__ import annotations

from typing import get_args

import streamlit as st

from limit.responses.prompt_sets import prompt_set_names
from limit.runs import list_runs
from limit.settings import Workspace
from limit.specs.gauntlet import GauntletSpec, Version
from limit.specs.judge import RespondSpec
from limit.studies.chain import FollowUps
from limit.ui.shell import printable, show_error


def choose_follow_ups(ws: Workspace, tiny: bool) -> FollowUps:
    """The form; each step is off until it is ticked."""
    st.subheader("And then", anchor=False)
    gauntlet = _choose_gauntlet(tiny)
    respond = _choose_prompts(ws)
    judge = baseline = None
    budget = 0.0
    if respond:
        judge, baseline, budget = _choose_judge(ws)
    return FollowUps(gauntlet, respond, judge, baseline, budget or None)


def _choose_gauntlet(tiny: bool) -> GauntletSpec | None:
    if not st.checkbox("Score it on the Gauntlet", key="launch-gauntlet"):
        return None
    left, middle, right = st.columns(3)
    versions = list(get_args(Version))
    version = left.selectbox("Version", versions, index=versions.index("mini" if tiny else "v0"), key="launch-version")
    shots = middle.selectbox(
        "Shots", ["paper", "fixed"], key="launch-shots", help="`fixed` shares its examples and is far faster."
    )
    limit = right.number_input("Records of each task", min_value=0, value=0, key="launch-limit", help="0 takes all.")
    data = st.text_input("Folder of task files", key="launch-data", placeholder="those that ship or were fetched")
    return GauntletSpec(
        version=version,
        shots="fixed" if shots == "fixed" else "paper",
        limit=int(limit) or None,
        data=data.strip() or None,
    )


def _choose_prompts(ws: Workspace) -> RespondSpec | None:
    if not st.checkbox("Let it answer open prompts", key="launch-respond"):
        return None
    sets = prompt_set_names(ws)
    left, right = st.columns([2, 1])
    name = left.selectbox(
        "Prompt set", sets, index=0, key="launch-prompts", accept_new_options=True,
        placeholder="a name, or a file of prompts",
    )  # fmt: skip
    longest = right.number_input("Longest answer, tokens", min_value=1, value=512, key="launch-new-tokens")
    if not name:
        show_error("choose a prompt set, or type the path of a file of prompts")
        return None
    return RespondSpec(prompts=str(name), max_new_tokens=int(longest))


def _choose_judge(ws: Workspace) -> tuple[str | None, str | None, float]:
    if not st.checkbox("Judge it against another run", key="launch-judge"):
        return None, None, 0.0
    runs = {str(run["run_id"]): str(run["name"]) for run in reversed(list_runs(ws))}
    left, right = st.columns(2)
    judge = left.text_input(
        "Judge", value="rubric", key="launch-judge-words", help="rubric, openai:MODEL or local:PATH"
    )
    budget = right.number_input("Budget, USD", min_value=0.0, value=0.0, key="launch-budget")
    baseline = st.selectbox(
        "Baseline", list(runs), index=0 if runs else None,
        format_func=lambda run: printable(f"{runs.get(run, run)} · {run[:6]}"),
        key="launch-baseline", placeholder="no run yet",
    )  # fmt: skip
    if not baseline or not judge.strip():
        show_error("a judge needs its name and a baseline run to compare with")
        return None, None, 0.0
    return judge.strip(), baseline, float(budget)
