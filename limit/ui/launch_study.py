"""A whole study on the Launch page: its mixes, what it takes, one change to it, and its progress as one bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from limit import jobs
from limit.access import may
from limit.core import Json, LimitError, read_each
from limit.formats import count, duration, money
from limit.settings import Workspace
from limit.studies.clone import change_words, clone_study, mix_words, parse_mix, planned_studies, remove_plan
from limit.studies.cost import StudyCost, judge_words, seed_plan, study_cost
from limit.studies.launch import load_record, run_study, stop_study, stop_words
from limit.studies.show import list_studies, progress, waiting
from limit.studies.spec import MAX_SEED, StudyMix, StudySpec, load_study, preset_names, preset_titles
from limit.ui.clicks import clicked
from limit.ui.launch_cost import show_memory, sized
from limit.ui.overview import study_label
from limit.ui.shell import errors_in_words, plain, show_error

CONFIRM_RUNS = 6
REFRESH_S = 3.0
COST_TTL_S = 30
NO_BUDGET = "Its judge costs money: set a budget above."


def show_studies(ws: Workspace) -> None:
    """Choose a study on the left, change it if wanted; what it takes and its start on the right."""
    left, right = st.columns([3, 2], gap="large")
    with left:
        chosen = _chosen(ws)
    if chosen is None:
        return
    name, before, spec, new = chosen
    with right, st.container(key="launch-cost"), errors_in_words(), st.container(border=True):
        changes = change_words(before, spec)
        with st.spinner("Counting what it takes"):
            cost = _cost(ws, spec)
        _card(cost)
        _buttons(ws, name, new, spec, changes, cost)


def _chosen(ws: Workspace) -> tuple[str, StudySpec, StudySpec, str] | None:
    """Name, the study as it is, as the form changes it, and the clone's name; None where it cannot be read."""
    try:
        name = _choose(ws)
        if name is None:
            return None
        _, before = load_study(ws, name)
        if (ws.studies / name / "study.json").is_file():
            _progress(ws, name)
        _grid(before)
        return name, before, *_edited(ws, name, before)
    except LimitError as error:
        show_error(str(error))
        return None


def _choose(ws: Workspace) -> str | None:
    started = {study["study"]: f"{study['title']} · started" for study in list_studies(ws)}
    planned = {plan["study"]: f"{plan['title']} · planned" for plan in planned_studies(ws)}
    titles = {**started, **planned, **{k: title for k, title in preset_titles().items() if k not in started}}
    name = st.selectbox(
        "Study", list(titles), key="plan", bind="query-params",
        help="A grid of mixes, models and seeds that is started, followed and shown as one thing.",
    )  # fmt: skip
    st.caption(plain(titles[name]) if name else "No study is known.")
    return str(name) if name else None


def _grid(spec: StudySpec) -> None:
    """What the study is made of, one line a mix."""
    seeds = ", ".join(map(str, spec.seeds))
    rows = [
        {"mix": mix.label, "parts": " + ".join(mix.parts), "seeds": ", ".join(map(str, mix.seeds)) or seeds}
        for mix in spec.mixes
    ]
    st.dataframe(rows, hide_index=True, width="stretch", alt="The mixes of the study with their parts and seeds")
    words = [f"models {', '.join(spec.models)}", f"recipe {spec.recipe}"]
    words += [f"Gauntlet {spec.gauntlet}"] if spec.gauntlet else ["no Gauntlet"]
    words += [f"prompts {', '.join(spec.prompts)}"] if spec.prompts else []
    words += [f"judges {', '.join(spec.judges())} against {spec.baseline}"] if spec.judges() else ["no judge"]
    st.caption(plain(" · ".join(words)))


