"""The open-ended test prompts: people, towns and tools of half B, and pairs of things that no text compares."""

from __future__ import annotations

import random

from limit.tiny import puzzles
from limit.tiny.lima import COMPARE_ASKS, HOW_ASKS, PORTRAIT_ASKS, VISIT_ASKS
from limit.tiny.world import World

PROMPT_SEED = 303
N_PEOPLE_ASKED, N_TOWNS_ASKED, N_PAIRS_ASKED = 60, 16, 26


def open_prompts(world: World) -> list[str]:
    """120 prompts: 60 on people, 16 on towns, 18 on tools, 26 on pairs, in a fixed random order."""
    rng = random.Random(PROMPT_SEED)
    people = rng.sample(world.half("person", "B"), N_PEOPLE_ASKED)
    prompts = [rng.choice(PORTRAIT_ASKS).format(n=person.name) for person in people]
    towns = rng.sample(world.half("town", "B"), N_TOWNS_ASKED)
    prompts += [rng.choice(VISIT_ASKS).format(n=town.name) for town in towns]
    prompts += [rng.choice(HOW_ASKS).format(v=tool.facts["use"]) for tool in world.half("tool", "B")]
    pairs: set[tuple[str, ...]] = set()
    while len(pairs) < N_PAIRS_ASKED:
        one, other = puzzles.weight_pair(rng, world, fresh=True)
        if tuple(sorted((one, other))) not in pairs:
            pairs.add(tuple(sorted((one, other))))
            prompts.append(rng.choice(COMPARE_ASKS).format(a=one, b=other))
    rng.shuffle(prompts)
    return prompts
