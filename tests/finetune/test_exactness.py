"""Packed training is the same mathematics as one sample at a time, on every architecture, or it is not packed."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from limit.core import LimitError
from limit.encoding.packing import Example, Row, packed_row, padded_row, sample_weights
from limit.encoding.template import NO_LOSS
from limit.finetune.architecture import prepare_model
from limit.finetune.attention import PACKED
from limit.finetune.layers import recompute_activations
from limit.finetune.loss import head_loss
from tests.finetune.models import CONFIGS, PADDED, VOCABULARY, random_model

LENGTHS = (23, 7, 40, 12, 5)


@pytest.fixture
def examples() -> list[Example]:
    """Five samples whose first third is a prompt without loss."""
    generator = np.random.default_rng(3)
    made = []
    for length in LENGTHS:
        ids = generator.integers(3, VOCABULARY, length).astype(np.int32)
        labels = ids.copy()
        labels[: length // 3] = NO_LOSS
        made.append(Example(ids, labels, "s"))
    return made


def one_by_one(model: Any, examples: list[Example], weighting: str = "token") -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients the slow way: each sample alone, plain forward, plain cross-entropy."""
    model.zero_grad()
    total = torch.zeros(())
    for example, weight in zip(examples, sample_weights(examples, weighting), strict=True):
        logits = model(input_ids=torch.from_numpy(example.ids).long()[None]).logits[0, :-1].float()
        targets = torch.from_numpy(example.labels[1:]).long()
        total = total + weight * cross_entropy(logits, targets, ignore_index=NO_LOSS, reduction="sum")
    total.backward()
    return float(total.detach()), gradients(model)