def _edited(ws: Workspace, name: str, before: StudySpec) -> tuple[StudySpec, str]:
    """The study as changed by the form, and the name of the clone; wrong input is said and changes nothing."""
    with st.expander("Clone it with a change"):
        new = st.text_input("Name of the clone", _free_name(ws, name), key=f"clone-name-{name}")
        title = st.text_input("Title", before.title, key=f"clone-title-{name}")
        left, right = st.columns(2)
        models = left.text_input("Models", ", ".join(before.models), key=f"clone-models-{name}", help="With commas.")
        seeds = right.text_input("Seeds", ", ".join(map(str, before.seeds)), key=f"clone-seeds-{name}")
        mixes = st.text_area(
            "Mixes", "\n".join(mix_words(mix) for mix in before.mixes), key=f"clone-mixes-{name}", height=170,
            help="One a line: a label, `=`, and parts SOURCE:N with `+` between them. N may be `all`.",
        )  # fmt: skip
        baseline = st.text_input("Baseline", before.baseline or "", key=f"clone-baseline-{name}", help="A mix's label.")
        try:
            changes = {
                "title": title.strip() or before.title,
                "models": _words(models),
                "seeds": [_seed(word) for word in _words(seeds)],
                "mixes": _mixes(mixes, before),
                "baseline": baseline.strip() or None,
            }
            return before.replace(**changes), new.strip()
        except LimitError as error:
            show_error(str(error))
            return before, new.strip()


def _free_name(ws: Workspace, name: str) -> str:
    taken = {path.name for path in ws.studies.glob("*")} | set(preset_names())
    stem = name.rstrip("0123456789").rstrip("-") or name
    return next(f"{stem}-{n}" for n in range(2, len(taken) + 3) if f"{stem}-{n}" not in taken)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _seed(word: str) -> int:
    if not word.isdecimal() or int(word) >= 2**31:
        raise LimitError(f"seed {word!r} is not a whole number below 2,147,483,648")
    return int(word)


def _mixes(text: str, before: StudySpec) -> list[StudyMix]:
    """One mix a line; a mix that keeps its label keeps its own seeds."""
    seeds = {mix.label: mix.seeds for mix in before.mixes}
    read = [parse_mix(line) for line in text.splitlines() if line.strip()]
    return [mix.replace(seeds=seeds.get(mix.label, ())) for mix in read]


def _fingerprint(ws: Workspace) -> str:
    """Changes when a source, a prompt set or a finished model comes or goes."""
    return " ".join(str(len(read_each(folder, what))) for folder, what in (
        (ws.sources, "source.json"), (ws.prompts, "prompt_set.json"), (ws.runs, "train/summary.json"),
    ))  # fmt: skip


def _cost(ws: Workspace, spec: StudySpec) -> StudyCost:
    """The card of a study, counted anew when its request or what lies here has changed."""
    return _counted(str(ws.root), spec.to_dict(), _fingerprint(ws))


@st.cache_data(show_spinner=False, max_entries=64, ttl=COST_TTL_S)
def _counted(root: str, spec: Json, fingerprint: str) -> StudyCost:
    del fingerprint  # part of the cache key only
    return study_cost(Workspace(Path(root)), StudySpec.from_dict(spec))


def _ask_budget(cost: StudyCost, key: str) -> tuple[float | None, bool]:
    """What the judge may spend on each comparison, in US dollars, and whether a paid judge waits for an amount."""
    if not cost.comparisons or cost.judge_usd == 0:
        return None, False
    budget = st.number_input("Budget of each comparison, USD", min_value=0.0, value=0.0, key=key) or None
    unpaid = bool(cost.judge_usd) and budget is None
    if unpaid:
        st.caption(NO_BUDGET)
    return budget, unpaid


