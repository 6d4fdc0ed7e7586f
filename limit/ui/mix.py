"""The Mix page: parts on top, what they come to below, checks, and the way to the launch."""

from __future__ import annotations

import contextlib
from typing import Any

import streamlit as st

from limit.access import may
from limit.core import Json, LimitError
from limit.mixes.build import build_mix
from limit.mixes.listing import changed_sources, list_mixes, load_mix
from limit.mixes.presets import preset_spec
from limit.settings import Workspace
from limit.sources.catalog import paper_mixes
from limit.sources.listing import list_sources
from limit.specs import MixSpec
from limit.ui.clicks import clicked
from limit.ui.mix_checks import checks_section
from limit.ui.mix_live import live_panel, look_panel
from limit.ui.mix_parts import parts_editor
from limit.ui.mix_saved import saved_mixes
from limit.ui.mix_state import add_part, as_link, draft, from_link, load, to_spec
from limit.ui.samples_words import name_broken
from limit.ui.shell import errors_in_words, next_step, open_workspace, page_head, plain, show_error

LINKED = "mix-linked"  # the draft of the URL that was read or written last
STARTED = "mix-started"  # the draft with which the page starts


def show() -> None:
    """Draw the page."""
    page_head("Mix", "What will I train on?")
    with errors_in_words():
        ws = open_workspace()
        sources = {source["source"]: source for source in list_sources(ws)}
        name_broken(ws)
        if not sources:
            next_step(
                "A mix is drawn from sources, and there are none yet.",
                "pages/samples.py",
                "Add a source",
                {"view": "Add or fetch"},
            )
            return
        _open_link(ws)
        _presets(sources)
        if not draft()["parts"]:
            first = next(iter(sources.values()))
            add_part(first["source"], first["rows"])
            st.session_state[STARTED] = as_link(to_spec())
        parts_editor(ws, sources)
        spec = _spec_or_error()
        if spec is not None:
            _keep_in_url(ws, spec)
            _contents(ws, spec)
        saved_mixes(ws)


def _open_link(ws: Workspace) -> None:
    """Put the mix or the draft that the URL names on the screen, once; say where a mix can no longer be drawn."""
    wanted, text = st.query_params.get("mix"), st.query_params.get("draft")
    is_new = bool(wanted) and st.session_state.get("mix-opened") != wanted
    mix = None
    with errors_in_words():
        if wanted and (is_new or (ws.mix(wanted) / "mix.json").is_file()):
            st.session_state["mix-opened"] = wanted
            mix = load_mix(ws, wanted)
    if mix is not None and is_new:
        load(MixSpec.from_dict(mix["spec"]), mix["name"])
    if text and st.session_state.get(LINKED) != text:
        st.session_state[LINKED] = text
        with errors_in_words():
            load(from_link(text), mix["name"] if mix else "")
    if mix is not None and (changed := changed_sources(ws, mix)):
        st.warning(
            plain(
                f"Since mix {wanted} was drawn, {', '.join(changed)} changed or went away. What stands below is drawn "
                "from the sources as they are now; the saved mix keeps its own samples."
            )
        )


def _keep_in_url(ws: Workspace, spec: MixSpec) -> None:
    """The draft stands in the URL while it is neither the mix that stands there nor what the page starts with."""
    text, known = as_link(spec), st.session_state.get(STARTED)
    with contextlib.suppress(LimitError):  # `_open_link` has said what is wrong with the mix
        if wanted := st.query_params.get("mix"):
            known = as_link(MixSpec.from_dict(load_mix(ws, wanted)["spec"]))
    if text is None or text == known:
        st.query_params.pop("draft", None)
    elif st.query_params.get("draft") != text:
        st.query_params["draft"] = st.session_state[LINKED] = text


def _presets(sources: dict[str, Json]) -> None:
    """Start over from one of the paper's mixes, or from nothing."""
    mixes = {mix["id"]: mix for mix in paper_mixes()}
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    chosen = left.selectbox(
        "Start from a mix of the paper",
        [None, *mixes],
        key="preset",
        format_func=lambda key: "my own" if key is None else mixes[key]["title"],
    )
    if clicked("Take it", "take-preset", right, disabled=chosen is None, width="stretch") and chosen:
        spec = preset_spec(chosen)
        missing = sorted({part.source for part in spec.parts} - sources.keys())
        if missing:
            st.session_state["preset-missing"] = missing
        else:
            st.session_state.pop("preset-missing", None)
            load(spec, mixes[chosen]["title"])
            st.rerun()
    if absent := st.session_state.get("preset-missing"):
        next_step(
            f"This mix needs {', '.join(absent)}, which the workspace does not hold yet.",
            "pages/samples.py",
            "Fetch it",
            {"view": "Add or fetch"},
        )


def _spec_or_error() -> MixSpec | None:
    try:
        return to_spec()
    except LimitError as error:
        show_error(str(error))
        return None


def _contents(ws: Workspace, spec: MixSpec) -> None:
    with errors_in_words():
        described = live_panel(ws, spec)
        look_panel(ws, spec, described)
        _save(ws, spec)


def _save(ws: Workspace, spec: MixSpec) -> None:
    """Build the mix, check it, and go on to the launch."""
    held = draft()
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    key = f"mix-name-{held['version']}"
    name = left.text_input("Name", held["name"], key=key, placeholder=spec.label()[:80], max_chars=200)
    held["name"] = name or ""
    allowed = may("analyst")
    look: dict[str, Any] = {"type": "primary", "width": "stretch", "disabled": not allowed, "icon": ":material/save:"}
    if clicked("Save this mix", "mix-save", right, **look):
        with st.spinner("Drawing the samples"):
            mix = build_mix(ws, spec, (name or "").strip() or None)
        st.session_state["mix-saved"] = (mix["mix_id"], spec.id())
        st.session_state["mix-opened"] = mix["mix_id"]
        st.query_params.pop("draft", None)
        st.query_params["mix"] = mix["mix_id"]
    saved = _saved_as(ws, spec)
    if saved is None:
        st.caption("Save the mix to check it and to launch with it.")
        return
    st.success(plain(f"mix {saved['mix_id']} · {saved['rows']:,} samples · {saved['name']}"), icon=":material/check:")
    checks_section(ws, saved)
    st.page_link(
        "pages/launch.py",
        label="Launch with this mix",
        icon=":material/rocket_launch:",
        query_params={"mix": saved["mix_id"]},
    )


def _saved_as(ws: Workspace, spec: MixSpec) -> Json | None:
    """The built mix with exactly this request and the sources as they are now, if there is one."""
    hashes = {source["source"]: source["content_sha256"] for source in list_sources(ws)}
    request = spec.to_dict()
    for mix in list_mixes(ws):
        if mix["spec"] == request and all(hashes.get(s) == h for s, h in mix["sources"].items()):
            return mix
    return None
