"""The Overview: both paradigms of one study in one picture, what runs, what failed and why, and the next click."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from limit import charts
from limit.access import may
from limit.charts.palette import Mode
from limit.claims.evidence import AS_PUBLISHED
from limit.claims.suggest import chip, suggestions
from limit.core import LimitError, read_json
from limit.export.report import items_text
from limit.formats import accuracy_interval, count, percent_interval
from limit.jobs import status
from limit.store import Store
from limit.store.queries_models import own_rows, paper_rows, protocols, study_rows
from limit.store.queries_runs import jobs, mixes, problems, studies
from limit.store.schema import Row
from limit.ui.clicks import clicked
from limit.ui.overview_shipped import show_difference
from limit.ui.shell import (
    chart,
    errors_in_words,
    is_dark,
    note_line,
    open_store,
    open_workspace,
    page_head,
    plain,
    printable,
    show_error,
)

Models = Callable[[], list[Row]]  # the models of a study, read when it is chosen
PAPER_CHOICE = "The LIMIT paper"
SIZES = ("7B", "30B", "all")
MANY = 12  # more models than this do not fit one picture
EMBEDDED = "mini"  # the study whose results ship and that this machine can repeat
CLAIMS = 4  # shown at once; the rest on request
TRIED = 6  # models of each kind of claim: Present tries more
STEPS = (
    ("Look at the data", "pages/samples.py", "Samples"),
    ("Put a small mix together", "pages/mix.py", "Mix"),
    ("Finetune the tiny model on it", "pages/launch.py", "Launch"),
    ("Read both scores", "pages/compare.py", "Compare"),
)
NEXT = (
    ("pages/mix.py", "Build a mix"),
    ("pages/launch.py", "Launch runs"),
    ("pages/compare.py", "Is it real?"),
    ("pages/present.py", "Present"),
)
TABLE_STYLE = """
<style>
.limit-table { overflow-x: auto; }
.limit-table table { width: 100%; border-collapse: collapse; font-size: 0.92rem; min-width: 720px; }
.limit-table th { text-align: left; font-weight: 600; opacity: 0.72; padding: 6px 10px; white-space: nowrap; }
.limit-table td { padding: 6px 10px; border-top: 1px solid rgba(128,128,128,0.25); vertical-align: middle; }
.limit-table td.num, .limit-table th.num { text-align: right; white-space: nowrap; }
.limit-dot { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px;
  border: 1px solid rgba(128,128,128,0.6); vertical-align: -1px; }
.limit-pale { opacity: 0.8; }
</style>
"""


def show() -> None:
    """The whole page."""
    page_head("LIMIT", "Which small mix makes a model good under both evaluation paradigms?", results=True)
    with errors_in_words():
        store = open_store()
        _troubles(store)
        chosen = choose_study(store)
        if not _is_new(store):
            _next_steps()  # above the picture: below it, no screen shows them without scrolling
        rows = few_models(chosen)
        _picture(store, rows)
        if any(row["origin"] == "workspace" for row in rows):
            show_difference(EMBEDDED, store.version)
        if all(row["origin"] == "published" for row in rows):
            _embedded(store)


def palette_for(store: Store) -> charts.Palette:
    """The palette of the reader's theme with a colour for every mix, oldest first."""
    mode: Mode = "dark" if is_dark() else "light"
    key = f"palette {mode}"
    made = store.hold([key], lambda _: {key: charts.Palette.of(mode).with_mixes(mix["series"] for mix in mixes(store))})
    return made[0]


def study_names(store: Store) -> dict[str, Models]:
    """What can be looked at, by name, with its models: one's own studies and runs, then the paper, then what ships."""
    rows = _with_results(store)
    mine = [row for row in rows if row["origin"] != "shipped"]
    own, later = _own_studies(store, {run for row in mine for run in row["run_ids"]})
    shipped: dict[str, Models] = {}
    for layer in dict.fromkeys(row["layer"] for row in mine):
        own[f"{layer} · your runs"] = partial(_of_layer, mine, layer)
    for layer in dict.fromkeys(row["layer"] for row in rows if row["origin"] == "shipped"):
        whole = _of_layer(rows, layer)
        shipped[f"{layer} · shipped study"] = partial(_of_layer, [r for r in whole if r["origin"] == "shipped"], layer)
        if any(row["origin"] != "shipped" for row in whole):
            own[f"{layer} · your runs beside the shipped ones"] = partial(_of_layer, [*map(_marked, whole)], layer)
    return {**own, PAPER_CHOICE: partial(paper_rows, store), **shipped, **later}


