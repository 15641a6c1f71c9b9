"""Run as a command: loads a dataset by its name, whole and as a stream, and prints what is in it as JSON.

python -m tests.hub_datasets.loaded ORG/NAME
"""

from __future__ import annotations

import json
import sys

from datasets import load_dataset


def main(words: list[str]) -> int:
    (name,) = words
    found = {"default": load_dataset(name, split="train").column_names}
    for config in ("pairs", "chat"):
        plain = load_dataset(name, config)
        stream = load_dataset(name, config, streaming=True)
        first = next(iter(stream["train"]))
        image = first["image"] if config == "pairs" else first["images"][0]
        found[config] = {
            "plain": {split: len(part) for split, part in plain.items()},
            "stream": {split: sum(1 for _ in part) for split, part in stream.items()},
            "same": all(
                dict(one, image=0, images=0) == dict(other, image=0, images=0)
                for split, part in plain.items()
                for one, other in zip(part, stream[split], strict=True)
            ),
            "size": image.size,
        }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
