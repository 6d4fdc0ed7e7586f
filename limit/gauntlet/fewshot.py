"""Which records stand as examples before which record.

`paper` draws as llm-foundry's `get_fewshot_sample_idxs` does: one generator walks through the file, every record has
examples of its own, and their order is the iteration order of a CPython set of ints. `fixed` is a protocol of our own:
a few seeded draws a task, dealt out to its records, so that the examples are computed once.
"""

from __future__ import annotations

import random


def paper_shots(n: int, num_fewshot: int, seed: int = 1234) -> list[list[int]]:
    """Example indices of each of `n` records, in prompt order, for the whole file."""
    if num_fewshot == 0:
        return [[] for _ in range(n)]
    rng = random.Random(seed)
    return [list(_paper_draw(n, min(num_fewshot, n - 1), index, rng)) for index in range(n)]


def _paper_draw(n: int, count: int, index: int, rng: random.Random) -> set[int]:
    # The set is built, emptied and refilled in the original's order: its iteration order depends on that history.
    drawn = set(rng.sample(range(n), count))
    if index in drawn:
        drawn.remove(index)
        if len(drawn) >= n - 1:
            return drawn
        other = rng.choice(range(n))
        while other in drawn or other == index:
            other = rng.choice(range(n))
        drawn.add(other)
    return drawn


def fixed_shots(n: int, num_fewshot: int, draws: int, seed: int = 1234) -> list[list[int]]:
    """Example indices of each of `n` records from `draws` seeded draws dealt out in turn.

    A record that stands among its own examples takes the next draw that does not hold it; spare draws, made only from
    records outside the draws before them while there are enough, see to it that there is one.
    """
    count = min(num_fewshot, n - 1)
    if count == 0:
        return [[] for _ in range(n)]
    rng = random.Random(seed)
    pool = [rng.sample(range(n), count) for _ in range(draws)]
    return [_fixed_draw(index, pool, draws, n, count, rng) for index in range(n)]


def _fixed_draw(index: int, pool: list[list[int]], draws: int, n: int, count: int, rng: random.Random) -> list[int]:
    for draw in (pool[index % draws], *pool[draws:]):
        if index not in draw:
            return draw
    used = set(pool[index % draws])
    outside = [i for i in range(n) if i not in used]
    if len(outside) < count:
        outside = [i for i in range(n) if i != index]
    pool.append(rng.sample(outside, count))
    return pool[-1]
