"""A study of two small rungs, and what it comes to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kilonet.spec import Run, Study

STEPS = [
    {"name": "Batch norm", "change": {"net.block": ["conv", "relu", "batchnorm"]}},
    {"name": "Smaller batches", "change": {"train.batch_size": 32}},
]


def study_of(run: Run, *, steps: Sequence[object] = STEPS, seeds: int = 2) -> Study:
    base = run.replace({"net.block": ["conv", "relu"], "data.augment": [], "train.epochs": 2})
    spec = {"name": "small", "target": 50.0, "seeds": seeds, "step": list(steps)}
    return Study(net=base.net, data=base.data, train=base.train, **spec)


def contents(folder: Path) -> dict[str, object]:
    """Every file of a study's runs, without what is of the day and the machine."""
    found: dict[str, object] = {}
    for path in sorted((folder / "runs").rglob("*")):
        if path.is_file() and path.name != "environment.json":
            name = str(path.relative_to(folder))
            if path.name == "epochs.jsonl":
                rows = [json.loads(line) for line in path.read_text().splitlines()]
                # And what says that a row, its seconds among it, is whole.
                found[name] = [{**row, "seconds": 0, "crc32": ""} for row in rows]
            else:
                found[name] = path.read_bytes()
    return found
