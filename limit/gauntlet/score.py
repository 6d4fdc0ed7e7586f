"""Log-probabilities of continuations, computing each shared token once and the output head only where it is asked.

Notable: what a model allows is found out by asking it (`Scorer.probe`): a random tree is scored with and without
sharing. A model whose numbers differ under a tree's mask (ALiBi, sliding windows) shares keys and values in two passes
if that leaves its numbers as they are, and is scored row by row otherwise (recurrent layers, unknown wrappers).
Logits are turned to float32 before the log-softmax. Padding is on the right and never attended to.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from limit.core import LimitError
from limit.gauntlet.generate import keeps_plain_cache
from limit.gauntlet.packs import Budget, Ids, Pack, Path, Tree

if TYPE_CHECKING:
    import torch

CPU_BUDGET = Budget(plain=0, forest=512)  # no padding: a CPU gains nothing from wide batches
GPU_BUDGET = Budget(plain=16384, forest=2048)
LOGITS_AT_ONCE = 1 << 26  # 256 MB of float32
FP32_TOLERANCE = 1e-3
BF16_TOLERANCE = 0.3


@dataclass(frozen=True)
class Score:
    """One request: summed log-probability in nats, whether every token was the likeliest, and by how much (in nats;
    the narrowest lead of a token over its best rival, negative where a rival led)."""

    item: int
    choice: int
    sum_logprob: float
    greedy: bool
    lead: float


@dataclass(frozen=True)
class Sharing:
    """What `probe` found: whether hidden states can go through the head alone, whether trees and prefixes of trees can
    be shared, and where trees cannot, whether keys and values can be in two passes (`stages`)."""

    head: bool = False
    trees: bool = False
    prefixes: bool = False
    stages: bool = False


class Scorer:
    """One model on one device."""

    def __init__(self, model: Any, budget: Budget | None = None, longest: int = 1024) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.budget = budget or (GPU_BUDGET if self.device.type == "cuda" else CPU_BUDGET)
        self.sharing = Sharing()
        self._prefix: Ids = ()
        self._cache: Any = None
        self.sharing = self.probe(longest)

    def probe(self, longest: int) -> Sharing:
        """Compare shared with plain scoring on random tokens; `longest` is the longest request to come, in tokens.

        Raises LimitError for a model whose numbers for a token depend on later ones.
        """
        import torch

        config = self.model.config.get_text_config()
        vocabulary = int(config.vocab_size)
        generator = torch.Generator().manual_seed(0)
        draw = lambda n: tuple(torch.randint(0, vocabulary, (n,), generator=generator).tolist())  # noqa: E731
        self._check_causal((*draw(24),), (*draw(24),))
        window = _window(config, longest)
        prefix, trunk = draw(24), draw(16 + (window or 0))
        branches = (draw(48), draw(5), draw(33))
        paths = tuple(Path(0, i, i, (*branch[-3:], 1)) for i, branch in enumerate(branches))
        rows = tuple(Tree(prefix + trunk + b, (), (Path(0, i, None, (*b[-3:], 1)),)) for i, b in enumerate(branches))
        plain = self._try(Pack(rows, False), Sharing())
        if plain is None:
            return Sharing()
        head = self._agrees(plain, self._try(Pack(rows, False), Sharing(head=True)))
        tree = Tree(prefix + trunk, branches, paths)
        after = Tree(trunk, branches, paths)
        if window is None and not _position_biased(config):
            trees = self._agrees(plain, self._try(Pack((tree,), True), Sharing(head, True)))
            if trees:
                prefixes = self._agrees(plain, self._try(Pack((after,), True, prefix), Sharing(head, True, True)))
                return Sharing(head, trees, prefixes)
        stages = keeps_plain_cache(self.model) and all(
            self._agrees(plain, self._try(pack, Sharing(head)))
            for pack in (
                Pack((tree,), False, staged=True),
                Pack((after,), False, prefix, staged=True),
                Pack(_one_branch_each(after), False, prefix, staged=True),
            )
        )
        return Sharing(head, stages=stages)

    def _check_causal(self, one: Ids, other: Ids) -> None:
        """Raise LimitError when what follows changes what stands before: such a model fills gaps, it continues no text.

        Encoders (BERT and its like) can be loaded as language models, and would get scores that mean nothing.
        """
        import torch

        half = len(one) // 2
        self.sharing = Sharing()
        with torch.inference_mode():
            first, second = (
                self._forward(input_ids=_row(ids).to(self.device), use_cache=False)[0, :half].float()
                for ids in (one, one[:half] + other[half:])
            )
        tolerance = 1e-3 if self.model.dtype == torch.float32 else 0.1
        if float((first - second).abs().max()) > tolerance * float(first.std()):  # NaN is not larger
            raise LimitError(
                f"this {self.model.config.model_type} model looks at the tokens after the one that it predicts, so it "
                f"cannot be scored; give a model that continues text, such as Llama or MPT"
            )

    def _try(self, pack: Pack, sharing: Sharing) -> list[Score] | None:
        self.sharing = sharing
        try:
            return sorted(self.run(pack), key=lambda score: score.choice)
        except Exception:  # what an unknown architecture raises when it is asked for more than it can do is not ours
            return None
        finally:
            self._prefix, self._cache = (), None

    def _agrees(self, plain: list[Score], other: list[Score] | None) -> bool:
        import torch

        tolerance = FP32_TOLERANCE if self.model.dtype == torch.float32 else BF16_TOLERANCE
        return other is not None and all(
            abs(a.sum_logprob - b.sum_logprob) <= tolerance * max(1.0, abs(a.sum_logprob) / 100)
            for a, b in zip(plain, other, strict=True)
        )

    def run(self, pack: Pack) -> list[Score]:
        """Score every request of a pack."""
        import torch

        with torch.inference_mode():
            if pack.staged:
                return self._staged(pack)
            return self._forest(pack) if pack.forest else self._plain(pack)

    def _plain(self, pack: Pack) -> list[Score]:
        import torch

        width = max(len(tree.trunk) for tree in pack.trees)
        ids = torch.zeros((len(pack.trees), width), dtype=torch.long)
        for row, tree in enumerate(pack.trees):
            ids[row, : len(tree.trunk)] = torch.tensor(tree.trunk)
        hidden = self._forward(input_ids=ids.to(self.device), use_cache=False)
        asked = [
            (row * width + position, target, path)
            for row, tree in enumerate(pack.trees)
            for path in tree.paths
            for position, target in _after(len(tree.trunk), path.continuation)
        ]
        return self._read(hidden.reshape(-1, hidden.shape[-1]), asked)

    def _forest(self, pack: Pack) -> list[Score]:
        start = len(pack.prefix)
        ids, positions, owners, asked = _layout(pack.trees, start)
        mask = self._mask(owners, start)
        options: dict[str, Any] = {"use_cache": False}
        if start:
            options = {"use_cache": True, "past_key_values": self._cached(pack.prefix)}
        hidden = self._forward(
            input_ids=_row(ids).to(self.device),
            position_ids=_row(positions).to(self.device),
            attention_mask=mask,
            **options,
        )
        if start:
            self._cache.crop(-len(ids))  # a negative number is what both old and new transformers understand
        return self._read(hidden[0], asked)

    def _staged(self, pack: Pack) -> list[Score]:
        """Trunks first, as rows of one length; then every branch as a row after its trunk's keys and values."""
        import torch
        from transformers import DynamicCache

        depth, width = len(pack.trees[0].trunk), max((len(b) for t in pack.trees for b in t.branches), default=0)
        cache = copy.deepcopy(self._cached(pack.prefix)) if pack.prefix else DynamicCache()
        if pack.prefix and len(pack.trees) > 1:
            cache.batch_repeat_interleave(len(pack.trees))
        states = []
        if depth:
            ids = torch.tensor([tree.trunk for tree in pack.trees])
            states.append(self._forward(input_ids=ids.to(self.device), use_cache=True, past_key_values=cache))
        owners = [number for number, tree in enumerate(pack.trees) for _ in tree.branches]
        if owners:
            cache.batch_select_indices(torch.tensor(owners, device=self.device))
            ids = torch.zeros((len(owners), width), dtype=torch.long)
            for row, branch in enumerate(branch for tree in pack.trees for branch in tree.branches):
                ids[row, : len(branch)] = torch.tensor(branch)
            states.append(self._forward(input_ids=ids.to(self.device), use_cache=True, past_key_values=cache))
        flat = torch.cat([block.reshape(-1, block.shape[-1]) for block in states])
        return self._read(flat, _staged_places(pack.trees, depth, width))

    def _mask(self, owners: list[tuple[int, int]], start: int) -> torch.Tensor:
        """The mask in the form that the model's attention takes: yes and no, or what is added to its scores."""
        import torch

        mask = _mask(owners, start).to(self.device)
        if self.model.config.get_text_config()._attn_implementation != "eager":
            return mask
        lowest = torch.finfo(self.model.dtype).min
        return torch.zeros(mask.shape, dtype=self.model.dtype, device=self.device).masked_fill(~mask, lowest)

    def _cached(self, prefix: Ids) -> Any:
        """Keys and values of a prefix, computed when it changes."""
        from transformers import DynamicCache

        if self._prefix != prefix:
            self._cache = DynamicCache()
            self._forward(input_ids=_row(prefix).to(self.device), use_cache=True, past_key_values=self._cache)
            self._prefix = prefix
        return self._cache

    def _forward(self, **inputs: Any) -> torch.Tensor:
        """Last hidden states, or logits where the model does not let its head be called alone."""
        if self.sharing.head:
            states: torch.Tensor = self.model.base_model(**inputs).last_hidden_state
            return states
        logits: torch.Tensor = self.model(**inputs).logits
        return logits

    def _read(self, states: torch.Tensor, asked: list[tuple[int, int, Path]]) -> list[Score]:
        import torch

        places = {place: i for i, place in enumerate(dict.fromkeys(place for place, _, _ in asked))}
        chosen = states[torch.tensor(list(places), device=states.device)]
        where = torch.tensor([places[place] for place, _, _ in asked], device=states.device)
        targets = torch.tensor([target for _, target, _ in asked], device=states.device)
        values = self._gather(chosen, where, targets)
        found: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
        for (_, _, path), value in zip(asked, values, strict=True):
            found.setdefault((path.item, path.choice), []).append(value)
        return [
            Score(
                item,
                choice,
                sum_logprob=sum(logprob for logprob, _, _ in tokens),
                greedy=all(first == 1.0 for _, first, _ in tokens),
                lead=min(lead for _, _, lead in tokens),
            )
            for (item, choice), tokens in found.items()
        ]

    def _gather(
        self, states: torch.Tensor, where: torch.Tensor, targets: torch.Tensor
    ) -> list[tuple[float, float, float]]:
        """(log-probability, 1.0 if it is the argmax, lead over the best rival) of each target after its state."""
        import torch

        width = self.model.get_output_embeddings().weight.shape[0] if self.sharing.head else states.shape[-1]
        step = max(1, LOGITS_AT_ONCE // width)
        parts = []
        for begin in range(0, len(states), step):
            block = states[begin : begin + step]
            logits = (self.model.get_output_embeddings()(block) if self.sharing.head else block).float()
            picked = (where >= begin) & (where < begin + step)
            rows, wanted = where[picked] - begin, targets[picked]
            own = logits[rows, wanted]
            best = logits.topk(2, dim=-1)
            argmax = logits.argmax(dim=-1)[rows]
            rival = torch.where(best.indices[rows, 0] == wanted, best.values[rows, 1], best.values[rows, 0])
            total = logits.logsumexp(dim=-1)[rows]
            values = torch.stack([own - total, (argmax == wanted).float(), own - rival], dim=-1)
            parts.append((picked.nonzero().flatten(), values))
        result = torch.empty((len(where), 3), device=states.device)
        for index, values in parts:
            result[index] = values
        return [(a, b, c) for a, b, c in result.tolist()]


def _after(length: int, continuation: Ids) -> list[tuple[int, int]]:
    """(position in the row, token it must predict) for a continuation whose input ends the row."""
    first = length - len(continuation)
    return [(first + i, token) for i, token in enumerate(continuation)]


def _row(values: Any) -> torch.Tensor:
    import torch

    return torch.tensor([list(values)], dtype=torch.long)


def _layout(
    trees: tuple[Tree, ...], start: int
) -> tuple[list[int], list[int], list[tuple[int, int]], list[tuple[int, int, Path]]]:
    """Lay trees side by side: ids, positions, (tree, branch) of each token with branch 0 the trunk, and what to ask."""
    ids: list[int] = []
    positions: list[int] = []
    owners: list[tuple[int, int]] = []
    asked: list[tuple[int, int, Path]] = []
    for number, tree in enumerate(trees):
        base, depth = len(ids), len(tree.trunk)
        begins = []
        ids.extend(tree.trunk)
        positions.extend(range(start, start + depth))
        owners.extend([(number, 0)] * depth)
        for branch, tokens in enumerate(tree.branches, start=1):
            begins.append(len(ids))
            ids.extend(tokens)
            positions.extend(range(start + depth, start + depth + len(tokens)))
            owners.extend([(number, branch)] * len(tokens))
        for path in tree.paths:
            length = 0 if path.branch is None else len(tree.branches[path.branch])
            for offset, token in _after(depth + length, path.continuation):
                place = base + offset if offset < depth else begins[path.branch or 0] + offset - depth
                asked.append((place, token, path))
    return ids, positions, owners, asked


def _mask(owners: list[tuple[int, int]], start: int) -> torch.Tensor:
    """[1, 1, L, start + L] True where a token may look: the prefix, its own trunk and its own branch, not ahead."""
    import torch

    tree, branch = torch.tensor(owners, dtype=torch.int32).T
    same = tree[:, None] == tree[None, :]
    visible = (branch[None, :] == 0) | (branch[:, None] == branch[None, :])
    block = (same & visible).tril()
    return torch.cat([torch.ones((len(owners), start), dtype=torch.bool), block], dim=1)[None, None]


def _staged_places(trees: tuple[Tree, ...], depth: int, width: int) -> list[tuple[int, int, Path]]:
    """(position, token it must predict, request) where all trunks come first and then the branches, padded to width."""
    asked = []
    row = 0
    for number, tree in enumerate(trees):
        for path in tree.paths:
            length = 0 if path.branch is None else len(tree.branches[path.branch])
            begin = len(trees) * depth + (row + (path.branch or 0)) * width
            for offset, token in _after(depth + length, path.continuation):
                place = number * depth + offset if offset < depth else begin + offset - depth
                asked.append((place, token, path))
        row += len(tree.branches)
    return asked


def _one_branch_each(tree: Tree) -> tuple[Tree, ...]:
    return tuple(
        Tree(tree.trunk, (branch,), (replace(path, branch=0),))
        for branch, path in zip(tree.branches, tree.paths, strict=True)
    )


def _window(config: Any, longest: int) -> int | None:
    """Over how many tokens a layer looks back, where that is fewer than the longest request has."""
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_window_size", "window_size")]
    if not getattr(config, "use_sliding_window", True):
        return None
    return max((window for window in windows if isinstance(window, int) and window < longest), default=None)


def _position_biased(config: Any) -> bool:
    """True for ALiBi, whose bias follows the place in the row and not the position that a token is given."""
    attention = getattr(config, "attn_config", None)
    return config.model_type in ("mpt", "bloom") or bool(
        getattr(config, "alibi", False) or getattr(attention, "alibi", False)
    )
