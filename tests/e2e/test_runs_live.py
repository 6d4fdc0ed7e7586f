"""The Runs page while a real finetune runs: figures move by themselves, stop and keep, resume."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageColor
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from limit import tiny
from limit.charts.palette import Palette
from limit.finetune.launch import launch_finetune
from limit.jobs import show, status
from limit.mixes import build_mix
from limit.recipes import load_recipe
from limit.settings import SHIPPED
from limit.specs import MixPart, MixSpec
from limit.specs.run import RunSpec
from limit.store.series import source_series
from tests.e2e.conftest import App
from tests.e2e.visitor import WIDE, new_page

pytestmark = pytest.mark.skipif(
    not (SHIPPED / "tiny" / "model" / "model.safetensors").exists(), reason="the tiny model does not ship yet"
)
LONG = ["epochs=300", "global_batch_size=4", "micro_batch_size=4", "held_out_per_part=0"]
STEP = re.compile(r"(\d+) of (\d+)")


def start_finetune(app: App) -> str:
    """A finetune on both shipped sources that is too long to end before it is stopped. Returns the job's id."""
    tiny.ensure_sources(app.ws)
    parts = (MixPart(source="tiny-instruct", take=48), MixPart(source="tiny-lima", take=16))
    mix_id = build_mix(app.ws, MixSpec(parts=parts, seed=17), "short")["mix_id"]
    recipe = load_recipe("tiny").with_settings(LONG)
    spec = RunSpec(model="tiny", mix_id=mix_id, recipe_name="tiny", recipe=recipe, seed=23)
    return str(launch_finetune(app.ws, spec)["job_id"])


def whole_reruns(page: Any) -> Callable[[], int]:
    """Count, from what the server sends, how often it ran the whole page and not only a fragment of it."""
    seen: list[bytes] = []

    def listen(socket: Any) -> None:
        socket.on("framereceived", lambda payload: seen.append(payload) if isinstance(payload, bytes) else None)

    page.on("websocket", listen)

    def count() -> int:
        messages = [ForwardMsg.FromString(payload) for payload in seen]
        ends = [m.script_finished for m in messages if m.WhichOneof("type") == "script_finished"]
        return ends.count(ForwardMsg.FINISHED_SUCCESSFULLY)

    return count


def step_on(page: Any) -> int:
    """The step that the page shows."""
    shown = page.get_by_text(STEP).first
    shown.wait_for(timeout=60_000)
    found = STEP.search(shown.inner_text())
    assert found is not None
    return int(found[1])


def wait_for_badge(page: Any, state: str) -> None:
    page.locator("[data-testid=stMain] .stMarkdownBadge", has_text=state).first.wait_for(timeout=90_000)


def goes_beyond(app: App, job_id: str, step: int) -> None:
    """Wait until the job has done more than `step` steps: it went on from its checkpoint, not from the start."""
    deadline = time.monotonic() + 60
    while (status(app.ws, job_id)["step"] or 0) <= step:
        assert time.monotonic() < deadline, status(app.ws, job_id)
        time.sleep(0.5)


def share_of_first_source(page: Any) -> float:
    """How much of the two colours of the mix bar in the history is that of tiny-instruct, as it is seen."""
    picture = Image.open(BytesIO(page.locator("[data-testid=stDataFrame]").screenshot())).convert("RGB")
    wanted = [ImageColor.getrgb(Palette.light().colour(source_series(name))) for name in ("tiny-instruct", "tiny-lima")]
    found = {colour: n for n, colour in picture.getcolors(1 << 24) or []}
    first, second = (found.get(colour, 0) for colour in wanted)
    assert first and second, "the table shows no mix bar"
    return first / (first + second)


def awaits(page: Any, label: str, value: str) -> None:
    """Wait for a text field to hold a value: the page draws it empty first."""
    from playwright.sync_api import expect

    expect(page.get_by_role("textbox", name=label, exact=True)).to_have_value(value, timeout=60_000)


def test_figures_move_without_a_rerun_and_stop_and_resume_work(app: App, context: Any) -> None:
    job_id = start_finetune(app)
    page = new_page(context, app.url, WIDE, "light")
    reruns = whole_reruns(page)
    page.goto(f"{app.url}/runs")
    step_on(page)
    page.wait_for_timeout(1000)  # the page around the card is drawn to its end
    first, before = step_on(page), reruns()
    assert before > 0, "the messages of the server could not be read"
    page.wait_for_function(
        "first => { const m = document.body.innerText.match(/(\\d+) of (\\d+)/); return m && +m[1] > first }",
        arg=first,
        timeout=30_000,
        polling=100,
    )
    assert reruns() == before
    assert page.locator(".limit-bar").count() == 1, "the card shows what the mix is made of"

    page.get_by_role("button", name="Finetune").first.click()
    page.get_by_role("button", name="Stop and keep").click()
    wait_for_badge(page, "stopped")
    assert f"job={job_id}" in page.url
    stopped_at = status(app.ws, job_id)["step"]
    page.get_by_role("button", name="Resume").click()
    wait_for_badge(page, "running")
    goes_beyond(app, job_id, stopped_at)
    assert "attempt 2" in page.locator("[data-testid=stMain]").inner_text()
    page.get_by_role("button", name="Stop and keep").click()
    wait_for_badge(page, "stopped")

    page.get_by_role("link", name="Clone with one change").click()
    page.get_by_text("Starts from run").wait_for(timeout=60_000)
    assert f"clone={show(app.ws, job_id)['subject']['run_id']}" in page.url
    awaits(page, "Seeds", "23")
    page.get_by_text("All settings").first.click()
    awaits(page, "Epochs", "300")
    awaits(page, "Global batch size", "4")
    assert page.locator("[data-testid=stMultiSelect]", has_text="short").count() == 1, "the mix is chosen"

    page.go_back()
    wait_for_badge(page, "stopped")
    page.get_by_role("button", name="All jobs").click()
    page.locator("[data-testid=stDataFrame]").wait_for(timeout=60_000)
    page.wait_for_timeout(3000)  # pictures of cells come after the table
    assert share_of_first_source(page) == pytest.approx(0.75, abs=0.04), "the mix is 48 and 16 samples"
