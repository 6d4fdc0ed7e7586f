"""Background jobs: from click to running worker, a page with many jobs, a supervisor's memory.

    python -m tests.bench.bench_jobs

Each figure stands beside a peer measured in the same run: a bare Python process for the start, and the page without
jobs for the page with 550.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from limit import jobs
from limit.core import append_jsonl, write_json
from limit.jobs.queue import job_lock
from limit.jobs.rundir import new_status, write_status
from limit.settings import PROJECT, Workspace

STARTS = 20
RERUNS = 15
STEPS = 300
MIX = "0123456789ab"
APP = (
    "import streamlit as st\n"
    "st.session_state['limit-routed'] = True  # this small app stands in for app.py\n"
    "st.navigation([st.Page('pages/runs.py', title='Runs'), st.Page('pages/launch.py', title='Launch')]).run()\n"
)


def request(ws: Workspace, name: str, steps: int = 3) -> jobs.JobRequest:
    words = [str(ws.root / "out" / name), "--steps", str(steps)]
    return jobs.JobRequest("export", name, words, module="tests.jobs.fake_worker")


def click_to_running(ws: Workspace, name: str) -> float:
    """Seconds from `start` to the worker's first line of Python, which it leaves in starts.txt."""
    began = time.perf_counter()
    job_id = jobs.start(ws, request(ws, name))
    while not (ws.root / "out" / name / "starts.txt").exists():
        time.sleep(0.001)
    seconds = time.perf_counter() - began
    jobs.wait(ws, job_id)
    return seconds


def bare_process(folder: Path, name: str) -> float:
    """Seconds to start one Python process that imports nothing and touches a file."""
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", f"open({str(folder / name)!r}, 'w')"])
    while not (folder / name).exists():
        time.sleep(0.001)
    seconds = time.perf_counter() - began
    child.wait()
    return seconds


def supervisor_mb(ws: Workspace) -> tuple[float, float]:
    """Resident and unique memory of a supervisor at work, in MB."""
    job_id = jobs.start(ws, request(ws, "memory", 2000))
    while jobs.status(ws, job_id)["state"] != "running":
        time.sleep(0.05)
    time.sleep(2)
    memory = psutil.Process(jobs.status(ws, job_id)["supervisor_pid"]).memory_full_info()
    jobs.stop(ws, job_id)
    jobs.wait(ws, job_id)
    return memory.rss / 1e6, memory.uss / 1e6


def fill(ws: Workspace, finished: int, queued: int) -> None:
    """Finetunes that never ran, the finished ones with curves, all of one mix; the queue is paused so none starts."""
    jobs.pause(ws)
    counts = [{"source": name, "subset": "", "rows": 100} for name in ("tiny-instruct", "tiny-lima")]
    write_json(ws.mix(MIX) / "mix.json", {"mix_id": MIX, "counts": counts})
    curve = [{"kind": "train", "step": step, "loss": 5 / step} for step in range(1, STEPS + 1)]
    for number in range(finished + queued):
        run_id = f"{number:012x}"
        subject = {"run_id": run_id, "mix_id": MIX}
        words = ["finetune", "--run", run_id]
        asked = jobs.JobRequest("finetune", f"job {number}", words, subject=subject)
        if number < finished:
            append_jsonl(ws.run(run_id) / "train" / "metrics.jsonl", curve, sync=False)
        folder = ws.job(asked.job_id())
        write_json(folder / "job.json", asked.to_job("bench"))
        ended = {
            "state": "finished",
            "exit_code": 0,
            "started": "2026-01-01T00:00:00Z",
            "ended": "2026-01-01T00:01:00Z",
        }
        write_status(folder, {**new_status(1, number), **(ended if number < finished else {})})
        job_lock(folder).touch()


def rerun_seconds(ws: Workspace, folder: Path) -> Callable[[], tuple[float, float]]:
    """A function that reruns the Runs page over `ws` and returns its seconds: by the clock, and of the processor."""
    from streamlit.testing.v1 import AppTest

    os.environ["LIMIT_HOME"] = str(ws.root)
    app = AppTest.from_file(str(folder / "app.py"), default_timeout=120).run()

    def rerun() -> tuple[float, float]:
        os.environ["LIMIT_HOME"] = str(ws.root)
        began, busy = time.perf_counter(), time.process_time()
        app.run()
        return time.perf_counter() - began, time.process_time() - busy

    return rerun


def app_folder(root: Path) -> Path:
    (root / "pages").mkdir(parents=True)
    shutil.copy(PROJECT / "pages" / "runs.py", root / "pages" / "runs.py")
    (root / "pages" / "launch.py").write_text("import streamlit as st\nst.title('Launch')")
    (root / "app.py").write_text(APP)
    return root


def timed(work: Callable[[], object], times: int) -> float:
    """Median seconds."""
    spans = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans)


def main() -> None:
    os.environ["LIMIT_GPU_SLOTS"] = "1"
    with tempfile.TemporaryDirectory(prefix="limit-bench-") as name:
        root = Path(name)
        ws, few, many = (Workspace(root / part).make() for part in ("ws", "few", "many"))
        ours, peer = [], []
        for number in range(STARTS):
            ours.append(click_to_running(ws, f"n{number}"))
            peer.append(bare_process(root, f"n{number}"))
        p95 = statistics.quantiles(ours, n=20)[-1]
        ratio = statistics.median(ours) / statistics.median(peer)
        print(f"click to running worker: median {statistics.median(ours):.3f} s, p95 {p95:.3f} s; ", end="")
        print(f"bare python process {statistics.median(peer):.3f} s; ratio {ratio:.1f}")
        print("supervisor: {:.1f} MB resident, {:.1f} MB its own".format(*supervisor_mb(ws)))
        fill(few, 0, 1)
        fill(many, 500, 50)
        print(f"counts, 550 jobs: {timed(lambda: jobs.counts(many), 30) * 1e3:.1f} ms", end="; ")
        print(f"list: {timed(lambda: jobs.list_jobs(many), 30) * 1e3:.1f} ms", end="; ")
        print(f"schedule: {timed(lambda: jobs.schedule(many), 30) * 1e3:.1f} ms")
        folder = app_folder(root / "app")
        empty, full = rerun_seconds(few, folder), rerun_seconds(many, folder)
        pairs = [(*empty(), *full()) for _ in range(RERUNS)]
        one, one_cpu, all_, all_cpu = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
        print(f"Runs page rerun: 1 job {one:.0f} ms, 500 finished + 50 queued {all_:.0f} ms, ratio {all_ / one:.1f}")
        print(f"of that, processor: {one_cpu:.0f} and {all_cpu:.0f} ms, ratio {all_cpu / one_cpu:.1f}")


if __name__ == "__main__":
    main()
