"""Train the base model that ships with the project: `python -m limit.tiny.pretrain`.

Notable: seeds, text and number of steps are fixed, so the recipe is the same on any machine (the numbers differ in the
last digits between processors); it can be interrupted and goes on from its last checkpoint; the result is written to
`data/tiny/model`, its loss curve and recipe to `data/tiny/loss.json`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limit.core import Json, append_jsonl, atomic_path, file_sha256, read_jsonl, utc_now, write_json
from limit.settings import SHIPPED
from limit.tiny.corpus import documents
from limit.tiny.muon import Muon
from limit.tiny.tokenizer import BOS, EOS, PAD, SPECIAL, train_tokenizer
from limit.tiny.world import WORLD_SEED, build_world

CHECKPOINT_EVERY = 100
DOCUMENTS = 20_000  # written at once, and so many teach the tokenizer
LOG_EVERY = 10


@dataclass(frozen=True)
class PretrainRecipe:
    """Everything that decides what the base model becomes; no text is seen twice."""

    world_seed: int = WORLD_SEED
    corpus_seed: int = 5
    model_seed: int = 17
    vocab_size: int = 2048
    hidden_size: int = 192
    layers: int = 5
    heads: int = 6
    intermediate_size: int = 512
    positions: int = 1024
    row_tokens: int = 192
    rows: int = 12
    steps: int = 4000
    warmup_steps: int = 60
    decay_from: float = 0.82
    muon_lr: float = 4e-3
    adam_lr: float = 4e-3

    def lr_scale(self, step: int) -> float:
        """Warm up linearly, stay, then decay linearly to zero."""
        decay_start = self.decay_from * self.steps
        return min(1.0, (step + 1) / self.warmup_steps, (self.steps - step) / (self.steps - decay_start))


def build_rows(recipe: PretrainRecipe, tokenizer_folder: Path) -> np.ndarray:
    """Write the tokenizer and return the corpus as an int64 array (rows, row_tokens): documents end to end."""
    world = build_world(recipe.world_seed)
    needed = recipe.steps * recipe.rows * recipe.row_tokens
    sample = list(documents(world, recipe.corpus_seed, DOCUMENTS))
    tokenizer = train_tokenizer(sample, recipe.vocab_size)
    tokenizer.save_pretrained(tokenizer_folder)
    ends = tokenizer.convert_tokens_to_ids([BOS, EOS])
    stream: list[int] = []
    seed = recipe.corpus_seed
    while len(stream) < needed:
        seed += 1
        for ids in tokenizer(list(documents(world, seed, DOCUMENTS)), add_special_tokens=False)["input_ids"]:
            stream += [ends[0], *ids, ends[1]]
    return np.array(stream[:needed], dtype=np.int64).reshape(-1, recipe.row_tokens)


def build_model(recipe: PretrainRecipe, vocab_size: int) -> Any:
    """A fresh Llama in single precision."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.model_seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.positions,
        tie_word_embeddings=True,
        bos_token_id=SPECIAL.index(BOS),
        eos_token_id=SPECIAL.index(EOS),
        pad_token_id=SPECIAL.index(PAD),
    )
    return LlamaForCausalLM(config)


