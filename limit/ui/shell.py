"""What every page shares: its head with the jobs pill, the line under a chart, empty states, errors in words.

A page calls `page_head` first and puts its work inside `errors_in_words`, so a problem that the user can fix is an
error box with one sentence, never a traceback.
"""

from __future__ import annotations

import contextlib
import re
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from limit.core import LimitError, explain_os_error
from limit.jobs import counts, schedule
from limit.settings import Workspace, workspace
from limit.ui.glossary import explain

if TYPE_CHECKING:
    from limit.store import Store

PILL_REFRESH_S = 3.0
# A browser that still gets elements begins its drawing anew with each, so a page's heading came 200 to 300 ms late;
# after a pause it stands there at once, and only a session's first page has one.
HEAD_START_S, HEADED = 0.1, "_headed"
ENDED = "_ended_jobs"  # how many jobs had ended when this page last looked; one may start and end between two looks
DRAWN_DARK = "_drawn_dark"  # the theme that the page was drawn for: charts and some colours come from the server
PAGE, CLICKS = "_page", "_clicks"  # the page drawn last, and clicks on it that wait to be acted on
# Wide tables and charts scroll inside their own box on a phone; figures line up in columns.
STYLE = """
<style>
.block-container, [data-testid="stMainBlockContainer"] { padding-top: 1.9rem; padding-bottom: 3rem; max-width: 1360px; }
h1 { font-size: 2rem !important; padding: 0 0 0.2rem !important; }
h2 { font-size: 1.45rem !important; }
h3 { font-size: 1.15rem !important; }
[data-testid="stMetricValue"] { font-size: 1.6rem; }
[data-testid="stDataFrame"], [data-testid="stMetricValue"], table { font-variant-numeric: tabular-nums; }
[data-testid="stCaptionContainer"] { color: inherit; opacity: 0.82; }
[data-testid="stCaptionContainer"] p { color: inherit; }
.limit-bar { display: flex; height: 12px; width: 100%; border-radius: 3px; overflow: hidden; }
.limit-text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; }
@media (max-width: 640px) {
  .block-container, [data-testid="stMainBlockContainer"] { padding: 4rem 1rem 3rem; }
  h1 { font-size: 1.6rem !important; }
}
</style>
"""

# The dark theme's primary colour is light, and Streamlit writes white on it.
DARK_STYLE = """
<style>
[data-testid^="stBaseButton-primary"], [data-testid^="stBaseButton-primary"] p { color: #0F1218 !important; }
</style>
"""


@st.cache_resource(show_spinner=False)
def _store_at(root: str) -> Store:
    from pathlib import Path

    from limit.store import Store

    return Store.open(Workspace(Path(root)).make())


def open_workspace() -> Workspace:
    """The workspace, made on first use. Raises LimitError when it cannot be written."""
    return workspace().make()


def open_store() -> Store:
    """The one store of this server, brought up to date with the files. Raises LimitError."""
    store = _store_at(str(open_workspace().root))
    store.follow()
    return store


def page_head(title: str, question: str, *, results: bool = False) -> None:
    """Title, the one sentence that the page answers, and the jobs pill.

    A page that shows `results` is drawn again whenever a job has ended, so its charts fill in by themselves.
    """
    if st.session_state.get(PAGE) != title:
        st.session_state[PAGE] = title
        st.session_state.pop(CLICKS, None)
    st.session_state[DRAWN_DARK] = is_dark()
    st.html(STYLE + DARK_STYLE if is_dark() else STYLE)
    left, right = st.columns([5, 2], vertical_alignment="bottom")
    left.title(title, anchor=False)
    with right:
        jobs_pill(results, [True])
    st.caption(question)
    if HEADED not in st.session_state:
        st.session_state[HEADED] = True
        time.sleep(HEAD_START_S)


