"""One sample: its text, the tokens that training sees, its neighbours, and what people say of it."""

from __future__ import annotations

import html

import streamlit as st

from limit import formats
from limit.access import may
from limit.core import Json
from limit.settings import Workspace
from limit.sources.marks import mark, read_marks
from limit.sources.samples import messages_of
from limit.sources.vectors import neighbours
from limit.ui.samples_words import first_line, open_samples
from limit.ui.shell import errors_in_words, note_line, plain, printable, show_text

PANELS = ("text", "as trained", "neighbours", "notes")
TEMPLATES = ("alpaca", "instruct-v3", "lima", "plain", "chat", "tiny")
SHOWN_TOKENS = 1_500
LENGTH = 2_048
TOKEN_STYLE = """
<style>
.limit-tokens { font-family: monospace; font-size: 0.82rem; line-height: 1.75; white-space: pre-wrap; overflow-wrap:
anywhere; unicode-bidi: plaintext; max-height: 30rem; overflow-y: auto; }
.limit-tokens span { border-radius: 3px; padding: 1px 0; box-shadow: inset 0 0 0 1px rgba(128,128,128,0.18); }
.limit-tokens .loss { background: rgba(59,125,216,0.28); }
</style>
"""


def sample_panel(ws: Workspace, source: Json, sample: Json) -> None:
    """The right-hand side of the Samples page."""
    st.caption(
        plain(
            f"row {sample['row']:,} · {sample['sample_id']} · {printable(sample['subset']) or 'no subset'} · "
            f"{sample['turns']} turn{'s' if sample['turns'] != 1 else ''}"
        )
    )
    panel = st.segmented_control(
        "Show", PANELS, default="text", required=True, key="panel", bind="query-params", label_visibility="collapsed"
    )
    if panel == "text":
        _text(sample)
    elif panel == "as trained":
        _as_trained(ws, sample)
    elif panel == "neighbours":
        _neighbours(ws, source, sample)
    else:
        _notes(ws, source, sample)


def _text(sample: Json) -> None:
    for message in messages_of(sample["meta"], sample["prompt"], sample["response"]):
        name = "Prompt" if message["role"] == "user" else "Response"
        st.caption(f"{name} · {len(message['content']):,} characters")
        show_text(message["content"])
    if sample["meta"] not in ("{}", "", None):
        with st.expander("Other fields"):
            show_text(sample["meta"], 4_000)


def _as_trained(ws: Workspace, sample: Json) -> None:
    from limit.encoding.template import encode_sample, token_texts

    left, right = st.columns(2)
    model = left.text_input(
        "Tokenizer of", "tiny", key="tokenizer", bind="query-params", help="tiny, a folder, a hub id, or a run"
    )
    template = right.selectbox("Template", TEMPLATES, key="template", bind="query-params")
    tokenizer = _tokenizer(str(ws.root), model or "tiny")
    encoded = encode_sample(sample, tokenizer, template, LENGTH)
    ids = encoded.ids[:SHOWN_TOKENS]
    texts = token_texts(ids, tokenizer)
    spans = [
        f'<span class="{"loss" if label >= 0 else "quiet"}" title="{token}">{html.escape(printable(text))}</span>'
        for token, text, label in zip(ids, texts, encoded.labels[:SHOWN_TOKENS], strict=True)
    ]
    st.html(TOKEN_STYLE + f'<div class="limit-tokens">{"".join(spans)}</div>')
    if len(encoded.ids) > SHOWN_TOKENS:
        st.caption(f"{len(encoded.ids) - SHOWN_TOKENS:,} more tokens not shown")
    cut = f"cut at {LENGTH:,}" if encoded.truncated else None
    note_line(tokens=formats.count(len(encoded.ids)), with_loss_in_blue=formats.count(encoded.loss_tokens), end=cut)


@st.cache_resource(show_spinner="Opening the tokenizer", max_entries=4)
def _tokenizer(root: str, model: str) -> object:
    from pathlib import Path

    from limit.mixes.tokens import open_tokenizer

    return open_tokenizer(Workspace(Path(root)), model)


def _neighbours(ws: Workspace, source: Json, sample: Json) -> None:
    with st.spinner("Comparing with other samples", show_time=True):
        found = neighbours(ws, source["source"], sample["row"])
    for other in found["rows"]:
        label = f"{other['similarity']:.2f} · {first_line(other['prompt'])[:90] or '…'}"
        with st.expander(plain(label)):
            st.caption(f"row {other['row']:,} · similarity {other['similarity']:.2f}")
            show_text(other["prompt"], 2_000)
            show_text(other["response"], 2_000)
            st.button(
                "Open this sample",
                key=f"open-{other['row']}",
                on_click=open_samples,
                args=(source["source"],),
                kwargs={"row": str(other["row"])},
            )
    note_line(compared_with=f"{found['compared']:,} samples", measure="cosine of TF-IDF word vectors")


def _notes(ws: Workspace, source: Json, sample: Json) -> None:
    marks = read_marks(ws, source["source"]).get(sample["sample_id"], {})
    key = f"{source['source']}-{sample['sample_id']}"
    if not may("analyst"):
        st.caption(plain(f"flag: {bool(marks.get('flag'))} · exclude: {bool(marks.get('exclude'))}"))
        show_text(str(marks.get("note", "")) or "no note")
        return
    flag = st.toggle("Flag for a second look", bool(marks.get("flag")), key=f"flag-{key}")
    exclude = st.toggle(
        "Exclude from mixes",
        bool(marks.get("exclude")),
        key=f"exclude-{key}",
        help="A mix leaves excluded samples out when it is asked to.",
    )
    note = st.text_area("Note", str(marks.get("note", "")), key=f"note-{key}", max_chars=2_000)
    with errors_in_words():
        for kind, value in (("flag", flag), ("exclude", exclude), ("note", note or "")):
            if (marks.get(kind) or type(value)()) != value:
                mark(ws, source["source"], [sample["sample_id"]], kind, value)  # type: ignore[arg-type]
                st.toast("Kept")
