"""How requests share work: which tokens are computed once, and which rows go through the model together.

Sharing is found on token ids, never on text, so no tokenizer can change a score. A record's choices form a tree: the
ids that all of them begin with (the trunk) and what follows (the branches). Trees are laid side by side in one row (a
forest) and a mask keeps them apart; requests without branches go through as plain causal rows. Where a model's
attention bends no mask to trees (ALiBi, sliding windows), trunks go first and leave their keys and values, and the
branches follow as rows (staged). The plan is a function of the requests alone, so an evaluation that was killed
continues with the same packs and ends with the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limit.gauntlet.prompts import Item

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Path:
    """One request inside a tree: its continuation is predicted after `branch` (None: after the trunk alone)."""

    item: int
    choice: int
    branch: int | None
    continuation: Ids


@dataclass(frozen=True)
class Tree:
    """A trunk with branches; all ids of a request but the last are in it, since the last is only predicted."""

    trunk: Ids
    branches: tuple[Ids, ...]
    paths: tuple[Path, ...]

    @property
    def tokens(self) -> int:
        return len(self.trunk) + sum(map(len, self.branches))


@dataclass(frozen=True)
class Pack:
    """One forward pass. A forest is one row of trees after an optional cached prefix; else each tree is a row.

    A staged pack is two passes after an optional cached prefix: trunks of one length, then every branch as a row.
    """

    trees: tuple[Tree, ...]
    forest: bool
    prefix: Ids = ()
    staged: bool = False

    @property
    def items(self) -> frozenset[int]:
        return frozenset(path.item for tree in self.trees for path in tree.paths)

    @property
    def tokens(self) -> int:
        """Token positions computed, padding included, a cached prefix left out."""
        if self.staged:
            return len(self.trees) * len(self.trees[0].trunk) + _padded(self.trees)
        if self.forest:
            return sum(tree.tokens for tree in self.trees)
        return len(self.trees) * max(len(tree.trunk) for tree in self.trees)


@dataclass(frozen=True)
class Budget:
    """Token positions in one pass: of plain rows together, and of one forest row, whose mask grows with its square.

    Short requests without branches go into forests too, where nothing is padded; `plain` 0 is one long row at a time.
    """

    plain: int
    forest: int


def plan(items: Sequence[Item], budget: Budget, *, trees: bool, prefixes: bool, stages: bool = False) -> list[Pack]:
    """Divide the requests of scored items into packs. The flags say which sharing the model allows; trees go first."""
    if stages and not trees:
        return _staged_plan(items, budget)
    plain: list[Tree] = []
    forests: dict[Ids, list[Tree]] = {}
    for index, item in enumerate(items):
        if not trees:
            plain.extend(_rows(index, item))
            continue
        prefix = item.requests[0].context[: item.shared] if prefixes else ()
        tree = _tree(index, item, len(prefix))
        if tree is None:
            plain.extend(_rows(index, item))
        elif tree.branches or prefix or 2 * tree.tokens <= budget.forest:
            forests.setdefault(prefix, []).append(tree)
        else:
            plain.append(tree)
    packs: list[Pack] = []
    for prefix, members in forests.items():
        packs.extend(Pack(tuple(row), True, prefix) for row in _fill(members, budget.forest))
    packs.extend(Pack(tuple(rows), False) for rows in _batches(plain, budget.plain))
    return packs


def _staged_plan(items: Sequence[Item], budget: Budget) -> list[Pack]:
    """Packs of two passes. Trunks in a pack are equally long: padding would shift ALiBi's distances."""
    plain: list[Tree] = []
    groups: dict[tuple[Ids, int], list[Tree]] = {}
    for index, item in enumerate(items):
        prefix = item.requests[0].context[: item.shared]
        tree = _tree(index, item, len(prefix))
        rows = _rows(index, item)
        if tree is None or not (prefix or len(tree.trunk) + _padded((tree,)) < sum(row.tokens for row in rows)):
            plain.extend(rows)
        else:
            groups.setdefault((prefix, len(tree.trunk)), []).append(tree)
    packs: list[Pack] = []
    for (prefix, depth), members in groups.items():
        for part in _stages(members, len(prefix) + depth, budget.plain):
            packs.append(Pack(tuple(part), False, prefix, staged=True))
    return [*packs, *(Pack(tuple(rows), False) for rows in _batches(plain, budget.plain))]


