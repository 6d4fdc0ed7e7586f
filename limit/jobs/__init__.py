"""Background jobs: a queue on disk, one supervisor per job, slots that are kernel locks.

    job_id = start(ws, JobRequest("finetune", "tiny on lima", ["finetune", "--model", "tiny", "--mix", mix_id]))
    wait(ws, job_id)["state"]

Nothing here needs a running server: the app, the command line and the supervisors all call the same functions.
"""

from limit.jobs.control import Place, hold, is_paused, move, pause, remove, resume, start, stop
from limit.jobs.queue import schedule
from limit.jobs.rundir import ACTIVE, ENDED, QUEUED, STATES, JobRequest
from limit.jobs.view import counts, list_jobs, result, show, status, tail, wait

__all__ = [
    "ACTIVE",
    "ENDED",
    "QUEUED",
    "STATES",
    "JobRequest",
    "Place",
    "counts",
    "hold",
    "is_paused",
    "list_jobs",
    "move",
    "pause",
    "remove",
    "result",
    "resume",
    "schedule",
    "show",
    "start",
    "status",
    "stop",
    "tail",
    "wait",
]
