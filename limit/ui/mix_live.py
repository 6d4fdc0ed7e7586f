"""What the mix on the screen comes to: figures, composition, style, and which tests its prompts look like."""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

from limit import formats
from limit.charts.composition import composition_html
from limit.core import Json
from limit.mixes.alignment import align
from limit.mixes.contents import Measure, describe_spec
from limit.mixes.draw import draw_parts
from limit.mixes.listing import shares_short_of
from limit.mixes.reference import SMALL_GAUNTLET, references_version
from limit.mixes.style import style_of
from limit.settings import Workspace
from limit.sources.listing import source_info
from limit.sources.rows import read_rows
from limit.specs import MixSpec
from limit.ui.mix_charts import alignment_figure
from limit.ui.samples_charts import style_figure
from limit.ui.samples_words import palette
from limit.ui.shell import chart, errors_in_words, note_line, plain, printable

LENGTHS = (512, 1_024, 2_048, 4_096, 8_192)
LOOKED_AT = 1_000  # samples of the draft whose text is read for style and alignment


def live_panel(ws: Workspace, spec: MixSpec) -> Json:
    """Figures that follow every change; returns them. Raises LimitError when the draw is not possible."""
    left, middle, right = st.columns(3)
    model = left.text_input(
        "Count tokens as",
        "",
        key="mix-tokenizer",
        bind="query-params",
        placeholder="4 characters a token",
        help="tiny, a folder, a hub id or a run: tokens are then measured with its tokenizer",
    )
    length = middle.select_slider("Cut samples at (tokens)", LENGTHS, 2_048, key="mix-length", bind="query-params")
    batch = right.number_input("Samples in a step", 1, 4_096, 48, key="mix-batch", bind="query-params")
    by = Measure((model or "").strip() or None, max_seq_len=int(length), batch=int(batch))
    found = describe_spec(ws, spec, by)
    figures = (
        ("samples", formats.count(found["rows"]), None),
        (
            "tokens",
            formats.tokens(found["tokens"]),
            f"{found['tokens_from']}; {found['lost_tokens']:,} more are cut off",
        ),
        ("tokens with loss", formats.tokens(found["response_tokens"]), "response tokens and the end token"),
        (
            "truncated",
            f"{100 * found['truncated_share']:.1f} %",
            f"{found['truncated']:,} samples are longer than {length:,}",
        ),
        ("steps an epoch", formats.count(found["steps_per_epoch"]), f"at {batch} samples a step"),
        ("packed rows", formats.count(found["packed_rows"]), f"{100 * found['packing_fill']:.1f} % full"),
        ("padding", f"{100 * found['padding_share']:.0f} %", "share of an unpacked epoch in random order"),
    )
    for column, (name, value, help) in zip(st.columns(len(figures)), figures, strict=True):
        column.metric(name, value, help=help)
    if short := shares_short_of(spec, found["rows"]):
        st.caption(plain(f"{short[0].upper()}{short[1:]}."))
    _composition(found)
    return found


def _composition(found: Json) -> None:
    colours = palette().with_mixes(sorted({part["source"] for part in found["parts"]}))
    bar = [
        {"source": row["source"], "subset": printable(row["subset"]), "rows": row["rows"]}
        for row in found["composition"]
    ]
    st.html(composition_html(bar, colours))
    words = []
    for part in found["parts"]:
        name = part["source"] if part["subset"] is None else f"{part['source']}/{printable(part['subset'])}"
        share = 100 * part["rows"] / found["rows"]
        tokens = 100 * part["tokens"] / max(1, sum(p["tokens"] for p in found["parts"]))
        words.append(
            {
                "part": name,
                "samples": part["rows"],
                "of": part["of"],
                "% of samples": round(share, 1),
                "% of tokens": round(tokens, 1),
                "tokens": part["tokens"],
                "seen a step": round(part["rows"] / found["steps_per_epoch"], 1),
            }
        )
    numbers = {name: st.column_config.NumberColumn(format="localized") for name in ("samples", "of", "tokens")}
    st.dataframe(words, hide_index=True, height="content", column_config=numbers, alt="parts of the mix", lazy=False)
    note_line(tokens=found["tokens_from"], steps="every sample once an epoch; no last batch is dropped")


