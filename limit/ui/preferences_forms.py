"""Two ways to more verdicts: read annotation files, or run a judge."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import streamlit as st

from limit.access import may
from limit.formats import count
from limit.judge.annotations import import_files
from limit.judge.requests import launch_judge, parse_judge
from limit.responses.prompt_sets import list_prompt_sets
from limit.responses.response_sets import list_response_sets
from limit.runs import list_runs
from limit.settings import safe_name
from limit.store import Store
from limit.ui.shell import errors_in_words, open_workspace, plain

JUDGES = {
    "Rubric (a program, for the embedded study)": "rubric",
    "Chat model at an OpenAI-compatible address": "openai",
    "Local model (label probabilities)": "local",
}


def show_forms(store: Store) -> None:
    """Import and judge, each behind an expander; only for those who may change something."""
    if not may("operator"):
        return
    with st.expander("Import verdicts (AlpacaEval annotations.json)", icon=":material/upload_file:"), errors_in_words():
        _import_form(store)
    with st.expander("Run a judge", icon=":material/gavel:"), errors_in_words():
        _judge_form()


def _import_form(store: Store) -> None:
    files = st.file_uploader(
        "Annotation files; the seeds of one pair make one comparison", type="json", accept_multiple_files=True
    )
    left, middle, right = st.columns(3)
    baseline = left.text_input("Baseline", placeholder="from the file name A_vs_B_seedN.json")
    candidate = middle.text_input("Candidate", placeholder="from the file name")
    prompts = right.text_input("Prompt set", placeholder="from the file name")
    if st.button("Import", disabled=not files):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for number, file in enumerate(files or []):
                path = Path(folder) / str(number) / safe_name(file.name, "file name")
                path.parent.mkdir()
                path.write_bytes(file.getvalue())
                paths.append(path)
            result = import_files(
                open_workspace(),
                paths,
                baseline=baseline or None,
                candidate=candidate or None,
                prompt_set=prompts or None,
            )
        store.refresh()
        st.toast(f"{count(result['rows'])} verdicts imported")
        st.rerun()


def _judge_form() -> None:
    ws = open_workspace()
    sets = {entry["prompt_set"]: entry for entry in list_prompt_sets(ws)}
    answered = {name: {facts["run_id"] for facts in list_response_sets(ws, prompt_set=name)} for name in sets}
    ready = [name for name, runs in answered.items() if len(runs) > 1]
    if not ready:
        st.info(
            "Two runs must have answered the same prompts first; Launch does that after a finetune, or "
            "`python -m limit respond --run RUN --prompts SET`.",
            icon=":material/info:",
        )
        return
    names = {run["run_id"]: run["name"] for run in list_runs(ws)}
    prompts = st.selectbox("Prompts", ready)
    runs = sorted(answered[prompts], key=lambda run_id: names.get(run_id, run_id))
    left, right = st.columns(2)
    baseline = left.selectbox("Baseline", runs, format_func=lambda run_id: names.get(run_id, run_id))
    others = [run_id for run_id in runs if run_id != baseline]
    candidate = right.selectbox("Candidate", others, format_func=lambda run_id: names.get(run_id, run_id))
    backend = JUDGES[st.selectbox("Judge", list(JUDGES))]
    model, url, key_env, budget = "", "", "OPENAI_API_KEY", 0.0
    if backend != "rubric":
        left, right = st.columns(2)
        model = left.text_input("Model", placeholder="gpt-4o-mini" if backend == "openai" else "folder, run or hub id")
    if backend == "openai":
        url = right.text_input("Address", placeholder="https://api.openai.com/v1")
        key_env = left.text_input("Variable or secret that holds the key", value="OPENAI_API_KEY")
        budget = right.number_input("Budget in USD", min_value=0.0, value=0.0, step=0.5)
    if st.button("Judge", type="primary"):
        adopt_key(key_env)
        settings = [f"base_url={url}"] if url else []
        judge = parse_judge(f"{backend}:{model}" if model else backend, [*settings, f"key_env={key_env}"])
        started = launch_judge(ws, baseline, candidate, prompts, judge, budget_usd=budget or None)
        st.success(plain(f"Job {started['job_id']} is {started['state']}; its bar appears here as it goes."))
        st.page_link("pages/runs.py", label="Follow it", query_params={"job": started["job_id"]})


def adopt_key(name: str) -> None:
    """Let jobs that this app starts find a key that stands in the app's secrets; it is written nowhere."""
    if name in os.environ:
        return
    try:
        value = st.secrets.get(name)
    except FileNotFoundError:
        return
    if isinstance(value, str):
        os.environ[name] = value
