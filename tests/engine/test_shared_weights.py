"""Weights that a repeat's applications share: one parameter, whose gradient is a sum over its uses.

The references are autograd's gradients in float64, and arithmetic. Random networks with repeats are
in ``test_random_networks.py``.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from kilonet.data.batch import Batch
from kilonet.engine import create_engine
from kilonet.spec import Net, Run

torch = pytest.importorskip("torch")

from float64_twin import Twin, distance  # noqa: E402
from kilonet.engine.torch.module import build_module  # noqa: E402

MEAN, STD = 0.5, 0.25
# Smooth, so that float32 and float64 are not on two sides of a kink.
NET = Net(
    input=(1, 12, 10),
    block=["conv", "silu", "batchnorm"],
    layers=[
        "conv 6 pad=1 bias",
        {
            "repeat": [
                "conv 6 pad=1 bias",
                {"residual": ["depthwise pad=1", "pointwise 6 bare"]},
                {"repeat": ["conv 6 kernel=1 bare bias"], "times": 2},
                "avgpool 2 stride=1",
            ],
            "times": 3,
        },
        "flatten",
        {"repeat": ["linear 378", "silu"], "times": 2},
        "linear 5",
    ],
)
SHARED = ["repeat1.0.convblock1.0", "repeat1.0.residual1.convblock1.0", "repeat2.0.linear1"]


def engine_of(name: str, run: Run, **settings: Any) -> Any:
    return create_engine(run, engine=name, device="cpu", mean=(MEAN,), std=(STD,), **settings)


def batch_of(net: Net, count: int, step: int = 0) -> Batch:
    rng = np.random.default_rng(step)
    return Batch(
        images=rng.integers(0, 256, (count, *net.input[1:]), dtype=np.uint8),
        labels=rng.integers(0, net.num_classes, count),
        index=np.arange(count),
        epoch=0,
        step=step,
    )


@pytest.mark.parametrize("count", [2, 37, 300])
def test_gradients_are_autograds(engine_name: str, count: int) -> None:
    """Of a small batch, of a ragged chunk, and of more chunks than parts of the gradient."""
    run = Run(net=NET)
    engine = engine_of(engine_name, run)
    batch = batch_of(NET, count)
    twin = Twin(run, engine.weights(), mean=MEAN, std=STD)
    exact = twin.training_pass(batch).gradients
    found = engine.gradients(batch)
    assert list(found) == list(exact) == list(NET.parameters)
    assert all(f"{name}.weight" in found for name in SHARED)
    for name, gradient in exact.items():
        # A bias before a batch norm has a gradient that cancels to zero.
        scale = max(float(np.linalg.norm(gradient)), 1e-2)
        assert distance(found[name], gradient) <= 1e-4 * scale, name


def test_a_gradient_by_hand(engine_name: str) -> None:
    """A 1 × 1 image x and a weight w used three times: y = w³x, so dL/dw = 3w²x · dL/dy."""
    net = Net(
        input=(1, 1, 1),
        layers=[
            {"repeat": ["pointwise 1 bare"], "times": 3},
            "flatten",
            "linear 2",
        ],
    )
    assert net.num_parameters == 1 + 2 + 2
    engine = engine_of(engine_name, Run(net=net))
    w, (u, v) = 0.8, (0.6, -0.7)
    engine.load_weights(
        {
            "repeat1.0.convblock1.0.weight": np.full((1, 1, 1, 1), w, np.float32),
            "linear1.weight": np.array([[u], [v]], np.float32),
            "linear1.bias": np.zeros(2, np.float32),
        }
    )
    batch = Batch(
        images=np.full((1, 1, 1), 255, np.uint8),
        labels=np.array([0]),
        index=np.arange(1),
        epoch=0,
        step=0,
    )
    x = (1 - MEAN) / STD
    p = 1 / (1 + np.exp(v * w**3 * x - u * w**3 * x))
    found = engine.gradients(batch)
    expected = (p - 1) * (u - v) * 3 * w**2 * x
    assert found["repeat1.0.convblock1.0.weight"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.native
def test_bits_do_not_depend_on_threads_nor_on_a_resume() -> None:
    run = Run(net=NET, train={"optimizer": {"name": "adamw"}, "average": "ema"})
    states = []
    for threads in (1, 2, 3):
        engine = engine_of("native", run, threads=threads)
        for step in range(4):
            if step == 2:
                saved = engine.state()
                engine = engine_of("native", run, threads=threads)
                engine.load_state(saved)
            engine.step(batch_of(NET, 300, step), 0.01)
        states.append(engine.state())
    for other in states[1:]:
        assert list(other) == list(states[0])
        for name, array in states[0].items():
            assert array.tobytes() == other[name].tobytes(), name


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_optimizer_sees_one_parameter(engine_name: str, optimizer: str) -> None:
    """Ten steps' losses and weights are those of PyTorch's optimizer, which has each array once."""
    settings = {"name": optimizer, "lr": 0.01, "weight_decay": 0.1}
    run = Run(net=NET, train={"optimizer": settings})
    engine = engine_of(engine_name, run)
    twin = Twin(run, engine.weights(), mean=MEAN, std=STD)
    classes = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    more = {"momentum": run.train.optimizer.momentum} if optimizer == "sgd" else {}
    reference = classes[optimizer](twin.module.parameters(), lr=0.01, weight_decay=0.1, **more)
    for step in range(10):
        batch = batch_of(NET, 32, step)
        exact = twin.training_pass(batch)
        reference.step()
        assert engine.step(batch, 0.01).loss == pytest.approx(exact.loss, rel=1e-4)
    for name in SHARED:
        moved = twin.weights()[f"{name}.weight"]
        assert distance(engine.weights()[f"{name}.weight"], moved) <= 1e-3 * np.linalg.norm(moved)


def test_dropout_masks_differ_between_applications(engine_name: str) -> None:
    """A pixel is kept twice with probability 1/4; with one mask for both it would be 1/2."""
    net = Net(
        input=(1, 40, 40),
        layers=[{"repeat": ["dropout 0.5"], "times": 2}, "flatten", "linear 2 nobias"],
    )
    engine = engine_of(engine_name, Run(net=net))
    batch = Batch(
        images=np.full((1, 40, 40), 255, np.uint8),
        labels=np.array([0]),
        index=np.arange(1),
        epoch=0,
        step=0,
    )
    kept = (engine.gradients(batch)["linear1.weight"][0] != 0).mean()
    # Five standard deviations of a binomial.
    assert abs(kept - 0.25) < 5 * (0.25 * 0.75 / 1600) ** 0.5


def test_initial_weights_are_drawn_once_and_equal_in_both_engines() -> None:
    run = Run(net=NET, train={"seed": 3})
    arrays = [engine_of(name, run).weights() for name in ("native", "torch")]
    assert list(arrays[0]) == list(arrays[1]) == [*build_module(NET).state_dict()]
    for name, array in arrays[0].items():
        np.testing.assert_array_equal(array, arrays[1][name], err_msg=name)


def test_a_module_and_its_copy_hold_each_array_once() -> None:
    module = build_module(NET)
    assert sum(p.numel() for p in module.parameters()) == NET.num_parameters
    state = module.state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        image = torch.ones(2, *NET.input)
        # The copy's later applications use the copy's weights: all logits are the last bias.
        assert not twin.eval()(image).any()
        assert module.eval()(image).any()
    twin.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(twin(image), module(image))
