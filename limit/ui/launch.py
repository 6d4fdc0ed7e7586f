"""The Launch page: few choices on the left, what they cost in a card that stays in view, and the button."""

from __future__ import annotations

from typing import Any

import streamlit as st

from limit import jobs
from limit.access import may
from limit.core import LimitError
from limit.finetune.calibration import finished_runs
from limit.finetune.estimate import Estimate, estimate_finetune
from limit.finetune.memory import model_size
from limit.formats import count, money
from limit.mixes.listing import list_mixes
from limit.models import TINY_MODEL, resolve_model
from limit.recipes import list_recipes
from limit.runs import list_runs, load_run
from limit.settings import Workspace
from limit.specs.run import RunSpec
from limit.studies.chain import FollowUps, launch_chain
from limit.ui.clicks import clicked
from limit.ui.launch_after import choose_follow_ups
from limit.ui.launch_cost import show_commands, show_costs
from limit.ui.launch_recipe import edit_recipe
from limit.ui.shell import errors_in_words, next_step, open_workspace, page_head, plain, printable, show_error

WHATS = ("single runs", "a study")
CONFIRM_RUNS = 6
# The column itself must stick: what lies inside it cannot leave a column as tall as its own content.
STICKY = """
<style>
@media (min-width: 641px) {
  [data-testid="stColumn"]:has(.st-key-launch-cost) { position: sticky; top: 4rem; align-self: flex-start; }
}
</style>
"""


def show() -> None:
    """The page."""
    page_head("Launch", "What will it cost, and does it fit?")
    with errors_in_words():
        ws = open_workspace()
        st.html(STICKY)
        what = st.segmented_control(
            "What to launch", WHATS, default=WHATS[0], required=True, key="what", bind="query-params",
            label_visibility="collapsed",
        )  # fmt: skip
        if what == WHATS[1]:
            from limit.ui.launch_study import show_studies

            show_studies(ws)
            return
        mixes = {mix["mix_id"]: mix for mix in list_mixes(ws)}
        if not mixes:
            next_step("There is no mix to train on yet.", "pages/mix.py", "Build a mix")
            return
        _show_form(ws, mixes)


def _show_form(ws: Workspace, mixes: dict[str, Any]) -> None:
    clone = _clone(ws)
    left, right = st.columns([3, 2], gap="large")
    with left:
        model = _choose_model(ws, clone)
        chosen = _choose_mixes(mixes, clone)
        name, recipe = edit_recipe(list_recipes(), clone, tiny=model == "tiny")
        seeds = _choose_seeds(clone)
        follow = choose_follow_ups(ws, tiny=model == "tiny")
        trust = _trust(model)
        gpus = _choose_gpus()
    with right, st.container(key="launch-cost"), errors_in_words():
        specs = [
            RunSpec(model=model, mix_id=mix, recipe_name=name, recipe=recipe, seed=seed, trust_remote_code=trust)
            for mix in chosen
            for seed in seeds
            if model
        ]
        estimates = _estimates(ws, specs, gpus)
        with st.container(border=True):
            show_costs(ws, estimates, follow)
            _launch_button(ws, specs, follow, gpus)
        show_commands(specs, gpus)


def _clone(ws: Workspace) -> RunSpec | None:
    """The run that `?clone=ID` names, to start from with one change."""
    run_id = st.query_params.get("clone")
    if not run_id:
        return None
    from limit.runs import run_spec

    with errors_in_words():
        run = load_run(ws, run_id)
        spec = run_spec(run)
        if spec.recipe is not None:
            st.caption(plain(f"Starts from run {run['name']} ({run_id}); change what you want to compare."))
            return spec
        show_error(f"run {run_id} is a base model; there is no finetune to clone")
    return None


def _choose_model(ws: Workspace, clone: RunSpec | None) -> str:
    ships = [] if not (TINY_MODEL / "config.json").exists() else ["tiny"]
    known = [*ships, *dict.fromkeys(str(run["model"]) for run in reversed(list_runs(ws)) if run["model"] != "tiny")]
    first = clone.model if clone else None
    if first and first not in known:
        known.insert(0, first)
    model = st.selectbox(
        "Model", known, index=known.index(first) if first else (0 if known else None), accept_new_options=True,
        key="launch-model", placeholder="A folder, or a hub id such as mosaicml/mpt-7b",
        help="`tiny` ships and trains on a CPU. Or type a folder, a hub id, or the id of a finished run.",
    )  # fmt: skip
    if model:
        _describe_model(ws, model)
    return str(model or "")


