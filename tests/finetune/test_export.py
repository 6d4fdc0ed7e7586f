"""What leaves a run: adapters that load, merge and carry a card; nothing is pushed without a token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from limit.core import LimitError, write_json
from limit.finetune.card import write_card
from limit.finetune.export import merge_adapter, push_model
from limit.finetune.train import finetune
from limit.jobs.context import JobContext
from limit.models import ModelRef, load_model, load_tokenizer, resolve_model
from limit.settings import Workspace


@pytest.fixture
def adapter(ws: Workspace, make_run: Callable[..., str]) -> str:
    run_id = make_run("learning_rate=0.05", recipe="lora")
    finetune(ws, run_id, JobContext(None))
    return run_id


def logits(ref: ModelRef) -> torch.Tensor:
    ids = load_tokenizer(ref)("which town is the home", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found: torch.Tensor = load_model(ref, "fp32", "cpu")(input_ids=ids).logits
    return found


def test_a_merged_adapter_is_the_same_model(ws: Workspace, adapter: str, tiny_llama: Path, tmp_path: Path) -> None:
    out = merge_adapter(ws, adapter, tmp_path / "merged")
    merged, tuned = logits(resolve_model(ws, str(out))), logits(resolve_model(ws, adapter))
    torch.testing.assert_close(merged, tuned, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(tuned, logits(resolve_model(ws, str(tiny_llama))))
    assert (out / "README.md").exists()


def test_an_adapter_folder_can_be_named_by_itself(ws: Workspace, adapter: str) -> None:
    folder = ws.run(adapter) / "model"
    torch.testing.assert_close(logits(resolve_model(ws, str(folder))), logits(resolve_model(ws, adapter)))


def test_a_run_can_go_on_from_an_adapter(ws: Workspace, adapter: str, make_run: Callable[..., str]) -> None:
    second = make_run(model=adapter)
    assert finetune(ws, second, JobContext(None))["state"] == "finished"


def test_a_used_folder_is_not_overwritten(ws: Workspace, adapter: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(LimitError, match="already exists"):
        merge_adapter(ws, adapter, tmp_path)


def test_a_whole_model_has_no_adapter_to_merge(ws: Workspace, make_run: Callable[..., str], tmp_path: Path) -> None:
    run_id = make_run()
    finetune(ws, run_id, JobContext(None))
    with pytest.raises(LimitError, match="no adapter"):
        merge_adapter(ws, run_id, tmp_path / "merged")


def test_pushing_needs_a_token(ws: Workspace, adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(LimitError, match="HF_TOKEN"):
        push_model(ws, adapter, "me/model")


def test_a_hub_that_cannot_be_reached_is_one_sentence(
    ws: Workspace, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ConnectError(Exception):
        """What a network library raises, related to none of ours."""

    def unreachable(*args: object, **options: object) -> None:
        raise ConnectError("[Errno 111] Connection refused")

    monkeypatch.setenv("HF_TOKEN", "hf_nothing")
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", unreachable)
    with pytest.raises(LimitError, match=r"did not take 'me/model': .*Connection refused"):
        push_model(ws, adapter, "me/model")


def test_only_runs_of_the_workspace_can_be_pushed(ws: Workspace, tiny_llama: Path) -> None:
    with pytest.raises(LimitError, match="not a finished run"):
        push_model(ws, str(tiny_llama), "me/model")


def test_a_card_names_data_licence_recipe_and_scores(
    ws: Workspace, make_run: Callable[..., str], tmp_path: Path
) -> None:
    run_id = make_run()
    averages = [{"name": "default_average", "score": 0.351}]
    write_json(ws.run(run_id) / "gauntlet" / "e1" / "eval.json", {"version": "v0", "averages": averages})
    (ws.run(run_id) / "gauntlet" / "e2").mkdir()
    (ws.run(run_id) / "gauntlet" / "e2" / "eval.json").write_text("{")
    write_card(ws, run_id, tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    for words in ("| terse |", "MIT", "| learning_rate | 0.0005 |", "Eval Gauntlet v0 | default_average | 0.351"):
        assert words in card
