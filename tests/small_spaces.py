"""Small search spaces, and searches of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from kilonet.search.loop import search
from kilonet.search.result import SearchResult
from kilonet.search.space import Space

TEXT = """
name = "small"
budget = { parameters = 1200, epochs = 4 }
rungs = [{ epochs = 1, images = 0.5 }, { epochs = 2 }]

[net]
input = [1, 28, 28]
block = ["conv", "relu", "batchnorm"]
layers = ["conv {width} stride=2", "{down}", "conv {width}", "gap", "pointwise 10 bare"]

[data]
validation = 100

[train]
epochs = 4
batch_size = 64
optimizer = { name = "sgd", lr = 0.1, momentum = 0.9 }
schedule = "onecycle"

[choose]
width = { from = 4, to = 12, step = 2 }
down = ["maxpool 2", "avgpool 2"]
"train.optimizer.weight_decay" = { from = 1e-5, to = 1e-2, log = true }
"""


def small_space(data: Path | str = "mnist", **changes: Any) -> Space:
    """The space on these images; ``changes`` are of top keys."""
    table = tomllib.loads(TEXT)
    table["data"]["name"] = str(data)
    return Space.from_dict(table | changes)


def run_search(space: Space, folder: Path, **options: Any) -> SearchResult:
    """A search of six trials in this process; two networks confirmed with two seeds."""
    defaults = {"trials": 6, "confirm": 2, "seeds": 2, "jobs": 1}
    return search(space, folder=folder, **(defaults | options))
