"""Write what ships of the embedded study besides the model: `python -m limit.tiny.shipped` fills `data/tiny`.

Everything here follows from the seeds; a test writes it again and compares the bytes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from limit.core import write_atomic, write_json
from limit.settings import SHIPPED
from limit.tiny.instruct import Pair, instruct_pairs
from limit.tiny.lima import lima_pairs
from limit.tiny.prompts import open_prompts
from limit.tiny.tasks import write_gauntlet
from limit.tiny.tokenizer import HELPER, USER
from limit.tiny.world import build_world

TINY = SHIPPED / "tiny"


def write_shipped(folder: Path = TINY) -> None:
    """Write the sources, prompts, tasks and the template."""
    world = build_world()
    write_pairs(folder / "sources" / "tiny-instruct.jsonl.gz", instruct_pairs(world))
    write_pairs(folder / "sources" / "tiny-lima.jsonl.gz", lima_pairs(world))
    write_atomic(folder / "prompts.txt", "\n".join(open_prompts(world)) + "\n")
    write_json(folder / "template.json", {"intro": "", "before": USER, "after": HELPER, "between": ""})
    write_gauntlet(world, folder / "gauntlet")


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """One JSON object a line, compressed without a time stamp so that the bytes follow from the content."""
    text = "".join(json.dumps({"prompt": p, "response": r, "source": s}) + "\n" for p, r, s in pairs)
    write_atomic(path, gzip.compress(text.encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    write_shipped()
