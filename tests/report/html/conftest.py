"""Two small studies that really ran: digits, and color images of three classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from color_images import HOSTILE, color_dataset
from kilonet.spec import Study
from kilonet.study import StudyResult, run_study


@pytest.fixture(scope="session")
def digits(small_mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Two stages of two seeds, three epochs of ten steps, the second with augmentation."""
    study = Study.from_dict(
        {
            "name": "digits",
            "target": 90.0,
            "budget": {"parameters": 9000},
            "seeds": 2,
            "net": {
                "input": [1, 28, 28],
                "block": ["conv", "relu"],
                "layers": ["conv 6", "maxpool 2", "conv 8", "gap", "pointwise 10 bare"],
            },
            "data": {"name": str(small_mnist)},
            "train": {"epochs": 3, "batch_size": 64, "optimizer": {"name": "sgd", "lr": 0.05}},
            "stage": [
                {
                    "name": "Batch normalization",
                    "target": "In every layer.",
                    "change": {"net.block": ["conv", "relu", "batchnorm"]},
                },
                {
                    "name": "Rotation",
                    "change": {"data.augment": [{"name": "rotation", "degrees": 20}]},
                },
            ],
        }
    )
    return run_study(study, folder=tmp_path_factory.mktemp("digits") / "study")


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """One stage, one seed, one epoch, and words that try to break out of the page."""
    study = Study.from_dict(
        {
            "name": "colors",
            "target": 80.0,
            "net": {
                "input": [3, 8, 8],
                "layers": ["conv 4", "gap", "pointwise 3 bare"],
            },
            "data": {"name": "colors.npz"},
            "train": {"epochs": 1, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.1}},
            "stage": [
                {
                    "name": HOSTILE,
                    "target": f"</p>{HOSTILE} & more",
                    "change": {"data.augment": [{"name": "color_jitter", "hue": 0.3}]},
                }
            ],
        }
    )
    folder = tmp_path_factory.mktemp("colors") / "study"
    return run_study(study, folder=folder, load=color_dataset)
