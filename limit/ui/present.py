"""Present: the claims of this workspace, a view for a room full of people, and files to take away.

The links `?present=1&slide=2` show one claim a screen and change nothing, whoever opens them.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from limit.access import may
from limit.claims import ledger
from limit.claims.evidence import AS_PUBLISHED, Evidence, State, before, evaluate, model_index, state, state_words
from limit.claims.suggest import suggestions
from limit.core import Json
from limit.export.report import claim_figure
from limit.store import Store
from limit.store.queries_models import paper_rows
from limit.store.schema import Row
from limit.ui.overview import palette_for, study_names
from limit.ui.present_exports import show_exports
from limit.ui.shell import chart, errors_in_words, open_store, open_workspace, page_head, plain, printable

COLOURS: dict[State, str] = {"green": "green", "amber": "orange", "red": "red", "grey": "gray", "published": "gray"}
SLIDE_SCALE = 1.6  # of a chart in the room against one on a page
SLIDE_STYLE = """
<style>
[data-testid="stSidebar"], [data-testid="stSidebarCollapsedControl"], [data-testid="stExpandSidebarButton"],
[data-testid="stToolbar"] { display: none; }
[data-testid="stMainBlockContainer"] { max-width: 1600px; padding-top: 2.2rem; }
@media (min-width: 641px) { [data-testid="stMainBlockContainer"] { min-height: 100vh; display: flex;
  flex-direction: column; justify-content: center; }
  [data-testid="stMainBlockContainer"] > div { flex: 0 0 auto; height: auto; } }
.limit-claim { font-size: clamp(1.5rem, 3.2vw, 3.4rem); line-height: 1.2; font-weight: 600; margin: 0 0 0.4rem;
  overflow-wrap: anywhere; }
@media (max-width: 640px) { [data-testid="stMainBlockContainer"] { padding-top: 4rem !important; } }
.limit-caption { font-size: clamp(0.9rem, 1.25vw, 1.35rem); opacity: 0.85; overflow-wrap: anywhere; }
</style>
"""


def show() -> None:
    """The page, or one slide when the link asks for it."""
    if st.query_params.get("present") == "1":
        with errors_in_words():
            _slides(open_store())
        return
    page_head("Present", "What may be said, how sure is it, and how do others get to see it?")
    with errors_in_words():
        store = open_store()
        claims = ledger.read_claims(open_workspace())
        models = _models(store, claims)
        left, right = st.columns([3, 2], gap="medium")
        with left:
            _ledger(store, claims, models)
            _suggest(store, claims)
        with right:
            _preview(store, claims, models)
            show_exports(store)


def _models(store: Store, claims: Sequence[Json]) -> dict[str, Row]:
    return model_index(store, [claim["test"] for claim in claims])


def _evidence(store: Store, claim: Json, models: Mapping[str, Row]) -> Evidence:
    """The claim's evidence, computed once for the data at hand."""
    return _cached_evidence(store.version, claim["test"], store, models)


@st.cache_data(show_spinner=False, max_entries=256)
def _cached_evidence(version: int, test: Json, _store: Store, _models: Mapping[str, Row]) -> Evidence:
    return evaluate(_store, test, _models)


def _ledger(store: Store, claims: Sequence[Json], models: Mapping[str, Row]) -> None:
    """The claims in the order they are told, each with its state, its words and its buttons."""
    st.subheader("Claims", anchor=False)
    if not claims:
        st.caption("No claims yet. Take one of the suggestions below; its words can be changed, its numbers cannot.")
    for claim in claims:
        with st.container(border=True):
            evidence = _evidence(store, claim, models)
            found = state(evidence, claim["bound"])
            reason = AS_PUBLISHED if found == "published" else None
            st.markdown(f"{_chip(evidence, claim)} **{plain(claim['sentence'])}**", help=reason)
            st.caption(plain(evidence.caption + before(evidence, claim["bound"])))
            if may("analyst"):
                _buttons(claim, evidence, found)


def _chip(evidence: Evidence, claim: Json) -> str:
    """A claim's state as a coloured word or two."""
    return f":{COLOURS[state(evidence, claim['bound'])]}-badge[{state_words(evidence, claim['bound'])}]"


def _buttons(claim: Json, evidence: Evidence, found: State) -> None:
    ws, name = open_workspace(), claim["claim_id"]
    row = st.container(horizontal=True)
    row.button(
        "Earlier",
        key=f"up-{name}",
        icon=":material/arrow_upward:",
        on_click=_do,
        args=(ledger.move_claim, ws, name, -1),
    )
    row.button(
        "Later",
        key=f"down-{name}",
        icon=":material/arrow_downward:",
        on_click=_do,
        args=(ledger.move_claim, ws, name, 1),
    )
    if found == "amber":
        row.button(
            "Confirm numbers", key=f"confirm-{name}", on_click=_do, args=(ledger.confirm_claim, ws, name, evidence)
        )
    with row.popover("Words"):
        words = st.text_input("Sentence", claim["sentence"], key=f"words-{name}", max_chars=ledger.MAX_SENTENCE)
        st.button("Save", key=f"save-{name}", on_click=_do, args=(ledger.edit_claim, ws, name, words))
    row.button(
        "Remove", key=f"remove-{name}", icon=":material/delete:", on_click=_do, args=(ledger.remove_claim, ws, name)
    )


