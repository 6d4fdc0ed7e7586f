"""The engine against one plain forward pass a choice, for architectures that share well and those that cannot."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limit.core import LimitError
from limit.gauntlet import generate
from limit.gauntlet.engine import Engine
from limit.gauntlet.generate import Generator
from limit.gauntlet.packs import Budget, plan, prefix_tokens
from limit.gauntlet.prompts import Item
from limit.gauntlet.score import Scorer, Sharing
from limit.gauntlet.tasks import load_version
from limit.specs.gauntlet import GauntletSpec
from tests.gauntlet import reference
from tests.gauntlet.conftest import build_model
from tests.gauntlet.test_prompts import items_of

SHARES = {"llama": True, "gpt2": True, "neox": True, "gemma2": True, "mpt": False, "bloom": False, "sliding": False,
          "recurrent": False}  # fmt: skip
STAGES = ("mpt", "bloom", "sliding")


def scored(scorer: Scorer, items: list[Item]) -> dict[tuple[int, int], tuple[float, bool]]:
    shares = scorer.sharing
    packs = plan(items, scorer.budget, trees=shares.trees, prefixes=shares.prefixes, stages=shares.stages)
    return {(s.item, s.choice): (s.sum_logprob, s.greedy) for pack in packs for s in scorer.run(pack)}


@pytest.mark.parametrize(
    ("kind", "shots"),
    [*((kind, "paper") for kind in SHARES), *((kind, "fixed") for kind in ("llama", "gpt2", *STAGES))],
)
def test_scores_equal_one_forward_a_choice(data: Path, tokenizers: Any, kind: str, shots: str) -> None:
    model = build_model(kind)
    scorer = Scorer(model, Budget(plain=300, forest=200), longest=300)
    assert scorer.sharing.trees is SHARES[kind]
    assert scorer.sharing.stages is (kind in STAGES)
    for task in load_version("v0", data).select(("pick", "letter", "who", "next")):
        items = items_of(task, data, tokenizers["bos"], 300, shots=shots, limit=5)
        found = scored(scorer, items)
        assert len(found) == sum(len(item.requests) for item in items)
        for (item, choice), (total, greedy) in found.items():
            request = items[item].requests[choice]
            plain, plain_greedy = reference.logprob(model, list(request.context), list(request.continuation))
            assert total == pytest.approx(plain, abs=1e-3), (kind, task.name)
            assert greedy == plain_greedy


def test_truncated_records_are_scored_alike(data: Path, tokenizers: Any) -> None:
    model = build_model("llama")
    for shots in ("paper", "fixed"):
        items = items_of(load_version("v0", data).select(("pick",))[0], data, tokenizers["bos"], 24, shots=shots)
        for (item, choice), (total, _) in scored(Scorer(model), items).items():
            request = items[item].requests[choice]
            assert total == pytest.approx(
                reference.logprob(model, list(request.context), list(request.continuation))[0], abs=1e-3
            )


def test_no_pack_is_larger_than_scoring_each_distinct_input(data: Path, tokenizers: Any) -> None:
    for task in load_version("v0", data).select(("pick", "letter", "who", "next")):
        items = items_of(task, data, tokenizers["plain"], 300)
        separate = sum(len(ids) for item in items for ids in {r.context + r.continuation[:-1] for r in item.requests})
        packs = plan(items, Budget(plain=1, forest=400), trees=True, prefixes=True)
        assert sum(pack.tokens for pack in packs) <= separate
        if task.name == "letter":
            assert all(not tree.branches for pack in packs for tree in pack.trees)


@pytest.mark.parametrize("room", [0, 2000])
def test_two_passes_compute_no_more_than_each_distinct_input(data: Path, tokenizers: Any, room: int) -> None:
    """lm-evaluation-harness computes each distinct input once, so this is also never more than it computes."""
    for task in load_version("v0", data).select(("pick", "letter", "who", "next")):
        for shots in ("paper", "fixed"):
            items = items_of(task, data, tokenizers["plain"], 300, shots=shots)
            packs = plan(items, Budget(plain=room, forest=0), trees=False, prefixes=False, stages=True)
            computed = prefix_tokens(packs)
            for pack in packs:
                rows = sum(len(tree.trunk) for tree in pack.trees)
                computed += pack.tokens if pack.staged else rows
            inputs = {r.context + r.continuation[:-1] for item in items for r in item.requests}
            assert computed <= sum(map(len, inputs))
        if task.name == "pick":
            assert computed < sum(map(len, inputs)) / 4


def test_two_passes_share_a_pass_among_records(data: Path, tokenizers: Any) -> None:
    task = load_version("v0", data).select(("letter",))[0]
    items = items_of(task, data, tokenizers["plain"], 300, shots="fixed")
    packs = plan(items, Budget(plain=5000, forest=0), trees=False, prefixes=False, stages=True)
    assert all(pack.staged for pack in packs)
    assert any(len(pack.trees) > 1 for pack in packs)


def test_fixed_shots_compute_the_examples_once(data: Path, tokenizers: Any) -> None:
    task = load_version("v0", data).select(("pick",))[0]
    items = items_of(task, data, tokenizers["plain"], 300, shots="fixed")
    packs = plan(items, Budget(plain=1, forest=400), trees=True, prefixes=True)
    assert prefix_tokens(packs) < 3 * max(item.shared for item in items)
    assert sum(pack.tokens for pack in packs) < sum(len(item.requests[0].context) for item in items)


def test_a_plan_depends_on_the_requests_alone(data: Path, tokenizers: Any) -> None:
    task = load_version("v0", data).select(("pick",))[0]
    items = items_of(task, data, tokenizers["plain"], 300)
    budget = Budget(plain=300, forest=300)
    assert plan(items, budget, trees=True, prefixes=True) == plan(list(items), budget, trees=True, prefixes=True)


def test_a_model_of_nan_is_flagged_not_scored_as_sure(data: Path, tokenizers: Any) -> None:
    import math

    import torch

    model = build_model("llama")
    torch.nn.init.constant_(model.model.norm.weight, math.nan)
    items = items_of(load_version("v0", data).select(("pick",))[0], data, tokenizers["plain"], 300, limit=2)
    assert all(math.isnan(total) for total, _ in scored(Scorer(model), items).values())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "sliding"])
def test_room_for_keys_and_values_is_what_a_token_leaves(kind: str) -> None:
    """Two layers of two heads (GPT-2: four) of eight numbers of four bytes, keys and values."""
    heads = 4 if kind == "gpt2" else 2
    assert generate.cache_positions(build_model(kind)) == generate.CPU_CACHE_BYTES // (2 * 2 * heads * 8 * 4)


def test_layers_of_different_width_are_told_by_what_they_keep(data: Path, tokenizers: Any) -> None:
    """Gemma 4's config has a head width for each layer and refuses to name one."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "Gemma4TextConfig"):
        pytest.skip("this transformers has no Gemma 4")
    config = transformers.Gemma4TextConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
        vocab_size=420, head_dim=8, vocab_size_per_layer_input=420, hidden_size_per_layer_input=8,
        num_kv_shared_layers=0,
    )  # fmt: skip
    model = transformers.Gemma4ForCausalLM(config).eval()
    assert Engine(model, tokenizers["bos"], GauntletSpec(), add_space=False).plan["cache"] > 1000


