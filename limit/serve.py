"""`limit serve`: the dashboard on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from limit.cli import Verbs, command
from limit.core import LimitError
from limit.settings import PROJECT, workspace


def add_parser(verbs: Verbs) -> None:
    parser = command(verbs, "serve", run, "open the dashboard")
    parser.add_argument("--port", type=int, default=8501, help="port on this machine (default 8501)")


def port_is_free(port: int) -> bool:
    """Whether nothing listens on 127.0.0.1:port."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def has_screen() -> bool:
    """Whether a browser window can open here."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def run(options: argparse.Namespace) -> Any:
    """Replace this process by the Streamlit server. Raises LimitError for a taken port or unwritable workspace."""
    if not 1 <= options.port <= 65535:
        raise LimitError(f"port {options.port} does not exist; choose one from 1 to 65535")
    if not port_is_free(options.port):
        raise LimitError(
            f"port {options.port} is taken on this machine; choose another with --port (PORT=... for make)"
        )
    workspace().make()
    words = [sys.executable, "-m", "streamlit", "run", str(PROJECT / "app.py")]
    words += ["--server.port", str(options.port), "--server.headless", "false" if has_screen() else "true"]
    os.chdir(PROJECT)
    os.execv(sys.executable, words)
