"""Check a mix in the background: the one function behind the command line and the page."""

from __future__ import annotations

from limit import jobs
from limit.core import Json, utc_now
from limit.mixes.listing import load_mix
from limit.settings import Workspace


def launch_check(ws: Workspace, mix_id: str, data: str | None = None) -> Json:
    """Enqueue the checks of a mix. Returns {job_id, mix_id, state}. Raises LimitError for an unknown mix."""
    mix = load_mix(ws, mix_id)
    arguments = ["mix", "check", mix_id, *(["--data", data] if data else [])]
    running = [
        job["job_id"]
        for job in jobs.list_jobs(ws)
        if job["kind"] == "check" and job["arguments"] == arguments and job["status"]["state"] not in jobs.ENDED
    ]
    if running:
        return {"job_id": running[0], "mix_id": mix_id, "state": jobs.status(ws, running[0])["state"]}
    request = jobs.JobRequest(
        kind="check",
        title=f"Check mix {mix['name'][:60]}",
        arguments=arguments,
        subject={"mix_id": mix_id},
        gpus=0,
        request_id=f"check-{mix_id}-{utc_now()}",
    )
    job_id = jobs.start(ws, request)
    return {"job_id": job_id, "mix_id": mix_id, "state": jobs.status(ws, job_id)["state"]}
