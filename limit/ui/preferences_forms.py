"""Two ways to more verdicts: read annotation files, or run a judge."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TypedDict

import streamlit as st

from limit.access import may
from limit.formats import count
from limit.judge.annotations import import_files
from limit.judge.checks import launch_check, sample_pairs
from limit.judge.estimate import estimate, estimate_words
from limit.judge.requests import JudgeRequest, build_request, launch_judge
from limit.judge.worker import pair_answers
from limit.settings import safe_name
from limit.specs.judge import JudgeSpec
from limit.store import Store
from limit.store.queries_preferences import comparisons
from limit.store.queries_runs import answered_runs, runs
from limit.ui.clicks import clicked, keep_started, keep_words, show_started, show_words
from limit.ui.shell import errors_in_words, open_workspace, plain, printable


class Limits(TypedDict):
    """What judging may use; None sets no limit."""

    budget_usd: float | None
    budget_tokens: int | None


PRICES_KEPT_S = 30  # an estimate is made anew after that: the workspace's price list may have changed
JUDGES = {
    "Rubric (a program, for the embedded study)": "rubric",
    "Chat model at an OpenAI-compatible address": "openai",
    "Local model (label probabilities)": "local",
}


def show_forms(store: Store) -> None:
    """Import and judge, each behind an expander; only for those who may change something."""
    if not may("operator"):
        return
    told = st.container()  # above the forms: an expander closes when the page around it changes
    with st.expander("Import verdicts (AlpacaEval annotations.json)", icon=":material/upload_file:"), errors_in_words():
        _import_form(store)
    with st.expander("Check a judge on verdicts that exist", icon=":material/rule:"), errors_in_words():
        _check_form(store)
    with st.expander("Run a judge", icon=":material/gavel:"), errors_in_words():
        _judge_form(store)
    with told, errors_in_words():
        show_words("import")
        for form in ("check", "run"):
            show_started(open_workspace(), form, "pages/preferences.py", "comparison")


def _import_form(store: Store) -> None:
    files = st.file_uploader(
        "Annotation files; the seeds of one pair make one comparison", type="json", accept_multiple_files=True
    )
    left, middle, right = st.columns(3)
    baseline = left.text_input("Baseline", placeholder="from the file name A_vs_B_seedN.json")
    candidate = middle.text_input("Candidate", placeholder="from the file name")
    prompts = right.text_input("Prompt set", placeholder="from the file name")
    if clicked("Import", "import-go", disabled=not files):
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
        keep_words("import", f"{count(result['rows'])} verdicts imported")
        st.rerun()


def _judge_form(store: Store) -> None:
    ws = open_workspace()
    answered = answered_runs(store)
    ready = [name for name, runs in answered.items() if len(runs) > 1]
    if not ready:
        st.info(
            "Two runs must have answered the same prompts first; Launch does that after a finetune, or "
            "`python -m limit respond --run RUN --prompts SET`.",
            icon=":material/info:",
        )
        return
    names = {run["run_id"]: run["name"] for run in runs(store)}
    prompts = st.selectbox("Prompts", ready, format_func=printable)
    able = sorted(answered[prompts], key=lambda run_id: names.get(run_id) or run_id)
    left, right = st.columns(2)
    baseline = left.selectbox("Baseline", able, format_func=lambda run_id: printable(names.get(run_id) or run_id))
    others = [run_id for run_id in able if run_id != baseline]
    candidate = right.selectbox("Candidate", others, format_func=lambda run_id: printable(names.get(run_id) or run_id))
    judge, limits = _choose_judge("run")
    if judge["model"] or judge["backend"] == "rubric":
        request = build_request(ws, baseline, candidate, prompts, _judge_of(judge))
        st.caption(plain(_run_words(str(ws.root), request.id(), request)))
    if clicked("Judge", "run-go", type="primary"):
        keep_started("run", launch_judge(ws, baseline, candidate, prompts, _judge_of(judge), **limits))


def _check_form(store: Store) -> None:
    ws = open_workspace()
    known = {
        row["comparison_id"]: f"{row['candidate']} against {row['baseline']} on {row['prompt_set']} · {row['judge']}"
        for row in comparisons(store)
        if row["origin"] == "workspace"
    }
    if not known:
        st.info("Import verdicts or vote first; a judge is checked against those.", icon=":material/info:")
        return
    source = st.selectbox("Verdicts to compare with", list(known), format_func=lambda id_: printable(known[id_]))
    many = st.number_input("Pairs, drawn by hash", 10, 2000, 100, step=10)
    judge, limits = _choose_judge("check")
    if judge["model"] or judge["backend"] == "rubric":
        spec = _judge_of(judge)
        st.caption(plain(_check_words(str(ws.root), source, spec.id(), int(many), spec)))
    if clicked("Check", "check-go", type="primary"):
        keep_started("check", launch_check(ws, source, _judge_of(judge), int(many), **limits))


@st.cache_data(max_entries=32, ttl=PRICES_KEPT_S, show_spinner=False)
def _run_words(root: str, request_id: str, _request: JudgeRequest) -> str:
    """What a comparison would take, in words."""
    del root, request_id  # part of the cache key only
    ws = open_workspace()
    pairs, found = pair_answers(ws, _request)
    left_out = f"; {count(found['unpaired'])} prompts with one answer are left out" if found["unpaired"] else ""
    return f"{estimate_words(estimate(ws, _request.judge, pairs))}{left_out}"


@st.cache_data(max_entries=32, ttl=PRICES_KEPT_S, show_spinner=False)
def _check_words(root: str, source: str, judge_id: str, many: int, _spec: JudgeSpec) -> str:
    del root, judge_id  # part of the cache key only
    ws = open_workspace()
    return estimate_words(estimate(ws, _spec, sample_pairs(ws, source, many)))


def _choose_judge(form: str) -> tuple[dict[str, str], Limits]:
    """What was chosen of a judge's settings, and what it may use; `form` keeps the widgets of two forms apart."""
    backend = JUDGES[st.selectbox("Judge", list(JUDGES), key=f"{form}-judge")]
    model, url, key_env = "", "", "OPENAI_API_KEY"
    limits: Limits = {"budget_usd": None, "budget_tokens": None}
    if backend != "rubric":
        left, right = st.columns(2)
        example = "gpt-4o-mini" if backend == "openai" else "folder, run or hub id"
        model = left.text_input("Model", placeholder=example, key=f"{form}-model").strip()
    if backend == "openai":
        url = right.text_input("Address", placeholder="https://api.openai.com/v1", key=f"{form}-url").strip()
        key_env = left.text_input("Variable or secret that holds the key", value="OPENAI_API_KEY", key=f"{form}-key")
        usd = right.number_input("Budget in USD", 0.0, value=None, step=0.5, key=f"{form}-budget", placeholder="none")
        tokens = right.number_input(
            "Budget in tokens",
            min_value=0,
            value=None,
            step=10_000,
            key=f"{form}-tokens",
            placeholder="none",
            help="Instead of USD, where nobody knows the judge's price.",
        )
        limits = {"budget_usd": usd, "budget_tokens": None if tokens is None else int(tokens)}
    return {"backend": backend, "model": model, "base_url": url, "key_env": key_env.strip()}, limits


def _judge_of(settings: dict[str, str]) -> JudgeSpec:
    adopt_key(settings["key_env"])
    return JudgeSpec.from_dict({**settings, "base_url": settings["base_url"] or None})


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
