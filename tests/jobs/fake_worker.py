"""A stand-in for real work: counts steps, checkpoints them, and misbehaves on request.

Run as `python -m tests.jobs.fake_worker OUT [--option ...] --job FOLDER`. In OUT it keeps `checkpoint.json` (written
like a real one), `starts.txt` (one line a start) and holds `running.lock`; a second live copy writes `TWICE`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from limit.core import read_json, write_json
from limit.jobs.context import JobContext, open_context
from limit.jobs.locks import try_lock


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--say", default="", help="print this on stderr at the end")
    parser.add_argument("--code", type=int, default=0)
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM and the cancel flag")
    parser.add_argument("--children", type=int, default=0, help="leave this many sleeping grandchildren")
    parser.add_argument("--flood", type=int, default=0, help="print this many megabytes")
    parser.add_argument("--signal", type=int, default=0, help="send this signal to itself")
    parser.add_argument("--silent", action="store_true", help="report steps without figures")
    parser.add_argument("--job", required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "starts.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if try_lock(options.out / "running.lock", tries=1) is None:
        (options.out / "TWICE").touch()
    misbehave(options)
    context = open_context(options.job)
    if count(options, context):
        context.result({"steps": options.steps})
    if options.say:
        print(options.say, file=sys.stderr)
    return int(options.code)


def misbehave(options: argparse.Namespace) -> None:
    """Children that stay, output without end, deaf ears."""
    if options.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(options.children):
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        with (options.out / "children.txt").open("a") as file:
            file.write(f"{child.pid}\n")
    line = "x" * 1023 + "\n"
    for _ in range(options.flood * 1024):
        sys.stdout.write(line)
    sys.stdout.flush()
    if options.signal:
        os.kill(os.getpid(), options.signal)


def count(options: argparse.Namespace, context: JobContext) -> bool:
    """From the checkpoint to the last step; False when it was asked to stop before."""
    checkpoint = options.out / "checkpoint.json"
    done = int(read_json(checkpoint)["step"]) if checkpoint.exists() else 0
    while done < options.steps:
        time.sleep(options.pause)
        done += 1
        write_json(checkpoint, {"step": done})
        context.progress(done, options.steps, **({} if options.silent else {"loss": 1 / done}))
        if not options.deaf and context.stop_requested() and done < options.steps:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
