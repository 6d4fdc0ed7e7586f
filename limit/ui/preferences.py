"""The Preferences page: bars of the paper and of one's own comparisons, with what stands behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from limit import charts
from limit.core import read_jsonl
from limit.formats import count, percent, percent_interval
from limit.judge.judgments import unique_rows
from limit.judge.quality import unchecked_judges
from limit.store import Store
from limit.store.queries_models import own_rows
from limit.store.queries_preferences import comparisons
from limit.store.queries_published import paper_preferences
from limit.store.schema import Row
from limit.ui.overview import palette_for
from limit.ui.preferences_bars import pooled_bars
from limit.ui.preferences_detail import comparison_of, show_comparison
from limit.ui.preferences_forms import show_forms
from limit.ui.preferences_ranking import show_ranking
from limit.ui.shell import (
    chart,
    errors_in_words,
    folded,
    note_line,
    open_store,
    open_workspace,
    page_head,
    plain,
    printable,
)

PAPER, OWN = "The paper", "Your comparisons"
ORDERS = {
    "both": "each pair judged in both orders, a win needs both",
    "seeded": "answers shown in a random order",
    "votes": "voters see the answers in a random order",
    "fixed": "the baseline's answer always shown first",
}
UNKNOWN_ORDER = "order shown to the judge not recorded"
MOST_BARS = 20  # drawn before somebody asks for more
PROMPT_SETS = {"LIMA's test prompts": "lima", "Instruct-v3's test prompts": "instruct-v3"}


def show() -> None:
    """The whole page."""
    page_head("Preferences", "Which answers do readers prefer, and how sure can we be?", results=True)
    with errors_in_words():
        store = open_store()
        own = ordered(_with_linked(store, comparisons(store)))
        view = st.segmented_control(
            "Show",
            (PAPER, OWN),
            default=OWN if any(row["origin"] != "shipped" for row in own) else PAPER,
            required=True,
            key="view",
            bind="query-params",
            label_visibility="collapsed",
        )
        if view == OWN:
            _own(store, own)
        else:
            _paper(store)
        show_forms(store)


def ordered(rows: Sequence[Row]) -> list[Row]:
    """Verdicts of people and imported ones before judges' scores, and what ships last."""
    return sorted(rows, key=lambda row: (row["origin"] == "shipped", row["kind"] == "judged"))


def _with_linked(store: Store, own: list[Row]) -> list[Row]:
    """The comparisons, looked up once more when a link names one that came after the last look at the files."""
    linked = st.query_params.get("comparison")
    if linked is None or any(row["comparison_id"] == linked for row in own):
        return own
    store.refresh()
    own = comparisons(store)
    if all(row["comparison_id"] != linked for row in own):
        words = f"There is no comparison {linked[:40]} here; these are those that there are."
        st.info(plain(words), icon=":material/link_off:")
    return own


def _paper(store: Store) -> None:
    """Figures 4 and 5B: every candidate against LIMA of its size."""
    name = st.segmented_control(
        "Prompts", list(PROMPT_SETS), default="LIMA's test prompts", required=True, key="prompts", bind="query-params"
    )
    rows = paper_preferences(store, PROMPT_SETS[name or "LIMA's test prompts"])
    chart(charts.preference_bars(rows, palette_for(store)), charts.preference_alt(rows), key="paper-bars")
    if not rows:
        return
    note_line(
        n=f"{count(sum(row['rows'] for row in rows))} verdicts on {name}, three seeds a pair (ticks)",
        rule="wins over wins and losses in each seed, invalid left out, mean over seeds",
        whisker="95 % bootstrap over prompts",
        dotted="half of the decided verdicts",
        judge=rows[0]["judge"],
        source=rows[0]["source"],
    )
    for row in rows:
        st.markdown(f"- {plain(paper_sentence(row))}")
    folded("Numbers, seeds and lengths", "paper-numbers", _paper_table, rows)


def _paper_table(rows: Sequence[Row]) -> None:
    st.dataframe([_paper_numbers(row) for row in rows], hide_index=True, lazy=False, alt="The paper's preferences")
    st.caption(
        "The longer answer wins most verdicts in every file, so part of each preference is length; the paper's "
        "answers are not shipped, so a length-controlled rate needs the annotation files: import them below."
    )


def paper_sentence(row: Row) -> str:
    """What one bar says, as the interval allows."""
    low, high = row["low"], row["high"]
    if low is None or high is None:
        finding = "has no interval"
    elif low > 50:
        finding = "is preferred to LIMA"
    else:
        finding = "loses to LIMA" if high < 50 else "cannot be told from LIMA"
    rate = percent_interval(row["preference_pct"], low, high)
    printed = f", printed as {percent(row['published_pct'])}" if row["published_pct"] is not None else ""
    longer = row["longer_wins_pct"]
    return (
        f"{row['label'].removesuffix(' vs LIMA')} {finding}: {rate}{printed}; "
        f"the longer answer won {min(longer):.0f} to {max(longer):.0f} % of its verdicts."
    )