def _card(cost: StudyCost) -> None:
    st.subheader("What it will take", anchor=False)
    if cost.estimate is None:
        st.caption("The memory of its finetunes is not known.")
    else:
        show_memory(cost.estimate)
    wall = None if cost.seconds is None else cost.seconds / cost.slots
    left, right = st.columns(2)
    left.metric("Runs", count(cost.runs))
    right.metric("Time", "not known" if wall is None else duration(wall))
    left.metric("Disk at most", "not known" if cost.disk_gb is None else sized(cost.disk_gb))
    right.metric("Judge at most", _judge(cost))
    done = f", {cost.done} of them done already" if cost.done else ""
    work = f"{cost.finetunes} finetunes{done}, {cost.evaluations} evaluations, {cost.answer_sets} sets of answers, "
    work += f"{cost.comparisons} comparisons"
    work += f" with {cost.judge_questions:,} questions to the judges" if cost.judge_questions else ""
    at_once = "one job at a time" if cost.slots == 1 else f"{cost.slots} jobs at a time"
    st.caption(plain(f"{work}; {at_once}."))
    if cost.unknown:
        with st.expander(f"Not in these figures ({len(cost.unknown)})"):
            for reason in cost.unknown:
                st.caption(plain(reason))


def _judge(cost: StudyCost) -> str:
    if not cost.comparisons:
        return "no judge"
    return "not known" if cost.judge_usd is None else money(cost.judge_usd) if cost.judge_usd else "free"


def _buttons(ws: Workspace, name: str, new: str, spec: StudySpec, changes: list[str], cost: StudyCost) -> None:
    """Plan a changed study, or start one; each says by whom it may be done."""
    if changes:
        st.caption(plain(f"Changed: {'; '.join(changes)}."))
    budget, unpaid = _ask_budget(cost, "study-budget")
    target = new if changes else name
    if changes and may("analyst"):
        st.button("Keep as a plan", key="study-plan", width="stretch", on_click=_plan, args=(ws, name, new, spec))
    verb = "Start" if changes else _verb(ws, name)
    if not may("operator"):
        st.caption("Starting a study is for operators.")
    elif verb is not None:
        look: dict[str, Any] = {"type": "primary", "width": "stretch", "disabled": unpaid}
        if verb != "Start" or (cost.runs <= CONFIRM_RUNS and not budget):
            arguments = (ws, name, target, spec, budget)
            st.button(f"{verb} {target}", key="study-start", on_click=_start, args=arguments, **look)
        elif clicked(f"{verb} {target}", "study-start", **look):
            _confirm(ws, name, target, spec, cost, budget)
    if any(plan["study"] == name for plan in planned_studies(ws)) and may("analyst"):
        st.button("Forget this plan", key="study-forget", on_click=_forget, args=(ws, name), type="tertiary")


def _verb(ws: Workspace, name: str) -> str | None:
    """What can be done with a study as it is: start it, go on with what failed or was stopped, or nothing."""
    if not (ws.studies / name / "study.json").is_file():
        return "Start"
    done = progress(ws, load_record(ws, name))
    if done["running"] or waiting(done):
        return None
    return "Go on with" if done["done"] < done["total"] else None


@st.dialog("Start this study?")
def _confirm(ws: Workspace, name: str, target: str, spec: StudySpec, cost: StudyCost, budget: float | None) -> None:
    spend = f", and a judge that may spend up to USD {budget:.2f} for each comparison" if budget else ""
    st.write(plain(f"{target} makes {cost.finetunes - cost.done} finetunes and what follows each{spend}."))
    if st.button(
        "Start it", type="primary", key="study-confirmed", on_click=_start, args=(ws, name, target, spec, budget)
    ):
        st.rerun()


def _plan(ws: Workspace, name: str, new: str, spec: StudySpec) -> None:
    with errors_in_words():
        clone_study(ws, name, new, spec=spec)
        st.session_state["plan"] = new


def _start(ws: Workspace, name: str, target: str, spec: StudySpec, budget: float | None) -> None:
    """Start a study, the clone that is on the screen if it was changed, and go on with showing its progress."""
    with errors_in_words():
        fresh = target != name and all(plan["study"] != target for plan in planned_studies(ws))
        if target != name:
            clone_study(ws, name, target, spec=spec)
        try:
            run_study(ws, target, budget_usd=budget)
        except LimitError:
            if fresh and not (ws.studies / target / "study.json").is_file():
                remove_plan(ws, target)  # else its name would be taken when the form is put right
            raise
        jobs.schedule(ws)
        st.session_state["plan"] = target


