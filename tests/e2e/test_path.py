"""The whole path by clicking: a mix, a finetune that outlives the app, bars on the Gauntlet page."""

from __future__ import annotations

import time
from typing import Any

import pytest

from limit.jobs import list_jobs
from limit.settings import SHIPPED
from tests.e2e.conftest import App
from tests.e2e.visitor import WIDE, open_page, wait_until_still, walk_to

pytestmark = pytest.mark.skipif(
    not (SHIPPED / "tiny" / "model" / "model.safetensors").exists(), reason="the tiny model does not ship yet"
)
JOB_LIMIT_S = 400


def set_amount(page: Any, part: int, rows: int) -> None:
    """Type how many rows a part of the mix takes."""
    box = page.get_by_role("spinbutton", name="exactly").nth(part)
    box.fill(str(rows))
    box.press("Enter")
    wait_until_still(page)


def wait_for_jobs(app: App, kinds: set[str]) -> dict[str, dict[str, Any]]:
    """Wait until one job of each kind has ended; returns them by kind."""
    deadline = time.monotonic() + JOB_LIMIT_S
    while time.monotonic() < deadline:
        jobs = {job["kind"]: job for job in list_jobs(app.ws)}
        if kinds <= jobs.keys() and all(jobs[k]["status"]["state"] not in ACTIVE for k in kinds):
            return jobs
        time.sleep(1)
    raise AssertionError(f"jobs did not end: {[(job['kind'], job['status']) for job in list_jobs(app.ws)]}")


ACTIVE = {"queued", "starting", "running", "stopping"}


def test_from_mix_to_bars_with_a_crash_of_the_app_in_between(app: App, context: Any) -> None:
    page, complaints = open_page(context, f"{app.url}/mix", WIDE, "light")
    assert complaints == []
    page.get_by_role("button", name="Add a part").click()
    page.get_by_role("button", name="tiny-lima").click()
    wait_until_still(page)
    set_amount(page, 0, 40)
    set_amount(page, 1, 20)
    page.get_by_role("button", name="Save this mix").click()
    page.get_by_role("link", name="Launch with this mix").click()
    page.get_by_role("heading", name="Launch", level=1).wait_for(timeout=60_000)
    wait_until_still(page)
    page.get_by_text("Score it on the Gauntlet").click()
    wait_until_still(page)
    limit = page.get_by_role("spinbutton", name="Records of each task")
    limit.fill("2")
    limit.press("Enter")
    wait_until_still(page)
    page.get_by_role("button", name="Launch", exact=True).click()
    page.get_by_role("heading", name="Runs", level=1).wait_for(timeout=60_000)
    page.close()
    assert {job["kind"] for job in list_jobs(app.ws)} >= {"finetune", "gauntlet"}

    app.kill()
    app.start()
    jobs = wait_for_jobs(app, {"finetune", "gauntlet"})
    assert {kind: job["status"]["state"] for kind, job in jobs.items()} == {
        "finetune": "finished",
        "gauntlet": "finished",
    }
    run_id = jobs["finetune"]["subject"]["run_id"]

    page, complaints = open_page(context, f"{app.url}/runs?job={jobs['finetune']['job_id']}", WIDE, "light")
    assert complaints == []
    assert "finished" in page.locator("[data-testid=stMain]").inner_text()
    walk_to(page, "Gauntlet")
    assert page.get_by_role("radio", name="mini").is_checked()
    bars = page.locator(".js-plotly-plot .bars .point")
    bars.first.wait_for(timeout=60_000)
    assert (app.ws.run(run_id) / "gauntlet").is_dir()
    assert "tiny" in page.locator("[data-testid=stMain]").inner_text()
    assert complaints == []
