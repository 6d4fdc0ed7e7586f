"""What the Runs page says and draws, without the page: states, figures, timers, lines, differences."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta

import pytest

from limit.core import append_jsonl, write_atomic
from limit.jobs.rundir import new_status
from limit.settings import Workspace
from limit.ui.runs import seconds_between
from limit.ui.runs_compare import differences, flatten
from limit.ui.runs_detail import _by_source, loss_rows
from limit.ui.runs_live import device_words, facts, signature, state_words, stop_words
from limit.ui.runs_spark import HEIGHT, POINTS, WIDTH, spark, spark_html


def test_differences_leave_out_what_is_alike() -> None:
    settings = [flatten({"a": 1, "b": {"c": 2, "d": 3}}), flatten({"a": 1, "b": {"c": 5}})]
    rows = [{"Setting": "b.c", "x": "2", "y": "5"}, {"Setting": "b.d", "x": "3", "y": ""}]
    assert differences(settings, ["x", "y"]) == rows


def test_the_signature_changes_only_when_a_state_does() -> None:
    job = {"job_id": "a", "status": {"state": "running", "step": 1}}
    later = {"job_id": "a", "status": {"state": "running", "step": 2}}
    assert signature([job]) == signature([later])
    assert signature([job]) != signature([{"job_id": "a", "status": {"state": "failed"}}])


def test_state_words_tell_the_timer() -> None:
    asked = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()  # no second passes while the test runs
    plan = {"asked": asked, "sent": [], "terminate_after_s": 60.0, "kill_after_s": 70.0, "discard": False}
    now = {**new_status(1, 0.0), "state": "stopping", "stopping": plan}
    assert state_words(now) == "stopping: saving; terminated in 60 s"
    plan["sent"] = ["terminate"]
    assert state_words(now) == "stopping: terminated; killed in 70 s"
    assert "silent" in state_words({**now, "stalled": True})


@pytest.mark.parametrize(("passed", "left"), [(0, 60), (42.4, 18), (61, 0), (-3600, 60)])
def test_the_timer_of_a_stop_counts_down_and_survives_a_clock_that_jumps(passed: float, left: int) -> None:
    asked = datetime(2026, 1, 1, tzinfo=UTC)
    plan = {"asked": asked.isoformat(), "sent": [], "terminate_after_s": 60.0, "kill_after_s": 70.0}
    assert stop_words(plan, asked + timedelta(seconds=passed)) == f"stopping: saving; terminated in {left} s"


def test_facts_survive_odd_progress() -> None:
    job = {"status": {**new_status(1, 0.0), "state": "running"}}
    assert facts(job, {"loss": "nan", "tokens_per_s": True, "memory_gb": None, "task": 5}) == ["running"]
    shown = {"loss": 0.5, "tokens_per_s": 1234.5, "memory_gb": 1.25}
    assert facts(job, shown) == ["running", "loss 0.500", "1,234 tokens/s", "1.2 GB"]


def test_loss_rows_keep_sources_apart() -> None:
    rows = loss_rows([{"kind": "eval", "step": 1, "loss": 2, "source": "lima"}, {"kind": "note", "step": 1}], "r", "s")
    assert rows == [{"step": 1, "loss": 2, "label": "r", "series": "s", "source": "lima"}]


def test_a_held_out_loss_has_its_sources_colour_and_training_none() -> None:
    lima, training = {"step": 1, "loss": 2, "label": "r", "source": "my-lima"}, {"label": "r", "source": None}
    assert _by_source(lima) == {**lima, "label": "", "series": "lima"}
    assert _by_source(training)["series"] is None


def test_a_clock_set_back_gives_no_negative_duration() -> None:
    assert seconds_between("2026-01-01T00:00:10.000Z", "2026-01-01T00:00:00.000Z") == 0.0
    assert seconds_between(None, "rubbish") is None


def test_devices_have_short_names() -> None:
    gpus = ["GPU-0123456789abcdef", "GPU-fedcba9876543210"]
    assert device_words({"slots": gpus, "gpus": gpus}) == "GPU-01234567, GPU-fedcba98"
    assert device_words({"slots": ["ray-3"], "gpus": []}) == "Ray"
    assert device_words({"slots": [], "gpus": []}) is None


def test_a_spark_grows_with_its_file_and_follows_a_rewound_one(ws: Workspace) -> None:
    train = ws.run("0123456789ab") / "train"
    assert spark(train) is None
    write = lambda steps: [{"kind": "train", "step": n, "loss": float(n)} for n in steps]  # noqa: E731
    append_jsonl(train / "metrics.jsonl", [*write(range(3)), {"kind": "eval", "step": 2, "loss": 9.0}])
    assert spark(train) == [0.0, 1.0, 2.0]
    append_jsonl(train / "metrics.jsonl", [*write(range(3, 1000)), {"kind": "train", "loss": float("nan")}])
    line = spark(train)
    assert line is not None and len(line) == POINTS and (line[0], line[-1]) == (0.0, 999.0)
    write_atomic(train / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in write(range(2))))
    assert spark(train) == [0.0, 1.0]


@pytest.mark.parametrize("line", [[3.0, 2.0, 1.0], [1.0, 1.0]])
def test_the_line_of_a_card_stays_inside_its_picture(line: list[float]) -> None:
    html = spark_html(line, "#123456")
    svg = b64decode(html.partition("base64,")[2].partition('"')[0]).decode()
    points = [tuple(map(float, pair.split(","))) for pair in svg.partition('points="')[2].partition('"')[0].split()]
    assert len(points) == len(line) and points[0][0] == 0 and points[-1][0] == WIDTH
    assert all(0 <= y <= HEIGHT for _, y in points) and points[0][1] <= points[-1][1]