def _own_studies(store: Store, scored: set[str]) -> tuple[dict[str, Models], dict[str, Models]]:
    """One's own studies with results, and those without: they stand last, so that they are nobody's first sight."""
    own: dict[str, Models] = {}
    later: dict[str, Models] = {}
    for study in studies(store):
        if study["origin"] == "workspace" and study["run_ids"]:
            where = own if scored & set(study["run_ids"]) else later
            where[study_label(study["study"], study["title"])] = partial(_of_study, store, study["study"])
    return own, later


def _of_study(store: Store, study: str) -> list[Row]:
    """The models of a study that have results; all of them while none has."""
    rows = study_rows(store, study)
    return [row for row in rows if _has_results(row)] or rows


def _of_layer(rows: Sequence[Row], layer: str) -> list[Row]:
    return [row for row in rows if row["layer"] == layer]


def _marked(row: Row) -> Row:
    """A shipped model under a name that no model of one's own has."""
    return {**row, "label": f"{row['label']}, shipped"} if row["origin"] == "shipped" else row


def study_label(study: str, title: str | None) -> str:
    """What a study is called in lists and links; two may have one title."""
    return f"{title} · study {study}" if title else f"study {study}"


def named(rows: Sequence[Row]) -> dict[str, Row]:
    """Models by a name that no other one has here: what a list shows and a link holds."""
    names: dict[str, Row] = {}
    for row in rows:
        name = row["label"] if row["group"] in row["label"] else f"{row['label']} ({row['group']})"
        names[name if name not in names else f"{name} · {row['key'][:6]}"] = row
    return names


def _with_results(store: Store) -> list[Row]:
    return [row for row in own_rows(store) if _has_results(row)]


def _has_results(row: Row) -> bool:
    return row["x"] is not None or bool(row["comparison_ids"])


def choose_study(store: Store) -> list[Row]:
    """The study chosen by the reader, from the URL or by hand; a link to one that is gone says so."""
    names = study_names(store)
    linked = st.query_params.get("study")
    if linked and linked not in map(printable, names):
        store.refresh()  # the link may be younger than the last look at the files
        names = study_names(store)
        if linked not in map(printable, names):
            words = f"There is no study {linked[:80]} here; these are those that there are."
            st.info(plain(words), icon=":material/link_off:")
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    with left:
        name = st.selectbox("Study", list(names), format_func=printable, key="study", bind="query-params")
    if name != PAPER_CHOICE:
        return names[name]() if name in names else []
    with right:
        size = st.segmented_control("Model size", SIZES, default="7B", required=True, key="size", bind="query-params")
    return paper_rows(store, SIZES[:2] if size == "all" else [size or "7B"])


def few_models(rows: list[Row]) -> list[Row]:
    """The models that one picture can hold: all of a small study, else the reader's choice, the front at first."""
    if len(rows) <= MANY:
        return rows
    by_name = named(rows)
    names = {row["key"]: name for name, row in by_name.items()}
    front = [rows[i]["key"] for i in charts.pareto_front(rows)]
    keys = dict.fromkeys([*(row["key"] for row in rows if row["is_baseline"]), *reversed(front), *names])
    first = [names[key] for key in list(keys)[:MANY]]
    chosen = st.multiselect(
        f"Models (at most {MANY} of {len(rows)})",
        list(by_name),
        first,
        max_selections=MANY,
        format_func=printable,
        key="models",
        bind="query-params",
    )
    return [by_name[name] for name in chosen or first]


def _troubles(store: Store) -> None:
    """Failed jobs with their reason, files that could not be read, an index that is not on disk."""
    for job in jobs(store, ["failed", "lost"], limit=3):
        reason = job["reason"] or "no reason was recorded"
        show_error(f"{job['title'] or job['kind']} {job['state']}: {reason}{_advice(job['job_id'])}")
        st.page_link(
            "pages/runs.py", label="See its log", icon=":material/arrow_forward:", query_params={"job": job["job_id"]}
        )
    if store.note:
        st.info(plain(store.note), icon=":material/info:")
    unread = problems(store)
    if unread:
        with st.expander(f"{len(unread)} file{'s' if len(unread) > 1 else ''} could not be read and were left out"):
            for row in unread[:50]:
                st.text(f"{row['file']}: {row['problem']}")


def _advice(job_id: str) -> str:
    """What the job's own record says to do about its end."""
    try:
        words = status(open_workspace(), job_id).get("what_to_do")
    except LimitError:  # cleared from the history meanwhile
        return ""
    return f"; {words}" if words else ""


def _picture(store: Store, rows: Sequence[Row]) -> None:
    palette = palette_for(store)
    warn_of_protocols(rows)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        figure = charts.plane(plane_rows(rows), palette, height=430)
        chart(figure, charts.plane_alt(rows), key="overview_plane")
        _plane_note(rows)
    with right:
        st.subheader("What it says", anchor=False)
        _claims(store, rows)
    if _is_new(store):
        _first_steps()
    models_table(rows, palette)


