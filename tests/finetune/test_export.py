"""What leaves a run: adapters that load, merge and carry a card; nothing is pushed without a token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from limit.core import LimitError, write_json
from limit.finetune.card import write_card
from limit.finetune.export import merge_adapter, push_model
from limit.finetune.train import finetune
from limit.jobs.context import JobContext
from limit.models import ModelRef, load_model, load_tokenizer, resolve_model
from limit.recipes import load_recipe
from limit.runs import ensure_run
from limit.settings import Workspace
from limit.specs.run import RunSpec
from tests.finetune.conftest import write_mix


def trained(ws: Workspace, model: str) -> str:
    """The id of a finished run of two steps that made an adapter."""
    mix_id = ws.mix("0123456789ab").name if ws.mix("0123456789ab").exists() else write_mix(ws)
    settings = ["learning_rate=0.05", "warmup_steps=1", "max_steps=2", "held_out_per_part=0", "template=alpaca"]
    chosen = load_recipe("lora").with_settings([*settings, "max_seq_len=256"])
    run_id = ensure_run(ws, RunSpec(model=model, mix_id=mix_id, recipe_name="lora", recipe=chosen))
    finetune(ws, run_id, JobContext(None))
    return run_id


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace that the tests of this file share."""
    return Workspace(tmp_path_factory.mktemp("home")).make()


@pytest.fixture(scope="module")
def adapter(home: Workspace, tiny_llama: Path) -> str:
    return trained(home, str(tiny_llama))


def logits(ref: ModelRef) -> torch.Tensor:
    ids = load_tokenizer(ref)("which town is the home", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found: torch.Tensor = load_model(ref, "fp32", "cpu")(input_ids=ids).logits
    return found


def test_a_merged_adapter_is_the_same_model(home: Workspace, adapter: str, tiny_llama: Path, tmp_path: Path) -> None:
    out = merge_adapter(home, adapter, tmp_path / "merged")
    merged, tuned = logits(resolve_model(home, str(out))), logits(resolve_model(home, adapter))
    torch.testing.assert_close(merged, tuned, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(tuned, logits(resolve_model(home, str(tiny_llama))))
    assert (out / "README.md").exists()


def test_an_adapter_folder_can_be_named_by_itself(home: Workspace, adapter: str) -> None:
    folder = home.run(adapter) / "model"
    torch.testing.assert_close(logits(resolve_model(home, str(folder))), logits(resolve_model(home, adapter)))


def test_an_adapter_on_an_adapter_keeps_what_both_learned(home: Workspace, adapter: str, tmp_path: Path) -> None:
    second = trained(home, adapter)
    first, folder = load_model(resolve_model(home, adapter), "fp32", "cpu"), home.run(second) / "model"
    ids = load_tokenizer(resolve_model(home, second))("which town is the home", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        both = PeftModel.from_pretrained(first, str(folder))(input_ids=ids).logits
    for name in (second, str(folder), str(merge_adapter(home, second, tmp_path / "merged"))):
        torch.testing.assert_close(logits(resolve_model(home, name)), both, rtol=1e-4, atol=1e-4)


def test_a_model_with_its_adapter_can_be_trained_whole(home: Workspace, adapter: str) -> None:
    model = load_model(resolve_model(home, adapter), "fp32", "cpu")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_an_adapter_that_names_itself_is_refused(ws: Workspace, tmp_path: Path) -> None:
    write_json(tmp_path / "adapter_config.json", {"base_model_name_or_path": str(tmp_path)})
    with pytest.raises(LimitError, match="its own base model"):
        resolve_model(ws, str(tmp_path))


def test_a_used_folder_is_not_overwritten(home: Workspace, adapter: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(LimitError, match="already exists"):
        merge_adapter(home, adapter, tmp_path)


def test_a_whole_model_has_no_adapter_to_merge(home: Workspace, tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="no adapter"):
        merge_adapter(home, str(tiny_llama), tmp_path / "merged")


def test_pushing_needs_a_token(home: Workspace, adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(LimitError, match="HF_TOKEN"):
        push_model(home, adapter, "me/model")


def test_a_hub_that_cannot_be_reached_is_one_sentence(
    home: Workspace, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ConnectError(Exception):
        """What a network library raises, related to none of ours."""

    def unreachable(*args: object, **options: object) -> None:
        raise ConnectError("[Errno 111] Connection refused")

    monkeypatch.setenv("HF_TOKEN", "hf_nothing")
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", unreachable)
    with pytest.raises(LimitError, match=r"did not take 'me/model': .*Connection refused"):
        push_model(home, adapter, "me/model")


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
