"""How requests share work: which tokens are computed once, and which rows go through the model together.

Sharing is found on token ids, never on text, so no tokenizer can change a score. A record's choices form a tree: the
ids that all of them begin with (the trunk) and what follows (the branches). Trees are laid side by side in one row (a
forest) and a mask keeps them apart; requests without branches go through as plain causal rows. The plan is a function
of the requests alone, so an evaluation that was killed continues with the same packs and ends with the same numbers.
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
    """One forward pass. A forest is one row of trees after an optional cached prefix; else each tree is a row."""

    trees: tuple[Tree, ...]
    forest: bool
    prefix: Ids = ()

    @property
    def items(self) -> frozenset[int]:
        return frozenset(path.item for tree in self.trees for path in tree.paths)

    @property
    def tokens(self) -> int:
        """Token positions computed, padding included, a cached prefix left out."""
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


def plan(items: Sequence[Item], budget: Budget, *, trees: bool, prefixes: bool) -> list[Pack]:
    """Divide the requests of scored items into packs. `trees` and `prefixes` say which sharing the model allows."""
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
    trunk = _common(distinct)
    if not trunk and skip == 0:
        return None
    branches = [ids[len(trunk) :] for ids in distinct if len(ids) > len(trunk)]
    number = {branch: i for i, branch in enumerate(branches)}
    paths = tuple(
        Path(index, choice, number.get(ids[len(trunk) :]), request.continuation)
        for choice, (ids, request) in enumerate(zip(inputs, item.requests, strict=True))
    )
    return Tree(trunk, tuple(branches), paths)


def _common(sequences: Sequence[Ids]) -> Ids:
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
