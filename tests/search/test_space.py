"""Spaces: what they make, what they refuse, and how their runs are shortened."""

from __future__ import annotations

import random
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kilonet.errors import BudgetError, SpecError
from kilonet.search import candidates, sample, trials
from kilonet.search.files import bundled_spaces, load_space, space_text
from kilonet.search.space import SEARCH_SEED, Space
from kilonet.spec import SWA, load_run
from kilonet.spec.lengths import with_epochs
from small_spaces import small_space


def changed(**changes: Any) -> Space:
    """The small space with keys of its tables changed: ``net__layers=…``."""
    table = small_space().to_dict()
    for path, value in changes.items():
        part, _, key = path.partition("__")
        if not key:
            table[part] = value
        elif value is None:
            del table[part][key]
        else:
            table[part][key] = value
    return Space.from_dict(table)


def test_a_candidate() -> None:
    values = {"width": 8, "down": "avgpool 2", "train.optimizer.weight_decay": 0.001}
    drawn = small_space().build(lambda name, _: values[name])
    assert drawn.values == values
    assert drawn.run is not None
    lines = ["conv 8 stride=2", "avgpool 2", "conv 8", "gap", "pointwise 10 bare"]
    assert [str(line) for line in drawn.run.net.layers] == lines
    # By hand: 8·9 + 8·8·9 + 10·8 weights and two batch norms of 8 channels.
    assert drawn.parameters == 72 + 576 + 80 + 2 * 16
    assert drawn.run.train.optimizer.weight_decay == 0.001
    assert drawn.run.train.seed == SEARCH_SEED
    assert not drawn.run.data.test
    assert not drawn.problem
    assert small_space().run_of(values) == drawn.run


def test_over_the_budget() -> None:
    values = {"width": 12, "down": "maxpool 2", "train.optimizer.weight_decay": 0.001}
    drawn = small_space().build(lambda name, _: values[name])
    assert drawn.parameters == 108 + 1296 + 120 + 48
    assert drawn.problem == "1,572 parameters, over the budget of 1,200"
    longer = changed(budget={"epochs": 3}).build(lambda name, _: values[name])
    assert longer.problem == "4 epochs, over the budget of 3"


def test_values_of_values_are_chosen_only_where_they_are_used() -> None:
    space = changed(
        choose__down={"options": {"pool": "maxpool 2", "conv": "conv {deep}"}}, choose__deep=[4, 8]
    )
    rng = random.Random(0)
    drawn = [space.draw(rng).values for _ in range(40)]
    assert {values["down"] for values in drawn} == {"pool", "conv"}
    for values in drawn:
        assert ("deep" in values) == (values["down"] == "conv")


