"""Studies whose rows are known: the notebook's three tables, and made histories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kilonet.spec import ResolvedStage, Study, load_study
from kilonet.storage.provenance import Provenance
from kilonet.storage.record import EpochRow, RunRecord
from kilonet.study import StageResult, StudyResult

# The notebook's stages and the step scheduler it proposed; the bundled study goes on from there.
_BUNDLED = load_study("mnist-8k")
FOUR_STAGES = _BUNDLED.replace({"stage": _BUNDLED.to_dict()["stage"][:4]})

TEST_IMAGES = 10_000

# As the notebook's author copied them: epoch, training accuracy, test accuracy, training loss (the
# last batch's, there), test loss.
BATCH_NORMALIZATION = """
 0 90.57 97.68 0.0925 0.0919
 1 98.02 98.62 0.0746 0.0579
 2 98.51 98.46 0.0242 0.0543
 3 98.73 98.90 0.0423 0.0377
 4 98.88 99.09 0.0822 0.0332
 5 99.01 99.02 0.0117 0.0344
 6 99.10 98.94 0.0707 0.0347
 7 99.20 99.08 0.0288 0.0302
 8 99.21 98.86 0.0418 0.0371
 9 99.28 99.22 0.0269 0.0278
10 99.34 99.15 0.0099 0.0264
11 99.38 99.30 0.0170 0.0239
12 99.37 99.12 0.0027 0.0278
13 99.39 99.31 0.0268 0.0255
14 99.51 99.27 0.0292 0.0261
"""

DROPOUT = """
 0 88.25 97.53 0.0970 0.0918
 1 98.10 98.55 0.0282 0.0499
 2 98.61 98.86 0.0223 0.0432
 3 98.76 98.95 0.0269 0.0373
 4 98.86 99.16 0.0650 0.0289
 5 98.99 98.96 0.0113 0.0332
 6 99.08 99.07 0.0730 0.0330
 7 99.11 99.18 0.0026 0.0269
 8 99.18 99.00 0.0124 0.0313
 9 99.20 99.13 0.0496 0.0285
10 99.26 99.21 0.0219 0.0259
11 99.32 99.21 0.0503 0.0263
12 99.34 99.07 0.0027 0.0302
13 99.42 99.19 0.0011 0.0239
14 99.37 99.26 0.0339 0.0279
"""

ROTATION = """
 0 88.16 97.17 0.1259 0.1030
 1 97.83 98.61 0.0668 0.0510
 2 98.31 98.51 0.0186 0.0499
 3 98.45 98.98 0.0682 0.0353
 4 98.67 98.97 0.0135 0.0356
 5 98.81 99.15 0.0340 0.0280
 6 98.87 99.08 0.0114 0.0302
 7 98.89 98.90 0.0280 0.0341
 8 99.01 99.18 0.0884 0.0251
 9 99.07 99.25 0.1087 0.0241
10 99.07 99.21 0.0366 0.0246
11 99.12 99.35 0.0081 0.0212
12 99.19 99.19 0.0070 0.0261
13 99.18 99.28 0.0078 0.0217
14 99.24 99.32 0.0188 0.0213
"""

ENVIRONMENT: dict[str, Any] = {
    "format": 1,
    "started": "2024-05-01T12:00:00+00:00",
    "engine": {"name": "torch", "description": "torch 2.13.0 on cpu, 2 threads"},
    "data": {"name": "mnist", "sha256": "ab" * 32, "test_images": TEST_IMAGES},
    "packages": {"kilonet": "0.1.0", "numpy": "2.4.6", "torch": "2.13.0"},
    "python": "3.11.9",
    "system": "Linux x86_64",
    "cpu": "A processor",
    "cores": 2,
    "source": {"sha256": "cd" * 32, "commit": "ef" * 20, "modified": False},
}


def typed_rows(table: str, *, lr: float = 0.01) -> tuple[EpochRow, ...]:
    """One of the notebook's tables, at its constant learning rate."""
    rows = []
    for line in table.split("\n"):
        if line:
            epoch, train_accuracy, test_accuracy, train_loss, test_loss = map(float, line.split())
            rows.append(
                EpochRow(
                    epoch=int(epoch),
                    train_accuracy=train_accuracy,
                    train_loss=train_loss,
                    test_accuracy=test_accuracy,
                    test_loss=test_loss,
                    lr=lr,
                    seconds=9.0,
                )
            )
    return tuple(rows)


