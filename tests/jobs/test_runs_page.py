"""The Runs page under AppTest: empty, busy, ended, hostile, by link, and what its buttons do."""

from __future__ import annotations

import shutil
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from limit import access, jobs
from limit.core import append_jsonl, write_json
from limit.formats import THIN
from limit.jobs.cluster import Cluster, cluster_of
from limit.jobs.processes import wait_until
from limit.jobs.rundir import new_status, write_status
from limit.settings import PROJECT, Workspace
from limit.ui.runs_mix import BAR_WIDTH, CELL_WIDTH, PICTURE_HEIGHT, mix_bars, mix_of, mix_parts
from tests.hostile import TEXTS
from tests.jobs.conftest import Ask, until

APP = (
    "import streamlit as st\n"
    "st.session_state['limit-routed'] = True  # this small app stands in for app.py\n"
    "st.navigation([st.Page('pages/runs.py', title='Runs'), st.Page('pages/launch.py', title='Launch')]).run()\n"
)


@pytest.fixture
def page(tmp_path: Path, ws: Workspace) -> Any:
    """`page(job="...")` opens the page with a query and returns the app."""
    from streamlit.testing.v1 import AppTest

    folder = tmp_path / "app"
    (folder / "pages").mkdir(parents=True)
    shutil.copy(PROJECT / "pages" / "runs.py", folder / "pages" / "runs.py")
    (folder / "pages" / "launch.py").write_text("import streamlit as st\nst.title('Launch')")
    (folder / "app.py").write_text(APP)

    def open_page(**query: str | list[str]) -> Any:
        app = AppTest.from_file(str(folder / "app.py"), default_timeout=60)
        for name, value in query.items():
            app.query_params[name] = value
        return check(app.run())

    return open_page


def check(app: Any) -> Any:
    assert [error.value for error in app.exception] == []
    return app


def labels(app: Any) -> list[str]:
    return [button.label for button in app.button]


def press(app: Any, key: str) -> Any:
    return check(app.button(key=key).click().run())


def test_an_empty_workspace_says_what_to_do(page: Any) -> None:
    assert "Nothing has been started yet" in page().info[0].value


def test_active_queued_and_ended_jobs(ws: Workspace, ask: Ask, page: Any) -> None:
    jobs.wait(ws, jobs.start(ws, ask("done")))
    active = jobs.start(ws, ask("busy", "--steps", "5000"))
    jobs.start(ws, ask("next"))
    until(ws, active, "running")
    app = page()
    assert any(caption.value.startswith("running") for caption in app.caption)
    assert [head.value for head in app.subheader] == ["Queue · 1", "History"]
    assert app.dataframe[0].value["Name"].tolist() == ["done"]


def test_the_queue_can_be_steered(ws: Workspace, ask: Ask, page: Any) -> None:
    jobs.pause(ws)
    first, second = jobs.start(ws, ask("first")), jobs.start(ws, ask("second"))
    app = page()
    assert "paused" in app.warning[0].value
    press(app, f"top-{second}")
    assert [job["title"] for job in jobs.list_jobs(ws)] == ["second", "first"]
    press(app, f"hold-{first}")
    assert jobs.status(ws, first)["held"]
    press(app, f"drop-{second}")
    assert jobs.status(ws, second)["state"] == "stopped"
    press(app, "queue-pause")
    assert not jobs.is_paused(ws)


def test_filters_come_from_the_link(ws: Workspace, ask: Ask, page: Any) -> None:
    for name, options in (("good", []), ("bad", ["--code", "2", "--say", "limit: no such mix"])):
        jobs.wait(ws, jobs.start(ws, ask(name, *options)))
    assert page(state="failed").dataframe[0].value["Reason"].tolist() == ["no such mix"]
    assert page(q="NO SUCH").dataframe[0].value["Name"].tolist() == ["bad"]
    assert page(q="nothing like it").caption[-1].value == "No job fits these filters."
    check(page(state="nonsense", kind=["x", "y"]))


def test_stop_and_resume_by_button(ws: Workspace, ask: Ask, page: Any) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "2000", "--pause", "0.01"))
    until(ws, job_id, "running")
    app = page(job=job_id)
    assert labels(app)[:3] == ["All jobs", "Stop and keep", "Discard it"]
    press(app, f"stop-1-{job_id}")
    assert jobs.wait(ws, job_id)["state"] == "stopped"
    app = page(job=job_id)
    assert "Resume" in labels(app)
    press(app, f"resume-{job_id}")
    assert jobs.status(ws, job_id)["attempt"] == 2


