"""The small world that the embedded study is about: people, towns, tools, weights, all drawn from one seed.

Notable: every entity belongs to half A or half B. A may be asked about anywhere; B occurs in plain statements only, so
a model that answers questions about B must have learned to read facts out of text. People of half A live in towns of
half A, so that no name of half B can slip into an answer. Sums, pairs of things, lists and stories are held out by
hash instead (`held_out`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

WORLD_SEED = 2311
N_PEOPLE = 320
N_TOWNS = 48
# How often texts speak of an entity, by its rank in its half: from well known to hardly ever named.
PEOPLE_WEIGHTS = (1.0, 1.0, 0.5, 0.25, 0.1, 0.05, 0.025, 0.0125, 0.006, 0.003)
TOWN_WEIGHTS = (1.0, 0.2, 0.05, 0.012, 0.004, 0.0015)
TOOL_WEIGHTS = (1.0, 0.06, 0.01)
THING_WEIGHTS = (1.0, 0.3, 0.05)  # how often a thing's weight is compared; all things are equally common elsewhere


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


JOBS = _words(
    "baker carpenter teacher doctor farmer miller tailor painter sailor gardener potter barber judge nurse clerk guard "
    "singer dancer printer shepherd"
)
PETS = _words("cat dog parrot rabbit tortoise hamster goose lizard pony goat duck ferret canary mouse toad hedgehog")
FOODS = _words(
    "soup bread beans rice pears plums fish pancakes noodles carrots nuts cakes potatoes tomatoes cherries dumplings"
)
HOBBIES = _words(
    "swimming drawing chess running fishing reading knitting cycling juggling climbing skating dancing archery "
    "bowling rowing hiking"
)
COLOURS = _words("red blue green yellow purple orange brown black white pink grey violet")
REGIONS = _words("north south east west hills marshes lowlands islands")
RIVERS = _words("Alva Brindle Corran Dunmar Eskel Fennow Garra Hallet Imber Jorren Kestle Lunnet")
PRODUCTS = _words(
    "glass wool paper honey salt rope pottery leather candles bells ink barrels ribbons tiles silver cider"
)
LANDMARKS = _words("tower bridge fountain windmill lighthouse castle market park harbour museum statue library")
PLACES = _words("kitchen attic cellar barn shed hall stable porch pantry workshop cupboard drawer basket chest")
THINGS = _words(  # from light to heavy
    "feather leaf card button coin key pencil spoon kite cup plate shoe book jug lamp pot bucket brick drum chair "
    "suitcase carpet trunk table bench wardrobe sofa piano cart boat wagon tractor house ship"
)
TOOL_USES = {
    "saw": "cut wood", "needle": "sew cloth", "broom": "sweep the floor", "ladder": "reach the roof",
    "comb": "tidy your hair", "kettle": "boil water", "towel": "dry your hands", "shovel": "dig a hole",
    "brush": "paint a wall", "hammer": "drive a nail", "ruler": "measure a line", "stove": "warm the room",
    "net": "catch butterflies", "whistle": "call the children", "mirror": "see your face",
    "raincoat": "stay dry outside", "lantern": "light the path", "pump": "fill a tyre", "sieve": "sift flour",
    "paddle": "cross the lake", "map": "find the way", "thermometer": "take the temperature",
    "stapler": "join sheets", "magnet": "lift pins", "rake": "gather straw", "drill": "pierce metal",
    "funnel": "fill a bottle", "corkscrew": "open the wine", "scale": "weigh parcels", "clamp": "hold boards",
    "gong": "wake the guests", "chisel": "carve stone", "hook": "hang up a coat", "plough": "turn the soil",
    "telescope": "look at the stars", "stamp": "send a letter",
}  # fmt: skip

PERSON_ATTRIBUTES = ("town", "job", "pet", "food", "hobby", "colour")
TOWN_ATTRIBUTES = ("region", "river", "product", "landmark")


@dataclass(frozen=True)
class Entity:
    """A person, a town or a tool with its facts. `weight` is how often texts speak of it, relative to others."""

    kind: str
    name: str
    half: str
    weight: float
    facts: dict[str, str] = field(hash=False)


@dataclass(frozen=True)
class World:
    """Everything there is, in a fixed order."""

    people: tuple[Entity, ...]
    towns: tuple[Entity, ...]
    tools: tuple[Entity, ...]
    things: tuple[str, ...]

    def half(self, kind: str, half: str) -> list[Entity]:
        """The people, towns or tools of half 'A' or 'B'."""
        return [entity for entity in self._all(kind) if entity.half == half]

    def values(self, kind: str, attribute: str) -> list[str]:
        """All values that `attribute` takes in the world, sorted."""
        return sorted({entity.facts[attribute] for entity in self._all(kind)})

    def heavier(self, one: str, other: str) -> str:
        """Which of two things weighs more."""
        return max(one, other, key=self.things.index)

    def thing_weights(self) -> list[float]:
        """How often texts compare each of the things with others."""
        return [THING_WEIGHTS[index % len(THING_WEIGHTS)] for index in range(len(self.things))]

    def _all(self, kind: str) -> tuple[Entity, ...]:
        return {"person": self.people, "town": self.towns, "tool": self.tools}[kind]


def held_out(*key: object, share: float = 0.25) -> bool:
    """True for a fixed quarter of all keys (sums, pairs, lists, stories) that no training text may use."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32