@st.fragment(run_every=PILL_REFRESH_S)
def jobs_pill(results: bool, with_page: list[bool]) -> None:
    """How many jobs run, wait and failed; a link to them. A job whose supervisor died is judged from any page.

    `with_page` holds one item while the page itself is being drawn. That page then shows what is new below, and is not
    interrupted: the click that it is drawn for would be lost.
    """
    new_page = bool(with_page and with_page.pop())
    if not new_page and st.session_state.get(DRAWN_DARK) != is_dark():
        st.rerun(scope="app")  # the reader, or the evening, has changed the theme
    try:
        ws = open_workspace()
        now = counts(ws)
        if now["unwatched"]:
            with contextlib.suppress(LimitError):  # whoever can write the workspace will judge it
                schedule(ws)
            now = counts(ws)
    except LimitError:
        return
    words = [f"{now[state]} {state}" for state in ("running", "queued", "failed") if now.get(state)]
    icon = ":material/error:" if now.get("failed") else ":material/pending:" if words else ":material/check_circle:"
    st.page_link("pages/runs.py", label=" · ".join(words) or "no jobs running", icon=icon, width="stretch")
    before = st.session_state.get(ENDED, now["ended"])
    st.session_state[ENDED] = now["ended"]
    if results and now["ended"] > before:
        with contextlib.suppress(LimitError, OSError):
            _store_at(str(ws.root)).refresh()  # also where a look at the disk takes long: this one has news
        if not new_page:
            st.rerun(scope="app")


@contextlib.contextmanager
def errors_in_words() -> Iterator[None]:
    """Show a fixable problem inside the block as an error box and go on with the page."""
    try:
        yield
    except LimitError as error:
        show_error(str(error))
    except OSError as error:
        show_error(str(explain_os_error(error, error.filename or "the workspace")))


def show_error(message: str) -> None:
    """An error box whose text is never read as Markdown."""
    st.error(plain(message), icon=":material/error:")


_LINKED = re.compile(r"https?:(?=//)|\bwww(?=\.)", re.IGNORECASE)
_JOINER = "\u2060"  # has no width; Markdown makes links of bare addresses, whether escaped or not


def plain(text: str) -> str:
    """Text with everything that Markdown, LaTeX or an icon code could act on made literal, and printable."""
    text = _LINKED.sub(lambda found: found[0] + _JOINER, printable(text.replace("\r\n", "\n")))
    for sign in "\\`*_{}[]()#+-.!|<>~$:^=&":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", "  \n")


def show_text(text: str, limit: int = 20_000) -> None:
    """Untrusted text as it is, with wrapping; the middle of a very long one is left out and said so."""
    shown = text
    if len(text) > limit:
        half = limit // 2
        shown = f"{text[:half]}\n\n[... {len(text) - limit:,} characters not shown ...]\n\n{text[-half:]}"
    st.code(printable(shown), language=None, wrap_lines=True)


def printable(text: str) -> str:
    """Control and direction-changing characters as visible codes, so that text cannot rearrange the page."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        sign if sign in _KEPT or sign.isprintable() or unicodedata.category(sign) == "Zs" else f"\\u{ord(sign):04x}"
        for sign in text
    )


# The joiners of scripts and emoji move nothing; Python calls them unprintable, as it does wide spaces.
_KEPT = "\n\t\u200c\u200d"


def chart(figure: Any, alt: str, key: str, **options: Any) -> Any:
    """Draw a plotly figure in our own colours with a description for screen readers."""
    config = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"]}
    return st.plotly_chart(figure, width="stretch", theme=None, key=key, config=config, alt=alt, **options)


@st.fragment
def folded(label: str, key: str, fill: Callable[..., None], *args: Any) -> None:
    """An expander whose content is made only while it is open: for tables that few readers open.

    Not for forms: what was typed would be forgotten when it closes.
    """
    box = st.expander(label, key=key, on_change="rerun")
    if box.open:
        with box:
            fill(*args)


def is_dark() -> bool:
    """Whether the reader's browser shows the dark theme."""
    return getattr(st.context.theme, "type", None) == "dark"


def note_line(**facts: str | None) -> None:
    """The line under a chart or number: n, protocol, what the interval is, source."""
    words = [f"{name.replace('_', ' ')}: {value}" for name, value in facts.items() if value]
    st.caption(plain(" · ".join(words)))


def term(word: str) -> None:
    """A small label with the word's explanation on hover."""
    st.caption(word, help=explain(word))


def next_step(message: str, page: str, label: str, query: Mapping[str, str | Sequence[str]] | None = None) -> None:
    """An empty state: what is missing, and the click that changes it."""
    st.info(message, icon=":material/arrow_forward:")
    st.page_link(page, label=label, icon=":material/arrow_forward:", query_params=query)