def optimizers(model: Any, recipe: PretrainRecipe) -> list[Any]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    import torch

    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    outer = [p for name, p in model.named_parameters() if p.ndim < 2 or "embed" in name]
    return [
        Muon(inner, lr=recipe.muon_lr),
        torch.optim.AdamW(outer, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(recipe: PretrainRecipe, work: Path) -> Any:
    """Train from the start or from the last checkpoint in `work`; returns the model."""
    import torch

    rows = build_rows(recipe, work / "model")
    model = build_model(recipe, recipe.vocab_size)
    updates = optimizers(model, recipe)
    base_lrs = [u.param_groups[0]["lr"] for u in updates]
    saved = work / "checkpoint.pt"
    first, elapsed = 0, 0.0
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        for update, values in zip(updates, state["optimizers"], strict=True):
            update.load_state_dict(values)
        first, elapsed = state["step"], state["seconds"]
    forget_after(work / "loss.jsonl", first)
    order = np.random.default_rng(recipe.model_seed).permutation(len(rows))
    model.train()
    started = time.monotonic() - elapsed
    losses: list[float] = []
    for step in range(first, recipe.steps):
        batch = torch.from_numpy(rows[order[step * recipe.rows : (step + 1) * recipe.rows]])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for update, lr in zip(updates, base_lrs, strict=True):
            update.param_groups[0]["lr"] = lr * recipe.lr_scale(step)
            update.step()
            update.zero_grad()
        losses.append(float(loss.detach()))
        if (step + 1) % LOG_EVERY == 0:
            report(work, step + 1, losses, time.monotonic() - started, recipe)
            losses = []
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_checkpoint(saved, model, updates, step + 1, time.monotonic() - started)
    return model


def forget_after(journal: Path, step: int) -> None:
    """Drop the lines of steps that will be done again."""
    kept = [row for row in read_jsonl(journal) if row["step"] <= step]
    journal.unlink(missing_ok=True)
    append_jsonl(journal, kept)


def report(work: Path, step: int, losses: list[float], seconds: float, recipe: PretrainRecipe) -> None:
    """Append the mean loss of the last steps to the journal and say it."""
    row = {"step": step, "loss": round(float(np.mean(losses)), 4), "seconds": round(seconds, 1)}
    append_jsonl(work / "loss.jsonl", [row], sync=False)
    if step % 50 == 0:
        rate = step * recipe.rows * recipe.row_tokens / seconds
        print(f"step {step}/{recipe.steps}  loss {row['loss']:.3f}  {rate:,.0f} tokens/s", flush=True)


def save_checkpoint(path: Path, model: Any, updates: list[Any], step: int, seconds: float) -> None:
    """Write all that is needed to go on from `step`."""
    import torch

    state = {
        "model": model.state_dict(),
        "optimizers": [update.state_dict() for update in updates],
        "step": step,
        "seconds": seconds,
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def give_markers_a_start(model: Any, seed: int) -> None:
    """Set the embeddings of tokens that pretraining never showed to the mean of all, with a little noise."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        for index in range(2, len(SPECIAL)):
            noise = torch.randn(table.size(1), generator=generator) * table.std() * 0.1
            table[index] = table[len(SPECIAL) :].mean(0) + noise


def save(model: Any, recipe: PretrainRecipe, work: Path) -> None:
    """Write the model in half precision and the record of its training."""
    import torch

    give_markers_a_start(model, recipe.model_seed)
    seconds = max((row["seconds"] for row in read_jsonl(work / "loss.jsonl")), default=0.0)
    model.half().save_pretrained(work / "model")
    weights = work / "model" / "model.safetensors"
    record: Json = {
        "command": "python -m limit.tiny.pretrain",
        "date": utc_now(),
        "recipe": asdict(recipe),
        "parameters": model.num_parameters(),
        "tokens": recipe.steps * recipe.rows * recipe.row_tokens,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "device": "cpu",
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "bytes": weights.stat().st_size,
        "sha256": file_sha256(weights),
        "loss": [[row["step"], row["loss"]] for row in read_jsonl(work / "loss.jsonl")],
    }
    write_json(work / "loss.json", record)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=SHIPPED / "tiny", help="folder that gets model/ and loss.json")
    parser.add_argument("--steps", type=int, default=PretrainRecipe.steps, help="fewer steps give a worse model")
    parser.add_argument("--layers", type=int, default=PretrainRecipe.layers, help="depth of the model")
    options = parser.parse_args()
    recipe = PretrainRecipe(steps=options.steps, layers=options.layers)
    options.out.mkdir(parents=True, exist_ok=True)
    save(train(recipe, options.out), recipe, options.out)
    for leftover in ("checkpoint.pt", "loss.jsonl"):
        (options.out / leftover).unlink()


if __name__ == "__main__":
    main()