def made_rows(
    test: Sequence[float], *, train: Sequence[float] | float = 99.0, lr: float | None = None
) -> tuple[EpochRow, ...]:
    """Rows with these accuracies, percent; ``train`` may be one number for all."""
    trains = [train] * len(test) if isinstance(train, int | float) else list(train)
    return tuple(
        EpochRow(
            epoch=epoch,
            train_accuracy=train_accuracy,
            train_loss=(100 - train_accuracy) / 30,
            test_accuracy=test_accuracy,
            test_loss=(100 - test_accuracy) / 30,
            lr=0.01 if lr is None else lr,
            seconds=9.0,
        )
        for epoch, (train_accuracy, test_accuracy) in enumerate(zip(trains, test, strict=True))
    )


def made_record(
    stage: ResolvedStage,
    rows: tuple[EpochRow, ...],
    *,
    seed: int = 1,
    folder: Path = Path("ladder"),
    test_images: int = TEST_IMAGES,
) -> RunRecord:
    """A run's record as its folder would have it."""
    run = stage.seeded(seed)
    path = folder / "runs" / run.content_hash[:12]
    data = {**ENVIRONMENT["data"], "test_images": test_images}
    provenance = Provenance.from_json({**ENVIRONMENT, "data": data})
    return RunRecord(path=path, run=run, rows=rows, provenance=provenance)


def made_result(
    study: Study,
    histories: Iterable[Sequence[tuple[EpochRow, ...]]],
    *,
    seeds: Iterable[Sequence[int]] | None = None,
    folder: Path = Path("ladder"),
    parameters: int = 7864,
    test_images: int = TEST_IMAGES,
) -> StudyResult:
    """A study whose stages' seeds have these rows; ``seeds`` are 1 upwards or as given."""
    stages = []
    numbers = iter(seeds) if seeds is not None else None
    for stage, runs in zip(study.stages, histories, strict=False):
        of_stage = next(numbers) if numbers is not None else range(1, len(runs) + 1)
        records = tuple(
            made_record(stage, rows, seed=seed, folder=folder, test_images=test_images)
            for seed, rows in zip(of_stage, runs, strict=True)
        )
        stages.append(StageResult(stage=stage, parameters=parameters, records=records))
    return StudyResult(study=study, path=folder, stages=tuple(stages))


def notebook_result(*, folder: Path = Path("ladder")) -> StudyResult:
    """The notebook's three stages with its own tables, one seed each."""
    tables = (BATCH_NORMALIZATION, DROPOUT, ROTATION)
    study = FOUR_STAGES
    return made_result(study, [[typed_rows(table)] for table in tables], folder=folder)


def seeded_result(*, seeds: int = 3, folder: Path = Path("ladder")) -> StudyResult:
    """All four stages with several seeds: each a learning curve plus a ripple of its own."""
    study = FOUR_STAGES.replace({"seeds": seeds})
    histories = []
    for stage, (level, gap, ripple) in enumerate(
        [(99.20, 0.20, 0.09), (99.19, 0.08, 0.07), (99.28, -0.10, 0.08), (99.42, -0.06, 0.01)]
    ):
        runs = []
        for seed in range(1, seeds + 1):
            test, train = [], []
            for epoch in range(15):
                settled = stage == 3 and epoch >= 10
                # Some fixed irregular sequence in [-1, 1], another for every stage, seed and epoch.
                wave = ((stage * 31 + seed * 17 + epoch * 7) * 0.618034) % 1 * 2 - 1
                swing = ripple if settled or stage < 3 else 0.08
                ceiling = level - (0.14 if stage == 3 and not settled else 0)
                test.append(round(ceiling - 2.2 * 0.55**epoch + swing * wave + 0.01 * seed, 2))
                train.append(round(ceiling + gap - 10 * 0.2**epoch - 1.2 * 0.7**epoch, 2))
            rows = made_rows(test, train=train)
            if stage == 3:
                rows = tuple(
                    EpochRow(**{**vars(row), "lr": 0.001 if row.epoch >= 10 else 0.01})
                    for row in rows
                )
            runs.append(rows)
        histories.append(runs)
    return made_result(study, histories, folder=folder)


def plain(value: Any) -> Any:
    """A value as JSON reads it back; raises where it is not JSON."""
    return json.loads(json.dumps(value, allow_nan=False))