def test_discard_by_button(ws: Workspace, ask: Ask, page: Any) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "5000"))
    until(ws, job_id, "running")
    press(page(job=job_id), f"discard-1-{job_id}")
    assert jobs.wait(ws, job_id)["reason"] == "what it had made was discarded"


def test_a_failure_shows_reason_advice_and_log(ws: Workspace, ask: Ask, page: Any) -> None:
    job_id = jobs.start(ws, ask("a", "--code", "1", "--say", "torch.OutOfMemoryError: CUDA out of memory."))
    jobs.wait(ws, job_id)
    app = page(job=job_id)
    assert "out of GPU memory" in app.error[0].value and "micro\\_batch\\_size" in app.error[0].value
    assert any("CUDA out of memory" in code.value for code in app.code)


def test_a_viewer_sees_no_buttons_that_change_something(ws: Workspace, ask: Ask, page: Any) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "5000"))
    access.set_role_provider(lambda: "viewer")
    try:
        assert labels(page(job=job_id)) == ["All jobs"]
    finally:
        access.set_role_provider(None)


def test_curves_of_a_finetune_with_rubbish_in_its_metrics(ws: Workspace, ask: Ask, page: Any) -> None:
    run_id = "0123456789ab"
    write_json(ws.run(run_id) / "run.json", {"run_id": run_id, "name": TEXTS[0], "recipe": {"epochs": 1.0}})
    rows = [{"kind": "train", "step": n, "loss": 1.0} for n in range(5)]
    rows += [{"kind": "train"}, {"kind": "train", "step": "x", "loss": None}, {"kind": "eval", "step": 1, "loss": 2.0}]
    rows += [{"kind": "generation", "step": 1, "prompt": TEXTS[1], "text": TEXTS[4]}, {"unknown": 1}]
    append_jsonl(ws.run(run_id) / "train" / "metrics.jsonl", rows)
    job_id = jobs.start(ws, ask("a", subject={"run_id": run_id}))
    jobs.wait(ws, job_id)
    app = page(job=job_id)
    assert [tab.label for tab in app.tabs] == ["Curves", "Log", "Configuration", "Chain"]


def test_a_finetune_shows_its_notes_and_what_it_writes_to_all_its_prompts(ws: Workspace, ask: Ask, page: Any) -> None:
    train = ws.run("0123456789ab") / "train"
    rows = [{"kind": "train", "step": 9, "loss": 1.0, "grad_norm": 0.5, "lr": 0.00012, "mfu": 0.41}]
    rows += [{"kind": "note", "step": 4, "text": "memory ran out; the micro-batch is now at most 300 tokens"}]
    for step in (0, 9):
        rows += [{"kind": "generation", "step": step, "prompt": f"prompt {n}", "text": f"{step}-{n}"} for n in range(3)]
    append_jsonl(train / "metrics.jsonl", rows)
    job_id = jobs.start(ws, ask("a", subject={"run_id": "0123456789ab"}))
    jobs.wait(ws, job_id)
    app = page(job=job_id)
    assert {"gradient norm": "0.50", "learning rate": "0.00012", "MFU": f"41.0{THIN}%"}.items() <= {
        metric.label: metric.value for metric in app.metric
    }.items()
    assert any("memory ran out" in caption.value for caption in app.caption)
    assert [code.value for code in app.code if code.value in ("0-0", "9-0", "9-1", "9-2")] == ["9-0", "9-1", "9-2"]


def test_hostile_texts_do_no_harm(ws: Workspace, ask: Ask, page: Any) -> None:
    jobs.pause(ws)
    ids = []
    for n, text in enumerate(TEXTS):
        ids.append(
            jobs.start(ws, jobs.JobRequest("finetune", text, ["x"], subject={"run_id": text}, request_id=str(n)))
        )
    page()
    for job_id, text in zip(ids, TEXTS, strict=True):
        status = {**new_status(1, 0.0), "state": "failed", "reason": text, "what_to_do": text}
        write_status(ws.job(job_id), {**status, "progress": {"loss": text}, "eta_s": text, "started": text})
        (ws.job(job_id) / "log.txt").write_text(text)
        page(job=job_id)
    page()
    page(compare=ids)


def test_unknown_jobs_and_path_tricks_are_said(page: Any) -> None:
    for job_id in ("nothing", "../../etc", ""):
        assert "There is no job" in page(job=job_id).info[0].value
    assert "There is no job" in page(compare=["nothing"]).info[0].value