def _embedded(store: Store) -> None:
    """Below the paper: the study that ships with the tiny model."""
    rows = [row for row in own_rows(store) if row["origin"] == "shipped"]
    if not rows:
        return
    st.subheader("The same question on a tiny model", anchor=False)
    palette = palette_for(store)
    chart(charts.plane(plane_rows(rows), palette, height=340), charts.plane_alt(rows), key="overview_embedded")
    _plane_note(rows)
    models_table(rows, palette)


def plane_rows(rows: Sequence[Row]) -> list[Row]:
    """Model rows as `charts.plane` takes them: short names, the mix and the protocol on hover."""
    several = len({row["layer"] for row in rows}) > 1
    return [{**row, "label": _short(row, several), "hover": [composition(row), *_facts(row)]} for row in rows]


def _short(row: Row, several: bool) -> str:
    if row["origin"] != "published":
        return str(row["label"])
    name = charts.series_label(row["series"])
    return f"{row['group']} {name}" if several else name


def composition(row: Row) -> str:
    """What a model was finetuned on, in words."""
    if row["samples"] == 0:
        return "not finetuned"
    return row["composition"] or charts.composition_text(row["parts"])


def _facts(row: Row) -> list[str]:
    seeds = f"{row['n_seeds']} seeds" if (row["n_seeds"] or 0) > 1 else ""
    prompts = f"{row['n_prompts']} prompts" if row["n_prompts"] else "the baseline itself" if row["is_baseline"] else ""
    return [fact for fact in (row["protocol"] or "", prompts, seeds) if fact]


def _plane_note(rows: Sequence[Row]) -> None:
    missing = [row["label"] for row in rows if row["x"] is None or row["y"] is None]
    first = next((row for row in rows if row["judge"]), None)
    paper = any(row["origin"] == "published" for row in rows)
    n = next((row["n_prompts"] for row in rows if row["n_prompts"]), None)
    behind = [items_text(rows).removeprefix("n = "), f"{n:,} prompts" if n else ""]
    note_line(
        n=", ".join(words for words in behind if words) or None,
        protocol=" / ".join(protocols(rows)),
        judge=first["judge"] if first else None,
        crosses="reading error across, 95 % over prompts up"
        if paper
        else "95 %: over items and prompts, and over seeds from three on",
        not_drawn=f"{', '.join(missing)} ({'not published' if paper else 'a score is missing'})" if missing else None,
        source="arXiv 2311.13133, digitised figure and released verdicts" if paper else _source(rows),
    )


def warn_of_protocols(rows: Sequence[Row]) -> None:
    """Say so where models of one's own stand side by side that were not evaluated alike."""
    found = protocols([row for row in rows if row["origin"] != "published"])
    if len(found) > 1:
        words = "; ".join(found)
        st.warning(plain(f"These models were not evaluated alike ({words}): read their differences with care."))


def _source(rows: Sequence[Row]) -> str:
    found = {row["origin"] for row in rows}
    if found == {"shipped"}:
        return "computed with the tiny model; run it yourself"
    return "your workspace" if "shipped" not in found else "your workspace, and what ships"


def _claims(store: Store, rows: Sequence[Row]) -> None:
    offered = [claim for layer in dict.fromkeys(r["layer"] for r in rows) for claim in _supported(store, rows, layer)]
    if not offered and sum(_has_results(row) for row in rows) < 2:
        st.caption("Sentences follow as soon as two models have scores.")
    elif not offered:
        st.caption("No difference here is large enough to be told from chance yet.")
    for claim in offered[:CLAIMS]:
        _claim(claim)
    if len(offered) > CLAIMS:
        with st.expander(f"{len(offered) - CLAIMS} more"):
            for claim in offered[CLAIMS:12]:
                _claim(claim)


def _claim(claim: Row) -> None:
    evidence = claim["evidence"]
    tested = evidence.outcome != "as published"
    badge = f":{'green' if tested else 'gray'}-badge[{chip(evidence.outcome)}]"
    st.markdown(f"{badge} {plain(claim['sentence'])}", help=None if tested else AS_PUBLISHED)
    st.caption(plain(evidence.caption))


def _supported(store: Store, rows: Sequence[Row], layer: str) -> list[Row]:
    """Suggested claims of one layer; computed once for the data at hand."""
    members = [row for row in rows if row["layer"] == layer]
    return _suggested(store.version, [row["key"] for row in members], store, members)


@st.cache_data(show_spinner=False, max_entries=64)
def _suggested(version: int, keys: list[str], _store: Store, _members: list[Row]) -> list[Row]:
    return suggestions(_store, _members, most=TRIED)


