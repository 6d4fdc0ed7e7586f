"""Where jobs run: the places of this machine, or a Ray cluster that is chosen here for the whole workspace."""

from __future__ import annotations

import os

import streamlit as st

from limit.access import may
from limit.core import LimitError
from limit.jobs.cluster import Cluster, checked, choose_cluster, cluster_of, problem_of
from limit.jobs.slots import machine_slots
from limit.settings import Workspace
from limit.ui.clicks import clicked
from limit.ui.shell import errors_in_words, plain, show_error


def show_where(ws: Workspace) -> None:
    """A button that says where jobs run and opens the choice."""
    try:
        cluster = cluster_of(ws)
    except LimitError as error:
        show_error(str(error))
        cluster = None
    label = "Jobs run on a Ray cluster" if cluster else f"Jobs run on this machine, {places_words()}"
    with st.popover(label, icon=":material/dns:"):
        if cluster is not None:
            st.caption(plain(f"Jobs that need a GPU go to {cluster.address}; everything else runs here."))
        if os.environ.get("LIMIT_RAY_ADDRESS"):
            st.caption("LIMIT\\_RAY\\_ADDRESS decides this; unset it to choose here.")
        elif may("operator"):
            _choose(ws, cluster)


def places_words() -> str:
    """How many jobs that need a GPU may run here at a time."""
    try:
        slots = machine_slots()
    except LimitError as error:
        return str(error)
    kind = "GPU" if any(slot.gpu for slot in slots) else "CPU"
    return f"{len(slots)} {kind} place{'s' if len(slots) != 1 else ''}"


def _choose(ws: Workspace, cluster: Cluster | None) -> None:
    address = st.text_input(
        "Ray cluster", cluster.address if cluster else "", placeholder="http://head:8265", key="ray-address"
    )
    python = st.text_input(
        "Its Python",
        cluster.python if cluster else "python",
        key="ray-python",
        help="What the cluster's machines run workers with; workspace and project lie at the same path there.",
    )
    with st.container(horizontal=True):
        if clicked("Use this cluster", "ray-use", disabled=not address.strip()):
            with errors_in_words():
                if problem := problem_of(checked(address, python)):
                    raise LimitError(f"not chosen: {problem}")
                choose_cluster(ws, address, python)
                st.rerun()
        if cluster is not None and clicked("Use this machine", "ray-off"):
            with errors_in_words():
                choose_cluster(ws, None)
                st.rerun()