def test_a_model_that_hands_over_no_keys_and_values_is_answered_all_the_same(data: Path, tokenizers: Any) -> None:
    task = load_version("v0", data).select(("sums",))[0]
    items = [replace(item, max_new_tokens=9) for item in items_of(task, data, tokenizers["bos"], 300, limit=3)]
    found = []
    for shares in (True, False):
        engine = Engine(build_model("llama"), tokenizers["bos"], GauntletSpec(), add_space=False)
        if not shares:
            engine.scorers[0].sharing = Sharing(head=True)
        works = list(enumerate(engine.packs(task, items)))
        found.append(sorted(row for _, _, values in engine.run(works, lambda: False) for row in values["answers"]))
        assert engine._generators[id(engine.scorers[0])][1].has_plain_cache is shares
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["llama", "recurrent"])
def test_answers_written_from_nan_are_flagged(data: Path, tokenizers: Any, kind: str) -> None:
    import math

    import torch

    items = items_of(load_version("v0", data).select(("sums",))[0], data, tokenizers["bos"], 300, limit=2)
    items = [replace(item, max_new_tokens=5) for item in items]
    for broken in (False, True):
        model = build_model(kind)
        if broken:
            torch.nn.init.constant_(
                next(p for name, p in model.named_parameters() if "norm_f" in name or name == "model.norm.weight"),
                math.nan,
            )
        generator = Generator(model, tokenizers["bos"], (), share=False, pad_space=False)
        answers = [a for batch in generator.plan(items) for a in generator.run(items, batch)]
        assert [a.nan for a in answers] == [broken, broken]


