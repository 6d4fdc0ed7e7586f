"""Fixtures that several folders share: a workspace of its own, the real data where it is at hand, a tiny Llama."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from limit.settings import PROJECT, Workspace
from tests.small_tokenizers import train_tokenizer

# Other tests have the same cores: how fast a test draws its examples says nothing.
settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("busy")
gc.disable()  # until the first test: see `settled_objects`

SHARED = PROJECT.parent / "shared"
# Files that take longest, in the order to start them: those that wait for a browser beside those that compute.
LONGEST = (
    "finetune/test_distributed.py",
    "e2e/test_first_start.py",
    "finetune/test_layers.py",
    "e2e/test_roles.py",
    "finetune/test_train.py",
    "e2e/test_present.py",
    "gauntlet/test_commands.py",
    "e2e/test_path.py",
    "gauntlet/test_score.py",
    "e2e/test_vote.py",
    "judge/test_runner.py",
    "e2e/test_runs_live.py",
    "export/test_export.py",
    "jobs/test_faults.py",
    "gauntlet/test_page.py",
    "jobs/test_queue.py",
    "e2e/test_compare.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that in the end no process is left alone with one."""
    places = {PROJECT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(autouse=True, scope="module")
def settled_objects() -> Iterator[None]:
    """Libraries and collected tests are a million objects that nobody drops: let no collection walk them again."""
    gc.enable()
    gc.collect()
    gc.freeze()
    yield


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace that LIMIT_HOME points to."""
    root = tmp_path / "workspace"
    monkeypatch.setenv("LIMIT_HOME", str(root))
    return Workspace(root).make()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test data; tests that need it skip where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("real test data (../shared/data) is not at hand")
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama (hidden size 32, about 512 tokens) and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    words = ["Question: which town is the home of the baker?\nAnswer: the baker lives in a small town by the river."]
    train_tokenizer(words * 8, folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
