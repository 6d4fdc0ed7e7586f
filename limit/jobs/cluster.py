"""Which Ray cluster jobs go to, if any: what `LIMIT_RAY_ADDRESS` says, else what was chosen for this workspace.

The choice is a small file beside the queue, made on the Runs page or by `limit jobs cluster`; a token for the cluster
is Ray's own matter (`RAY_AUTH_MODE=token`, `RAY_AUTH_TOKEN`) and is never written down.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from limit.access import require
from limit.core import LimitError, explained, read_json, write_json
from limit.settings import Workspace

ANSWER_S = 5.0
_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


@dataclass(frozen=True)
class Cluster:
    """A cluster that somebody already runs; `python` is what its machines run workers with."""

    address: str
    python: str = "python"


def setting_file(ws: Workspace) -> Path:
    """Where the choice for a workspace is kept."""
    return ws.jobs / ".cluster.json"


def cluster_of(ws: Workspace) -> Cluster | None:
    """Where jobs that need a GPU go; None for this machine. Raises LimitError when the choice cannot be read."""
    address = os.environ.get("LIMIT_RAY_ADDRESS", "").strip()
    if address:
        return Cluster(address, os.environ.get("LIMIT_RAY_PYTHON") or "python")
    path = setting_file(ws)
    if not path.exists():
        return None
    chosen = read_json(path)
    return checked(str(chosen.get("address")), str(chosen.get("python") or "python"))


def choose_cluster(ws: Workspace, address: str | None, python: str | None = None) -> Cluster | None:
    """Send jobs to the cluster at `address` from now on, or with None keep them here. What runs is left alone.

    Raises LimitError for what is no address, and where the environment has decided already.
    """
    require("operator", "choose where jobs run")
    if os.environ.get("LIMIT_RAY_ADDRESS", "").strip():
        raise LimitError("LIMIT_RAY_ADDRESS decides where jobs run; unset it to choose here")
    path = setting_file(ws)
    if address is None or not address.strip():
        with explained(path):
            path.unlink(missing_ok=True)
        return None
    cluster = checked(address, python or "")
    with explained(ws.jobs):
        ws.jobs.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(cluster))
    return cluster


def checked(address: str, python: str = "python") -> Cluster:
    """A cluster as a person named it. Raises LimitError for what is no address."""
    if not _ADDRESS.fullmatch(address.strip()):
        raise LimitError(f"{address!r} is no address of a Ray cluster; give one such as http://head:8265")
    return Cluster(address.strip(), python.strip() or "python")


def problem_of(cluster: Cluster) -> str | None:
    """Why jobs could not go to a cluster at this moment, in one sentence; None when it answers."""
    if find_spec("ray") is None:
        return "the package ray is not installed here; run pip install 'ray[default]'"
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"{cluster.address.rstrip('/')}/api/version", headers={"User-Agent": "limit"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S):
            return None
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):  # it is there; Ray's client brings the token
            return None if os.environ.get("RAY_AUTH_TOKEN") else "the cluster asks for a token; set RAY_AUTH_TOKEN"
        return f"the cluster at {cluster.address} answers with an error: {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        return f"the cluster at {cluster.address} does not answer: {getattr(error, 'reason', error)}"
