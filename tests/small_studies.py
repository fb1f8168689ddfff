"""A study of two small stages, its results, and an observer of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kilonet.spec import Run, Study
from kilonet.study import StudyObserver, Trial

STAGES = [
    {"name": "Batch norm", "change": {"net.block": ["conv", "relu", "batchnorm"]}},
    {"name": "Smaller batches", "change": {"train.batch_size": 32}},
]


class Lines(StudyObserver):
    """Notes the lines about waiting."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def wait(self, line: str) -> None:
        self.lines.append(line)


def study_of(run: Run, *, stages: Sequence[object] = STAGES, seeds: int = 2) -> Study:
    base = run.replace({"net.block": ["conv", "relu"], "data.augment": [], "train.epochs": 2})
    spec = {"name": "small", "target": 50.0, "seeds": seeds, "stage": list(stages)}
    return Study(net=base.net, data=base.data, train=base.train, **spec)


def trial_of(run: Run, folder: Path) -> Trial:
    """A trial with this run and seed 1."""
    base = study_of(run).to_dict() | {"net": run.net, "data": run.data, "train": run.train}
    stages = [{"name": "Same", "change": {"train.epochs": run.train.epochs}}]
    study = Study.from_dict(base | {"stage": stages})
    return Trial(stage=study.stages[0], seed=1, folder=folder)


def contents(folder: Path) -> dict[str, object]:
    """Every file of a study's runs, without times and the machine."""
    found: dict[str, object] = {}
    for path in sorted((folder / "runs").rglob("*")):
        if path.is_file() and path.name != "environment.json":
            name = str(path.relative_to(folder))
            if path.name == "epochs.jsonl":
                rows = [json.loads(line) for line in path.read_text().splitlines()]
                # The checksum covers the seconds.
                timed = {"seconds": 0, "train_seconds": 0, "crc32": ""}
                found[name] = [{**row, **timed} for row in rows]
            else:
                found[name] = path.read_bytes()
    return found