def _paper_numbers(row: Row) -> Row:
    return {
        "candidate": row["label"].removesuffix(" vs LIMA"),
        "preferred": percent_interval(row["preference_pct"], row["low"], row["high"]),
        "interval over 3 seeds": f"[{row['seed_low']:.1f}, {row['seed_high']:.1f}]" if row["seed_low"] else "n/a",
        "seeds": ", ".join(f"{seed:.1f}" for seed in row["seeds"]),
        "printed": percent(row["published_pct"]) if row["published_pct"] is not None else "not published",
        "won": count(row["wins"]),
        "lost": count(row["losses"]),
        "tied": count(row["ties"]),
        "invalid": count(row["invalid"]),
        "longer won": ", ".join(f"{share:.0f} %" for share in row["longer_wins_pct"]),
    }


def _own(store: Store, rows: Sequence[Row]) -> None:
    """Bars of the comparisons in the workspace and of those that ship, then one of them in full."""
    if not rows:
        st.info("No comparisons yet: import verdicts or run a judge below.", icon=":material/arrow_downward:")
        return
    sets = sorted({row["prompt_set"] or "unnamed" for row in rows})
    chosen = "all"
    if len(sets) > 1:
        chosen = st.selectbox("Prompts", ["all", *sets], format_func=printable, key="set", bind="query-params")
    rows = [row for row in rows if chosen in ("all", row["prompt_set"] or "unnamed")]
    bars = _few(pooled_bars(rows, own_rows(store)))
    chart(charts.preference_bars(bars, palette_for(store)), charts.preference_alt(bars), key="own-bars")
    note_line(
        rule="wins over wins and losses in each seed, ties and invalid left out, mean over seeds (ticks)",
        order=order_words(rows),
        whisker="95 %: over distinct prompts, and over seeds from three on",
        dotted="half of the decided verdicts: no preference",
    )
    _name_unchecked(store, rows)
    show_ranking(store, rows)
    by_id = {row["comparison_id"]: row for row in rows}
    names = {id_: f"{row['label']} · {row['prompt_set']} · {row['judge']}" for id_, row in by_id.items()}
    id_ = _choose(names)
    show_comparison(store, by_id[id_], _rows_of(store, id_), palette_for(store))


def _few(bars: list[Row]) -> list[Row]:
    """The first bars, which are one's own; all of many on request."""
    if len(bars) <= MOST_BARS:
        return bars
    return bars if st.toggle(f"All {len(bars):,} pairs", key="all", bind="query-params") else bars[:MOST_BARS]


def _name_unchecked(store: Store, rows: Sequence[Row]) -> None:
    """Which bars are a judge's scores rather than a preference that readers have confirmed."""
    unchecked = store.hold(["unchecked"], lambda keys: {keys[0]: _unchecked(store)})[0]
    found = [row for row in rows if row["comparison_id"] in unchecked]
    if found:
        names = ", ".join(sorted({row["judge"] or "unknown judge" for row in found}))
        bars = "its comparison shows" if len(found) == 1 else f"{count(len(found))} comparisons show"
        st.caption(
            plain(f"Not checked on verdicts of people or GPT-4: {names}; {bars} a judge's scores, not a preference."),
            text_alignment="left",
        )


def _unchecked(store: Store) -> set[str]:
    """Ids of the judged comparisons whose judge was not checked."""
    with st.spinner("Looking which judges were checked"):
        judged = [comparison_of(row) for row in comparisons(store) if row["kind"] == "judged"]
        return {comparison.comparison_id for comparison in unchecked_judges(open_workspace(), judged)}


def order_words(rows: Sequence[Row]) -> str:
    """In which order the judges of these comparisons saw the answers, as far as that is known."""
    kinds: dict[str, int] = {}
    for row in rows:
        shown = "votes" if row["kind"] == "votes" else str(row["answer_order"]).strip('"')
        words = ORDERS.get(shown, UNKNOWN_ORDER)
        kinds[words] = kinds.get(words, 0) + 1
    return "; ".join(words if len(kinds) == 1 else f"{words} ({n} of {len(rows)})" for words, n in kinds.items())


def _choose(names: dict[str, str]) -> str:
    """The comparison to look into; its id, not its label, is in the URL."""
    ids = list(names)
    linked = st.query_params.get("comparison")
    start = ids.index(linked) if linked in ids else 0
    chosen = st.selectbox("Look into", ids, index=start, format_func=lambda id_: printable(names[id_])) or ids[start]
    if chosen != ids[start]:
        st.query_params.pop("pair", None)
        st.query_params["comparison"] = chosen
    return chosen


def _rows_of(store: Store, comparison_id: str) -> list[Row]:
    found = store.rows("select file from comparisons where comparison_id = ?", [comparison_id])
    return load_rows(store, found[0]["file"]) if found else []


def load_rows(store: Store, file: str) -> list[Row]:
    """The judgments beside a comparison.json, read again only when the journal changed."""
    path = store.path_of(file).with_name("judgments.jsonl")
    if not path.is_file():
        return []
    facts = path.stat()
    return _read_rows(str(path), facts.st_mtime_ns, facts.st_size)


@st.cache_data(max_entries=16, show_spinner=False)
def _read_rows(path: str, changed_ns: int, size: int) -> list[Row]:
    del changed_ns, size  # part of the cache key only
    return list(unique_rows(read_jsonl(Path(path))))
