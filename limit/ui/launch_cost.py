"""The cost card of the Launch page: memory against the device, time, disk, money, place in the queue, the command."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from limit import jobs
from limit.finetune.estimate import Estimate
from limit.formats import count, duration, money
from limit.settings import Workspace
from limit.specs.run import RunSpec
from limit.studies.chain import FollowUps, command_of
from limit.ui.shell import plain

FITS_ICONS = {
    "fits": ":material/check_circle:",
    "tight": ":material/warning:",
    "does not fit": ":material/block:",
    "unknown": ":material/help:",
}


def show_costs(ws: Workspace, estimates: Sequence[Estimate], follow: FollowUps) -> None:
    """The figures; with nothing chosen it says what is missing."""
    st.subheader("What it will cost", anchor=False)
    if not estimates:
        st.caption("Choose a model, a mix and a seed.")
        return
    show_memory(max(estimates, key=lambda estimate: estimate.memory_gb / max(estimate.device_memory_gb, 1e-9)))
    _figures(estimates, follow)
    tokens = count(sum(estimate.tokens for estimate in estimates))
    st.caption(plain(f"{tokens} tokens in all. Time {estimates[0].basis}. {_place(ws)}"))


def show_commands(specs: Sequence[RunSpec], gpus: int | None) -> None:
    """What a person would type instead of clicking."""
    if specs:
        st.caption("The same from a shell")
        st.code("\n".join(command_of(spec, gpus) for spec in specs), language="bash", wrap_lines=True)


def _figures(estimates: Sequence[Estimate], follow: FollowUps) -> None:
    left, right = st.columns(2)
    left.metric("Runs", f"{len(estimates)}")
    right.metric("Time in all", duration(sum(estimate.seconds for estimate in estimates)))
    steps = sorted({estimate.steps for estimate in estimates})
    left.metric("Steps each", count(steps[0]) if len(steps) == 1 else f"{count(steps[0])}-{count(steps[-1])}")
    disk = sum(estimate.disk_gb for estimate in estimates)
    right.metric("Disk at most", sized(disk))
    if follow.budget_usd:
        left.metric("Judge at most", money(follow.budget_usd * len(estimates)))
    if disk > estimates[0].free_disk_gb:
        st.warning(f"Only {estimates[0].free_disk_gb:.1f} GB are free on the disk.", icon=":material/hard_drive:")


def show_memory(estimate: Estimate) -> None:
    """Whether a finetune fits, why, and what its memory is for."""
    st.markdown(f"{FITS_ICONS[estimate.fits]} **{estimate.fits.capitalize()}**")
    st.caption(plain(estimate.why))
    st.progress(min(1.0, estimate.memory_gb / max(estimate.device_memory_gb, 1e-9)))
    parts = (
        ("weights", estimate.weights_gb), ("gradients", estimate.gradients_gb), ("optimizer", estimate.optimizer_gb),
        ("activations", estimate.activations_gb), ("the rest", estimate.other_gb),
    )  # fmt: skip
    st.caption(plain(" · ".join(f"{name} {sized(value)}" for name, value in parts)))
    if estimate.activation_checkpointing:
        st.caption("Activations are recomputed to save memory, which costs about a third more time.")


def sized(value: float) -> str:
    """Gigabytes as 1.2 GB or 340 MB."""
    return f"{value * 1000:.0f} MB" if value < 1 else f"{value:.1f} GB"


def _place(ws: Workspace) -> str:
    now = jobs.counts(ws)
    waiting, running = now.get("queued", 0), now.get("running", 0)
    if waiting + running == 0:
        return "It starts at once."
    return f"It starts after {running} running and {waiting} queued jobs."