def test_where_to_pool_and_how_deep() -> None:
    layers = ["{top}", {"copies": "{depth}", "layers": ["conv {width} pad=1"]}, "gap"]
    options = {
        "early": ["conv {width}", "maxpool 2", "conv {width}"],
        "late": ["conv {width}", "conv {width}", "maxpool 2"],
    }
    space = changed(
        net__layers=[*layers, "pointwise 10 bare"],
        choose__top={"options": options},
        choose__depth=[0, 1, 2],
        choose__down=None,
    )
    values = {"top": "early", "depth": 2, "width": 4, "train.optimizer.weight_decay": 1e-4}
    run = space.run_of(values)
    assert [str(line) for line in run.net.layers] == [
        *("conv 4", "maxpool 2", "conv 4", "conv 4 pad=1", "conv 4 pad=1"),
        *("gap", "pointwise 10 bare"),
    ]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"choose": {}}, "choose: is empty"),
        ({"choose__widht": [4]}, "choose.widht: is not used"),
        ({"choose__width": None}, r"net: \{width\} is no choice"),
        ({"choose__down": ["maxpool {k}"]}, r"choose.down: \{k\} is no choice; known: down, width"),
        ({"choose__down": ["{up}"], "choose__up": ["{down}"]}, "contains itself"),
        ({"choose__train": [1]}, "choose.train: is not used"),
        ({"choose__width": 4}, "choose.width: 4 is no choice"),
        ({"choose__2x": [1]}, "should be a letter"),
        ({"choose__other.path": [1]}, "no path in a run"),
        ({"choose__train.epoch": [1, 2]}, "never fits.*did you mean 'epochs'"),
        (
            {"choose__down": ["maxpool 2", "maxpol 2"]},
            "'maxpol 2' never fits.*did you mean 'maxpool'",
        ),
        ({"choose__width": [4, 400000]}, "400000 never fits"),
        ({"choose__down": ["maxpool 2", "maxpool 30"]}, "'maxpool 30' never fits"),
        ({"data__validation": None}, "data.validation: is missing"),
        ({"data__validation": 0}, "data.validation: is missing"),
        ({"data__test": False}, "data.test: leave it out: a search never reads the test set"),
        ({"train__seed": 3}, "train.seed: leave it out"),
        ({"choose__train.seed": [1, 2]}, "train.seed: leave it out"),
        ({"choose__data.validation": [100, 200]}, "cannot be a choice"),
        ({"rungs": [{"epochs": 2}, {"epochs": 1}]}, "rungs.1: 1 epochs of 1 of the images"),
        ({"rungs": [{"epoch": 2}]}, "rungs.0.epoch: unknown key"),
        ({"reduction_factor": 1}, "reduction_factor: 1 should be greater than or equal to 2"),
        ({"trials": 100}, "trials: unknown key"),
        ({"name": "a b"}, "name: 'a b' should be letters"),
    ],
)
def test_what_is_no_space(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        changed(**changes)


def test_a_space_without_a_network_within_the_budget() -> None:
    space = small_space(budget={"parameters": 100})
    # By hand: 4·9 + 4·4·9 + 10·4 weights and two batch norms of 4 channels.
    with pytest.raises(BudgetError, match=r"none of 500 .* 236 parameters the fewest"):
        space.check_budget()
    small_space().check_budget()


def test_rungs_of_a_run() -> None:
    space = small_space()
    runs = space.rung_runs(space.draw(random.Random(0)).run)
    assert [(run.train.epochs, run.data.subset) for run in runs] == [(1, 0.5), (2, 1.0), (4, 1.0)]
    table = {key: value for key, value in space.to_dict().items() if key != "rungs"}
    default = Space.from_dict(table)
    run = default.draw(random.Random(0)).run.replace({"train.epochs": 15})
    assert [each.train.epochs for each in default.rung_runs(run)] == [2, 5, 15]
    assert [each.train.epochs for each in changed(rungs=[]).rung_runs(run)] == [15]


@pytest.mark.parametrize(
    ("schedule", "key", "expected"),
    [
        ({"name": "step", "step_size": 9}, "step_size", 3),
        ({"name": "multistep", "milestones": [6, 12]}, "milestones", (2, 4)),
        ({"name": "cosine", "t_max": 15}, "t_max", 5),
        ({"name": "cosine"}, "t_max", None),
        ({"name": "step", "step_size": 1}, "step_size", 1),
        ({"name": "cosine", "warmup": 1.5}, "warmup", 0.5),
    ],
)
def test_a_schedule_keeps_its_shape(schedule: Any, key: str, expected: Any) -> None:
    run = load_run("interim").replace({"train.schedule": schedule, "data.validation": 1000})
    short = with_epochs(run, 5, images=0.5)
    assert getattr(short.train.schedule, key) == expected
    assert (short.train.epochs, short.data.subset) == (5, 0.5)


def test_batches_and_averages_keep_their_place() -> None:
    changes = {
        "data.validation": 1000,
        "train.batch_schedule": {"milestones": [6, 12]},
        "train.average": {"name": "swa", "start": 9},
    }
    train = with_epochs(load_run("interim").replace(changes), 5).train
    assert train.batch_schedule is not None
    assert train.batch_schedule.milestones == (2, 4)
    assert isinstance(train.average, SWA)
    assert train.average.start == 3


def test_a_count_of_images_is_shortened_as_a_count() -> None:
    run = load_run("interim").replace({"data.validation": 1000, "data.subset": 300})
    assert with_epochs(run, 1, images=0.5).data.subset == 150


def test_the_hash_is_of_the_space_alone() -> None:
    assert small_space().content_hash == small_space().content_hash
    assert small_space().content_hash != changed(choose__width=[4, 6]).content_hash


@pytest.mark.parametrize("name", [space.name for space in bundled_spaces()])
@pytest.mark.parametrize("budget", [8000, 4000])
def test_bundled_spaces(name: str, budget: int) -> None:
    space = load_space(name, settings=[f"budget.parameters={budget}"])
    space.check_budget()
    rng = random.Random(0)
    drawn = [space.draw(rng) for _ in range(60)]
    assert all(each.run is not None for each in drawn)
    fitting = [each for each in drawn if not each.problem]
    assert len(fitting) > 10
    assert max(each.parameters for each in fitting) > 0.8 * budget
    assert space_text(name).startswith("# ")


def test_the_page_holds() -> None:
    """docs/search.md: its space, and the numbers that it names."""
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text("utf-8")
    [example] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    space = Space.from_dict(tomllib.loads(example))
    space.check_budget()
    rng = random.Random(0)
    drawn = [space.draw(rng) for _ in range(40)]
    assert {each.values["top"] for each in drawn} == {"early", "late"}
    assert all("first" in each.values for each in drawn)
    words = " ".join(text.split())
    assert f"The first {sample._STARTUP_TRIALS} are random" in words
    assert f"After {candidates.GIVE_UP_AFTER} of them in a row" in words
    assert f"for {trials._DEAD_SECONDS / 60:.0f} minutes loses its trials" in words
    assert f"Trials have the seed {SEARCH_SEED}, confirmations {SEARCH_SEED + 1}" in words
    assert "a ninth and a third of the epochs" in words