def look_panel(ws: Workspace, spec: MixSpec, described: Json) -> None:
    """Style and alignment of a random thousand of the draft's samples, when asked for."""
    asked = st.toggle(
        "Look at style and alignment",
        key="mix-look",
        bind="query-params",
        help="reads up to 1,000 samples of the draw",
    )
    if not asked:
        return
    request = (ws, spec, spec.id(), tuple(sorted(_hashes(ws, spec).items())))
    left, right = st.columns(2)
    with left:
        st.subheader("What style does it teach?", anchor=False)
        with st.spinner("Reading samples", show_time=True):
            style = _style(*request)
        chart(style_figure({"this mix": style}, palette()), "style shares of the mix", "mix-style")
        sizes = style["response_chars"]
        note_line(
            n=f"{style['n']:,} responses",
            interval="Wilson 95 %",
            response_characters_p10_p50_p90=" · ".join(f"{sizes[k]:,.0f}" for k in ("p10", "p50", "p90")),
        )
    with right:
        st.subheader("Which tests do its prompts look like?", anchor=False)
        data = st.text_input(
            "Folder of Gauntlet items",
            key="mix-items",
            bind="query-params",
            placeholder="what was fetched, or what ships",
            help="one folder per category, as `limit gauntlet fetch` makes it",
        )
        with errors_in_words():
            folder = (data or "").strip() or None
            with st.spinner("Comparing with the tests; the first time takes a few seconds", show_time=True):
                alignment = _alignment(*request, folder, references_version(ws, folder))
            show_alignment(alignment, "mix-alignment")


def show_alignment(alignment: Json, key: str) -> None:
    """The alignment meter with what it is worth."""
    if not alignment["groups"]:
        st.caption("Nothing to compare with: fetch the Gauntlet's items or import a prompt set.")
        return
    chart(alignment_figure(alignment, palette()), "share of prompts that look like each test", key)
    total = alignment["gauntlet"]
    together = formats.percent_interval(*(100 * total[key] for key in ("share", "low", "high")))
    st.caption(plain(f"Gauntlet together: {together}; the rest looks like open-ended prompts."))
    if alignment.get("items_from") == SMALL_GAUNTLET:
        st.caption(
            "The small Gauntlet asks about a made-up world, so this tells something about the embedded study's sources "
            "alone. Fetch the Gauntlet, or name a folder of its items, to measure other data."
        )
    note_line(
        n=f"{alignment['n']:,} prompts",
        compared_with=alignment.get("items_from"),
        interval="bootstrap 95 % over prompts",
        measure="mean probability by a classifier on words",
        held_out_accuracy=f"{100 * alignment['accuracy']:.0f} %",
    )


def _hashes(ws: Workspace, spec: MixSpec) -> dict[str, str]:
    return {part.source: source_info(ws, part.source)["content_sha256"] for part in spec.parts}


@st.cache_data(show_spinner=False, max_entries=20)
def _style(_ws: Workspace, _spec: MixSpec, spec_id: str, hashes: tuple[tuple[str, str], ...]) -> Json:
    return style_of(sample_of(_ws, _spec, LOOKED_AT))


@st.cache_data(show_spinner=False, max_entries=20)
def _alignment(
    _ws: Workspace,
    _spec: MixSpec,
    spec_id: str,
    hashes: tuple[tuple[str, str], ...],
    data: str | None,
    references: str,
) -> Json:
    return align(_ws, sample_of(_ws, _spec, LOOKED_AT), data)


def sample_of(ws: Workspace, spec: MixSpec, most: int) -> pa.Table:
    """Prompts, responses and dialogues of up to `most` samples of a draw, each part in proportion."""
    infos = {part.source: source_info(ws, part.source) for part in spec.parts}
    drawn = draw_parts(infos, spec)
    total = sum(len(rows) for rows in drawn)
    share = min(1.0, most / total)
    pieces = [
        read_rows(infos[part.source], rows[: max(1, round(share * len(rows)))], ["prompt", "response", "meta"])
        for part, rows in zip(spec.parts, drawn, strict=True)
    ]
    return pa.concat_tables(pieces)
