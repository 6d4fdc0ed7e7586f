"""Fetch a data set from the Hugging Face Hub, or from a folder shaped like one, into the workspace.

Rows are streamed into compressed parts that survive a crash; the next attempt goes on after the last whole part. When
all are there they are read like any other file. The hub token comes from the environment (HF_TOKEN) alone.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError, explained, read_json, write_atomic, write_json
from limit.jobs.context import JobContext
from limit.settings import Workspace, safe_name
from limit.sources.add import About, write_source
from limit.sources.catalog import card_text, catalog, is_non_commercial, licence_on_card
from limit.sources.jsontext import Record
from limit.sources.readers import read_records

PART_ROWS = 5_000
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def resolve(source: str, name: str | None = None, split: str | None = None) -> Json:
    """What to fetch: {name, hub_id, split, licence, title, catalog_id}. `source` is a catalogue id, a hub id or a
    folder.

    Raises LimitError when it is none of these.
    """
    known = next((entry for entry in catalog() if source in (entry["id"], entry["hub_id"])), None)
    if known:
        return {
            "name": safe_name(name or known["id"], "source"),
            "hub_id": known["hub_id"],
            "split": split or known["split"],
            "catalog_id": known["id"],
            "rows": known["rows"],
        }
    folder = Path(source).expanduser()
    if not folder.is_dir() and not HUB_ID.fullmatch(source):
        ids = ", ".join(entry["id"] for entry in catalog())
        raise LimitError(f"{source!r} is no catalogue id, hub id (owner/name) or folder; the catalogue has {ids}")
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name if folder.is_dir() else source.split("/")[1]).strip("-.")
    hub_id = str(folder.resolve()) if folder.is_dir() else source
    return {
        "name": safe_name(name or short, "source"),
        "hub_id": hub_id,
        "split": split or "train",
        "catalog_id": None,
        "rows": None,
    }


def fetch_source(
    ws: Workspace,
    wanted: Json,
    context: JobContext,
    *,
    folder: Path | None = None,
    config: str | None = None,
    keep_turns: bool = True,
    replace: bool = False,
) -> Json:
    """Stream the data set that `resolve` named into `sources/<name>/`; `folder` is a local copy to read instead.

    Returns the report of `add_source`, or {stopped, rows} when asked to stop. Raises LimitError when the hub cannot be
    reached, the set is gated or does not exist, or none of its rows can be used.
    """
    place = str(folder.expanduser().resolve()) if folder else wanted["hub_id"]
    parts = ws.make().sources / f".fetch-{wanted['name']}"
    rows, complete = _download(parts, place, wanted, config, context)
    if not complete:
        return {"stopped": True, "rows": rows}

    def records() -> Iterator[tuple[str, Record]]:
        for file in sorted(parts.glob("part-*.jsonl.zst")):
            for record in read_records(file):
                yield file.name, record

    about = About(None, None, None, wanted["hub_id"], wanted["catalog_id"])
    if wanted["catalog_id"] is None:
        about = About(None, licence_on_card(card_of(place)), None, wanted["hub_id"], None)
    report = write_source(
        ws, wanted["name"], records(), about, "auto", keep_turns, None, replace, lambda n: context.progress(n, rows)
    )
    shutil.rmtree(parts, ignore_errors=True)
    return {**report, "fetched": rows, "non_commercial": is_non_commercial(report["licence"])}


def _download(parts: Path, place: str, wanted: Json, config: str | None, context: JobContext) -> tuple[int, bool]:
    """Stream rows into part files; returns how many there are and whether these are all."""
    import zstandard

    state_path = parts / "state.json"
    request = {"place": place, "split": wanted["split"], "config": config}
    state = read_json(state_path) if state_path.is_file() else {}
    if state.get("request") != request:
        shutil.rmtree(parts, ignore_errors=True)
        state = {"request": request, "parts": 0, "rows": 0, "position": None, "complete": False}
    if state["complete"]:
        return int(state["rows"]), True
    with explained(parts):
        parts.mkdir(parents=True, exist_ok=True)
    with hub_errors_in_words(place):
        stream = _open_stream(place, wanted["split"], config)
        if state["position"]:
            stream.load_state_dict(state["position"])
        for batch in _batches(stream):
            lines = "".join(json.dumps(row, ensure_ascii=True, default=str) + "\n" for row in batch)
            name = f"part-{state['parts']:06d}.jsonl.zst"
            write_atomic(parts / name, zstandard.ZstdCompressor().compress(lines.encode()))
            state.update(parts=state["parts"] + 1, rows=state["rows"] + len(batch), position=stream.state_dict())
            write_json(state_path, state)
            context.progress(state["rows"], wanted["rows"])
            if context.stop_requested():
                return int(state["rows"]), False
    write_json(state_path, {**state, "complete": True})
    return int(state["rows"]), True


def _open_stream(place: str, split: str, config: str | None) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(place, config, split=split, streaming=True)


def _batches(stream: Any) -> Iterator[list[Json]]:
    batch: list[Json] = []
    for row in stream:
        batch.append(row)
        if len(batch) >= PART_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


class hub_errors_in_words:
    """Turn what `datasets` and the hub client raise into one sentence with the next thing to do."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, LimitError) or not isinstance(error, Exception):
            return
        raise LimitError(_explain(self.place, error)) from error


def _explain(place: str, error: Exception) -> str:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    names = {base.__name__ for item in chain for base in type(item).__mro__}
    text = " ".join(str(item) for item in chain).lower()
    detail = " ".join(str(error).split())[:200]
    local = "or add a copy on this machine with `sources add NAME PATH`"
    if "GatedRepoError" in names or "gated" in text:
        return (
            f"{place} is gated; accept its terms on https://huggingface.co/datasets/{place}, put your token into the "
            f"environment variable HF_TOKEN and fetch again, {local}"
        )
    if names & {"ConnectionError", "OfflineModeIsEnabled", "ConnectError", "TimeoutException", "MaxRetryError"} or (
        "offline" in text or "couldn't reach" in text or "connection" in text
    ):
        return f"the Hugging Face Hub cannot be reached for {place}; connect this machine and fetch again, {local}"
    if names & {"DatasetNotFoundError", "RepositoryNotFoundError", "FileNotFoundError", "EmptyDatasetError"}:
        return (
            f"the data set {place} does not exist, is empty, or is private ({detail}); check its name, or set HF_TOKEN"
        )
    if "StopIteration" in names:
        return f"{place} holds files without a single record; fetch another split or configuration"
    if "split" in text or "config" in text:
        return f"{place} cannot be opened as asked ({detail}); choose another --split or --config"
    return f"{place} cannot be fetched ({type(error).__name__}: {detail}); fetch again, {local}"


def card_of(place: str) -> str:
    """The text of a data set's README, empty where there is none or the hub does not give it."""
    card = Path(place) / "README.md"
    if not Path(place).is_dir():
        from huggingface_hub import hf_hub_download

        with contextlib.suppress(Exception):  # a licence that cannot be read is unknown, and shown as unknown
            card = Path(hf_hub_download(place, "README.md", repo_type="dataset"))
    return card_text(card)
