"""Runs: what is happening, what waits, what has ended, and why."""

from limit.ui.router import through_app
from limit.ui.runs import show_runs
from limit.ui.shell import errors_in_words, page_head

through_app()
page_head("Runs", "What is happening, what waits for its turn, and what has ended?")
with errors_in_words():
    show_runs()
