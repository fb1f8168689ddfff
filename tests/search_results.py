"""A search whose trials are known: no network is trained, accuracies are a formula with noise.

The space has two widths, a depth, a peak learning rate and a block. Wider and deeper is better, the
learning rate has an optimum; the block and the batch size change nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kilonet.analysis import describe
from kilonet.search.result import Confirmed, Rung, SearchResult, SearchTrial, State
from kilonet.search.space import Space
from kilonet.summary import summarize

FOLDER = Path("/somewhere/kilonet-searches/small")
EPOCHS = (2, 5, 15)
LIMIT = 6000
SPACE = Space.from_dict(
    {
        "name": "small",
        "budget": {"parameters": LIMIT, "epochs": EPOCHS[-1]},
        "rungs": [{"epochs": epochs} for epochs in EPOCHS[:-1]],
        "net": {
            "input": [1, 28, 28],
            "layers": [
                "conv {first}",
                "maxpool 2",
                {"copies": "{depth}", "layers": ["conv {second} pad=1"]},
                "gap",
                "pointwise 10 bare",
            ],
        },
        "data": {"name": "mnist", "validation": 10_000},
        "train": {
            "epochs": EPOCHS[-1],
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
            "schedule": {"name": "onecycle", "max_lr": 0.1},
        },
        "choose": {
            "first": [4, 6, 8, 10],
            "second": {"from": 8, "to": 20, "step": 2},
            "depth": [1, 2, 3],
            "train.schedule.max_lr": {"from": 0.01, "to": 0.6, "log": True},
            "net.block": [["conv", "relu", "batchnorm"], ["conv", "silu", "batchnorm"]],
            "train.batch_size": [64, 96, 128],
        },
    }
)


def quality(values: Mapping[str, Any], *, parameters: int, epochs: int) -> float:
    """Validation accuracy without noise, percent."""
    size = 2.4 * math.exp(-parameters / 1500)
    rate = 0.35 * math.log10(values["train.schedule.max_lr"] / 0.1) ** 2
    depth = 0.05 * (3 - values["depth"])
    return 99.45 - size - rate - depth - 1.6 / epochs


@cache
def made_search(
    *,
    space: Space = SPACE,
    num_trials: int = 60,
    folder: Path = FOLDER,
    seeds: int = 5,
    confirm: int = 4,
) -> SearchResult:
    """A search with all states of trials, four confirmed networks and five fresh seeds each."""
    generator = np.random.Generator(np.random.Philox(7))
    rng = random.Random(7)
    trials: list[SearchTrial] = []
    clock, trained = 0.0, 0
    reached: list[list[float]] = [[] for _ in EPOCHS]
    while trained < num_trials:
        number, drawn = len(trials), space.draw(rng)
        if number == 11:
            drawn = space.draw(rng, forced=trials[3].values)
        run, values = drawn.run, drawn.values
        assert run is not None
        parts = summarize(run.net)
        trial = SearchTrial(
            number=number,
            state=State.COMPLETE,
            values=values,
            run=run,
            parameters=parts.parameters,
            macs=parts.macs,
            began=clock,
            ended=clock,
        )
        if number == 11:
            rungs, state = trials[3].rungs, State.DUPLICATE
            trials.append(replace(trial, state=state, rungs=rungs, duplicate_of=3))
            continue
        if drawn.problem:
            trials.append(replace(trial, state=State.OVER_BUDGET, reason=drawn.problem))
            continue
        trained += 1
        if trained == 20:
            reason = "the loss is not finite in epoch 0"
            trials.append(replace(trial, state=State.FAILED, reason=reason, ended=clock + 1))
            continue
        rungs = []
        for i, epochs in enumerate(EPOCHS):
            noise = 0.06 * float(generator.standard_normal())
            accuracy = quality(values, parameters=parts.parameters, epochs=epochs) + noise
            seconds = epochs * (0.4 + parts.macs / 1e6)
            rungs.append(
                Rung(
                    epochs=epochs,
                    images=50_000,
                    accuracy=round(accuracy, 2),
                    loss=(100 - accuracy) / 30,
                    seconds=seconds,
                    folder=folder / "runs" / f"{number:03}-{epochs}",
                )
            )
            clock += seconds
            reached[i].append(accuracy)
            # As successive halving does: the best third goes on, of at least three.
            better = sum(other > accuracy for other in reached[i])
            if len(reached[i]) < 3 or better > len(reached[i]) // 3:
                break
        state = State.COMPLETE if len(rungs) == len(EPOCHS) else State.PRUNED
        trials.append(replace(trial, state=state, rungs=tuple(rungs), ended=clock))
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    complete.sort(key=lambda trial: -(trial.accuracy or 0))
    confirmed = [made_confirmed(t, generator, seeds=seeds) for t in complete[:confirm]]
    confirmed.sort(key=lambda each: -each.mean)
    return SearchResult(
        space=space,
        path=folder,
        num_trials=num_trials,
        seconds=clock,
        trials=tuple(trials),
        confirmed=tuple(confirmed),
        tomls={
            each.trial.number: folder / "networks" / f"best-{i + 1}.toml"
            for i, each in enumerate(confirmed)
        },
        study_toml=folder / "networks" / "study.toml",
    )


def made_confirmed(trial: SearchTrial, generator: np.random.Generator, *, seeds: int) -> Confirmed:
    """A trial with fresh seeds, whose mean is a little below its own accuracy."""
    assert trial.parameters is not None
    true = quality(trial.values, parameters=trial.parameters, epochs=EPOCHS[-1])
    found = tuple(round(true + 0.05 * float(x), 2) for x in generator.standard_normal(seeds))
    return Confirmed(
        trial=trial,
        seeds=tuple(range(1001, 1001 + seeds)),
        accuracies=found,
        folders=tuple(
            FOLDER / "runs" / f"{trial.number:03}-seed-{i}" for i in range(1001, 1001 + seeds)
        ),
        ci95=describe(found, limits=(0, 100)).ci95,
    )
