"""From a preference to the answers: prompts on which two models fare differently, both answers, nearest samples."""

from __future__ import annotations

import streamlit as st

from limit.access import may
from limit.claims.nearest import Nearest
from limit.core import LimitError
from limit.mixes.build import build_mix
from limit.specs import MixSpec
from limit.store import Store
from limit.store.queries_preferences import answers_to, prompt_outcomes
from limit.store.queries_runs import mixes
from limit.store.schema import Row
from limit.store.series import as_json
from limit.ui.clicks import clicked
from limit.ui.shell import errors_in_words, next_step, note_line, open_workspace, plain, show_text

OUTCOMES = ("A fares better", "B fares better", "alike")


def show_prompts(store: Store, a: Row, b: Row) -> None:
    """Choose how the judge saw the two, then read prompt by prompt."""
    found = prompt_outcomes(store, a, b)
    if not found:
        next_step("No judge has seen answers of both to the same prompts.", "pages/preferences.py", "Let one judge")
        return
    wanted = st.selectbox("Prompts where", OUTCOMES, key="outcome", bind="query-params")
    groups = {
        OUTCOMES[0]: [row for row in found if row["a"] > row["b"]],
        OUTCOMES[1]: [row for row in found if row["a"] < row["b"]],
        OUTCOMES[2]: [row for row in found if row["a"] == row["b"]],
    }
    note_line(
        n=f"{len(found):,} prompts on which both were judged",
        score="mean verdict against the baseline, 1 a win, 0.5 a tie; the baseline itself counts 0.5",
        prompts=", ".join(f"{name} {len(rows):,}" for name, rows in groups.items()),
        judge=a["judge"] or b["judge"],
    )
    rows = groups[wanted]
    if not rows:
        st.info("No such prompt.", icon=":material/info:")
        return
    number = st.number_input(f"Prompt (1 to {len(rows):,})", 1, len(rows), key="prompt", bind="query-params")
    _read(store, a, b, rows[int(number) - 1])


def _read(store: Store, a: Row, b: Row, row: Row) -> None:
    """One prompt, the answer of each model, what the judge gave it."""
    texts = answers_to(store, a, b, row["prompt_id"])
    if texts is None:
        st.info("The texts of this prompt are not on this machine.", icon=":material/info:")
        return
    show_text(texts["prompt"])
    for column, model, answer, score in zip(
        st.columns(2), (a, b), (texts["a"], texts["b"]), (row["a"], row["b"]), strict=True
    ):
        with column:
            st.markdown(f"**{plain(model['label'])}** · score {score:.2f}")
            show_text(answer if answer is not None else "this answer is not on this machine")
    show_nearest(store, a, b, texts["prompt"])


def show_nearest(store: Store, a: Row, b: Row, text: str) -> None:
    """The closest training samples of both mixes, on request."""
    if not st.toggle("Nearest training samples of each mix", key="nearest", bind="query-params"):
        return
    for column, row in zip(st.columns(2), (a, b), strict=True):
        with column, errors_in_words():
            st.markdown(f"**{plain(row['label'])}**")
            if row["mix_id"] is None:
                st.caption("not finetuned")
                continue
            if not (open_workspace().mix(row["mix_id"]) / "samples.parquet").is_file():
                _build_again(store, row)
                continue
            for sample in _index(row["mix_id"]).to(text):
                st.caption(plain(f"{sample['source']} · similarity {sample['similarity']:.2f}"))
                show_text(f"{sample['prompt']}\n\n{sample['response']}", limit=1500)


def _build_again(store: Store, row: Row) -> None:
    """The rows of a mix that only its results came from: drawing it again from the same sources gives the same rows."""
    st.caption("The samples of this mix are not on this machine; drawing it again gives the same ones.")
    mix = next((mix for mix in mixes(store) if mix["mix_id"] == row["mix_id"]), None)
    if mix is None or (request := as_json(mix["spec"])) is None or not may("analyst"):
        return
    if clicked("Build this mix again", f"again-{row['mix_id']}", icon=":material/replay:"):
        with st.spinner("Drawing the mix"):
            made = build_mix(open_workspace(), MixSpec.from_dict(request), mix["name"])["mix_id"]
        if made != row["mix_id"]:
            raise LimitError(f"its sources have changed: the same request now gives mix {made}, not {row['mix_id']}")
        st.rerun()


@st.cache_resource(show_spinner="Reading the mix", max_entries=4)
def _index(mix_id: str) -> Nearest:
    return Nearest(open_workspace(), mix_id)