def _describe_model(ws: Workspace, name: str) -> None:
    try:
        size = model_size(resolve_model(ws, name))
    except LimitError as error:
        st.caption(plain(str(error)))
        return
    st.caption(
        f"{count(size.parameters)} parameters · {size.layers} layers of width {size.width:,} · "
        f"vocabulary {count(size.vocabulary)}"
    )


def _choose_mixes(mixes: dict[str, Any], clone: RunSpec | None) -> list[str]:
    asked = [clone.mix_id] if clone and clone.mix_id else st.query_params.get_all("mix")
    default = [mix for mix in asked if mix in mixes] or list(mixes)[:1]
    chosen: list[str] = st.multiselect(
        "Mixes", list(mixes), default=default, key="launch-mixes", format_func=lambda mix: _mix_label(mixes[mix]),
        help="Each mix makes a run of its own for each seed.",
    )  # fmt: skip
    limited = [mixes[mix]["name"] for mix in chosen if mixes[mix].get("non_commercial")]
    if limited:
        st.caption(plain(f"Non-commercial use only, because of the data in {', '.join(limited)}."))
    return chosen


def _mix_label(mix: dict[str, Any]) -> str:
    return printable(f"{mix['name']} · {mix['rows']:,} samples · {mix['mix_id'][:6]}")


def _choose_seeds(clone: RunSpec | None) -> list[int]:
    text = st.text_input(
        "Seeds", value=str(clone.seed if clone else 17), key="launch-seeds",
        help="Several, with commas, make a run each; three or more give an interval over seeds.",
    )  # fmt: skip
    seeds = []
    for word in dict.fromkeys(part.strip() for part in text.split(",") if part.strip()):
        if not word.isdecimal() or int(word) >= 2**31:
            show_error(f"seed {word!r} is not a whole number below 2,147,483,648")
            return []
        seeds.append(int(word))
    return seeds


def _trust(model: str) -> bool:
    """Consent to a model's own code, given by typing its name."""
    if not model or model == "tiny":
        return False
    with st.expander("This model brings code of its own"):
        st.caption("Such code runs with your rights. Type the model's name to allow it for this model only.")
        return bool(st.text_input("Name of the model", key=f"launch-trust-{model}").strip() == model)


def _choose_gpus() -> int | None:
    from limit.jobs.slots import machine_slots

    gpus = len([slot for slot in machine_slots() if slot.gpu])
    if gpus < 2:
        return None
    return int(st.number_input("GPUs for each run", min_value=1, max_value=gpus, value=1, key="launch-gpus"))


def _estimates(ws: Workspace, specs: list[RunSpec], gpus: int | None) -> list[Estimate]:
    """One for each mix; seeds cost the same."""
    by_mix: dict[str | None, Estimate] = {}
    finished = finished_runs(ws)
    for spec in specs:
        if spec.mix_id not in by_mix:
            by_mix[spec.mix_id] = estimate_finetune(ws, spec, gpus, finished=finished)
    return [by_mix[spec.mix_id] for spec in specs]


def _launch_button(ws: Workspace, specs: list[RunSpec], follow: FollowUps, gpus: int | None) -> None:
    many = len(specs) > CONFIRM_RUNS or bool(follow.budget_usd)
    label = "Launch" if len(specs) < 2 else f"Launch {len(specs)} runs"
    allowed = may("operator")
    if not allowed:
        st.caption("Launching is for operators.")
    if clicked(label, "launch-go", type="primary", width="stretch", disabled=not (specs and allowed)):
        if many:
            _confirm(ws, specs, follow, gpus)
        else:
            _start(ws, specs, follow, gpus)


@st.dialog("Start all of these?")
def _confirm(ws: Workspace, specs: list[RunSpec], follow: FollowUps, gpus: int | None) -> None:
    spend = f", and a judge that may spend up to {money(follow.budget_usd)} for each" if follow.budget_usd else ""
    st.write(f"This makes {len(specs)} finetunes{spend}. They wait in the queue and can be stopped one by one.")
    if clicked("Start them", "launch-confirmed", type="primary"):
        with errors_in_words():
            _start(ws, specs, follow, gpus)


def _start(ws: Workspace, specs: list[RunSpec], follow: FollowUps, gpus: int | None) -> None:
    started = [launch_chain(ws, spec, follow, gpus=gpus) for spec in specs]
    jobs.schedule(ws)
    query = {"job": started[0]["jobs"]["finetune"]} if len(started) == 1 else {}
    st.switch_page("pages/runs.py", query_params=query)