def verdict(row: Row, rows: Sequence[Row]) -> str:
    """A model's standing among those of its layer."""
    if row["x"] is None or row["y"] is None:
        return "not published" if row["origin"] == "published" else "a score is missing"
    peers = [r for r in rows if r["layer"] == row["layer"] and r["x"] is not None and r["y"] is not None]
    front = {peers[i]["key"] for i in charts.pareto_front(peers)}
    if row["key"] in front:
        return "on the front"
    better = next((p["label"] for p in peers if p["x"] >= row["x"] and p["y"] >= row["y"] and p is not row), "another")
    return f"{better} is at least as good on both"


def models_table(rows: Sequence[Row], palette: charts.Palette) -> None:
    """Mix, composition, samples, both scores with intervals, and the standing, one line each."""
    head = "<th>model</th><th>mix</th><th class=num>samples</th><th class=num>Gauntlet average</th>"
    head += "<th class=num>preferred</th><th>standing</th>"
    body = "".join(_table_row(row, rows, palette) for row in rows)
    table = f'<div class="limit-table" tabindex="0" role="region" aria-label="models"><table>{head}{body}</table></div>'
    st.html(TABLE_STYLE + table)


def _table_row(row: Row, rows: Sequence[Row], palette: charts.Palette) -> str:
    standing = verdict(row, rows)
    bar = charts.composition_html(row["parts"], palette) if row["parts"] else ""
    rate = "baseline" if row["is_baseline"] else percent_interval(row["y"], row["y_low"], row["y_high"])
    unknown = "not published" if row["origin"] == "published" else "n/a"
    score = accuracy_interval(row["x"], row["x_low"], row["x_high"]) if row["x"] is not None else unknown
    dot = f'<span class="limit-dot" style="background:{palette.colour(row["series"])}"></span>'
    cells = (
        f"<td>{dot}{_text(row['label'])}</td>"
        f"<td>{bar}<small>{_text(composition(row))}</small></td>"
        f'<td class="num">{count(row["samples"])}</td>'
        f'<td class="num">{score}</td>'
        f'<td class="num">{rate if row["y"] is not None else unknown}</td>'
        f"<td>{_text(standing)}</td>"
    )
    return f'<tr class="{"" if standing == "on the front" else "limit-pale"}">{cells}</tr>'


def _text(value: str) -> str:
    return html.escape(printable(value if len(value) <= 160 else value[:159] + "…"))


def _is_new(store: Store) -> bool:
    """Whether the workspace has no run of its own."""
    return all(row["origin"] != "workspace" for row in own_rows(store))


def _first_steps() -> None:
    """Numbered, with the click for each; operators may also start the whole embedded study at once."""
    with st.container(border=True):
        st.subheader("First steps", anchor=False)
        for number, (column, step) in enumerate(zip(st.columns(len(STEPS)), STEPS, strict=True), 1):
            words, page, label = step
            with column:
                st.markdown(f"**{number}.** {words}")
                _link(page, label)
        _start_embedded()


def _start_embedded() -> None:
    """One click for the embedded study, or the way to its runs once it was started."""
    if (open_workspace().studies / EMBEDDED / "study.json").is_file():
        _link("pages/runs.py", "The embedded study was started: see its runs")
    elif may("operator"):
        left, right = st.columns([1, 2], vertical_alignment="center")
        right.caption(_embedded_words())
        with left, errors_in_words():
            if clicked("Run the embedded study", "run_embedded", icon=":material/play_arrow:"):
                _run_embedded()


@st.cache_data(show_spinner=False)
def _embedded_words() -> str:
    """How much work it is; minutes by what one run took for the results that ship."""
    from limit.studies.launch import grid
    from limit.studies.spec import SHIPPED_RESULTS, load_study

    _, spec = load_study(open_workspace(), EMBEDDED)
    shipped = read_json(SHIPPED_RESULTS / "results.json")
    runs = len(grid(spec))
    minutes = math.ceil(shipped["job_seconds"] / shipped["runs"] * (runs + 1) / 60)
    return (
        f"Or all at once: {runs} finetunes of the tiny model on {len(spec.mixes)} mixes with both scores, "
        f"about {minutes} minutes on two cores."
    )


def _run_embedded() -> None:
    from limit.studies import run_study

    with st.spinner("Building its mixes and queueing its jobs"):
        run_study(open_workspace(), EMBEDDED)
    st.rerun()


def _next_steps() -> None:
    with st.container(horizontal=True):
        for page, label in NEXT:
            st.page_link(page, label=label, icon=":material/arrow_forward:", width="content")


def _link(page: str, label: str) -> None:
    st.page_link(page, label=label, icon=":material/arrow_forward:")