@lru_cache(maxsize=4)
def build_world(seed: int = WORLD_SEED) -> World:
    """The world of a seed; the same seed gives the same world on any machine."""
    rng = random.Random(seed)
    names = _names(rng, N_PEOPLE, ("a", "e", "i", "o", "u"), ("", "n", "r", "l", "m"))
    town_names = [f"{stem}{rng.choice(_TOWN_ENDS)}" for stem in _names(rng, N_TOWNS, ("",), ("",), taken=names)]
    towns = tuple(_town(rng, name, "AB"[i % 2], _tier(TOWN_WEIGHTS, i)) for i, name in enumerate(town_names))
    people = tuple(_person(rng, name, "AB"[i % 2], towns, i) for i, name in enumerate(names))
    tools = tuple(
        Entity("tool", tool, "AB"[i % 2], _tier(TOOL_WEIGHTS, i), {"use": use})
        for i, (tool, use) in enumerate(TOOL_USES.items())
    )
    return World(people=people, towns=towns, tools=tools, things=tuple(THINGS))


_ONSETS = _words("B Br D Dr F Fl G Gr H J K Kr L M N P Pr R S Sk St T Tr V W Z")
_MIDDLES = _words("ab ad al an ar av eb ed el em en er ev id il im in ir is ob od ol om on or ov ud ul um un ur us")
_TOWN_ENDS = ("holm", "ford", "by", "stead", "wick", "dale")


def _names(
    rng: random.Random, count: int, vowels: Sequence[str], codas: Sequence[str], taken: Sequence[str] = ()
) -> list[str]:
    """`count` invented names, none of which begins another."""
    names: list[str] = []
    while len(names) < count:
        name = rng.choice(_ONSETS) + rng.choice(_MIDDLES) + rng.choice(vowels) + rng.choice(codas)
        others = [*names, *taken, *RIVERS]
        if len(name) > 2 and not any(name.startswith(other) or other.startswith(name) for other in others):
            names.append(name)
    return names


def _tier(weights: Sequence[float], index: int) -> float:
    """The weight of the entity at `index`; halves alternate, so both get every tier equally often."""
    return weights[index // 2 % len(weights)]


def _town(rng: random.Random, name: str, half: str, weight: float) -> Entity:
    facts = {
        "region": rng.choice(REGIONS),
        "river": rng.choice(RIVERS),
        "product": rng.choice(PRODUCTS),
        "landmark": rng.choice(LANDMARKS),
    }
    return Entity("town", name, half, weight, facts)


def _person(rng: random.Random, name: str, half: str, towns: Sequence[Entity], index: int) -> Entity:
    homes = [town.name for town in towns if half == "B" or town.half == "A"]
    facts = {
        "town": rng.choice(homes),
        "job": rng.choice(JOBS),
        "pet": rng.choice(PETS),
        "food": rng.choice(FOODS),
        "hobby": rng.choice(HOBBIES),
        "colour": rng.choice(COLOURS),
    }
    return Entity("person", name, half, _tier(PEOPLE_WEIGHTS, index), facts)
