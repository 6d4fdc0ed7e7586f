"""A disk without room costs a checkpoint or a line at most, and never what was learned."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limit.core import LimitError
from limit.finetune import checkpoints, trainer
from limit.finetune.metrics import Journal
from limit.finetune.train import finetune
from limit.settings import Workspace
from tests.finetune.conftest import QUIET, Crash, crash_at, metrics, same, weights


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = make_run("save_every_epochs=0.25")
    original = trainer.Finetuner._write_parts
    full = {5, 6}

    def write(self: Any, model: Any, trial: Any, staging: Path) -> None:
        original(self, model, trial, staging)
        if self.state.global_step in full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trainer.Finetuner, "_write_parts", write)
    crash_at(monkeypatch, 7)
    with pytest.raises(Crash):
        finetune(ws, run_id, QUIET)
    train = ws.run(run_id) / "train"
    assert [path.name for path in checkpoints.resume_points(train)] == ["checkpoint-4"], "the older one made room"
    assert not list(train.glob(".*"))
    assert [row["step"] for row in metrics(ws, run_id, "note") if "disk is full" in row["text"]] == [5, 6]


def test_no_room_for_the_final_model_is_one_sentence(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = make_run()

    def no_room(*args: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr("limit.finetune.train.save_weights", no_room)
    with pytest.raises(LimitError, match="disk full"):
        finetune(ws, run_id, QUIET)
    assert not (ws.run(run_id) / "model").exists()


def test_a_model_that_does_not_fit_leaves_a_run_that_only_writes(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("learning_rate=0.01",)
    straight, full = make_run(*settings), make_run(*settings, "keep_checkpoints=3")
    finetune(ws, straight, QUIET)

    def no_room(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("limit.finetune.train.save_weights", no_room)
        with pytest.raises(LimitError, match=r"disk full after the last step: .* all that is left is to write"):
            finetune(ws, full, QUIET)
    assert [path.name for path in checkpoints.resume_points(ws.run(full) / "train")] == ["checkpoint-12"]
    monkeypatch.setattr(trainer.Finetuner, "_attempt", None)
    assert finetune(ws, full, QUIET)["steps"] == 12
    assert same(weights(ws, straight), weights(ws, full))


def test_a_run_whose_model_would_never_fit_is_refused_at_once(
    ws: Workspace, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(ws.root)
    monkeypatch.setattr("limit.finetune.checkpoints.shutil.disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(LimitError, match=r"only 1\.0 kB are free .* LIMIT_HOME"):
        finetune(ws, make_run(), QUIET)


def test_room_is_held_until_it_is_released(tmp_path: Path) -> None:
    wanted = 50_000_000
    with checkpoints.held_room(tmp_path, wanted) as room:
        held = sum(Path(f"/proc/self/fd/{fd}").stat().st_blocks for fd in [room._file.fileno()]) * 512
        assert held >= wanted
        assert not list(tmp_path.iterdir()), "a process that dies leaves nothing behind"
        room.release()
        assert room._file is None


def test_lines_wait_for_a_full_disk_and_come_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.row("train", 1)
    with monkeypatch.context() as patch:

        def half(path: Path, rows: Any, sync: bool) -> None:
            with path.open("a") as file:
                file.write('{"kind": "train", "st')
            raise checkpoints.disk_full_error(path) from OSError(errno.ENOSPC, "")

        patch.setattr("limit.finetune.metrics.append_jsonl", half)
        journal.row("train", 2)
        journal.row("train", 3)
        assert [row["step"] for row in journal.rows()] == [1, 2, 3]
    journal.flush()
    journal.row("train", 4)
    assert [json.loads(line)["step"] for line in journal.path.read_text().splitlines()] == [1, 2, 3, 4]
