"""Processes that need not load torch and transformers first: forked from one that has, otherwise as any other.

    python warm.py serve SOCKET            load everything once, then fork a process for each one asked for
    python warm.py run SOCKET WORDS ...    what `python WORDS ...` would do, in such a process

The second stands for the process: it hands over its environment, folder and outputs, passes signals on, and ends as
the process ends, so that torchrun can start, kill and await its workers through it. Loading takes ten seconds of a
core, which the two workers and the agent of every torchrun would pay each.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any, NoReturn

MOST_BYTES = 2**20
LOADED = (
    "torch.distributed.run",
    "torch.distributed.fsdp",
    "transformers.models.llama.modeling_llama",
    "limit.finetune.commands",
    "limit.finetune.train",
    "tests.finetune.models",
)


def run(address: str, words: list[str]) -> NoReturn:
    """Stand for the process until it ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
        link.connect(address)
        asked = {"words": words, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109
        socket.send_fds(link, [json.dumps(asked).encode()], [1, 2])
        pid = json.loads(link.recv(MOST_BYTES))["pid"]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        code = json.loads(link.recv(MOST_BYTES))["code"]
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def serve(address: str) -> None:
    """Fork whatever is asked for, until this process is ended; who asked is told when its process has ended."""
    import importlib
    import selectors

    for name in LOADED:
        importlib.import_module(name)
    links: dict[Any, int] = {}  # by connection: the process that it stands for
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door, selectors.DefaultSelector() as events:
        door.bind(address)
        door.listen()
        events.register(door, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.fileobj is door:
                    link, _ = door.accept()
                    pid = _fork(link)
                    links[link] = pid
                    events.register(os.pidfd_open(pid), selectors.EVENT_READ, link)
                    events.register(link, selectors.EVENT_READ)
                elif key.data is None:  # nobody stands for the process any more
                    events.unregister(key.fileobj)
                    os.kill(links[key.fileobj], signal.SIGKILL)
                else:
                    events.unregister(key.fileobj)
                    os.close(int(key.fileobj))  # type: ignore[arg-type]
                    _end(events, key.data, links.pop(key.data))


def _fork(link: socket.socket) -> int:
    data, files, _, _ = socket.recv_fds(link, MOST_BYTES, 2)
    pid = os.fork()
    if pid == 0:
        for place, file in zip((1, 2), files, strict=True):
            os.dup2(file, place)
        _become(json.loads(data))
    for file in files:
        os.close(file)
    link.send(json.dumps({"pid": pid}).encode())
    return pid


def _end(events: Any, link: socket.socket, pid: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if link in events.get_map():
        events.unregister(link)
        link.send(json.dumps({"code": code}).encode())
    link.close()


def _become(asked: dict[str, Any]) -> NoReturn:
    """Run the words as the interpreter would."""
    import runpy
    import traceback

    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    words, code = asked["words"], 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        run(sys.argv[2], sys.argv[3:])
