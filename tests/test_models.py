"""What a model name means, and what is said when it means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from limit.core import LimitError, write_json
from limit.models import canonical_name, load_model, load_tokenizer, require_at_hand, resolve_model
from limit.runs import ensure_run
from limit.settings import Workspace
from limit.specs.run import RunSpec


def test_a_folder_is_itself(ws: Workspace, tiny_llama: Path) -> None:
    ref = resolve_model(ws, str(tiny_llama))
    assert (ref.kind, ref.path, ref.local, ref.template) == ("folder", str(tiny_llama), True, None)
    assert load_model(ref, "fp32", "cpu").training is False
    assert load_tokenizer(ref).eos_token == "</s>"


def test_an_empty_tokenizer_is_said_to_be_none(ws: Workspace, tmp_path: Path) -> None:
    """transformers makes one for some architectures where the folder holds no tokenizer."""
    write_json(tmp_path / "config.json", {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]})
    with pytest.raises(LimitError, match="has no tokenizer in"):
        load_tokenizer(resolve_model(ws, str(tmp_path)))


def test_a_base_run_is_its_model(ws: Workspace, tiny_llama: Path) -> None:
    run_id = ensure_run(ws, RunSpec(model=str(tiny_llama)))
    ref = resolve_model(ws, run_id)
    assert (ref.kind, ref.path, ref.run_id, ref.name) == ("run", str(tiny_llama), run_id, run_id)


def test_a_hub_id_is_left_to_the_hub(ws: Workspace) -> None:
    ref = resolve_model(ws, "mosaicml/mpt-7b")
    assert (ref.kind, ref.local) == ("hub", False)


def test_a_relative_folder_is_frozen_by_its_whole_path(
    ws: Workspace, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_llama.parent)
    assert canonical_name(ws, f"./{tiny_llama.name}") == str(tiny_llama)
    assert canonical_name(ws, "mosaicml/mpt-7b") == "mosaicml/mpt-7b"


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "../x", "", "x y", "a//b",
                                  "a" * 300, "b/" + "a" * 5000])  # fmt: skip
def test_a_name_that_means_nothing_is_said(name: str, ws: Workspace) -> None:
    with pytest.raises(LimitError, match="no model folder"):
        resolve_model(ws, name)


def test_a_run_that_is_not_here_is_said(ws: Workspace) -> None:
    with pytest.raises(LimitError, match="no run"):
        resolve_model(ws, "0123456789ab")


def test_a_folder_without_a_model_is_said(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"config\.json"):
        resolve_model(ws, str(tmp_path))


def test_an_unknown_hub_model_is_one_sentence(ws: Workspace) -> None:
    for load in (load_tokenizer, load_model):
        with pytest.raises(LimitError, match="nobody/nothing") as found:
            load(resolve_model(ws, "nobody/nothing"))
        assert "\n" not in str(found.value)


def test_pickled_weights_are_not_read(ws: Workspace, tiny_llama: Path, tmp_path: Path) -> None:
    import shutil

    import torch

    folder = tmp_path / "pickled"
    shutil.copytree(tiny_llama, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(LimitError, match="safetensors"):
        load_model(resolve_model(ws, str(folder)), "fp32", "cpu")


def test_broken_weights_are_said(ws: Workspace, tiny_llama: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "broken"
    shutil.copytree(tiny_llama, folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LimitError, match="broken"):
        load_model(resolve_model(ws, str(folder)), "fp32", "cpu")


def test_code_of_a_model_is_not_run_unasked(ws: Workspace, tiny_llama: Path, tmp_path: Path) -> None:
    import shutil

    from limit.core import read_json

    folder = tmp_path / "custom"
    shutil.copytree(tiny_llama, folder)
    (folder / "evil.py").write_text("import pathlib; pathlib.Path('ran').touch(); raise SystemExit(3)")
    config = {**read_json(folder / "config.json"), "model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig"}}
    write_json(folder / "config.json", config)
    with pytest.raises(LimitError, match="trust-remote-code"):
        load_model(resolve_model(ws, str(folder)), "fp32", "cpu")


def test_a_hub_model_that_nobody_gives_is_refused_before_a_job_is_made(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = resolve_model(ws, "nobody/such-model-here")
    with pytest.raises(LimitError, match="neither a folder nor in the hub cache"):
        require_at_hand(ref)
    monkeypatch.setenv("LIMIT_RAY_ADDRESS", "http://127.0.0.1:9")
    require_at_hand(ref)


def test_a_folder_of_pickled_weights_is_refused_before_a_job_is_made(ws: Workspace, tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"model_type": "llama"})
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(LimitError, match="no safetensors file"):
        require_at_hand(resolve_model(ws, str(tmp_path)))


def test_a_model_that_does_not_continue_text_is_one_short_sentence(ws: Workspace, tmp_path: Path) -> None:
    from transformers import BartConfig, T5Config

    for config in (T5Config(), BartConfig()):  # BART's decoder would load as a language model, without its encoder
        config.save_pretrained(tmp_path)
        with pytest.raises(LimitError, match="no causal language model"):
            load_model(resolve_model(ws, str(tmp_path)), "fp32", "cpu")