def _stages(trees: Sequence[Tree], depth: int, budget: int) -> list[list[Tree]]:
    """Trees with branches of like length together, as many as the budget holds keys and values of; one at least.

    Nothing is padded for company: a tree whose branches are all shorter than the widest starts a pack of its own.
    """
    packs: list[list[Tree]] = []
    held = 0
    for tree in sorted(trees, key=lambda tree: -_width(tree)):
        needs = max(1, len(tree.branches)) * (depth + _width(tree))
        if packs and held + needs <= budget and _width(packs[-1][0]) == _width(tree):
            packs[-1].append(tree)
            held += needs
        else:
            packs.append([tree])
            held = needs
    return packs


def _width(tree: Tree) -> int:
    return max(map(len, tree.branches), default=0)


def _padded(trees: Sequence[Tree]) -> int:
    """Positions of the branches of a staged pack, each as long as the longest."""
    return sum(len(tree.branches) for tree in trees) * max(map(_width, trees))


def prefix_tokens(packs: Sequence[Pack]) -> int:
    """Token positions of the cached prefixes, each counted once."""
    return sum(len(prefix) for prefix in {pack.prefix for pack in packs})


def _inputs(item: Item) -> list[Ids]:
    return [request.context + request.continuation[:-1] for request in item.requests]


def _tree(index: int, item: Item, skip: int) -> Tree | None:
    """The item's requests as one tree without the first `skip` ids, or None where they have no beginning in common."""
    if any(len(request.context) <= skip for request in item.requests):
        return None
    inputs = [ids[skip:] for ids in _inputs(item)]
    distinct = list(dict.fromkeys(inputs))
    trunk = common_start(distinct)
    if not trunk and skip == 0:
        return None
    branches = [ids[len(trunk) :] for ids in distinct if len(ids) > len(trunk)]
    number = {branch: i for i, branch in enumerate(branches)}
    paths = tuple(
        Path(index, choice, number.get(ids[len(trunk) :]), request.continuation)
        for choice, (ids, request) in enumerate(zip(inputs, item.requests, strict=True))
    )
    return Tree(trunk, tuple(branches), paths)


def common_start(sequences: Sequence[Ids]) -> Ids:
    """The ids that all of at least one sequence begin with."""
    first, last = min(sequences), max(sequences)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


def _rows(index: int, item: Item) -> list[Tree]:
    """Each distinct input of an item as a row of its own."""
    rows: dict[Ids, list[Path]] = {}
    for choice, (ids, request) in enumerate(zip(_inputs(item), item.requests, strict=True)):
        rows.setdefault(ids, []).append(Path(index, choice, None, request.continuation))
    return [Tree(ids, (), tuple(paths)) for ids, paths in rows.items()]


def _fill(trees: Sequence[Tree], budget: int) -> list[list[Tree]]:
    """Longest first into rows of at most `budget` tokens; a tree above it has a row of its own."""
    rows: list[list[Tree]] = []
    used = 0
    for tree in sorted(trees, key=lambda tree: -tree.tokens):
        if rows and used + tree.tokens <= budget:
            rows[-1].append(tree)
            used += tree.tokens
        else:
            rows.append([tree])
            used = tree.tokens
    return rows


def _batches(trees: Sequence[Tree], budget: int) -> list[list[Tree]]:
    """Rows of like length together, longest first, so that padding stays small."""
    batches: list[list[Tree]] = []
    for tree in sorted(trees, key=lambda tree: -len(tree.trunk)):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0].trunk) <= budget:
            batches[-1].append(tree)
        else:
            batches.append([tree])
    return batches
