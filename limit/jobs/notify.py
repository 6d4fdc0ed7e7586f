"""Tell somebody by webhook that a job ended: one POST of JSON, only when `LIMIT_WEBHOOK_URL` is set."""

from __future__ import annotations

import json
import os

from limit.core import Json

TIMEOUT_S = 5.0


def notify(job: Json, status: Json) -> str | None:
    """Post the outcome. Returns None without a webhook, `sent`, or why it could not be sent; never raises."""
    url = os.environ.get("LIMIT_WEBHOOK_URL", "").strip()
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        return "not sent: LIMIT_WEBHOOK_URL is no http or https address"
    import urllib.request  # every supervisor loads this module, few have somebody to tell

    body = json.dumps(message(job, status)).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "User-Agent": "limit"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return "sent"
    except (OSError, ValueError) as error:
        return f"not sent: {error}"


def message(job: Json, status: Json) -> Json:
    """What is posted; `text` is what chat services show."""
    words = f"{job['title']}: {status['state']}"
    if status.get("reason"):
        words += f" ({status['reason']})"
    fields = ("state", "reason", "what_to_do", "exit_code", "started", "ended", "step", "total")
    shown = {name: status.get(name) for name in fields}
    return {"text": words, "job_id": job["job_id"], "kind": job["kind"], "title": job["title"], **shown}