def test_several_jobs_show_only_where_they_differ(ws: Workspace, ask: Ask, page: Any) -> None:
    ids = [jobs.start(ws, ask(name)) for name in ("a", "b")]
    for job_id in ids:
        jobs.wait(ws, job_id)
    table = page(compare=ids).dataframe[0].value
    assert table["Setting"].tolist() == ["title", "arguments"]


def test_the_figures_of_a_finetune_are_those_of_its_latest_step(ws: Workspace, ask: Ask, page: Any) -> None:
    rows = [{"kind": "train", "step": n, "loss": 1 / n, "tokens_per_s": 10.0 * n, "memory_gb": 2.0} for n in (1, 2)]
    append_jsonl(ws.run("0123456789ab") / "train" / "metrics.jsonl", [*rows, {"kind": "eval", "step": 2, "loss": 9.0}])
    subject = {"run_id": "0123456789ab"}
    job_id = jobs.start(ws, ask("a", "--steps", "5000", "--silent", subject=subject))
    until(ws, job_id, "running")
    assert any("loss 0.500 · 20 tokens/s · 2.0 GB" in one.value.replace("\\", "") for one in page().caption)
    shown = {metric.label: metric.value for metric in page(job=job_id).metric}
    assert (shown["loss"], shown["tokens/s"], shown["memory"]) == ("0.500", "20", "2.0 GB")


def test_a_run_shows_what_its_mix_is_made_of(ws: Workspace, ask: Ask, page: Any) -> None:
    counts = [
        {"source": "tiny-lima", "subset": "a", "rows": 10},
        {"source": "tiny-lima", "subset": "b", "rows": 20},
        {"source": '<script>alert("x")</script>', "subset": "", "rows": 30},
        {"source": "broken", "subset": "", "rows": "many"},
    ]
    write_json(ws.mix("0123456789ab") / "mix.json", {"mix_id": "0123456789ab", "counts": counts})
    request = ask("short", subject={"run_id": "aaaaaaaaaaaa", "mix_id": "0123456789ab"})
    jobs.wait(ws, jobs.start(ws, request))
    jobs.wait(ws, jobs.start(ws, ask("none")))
    (job,) = [job for job in jobs.list_jobs(ws) if job["title"] == "short"]
    parts = mix_parts(ws, mix_of(ws, job))
    assert [part["rows"] for part in parts] == [30, 30]
    table = page().dataframe[0].value.set_index("Name")
    assert not isinstance(table.loc["none", "Mix"], str)
    drawn = b64decode(table.loc["short", "Mix"].partition("base64,")[2]).decode()
    assert drawn.count("<rect") == 3
    assert BAR_WIDTH * 27 <= CELL_WIDTH * PICTURE_HEIGHT, "a cell shows pictures 27 pixels high and cuts them in width"
    assert "script" not in drawn
    (bar,) = [html.proto.body for html in page(job=job["job_id"]).get("html") if 'class="limit-bar"' in html.proto.body]
    assert "<script>" not in bar


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"counts": 3}', b'{"counts": [1, {"rows": -4}]}'])
def test_a_broken_mix_file_costs_only_its_bar(ws: Workspace, ask: Ask, page: Any, content: bytes) -> None:
    (ws.mix("0123456789ab")).mkdir(parents=True)
    (ws.mix("0123456789ab") / "mix.json").write_bytes(content)
    jobs.pause(ws.make())
    job_id = jobs.start(ws, ask("short", subject={"run_id": "aaaaaaaaaaaa", "mix_id": "0123456789ab"}))
    jobs.stop(ws, job_id)
    assert [row for row in page().dataframe[0].value["Mix"] if isinstance(row, str)] == []
    assert mix_bars(ws, jobs.list_jobs(ws)) == [None]


def test_what_follows_a_finetune_shows_the_mix_of_its_run(ws: Workspace, ask: Ask, page: Any) -> None:
    counts = [{"source": "tiny-lima", "subset": "", "rows": 10}]
    write_json(ws.mix("0123456789ab") / "mix.json", {"mix_id": "0123456789ab", "counts": counts})
    write_json(ws.run("aaaaaaaaaaaa") / "run.json", {"run_id": "aaaaaaaaaaaa", "mix_id": "0123456789ab"})
    write_json(ws.run("bbbbbbbbbbbb") / "run.json", {"run_id": "bbbbbbbbbbbb", "mix_id": None})
    jobs.pause(ws)
    for kind in ("gauntlet", "respond", "judge"):
        for name, run_id in ((kind, "aaaaaaaaaaaa"), (f"{kind} of a base model", "bbbbbbbbbbbb"), (f"no {kind}", "x")):
            jobs.stop(ws, jobs.start(ws, ask(name, kind=kind, subject={"run_id": run_id})))
    table = page().dataframe[0].value.set_index("Name")["Mix"]
    drawn = sorted(name for name, bar in table.items() if isinstance(bar, str))
    assert drawn == ["gauntlet", "judge", "respond"]