def _forget(ws: Workspace, name: str) -> None:
    with errors_in_words():
        remove_plan(ws, name)


def _progress(ws: Workspace, name: str) -> None:
    """How far a started study is, drawn again by itself while jobs of it wait or run."""
    done = progress(ws, load_record(ws, name))
    ended = done["done"] + done["stopped"] + done["failed"]
    st.fragment(_bar, run_every=None if ended == done["total"] else REFRESH_S)(ws, name)


def _bar(ws: Workspace, name: str) -> None:
    with errors_in_words():
        done = progress(ws, load_record(ws, name))
        words = [f"{done['done']:,} of {done['total']:,} jobs done"]
        words += [f"{done[state]} {state}" for state in ("running", "stopped", "failed") if done[state]]
        st.progress(done["done"] / max(1, done["total"]), text=plain(" · ".join(words)))
        for reason in done["reasons"][:3]:
            st.caption(plain(f"{reason['job_id']}: {reason['reason'] or 'no reason was recorded'}"))
        left = done["running"] + waiting(done)
        kept_for = ", ".join(load_record(ws, name).get("kept_for", ()))
        if left and kept_for:
            st.caption(plain(f"It was stopped; what {kept_for} needs too goes on."))
        row = st.container(horizontal=True)
        if left and may("operator"):
            row.button("Stop it", key="study-stop", on_click=_stop, args=(ws, name), icon=":material/stop:")
        if may("operator"):
            with row.popover("Add a seed", icon=":material/add:"):
                _another_seed(ws, name)
        row.page_link("pages/runs.py", label="Its jobs", icon=":material/arrow_forward:")
        results = {"study": study_label(name, load_record(ws, name)["title"])}
        row.page_link("pages/compare.py", label="Its results", icon=":material/arrow_forward:", query_params=results)
        if not left and done["done"] < done["total"]:
            st.caption("Go on with it to make what failed or was stopped again; what is done stays.")


def _another_seed(ws: Workspace, name: str) -> None:
    """One more run of every mix that all seeds share, what it takes, and what its judge may spend."""
    spec = StudySpec.from_dict(load_record(ws, name)["spec"])
    free = next(seed for seed in (max(spec.seeds) + 1, *range(len(spec.seeds) + 1)) if seed not in spec.seeds)
    seed = int(st.number_input("Seed", 0, MAX_SEED, min(free, MAX_SEED), key=f"seed-of-{name}"))
    plan = seed_plan(spec, seed)
    if plan is None:
        st.caption("Every mix has seeds of its own, so one more seed would make nothing.")
        return
    cost = _cost(ws, plan)
    st.caption("Every mix is drawn and trained once more with it, scored and judged as the others are.")
    st.caption(plain(_seed_words(cost, cost.runs - cost.finetunes)))
    budget, unpaid = _ask_budget(cost, f"seed-budget-{name}")
    if clicked("Add it", "study-seed", type="primary", disabled=seed in spec.seeds or unpaid):
        with errors_in_words():
            run_study(ws, name, seeds=[seed], budget_usd=budget)
            jobs.schedule(ws)
            st.rerun()


def _seed_words(cost: StudyCost, bases: int) -> str:
    """What one more seed takes, in a line; the base models are there already."""
    words = [f"{cost.finetunes} finetunes"]
    words += [f"{cost.evaluations - bases} evaluations"] if cost.evaluations else []
    words += [f"{cost.answer_sets * cost.finetunes // cost.runs} sets of answers"] if cost.answer_sets else []
    words += [f"{cost.comparisons} comparisons"] if cost.comparisons else []
    time = "time not known" if cost.seconds is None else f"about {duration(cost.seconds / cost.slots)}"
    judge = f"; judge {judge_words(cost)}" if cost.comparisons else ""
    return f"{', '.join(words)}: {time}{judge}."


def _stop(ws: Workspace, name: str) -> None:
    with errors_in_words():
        stopped = stop_study(ws, name)
        if stopped["kept"]:
            st.toast(plain(stop_words(stopped)))