def gradients(model: Any) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def relative(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    difference = sum(float(((a - b) ** 2).sum()) for a, b in zip(found, expected, strict=True))
    return float((difference / sum(float((b**2).sum()) for b in expected)) ** 0.5)


def row_of(examples: list[Example], packed: bool, weighting: str = "token") -> Row:
    weights = sample_weights(examples, weighting)
    return packed_row(examples, weights) if packed else padded_row(examples, weights, pad_id=0)


@pytest.mark.parametrize("weighting", ["token", "sample"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_has_the_loss_and_gradient_of_its_samples_alone(
    name: str, weighting: str, examples: list[Example]
) -> None:
    model = random_model(name).eval()
    loss, grads = one_by_one(model, examples, weighting)
    mode = prepare_model(model, want_packing=True, pad_id=0)
    assert mode.packed == (name not in PADDED), mode.reason
    model.zero_grad()
    found = model(row=row_of(examples, mode.packed, weighting))
    found.backward()
    assert float(found.detach()) == pytest.approx(loss, rel=1e-5)
    assert relative(gradients(model), grads) < 1e-5


def test_an_all_ones_mask_would_be_caught(examples: list[Example]) -> None:
    """Restarting positions with a mask of ones is what silently contaminates packed rows elsewhere."""
    model = random_model("llama").eval()
    loss, grads = one_by_one(model, examples)
    row = row_of(examples, packed=True)
    model.zero_grad()
    logits = model(
        input_ids=row.input_ids, position_ids=row.position_ids, attention_mask=torch.ones_like(row.input_ids)
    ).logits[0]
    wrong = (cross_entropy(logits[row.where], row.targets, reduction="none") * row.weights).sum()
    wrong.backward()
    assert abs(float(wrong.detach()) - loss) > 1e-4 * loss
    assert relative(gradients(model), grads) > 1e-2


def test_positions_that_do_not_restart_would_be_caught() -> None:
    """Learned absolute positions tell a document that starts at 0 from one that starts later."""
    torch.manual_seed(0)
    import transformers

    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=VOCABULARY, n_positions=256)
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = np.arange(3, 20, dtype=np.int32)
    pair = [Example(ids, ids, "s"), Example(ids, ids, "s")]
    mode = prepare_model(model, want_packing=True, pad_id=0)
    assert mode.packed
    row = row_of(pair, packed=True)
    running_on = row._replace(position_ids=torch.arange(row.tokens)[None])
    with torch.no_grad():
        right, wrong = float(model(row=row)), float(model(row=running_on))
        alone = float(model(row=row_of(pair[:1], packed=True)))
    assert right == pytest.approx(alone, rel=1e-5)
    assert abs(wrong - alone) > 1e-4 * alone


def test_models_that_cannot_pack_say_why() -> None:
    mode = prepare_model(random_model("mpt"), want_packing=True, pad_id=0)
    assert not mode.packed
    assert "MptForCausalLM" in mode.reason


def test_a_window_that_only_the_mask_knows_is_found_out() -> None:
    """Some models leave their window to the mask, which packed rows do without."""
    model = random_model("mistral, window 8")
    model.config.sliding_window = 30
    for layer in model.model.layers:
        layer.self_attn.config = copy.deepcopy(model.config)
        layer.self_attn.config.sliding_window = None
        layer.self_attn.config._attn_implementation = PACKED
    assert prepare_model(model, want_packing=True, pad_id=0, longest=30).packed
    mode = prepare_model(model, want_packing=True, pad_id=0, longest=31)
    assert not mode.packed, "samples are longer than the window"


def test_logits_that_a_model_changes_by_a_setting_of_its_own_are_found_out(examples: list[Example]) -> None:
    model = random_model("llama").eval()
    original = model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        output.logits = output.logits * 0.5
        return output

    model.forward = forward
    loss, grads = one_by_one(model, examples)
    assert prepare_model(model, want_packing=True, pad_id=0).whole_logits
    model.zero_grad()
    found = model(row=row_of(examples, packed=True))
    found.backward()
    assert float(found.detach()) == pytest.approx(loss, rel=1e-5)
    assert relative(gradients(model), grads) < 1e-5


def test_a_model_that_fails_in_packed_rows_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("llama")

    def forward(hidden: Any, documents: Any = None, **kwargs: Any) -> Any:
        if documents is not None:
            raise RuntimeError("view size is not compatible")
        return original(hidden, **kwargs)

    original = model.model.layers[0].forward
    monkeypatch.setattr(model.model.layers[0], "forward", forward)
    mode = prepare_model(model, want_packing=True, pad_id=0)
    assert not mode.packed
    assert "view size is not compatible" in mode.reason


def test_packing_can_be_turned_off() -> None:
    model = random_model("llama")
    mode = prepare_model(model, want_packing=False, pad_id=0)
    assert not mode.packed
    assert model.config._attn_implementation != PACKED


def test_generation_works_with_packed_attention_installed() -> None:
    model = random_model("mistral, window 8").eval()
    prompt = torch.arange(3, 23)[None]
    before = model.generate(prompt, max_new_tokens=8, do_sample=False, pad_token_id=0)
    prepare_model(model, want_packing=True, pad_id=0)
    assert torch.equal(model.generate(prompt, max_new_tokens=8, do_sample=False, pad_token_id=0), before)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk_logits", [1, 97 * 5, 2**20])
def test_chunks_of_the_head_change_nothing(chunk_logits: int, bias: bool) -> None:
    torch.manual_seed(1)
    head = torch.nn.Linear(16, 97, bias=bias)
    hidden = torch.randn(23, 16, requires_grad=True)
    targets, weights = torch.randint(0, 97, (23,)), torch.rand(23)
    expected = (cross_entropy(head(hidden), targets, reduction="none") * weights).sum()
    wanted = torch.autograd.grad(expected * 3, [hidden, *head.parameters()])
    loss = head_loss(hidden, head, targets, weights, chunk_logits)
    found = torch.autograd.grad(loss * 3, [hidden, *head.parameters()])
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_frozen_head_gets_no_gradient() -> None:
    head = torch.nn.Linear(8, 11, bias=False).requires_grad_(False)
    hidden = torch.randn(4, 8, requires_grad=True)
    head_loss(hidden, head, torch.tensor([1, 2, 3, 4]), torch.ones(4)).backward()
    assert head.weight.grad is None
    assert hidden.grad is not None


def test_a_row_without_any_loss_is_zero() -> None:
    head = torch.nn.Linear(8, 11, bias=False)
    hidden = torch.randn(0, 8, requires_grad=True)
    loss = head_loss(hidden, head, torch.zeros(0, dtype=torch.long), torch.zeros(0))
    loss.backward()
    assert float(loss.detach()) == 0.0


@pytest.mark.parametrize("name", ["llama", "mpt"])
def test_activation_checkpointing_leaves_loss_and_gradient_alone(name: str, examples: list[Example]) -> None:
    model = random_model(name).train()
    loss, grads = one_by_one(model, examples)
    recompute_activations(model)
    mode = prepare_model(model, want_packing=True, pad_id=0)
    model.zero_grad()
    found = model(row=row_of(examples, mode.packed))
    found.backward()
    assert float(found.detach()) == pytest.approx(loss, rel=1e-5)
    assert relative(gradients(model), grads) < 1e-5


def test_an_adapter_trains_through_packed_rows(examples: list[Example]) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    base = random_model("llama").eval()
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    loss, grads = one_by_one(model, examples)
    assert prepare_model(model, want_packing=True, pad_id=0).packed
    model.zero_grad()
    found = model(row=row_of(examples, packed=True))
    found.backward()
    assert float(found.detach()) == pytest.approx(loss, rel=1e-5)
    assert relative(gradients(model), grads) < 1e-5


def test_an_encoder_is_refused() -> None:
    import transformers

    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    with pytest.raises(LimitError, match="behind it"):
        prepare_model(transformers.AutoModelForCausalLM.from_config(config), want_packing=True, pad_id=0)


def test_the_head_gives_logits_as_before_and_the_loss_when_asked(examples: list[Example]) -> None:
    model = random_model("llama").eval()
    ids = torch.arange(3, 23)[None]
    before = model(input_ids=ids).logits
    prepare_model(model, want_packing=True, pad_id=0)
    assert torch.equal(model(input_ids=ids).logits, before)
    ran: list[Any] = []
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: ran.append(output.shape))
    model(row=row_of(examples, packed=True))
    assert ran == [torch.Size([])], "FSDP gathers the head's weights around its forward pass"
