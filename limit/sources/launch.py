"""Start the long work on sources in the background: the one place behind the command line and the pages."""

from __future__ import annotations

from typing import Any, Literal

from limit import jobs
from limit.core import Json, LimitError, content_id, utc_now
from limit.settings import Workspace, safe_name
from limit.sources.embeddings import embedding_folder
from limit.sources.listing import source_info


def launch_work(ws: Workspace, kind: Literal["index", "topics"], source: str, embeddings: str | None = None) -> Json:
    """Enqueue the index or the topics of a source; the same content by the same means is the same job.

    `embeddings` is a folder of a sentence-embedding model for topics. Returns {job_id, source, state}. Raises
    LimitError for an unknown source or a folder without a model.
    """
    info = source_info(ws, source)
    model = embedding_folder(embeddings) if embeddings else None
    means = f"-{content_id(str(model))}" if model else ""
    request = jobs.JobRequest(
        kind=kind,
        title=f"{'Search index' if kind == 'index' else 'Topics'} of {source}",
        arguments=["sources", kind, source, *(["--embeddings", str(model)] if model else [])],
        subject={"source": source},
        gpus=0,
        request_id=f"{kind}-{source}-{info['content_sha256'][:16]}{means}",
    )
    return _start(ws, request, source)


def launch_add(ws: Workspace, name: str, path: str, options: list[str]) -> Json:
    """Enqueue `sources add NAME PATH` with further options of that verb. Returns {job_id, source, state}."""
    request = jobs.JobRequest(
        kind="add",
        title=f"Add {name}",
        arguments=["sources", "add", name, path, *options],
        subject={"source": safe_name(name, "source")},
        gpus=0,
        request_id=f"add-{name}-{utc_now()}",
    )
    return _start(ws, request, name)


def launch_fetch(ws: Workspace, wanted: Json, options: Any = None) -> Json:
    """Enqueue the fetch of what `fetch.resolve` named. Returns {job_id, source, state}."""
    arguments = ["sources", "fetch", wanted["catalog_id"] or wanted["hub_id"], "--name", wanted["name"]]
    arguments += ["--split", wanted["split"]]
    for flag, value in (("--config", "config"), ("--from", "folder")):
        if getattr(options, value, None):
            arguments += [flag, str(getattr(options, value))]
    arguments += ["--first-turn-only"] if getattr(options, "first_turn_only", False) else []
    arguments += ["--replace"] if getattr(options, "replace", False) else []
    request = jobs.JobRequest(
        kind="fetch",
        title=f"Fetch {wanted['hub_id']}",
        arguments=arguments,
        subject={"source": wanted["name"]},
        gpus=0,
    )
    return _start(ws, request, wanted["name"])


def wait_for(ws: Workspace, job_id: str) -> Json:
    """Block until a job has finished and return its result. Raises LimitError with its reason when it failed."""
    status = jobs.wait(ws, job_id)
    if status["state"] != "finished":
        raise LimitError(status.get("reason") or f"job {job_id} ended as {status['state']}; see `jobs tail {job_id}`")
    return {**(jobs.result(ws, job_id) or {}), "state": status["state"]}


def _start(ws: Workspace, request: jobs.JobRequest, source: str) -> Json:
    job_id = jobs.start(ws, request)
    return {"job_id": job_id, "source": source, "state": jobs.status(ws, job_id)["state"]}