def _do(change: Any, *arguments: Any) -> None:
    """Run one change of the ledger from a button; a fixable problem is shown in words."""
    with errors_in_words():
        change(*arguments)


def _suggest(store: Store, claims: Sequence[Json]) -> None:
    """Sentences that the statistics support and that are no claims yet."""
    st.subheader("Suggested by the numbers", anchor=False)
    names = study_names(store)
    name = st.selectbox("Study", list(names), key="study", bind="query-params")
    rows = names[name]() if name in names else paper_rows(store)
    taken = {claim[name] for claim in claims for name in ("claim_id", "sentence")}
    offered = [
        claim
        for layer in dict.fromkeys(row["layer"] for row in rows)
        for claim in _suggested(store.version, name, layer, store, [row for row in rows if row["layer"] == layer])
        if not taken & {ledger.name_of(claim["test"]), claim["sentence"]}
    ]
    if not offered:
        st.caption("Nothing more can be told from chance in this study.")
    for number, claim in enumerate(offered[:12]):
        left, right = st.columns([6, 1], vertical_alignment="center")
        left.markdown(plain(claim["sentence"]))
        left.caption(plain(claim["evidence"].caption))
        if may("analyst"):
            arguments = (ledger.add_claim, open_workspace(), claim["sentence"], claim["test"], claim["evidence"])
            right.button("Add", key=f"add-{number}-{ledger.name_of(claim['test'])}", on_click=_do, args=arguments)


@st.cache_data(show_spinner=False, max_entries=64)
def _suggested(version: int, study: str, layer: str, _store: Store, _rows: list[Row]) -> list[Json]:
    return suggestions(_store, _rows)


def _preview(store: Store, claims: Sequence[Json], models: Mapping[str, Row]) -> None:
    """The first claim as the room will see it, and the link to the slides."""
    st.subheader("Preview", anchor=False)
    if not claims:
        st.caption("The first claim appears here as the room will see it.")
        return
    numbers = [str(n) for n in range(1, len(claims) + 1)]
    number = st.segmented_control(
        "Slide",
        numbers,
        default="1",
        required=True,
        key="preview",
        bind="query-params",
        label_visibility="collapsed",
    )
    claim = claims[int(number or 1) - 1]
    _figure(store, claim, models, key="preview_chart")
    st.markdown(f"**{plain(claim['sentence'])}**")
    # A link from a page to itself leaves the address as it was, and the first key then leaves the slides.
    st.button("Present", icon=":material/slideshow:", type="tertiary", on_click=_present, args=(int(number or 1),))


def _figure(store: Store, claim: Json, models: Mapping[str, Row], key: str, scale: float = 1.0) -> None:
    figure, alt, _ = claim_figure(models, claim["test"], palette_for(store), scale)
    chart(figure, alt, key=key)


def _slides(store: Store) -> None:
    """One claim a screen in large type; arrow keys turn, `f` fills the screen, Escape goes back."""
    claims = ledger.read_claims(open_workspace())
    st.html(SLIDE_STYLE)
    if not claims:
        st.title("Present", anchor=False)
        st.info("There are no claims to present yet; add one on the Present page.", icon=":material/info:")
        st.page_link("pages/present.py", label="Back to the claims", icon=":material/arrow_back:")
        return
    number = _slide_number(len(claims))
    claim, models = claims[number - 1], _models(store, claims)
    evidence = _evidence(store, claim, models)
    st.html(f'<h1 class="limit-claim">{html.escape(printable(claim["sentence"]))}</h1>')
    _figure(store, claim, models, key=f"slide_{number}", scale=SLIDE_SCALE)
    st.html(
        f'<p class="limit-caption">{html.escape(printable(evidence.caption + before(evidence, claim["bound"])))}</p>'
    )
    found = state(evidence, claim["bound"])
    st.markdown(_chip(evidence, claim), help=AS_PUBLISHED if found == "published" else None)
    _turn(number, len(claims))


def _slide_number(last: int) -> int:
    text = st.query_params.get("slide", "1")
    return min(max(1, int(text)), last) if text.isdecimal() and len(text) < 6 else 1


def _turn(number: int, last: int) -> None:
    """Buttons that the arrow keys press too."""
    row = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="center")
    row.button("Back", shortcut="Left", disabled=number == 1, on_click=_go, args=(number - 1,), key="slide_back")
    row.markdown(f"{number} / {last}")
    row.button("Next", shortcut="Right", disabled=number == last, on_click=_go, args=(number + 1,), key="slide_next")
    row.button("Leave", shortcut="Esc", on_click=_leave, key="slide_leave", type="tertiary")
    st.html(FULL_SCREEN, unsafe_allow_javascript=True)


def _present(number: int) -> None:
    st.query_params.from_dict({"present": "1", "slide": str(number)})


def _go(number: int) -> None:
    st.query_params["slide"] = str(number)


def _leave() -> None:
    st.query_params.clear()


# A fixed text of ours: `f` asks the browser for the whole screen.
FULL_SCREEN = """
<script>
if (!window.limitFullScreen) {
  window.limitFullScreen = true;
  document.addEventListener("keydown", function (event) {
    if (event.key !== "f" || event.ctrlKey || event.metaKey || /INPUT|TEXTAREA/.test(event.target.tagName)) return;
    if (document.fullscreenElement) document.exitFullscreen(); else document.documentElement.requestFullscreen();
  });
}
</script>
"""