def test_a_model_that_sees_what_follows_is_refused() -> None:
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    bert = transformers.BertLMHeadModel(transformers.BertConfig(**shape, vocab_size=420)).eval()
    with pytest.raises(LimitError, match="bert model looks at the tokens after"):
        Scorer(bert)
    decoder = transformers.BertConfig(**shape, vocab_size=420, is_decoder=True)
    Scorer(transformers.BertLMHeadModel(decoder).eval())


@pytest.mark.parametrize(
    ("kind", "shots"),
    [*((kind, "paper") for kind in SHARES), *((kind, "fixed") for kind in ("llama", "gpt2", "mpt", "sliding"))],
)
def test_generation_equals_a_plain_greedy_loop(
    data: Path, tokenizers: Any, kind: str, shots: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of different length that leave at different times, in several batches and passes, with and without EOS."""
    model, tokenizer = build_model(kind), tokenizers["bos"]
    monkeypatch.setattr(generate, "CPU_ROWS", 4)
    monkeypatch.setattr(generate, "CPU_PREFILL", 150)
    share = Scorer(model, longest=300).sharing.prefixes
    items = items_of(load_version("v0", data).select(("sums",))[0], data, tokenizer, 300, shots=shots)
    items = [replace(item, max_new_tokens=12 + 3 * item.idx) for item in items]
    generator = Generator(model, tokenizer, (), share=share, pad_space=False)
    batches = generator.plan(items)
    assert len(batches) > 2
    assert sorted(i for batch in batches for i in batch.members) == list(range(len(items)))
    if shots == "fixed" and share:
        assert any(len(batch.prefix) >= generate.SHARED_AT_LEAST for batch in batches)
    answers = {a.item: a.text for batch in batches for a in generator.run(items, batch)}
    for index, item in enumerate(items):
        wanted = reference.greedy(model, list(item.requests[0].context), item.max_new_tokens, tokenizer.eos_token_id)
        assert answers[index] == tokenizer.decode(wanted, skip_special_tokens=True)


def test_rows_that_end_early_leave_the_others_as_they_are(data: Path, tokenizers: Any) -> None:
    """A token that is often the likeliest stands in for the end of text, so that rows end all over the batch."""
    model, tokenizer = build_model("llama"), copy.deepcopy(tokenizers["bos"])
    items = items_of(load_version("v0", data).select(("sums",))[0], data, tokenizer, 300)
    contexts = [list(item.requests[0].context) for item in items]
    whole = [reference.greedy(model, context, 40, None) for context in contexts]
    counts = {token: sum(token in ids for ids in whole) for ids in whole for token in ids}
    end = min((token for token in counts if counts[token] >= 3), key=lambda token: (abs(counts[token] - 6), token))
    tokenizer.eos_token_id = end
    items = [replace(item, max_new_tokens=40) for item in items]
    generator = Generator(model, tokenizer, (), share=True, pad_space=False)
    (batch,) = generator.plan(items)
    answers = {a.item: a.text for a in generator.run(items, batch)}
    lengths = set()
    for index, context in enumerate(contexts):
        wanted = reference.greedy(model, context, 40, end)
        lengths.add(len(wanted))
        assert answers[index] == tokenizer.decode(wanted, skip_special_tokens=True)
    assert len(lengths) > 2
    assert generator.tokens_computed < sum(map(len, contexts)) + 39 * len(items)


def test_a_shared_beginning_is_computed_once_for_all_batches(
    data: Path, tokenizers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = build_model("llama"), tokenizers["plain"]
    monkeypatch.setattr(generate, "CPU_ROWS", 2)
    task = load_version("v0", data).select(("sums",))[0]
    items = items_of(task, data, tokenizer, 300, shots="fixed")
    engine = Engine(model, tokenizer, GauntletSpec(), add_space=False)
    works = list(enumerate(engine.packs(task, items)))
    fed: list[int] = []
    model.register_forward_pre_hook(lambda m, a, k: fed.append(k["input_ids"].numel()), with_kwargs=True)
    counted = sum(values["tokens"] for _, _, values in engine.run(works, lambda: False))
    assert sum(fed) == counted
    assert sum(work.prefix_tokens for _, work in works) == sum(map(len, {work.pack.prefix for _, work in works}))
    assert len({work.pack.prefix for _, work in works}) < len(works)


def test_generation_is_left_in_the_middle_when_asked_to(data: Path, tokenizers: Any) -> None:
    task = load_version("v0", data).select(("sums",))[0]
    items = items_of(task, data, tokenizers["plain"], 300)
    engine = Engine(build_model("llama"), tokenizers["plain"], GauntletSpec(), add_space=False)
    asked: list[int] = []

    def stopping() -> bool:
        asked.append(1)
        return len(asked) > 5

    assert list(engine.run(list(enumerate(engine.packs(task, items))), stopping)) == []
    assert len(asked) == 6


def test_running_out_of_memory_halves_a_batch_of_answers(
    data: Path, tokenizers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    task = load_version("v0", data).select(("sums",))[0]
    items = items_of(task, data, tokenizers["plain"], 300)
    engine = Engine(build_model("llama"), tokenizers["plain"], GauntletSpec(), add_space=False)
    works = list(enumerate(engine.packs(task, items)))
    whole = sorted(row for _, _, values in engine.run(works, lambda: False) for row in values["answers"])
    real = Generator.run

    def small(self: Generator, items: Any, batch: Any, stopping: Any) -> Any:
        if len(batch.members) > 2:
            raise torch.OutOfMemoryError("no")
        return real(self, items, batch, stopping)

    monkeypatch.setattr(Generator, "run", small)
    assert sorted(r for _, _, values in engine.run(works, lambda: False) for r in values["answers"]) == whole


def test_a_row_ends_at_its_stop_string(data: Path, tokenizers: Any) -> None:
    model, tokenizer = build_model("llama"), tokenizers["plain"]
    items = items_of(load_version("v0", data).select(("sums",))[0], data, tokenizer, 300, limit=4)
    whole = Generator(model, tokenizer, (), share=True, pad_space=False)
    texts = {a.item: a.text for batch in whole.plan(items) for a in whole.run(items, batch)}
    stop = texts[0][4:6]
    cut = Generator(model, tokenizer, (stop,), share=True, pad_space=False)
    for answer in (a for batch in cut.plan(items) for a in cut.run(items, batch)):
        assert answer.text.split(stop)[0] == texts[answer.item].split(stop)[0]
    assert cut.tokens_computed < whole.tokens_computed


def test_several_devices_share_the_packs(data: Path, tokenizers: Any) -> None:
    model = build_model("llama")
    task = load_version("v0", data).select(("pick",))[0]
    items = items_of(task, data, tokenizers["plain"], 300)
    engine = Engine(model, tokenizers["plain"], GauntletSpec(batch_tokens=100), add_space=False)
    works = list(enumerate(engine.packs(task, items)))
    alone = {n: values["scores"] for n, _, values in engine.run(works, lambda: False)}
    engine.scorers.append(Scorer(copy.deepcopy(model), engine.scorers[0].budget))
    together = {n: values["scores"] for n, _, values in engine.run(works, lambda: False)}
    assert len(works) > 2
    assert together == alone


def test_running_out_of_memory_halves_a_pack(data: Path, tokenizers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    model = build_model("llama")
    task = load_version("v0", data).select(("pick",))[0]
    items = items_of(task, data, tokenizers["plain"], 300)
    engine = Engine(model, tokenizers["plain"], GauntletSpec(), add_space=False)
    works = list(enumerate(engine.packs(task, items)))
    whole = sorted(row for _, _, values in engine.run(works, lambda: False) for row in values["scores"])
    real = Scorer.run

    def small(self: Scorer, pack: Any) -> Any:
        if len(pack.trees) > 1:
            raise torch.OutOfMemoryError("no")
        return real(self, pack)

    monkeypatch.setattr(Scorer, "run", small)
    halved = sorted(row for _, _, values in engine.run(works, lambda: False) for row in values["scores"])
    assert [row[:2] for row in halved] == [row[:2] for row in whole]
    assert [row[2] for row in halved] == pytest.approx([row[2] for row in whole], abs=1e-4)


def test_fixed_draws_give_up_whole_examples_where_there_is_no_room(data: Path, tokenizers: Any) -> None:
    task = replace(load_version("v0", data).select(("pick",))[0], num_fewshot=10)
    items = items_of(task, data, tokenizers["plain"], 128, shots="fixed")
    assert all(item.shared for item in items)
    assert all(len(r.context) + len(r.continuation) <= 128 for item in items for r in item.requests)
    part = items_of(task, data, tokenizers["plain"], 128, shots="fixed", limit=2)
    assert part == items[:2]