def test_the_history_tells_progress_device_and_start(ws: Workspace, ask: Ask, page: Any) -> None:
    job_id = jobs.start(ws, ask("a", "--steps", "2000", "--pause", "0.01"))
    assert wait_until(lambda: (jobs.status(ws, job_id)["step"] or 0) > 20, 30)
    jobs.stop(ws, job_id)
    status = jobs.wait(ws, job_id)
    jobs.wait(ws, jobs.start(ws, ask("light", kind="export")))
    table = page().dataframe[0].value.set_index("Name")
    assert table.loc["a", "Progress"] == pytest.approx(status["step"] / 2000)
    assert table.loc["a", "GPU"] == "CPU" and not isinstance(table.loc["light", "GPU"], str)
    assert table.loc["a", "Started"].isoformat()[:19] == status["started"][:19]
    assert table.loc["light", "Progress"] == 1.0


def test_a_long_queue_is_shown_in_full_on_demand(ws: Workspace, ask: Ask, page: Any) -> None:
    jobs.pause(ws)
    ids = [jobs.start(ws, ask(f"n{n}")) for n in range(50)]
    app = page()
    assert f"drop-{ids[-1]}" not in [button.key for button in app.button]
    app = check(app.toggle(key="queue-all").set_value(True).run())
    press(app, f"drop-{ids[-1]}")
    assert jobs.status(ws, ids[-1])["state"] == "stopped"


def test_the_cluster_is_chosen_only_when_it_answers(ws: Workspace, page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str | None] = ["the cluster at http://head:8265 does not answer: timed out", None]
    monkeypatch.setattr("limit.ui.runs_where.problem_of", lambda cluster: said.pop(0))
    app = page()
    app.text_input(key="ray-address").set_value("nonsense").run()
    press(app, "ray-use")
    assert "is no address of a Ray cluster" in app.error[0].value
    app.text_input(key="ray-address").set_value("http://head:8265").run()
    press(app, "ray-use")
    assert "not chosen: the cluster at" in app.error[0].value.replace("\\", "")
    assert cluster_of(ws) is None
    press(app, "ray-use")
    assert cluster_of(ws) == Cluster("http://head:8265", "python")
    press(app, "ray-off")
    assert cluster_of(ws) is None


def test_a_viewer_sees_where_jobs_run_and_cannot_choose(page: Any) -> None:
    access.set_role_provider(lambda: "viewer")
    try:
        assert "ray-use" not in [button.key for button in page().button]
    finally:
        access.set_role_provider(None)


def test_jobs_of_a_link_that_are_gone_are_said_in_words_of_the_page(ws: Workspace, ask: Ask, page: Any) -> None:
    job_id = jobs.start(ws, ask("a"))
    jobs.wait(ws, job_id)
    for query in ({"job": "nope"}, {"job": "../x"}, {"compare": ["zz"]}, {"compare": [job_id, "zz"]}):
        app = page(**query)
        assert [box.value for box in app.info if "There is no job" in box.value] and not app.error, query
        assert "jobs list" not in " ".join(box.value for box in app.info) and labels(app)[0] == "All jobs"


def test_a_tab_stands_in_the_address_and_leaves_it_with_the_job(ws: Workspace, ask: Ask, page: Any) -> None:
    job_id = jobs.start(ws, ask("a"))
    jobs.wait(ws, job_id)
    app = page(job=job_id, tab="Configuration")
    assert app.session_state["tab"] == "Configuration" and app.query_params["tab"] == "Configuration"
    press(app, "all-jobs")
    assert not app.exception and "job" not in app.query_params and "tab" not in app.query_params


def test_a_step_that_is_markdown_is_no_markdown(ws: Workspace, ask: Ask, page: Any) -> None:
    run_id = "0123456789ab"
    write_json(ws.run(run_id) / "run.json", {"run_id": run_id, "name": "a", "recipe": {"epochs": 1.0}})
    row = {"kind": "generation", "step": "**1** ![x](http://a.b/c)", "prompt": "p", "text": "t"}
    append_jsonl(ws.run(run_id) / "train" / "metrics.jsonl", [row])
    job_id = jobs.start(ws, ask("a", subject={"run_id": run_id}))
    jobs.wait(ws, job_id)
    assert any(
        block.value.startswith(r"What it writes at step \*\*1\*\* \!\[x\]") for block in page(job=job_id).caption
    )
