"""Averaged weights are PyTorch's, on every engine; so are parameters without weight decay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kilonet.engine import Engine, create_engine
from kilonet.spec import Net, Run
from small_runs import NET, OPTIMIZERS, TORCH_OPTIM, assert_same, batch, run_of

torch = pytest.importorskip("torch")

nn = torch.nn
swa_utils = torch.optim.swa_utils

Make = Callable[[Run], Engine]
EPOCHS, STEPS = 5, 3

AVERAGES: dict[str, dict[str, Any]] = {
    "ema": {"name": "ema", "decay": 0.6, "recompute_statistics": True},
    "swa": {"name": "swa", "start": 2},
    "swa, every step": {"name": "swa", "start": 1, "every": "step"},
    "swa, statistics as they are": {"name": "swa", "start": 2, "recompute_statistics": False},
}


@pytest.fixture
def engine_of(engine_name: str) -> Make:
    return lambda run: create_engine(
        run, engine=engine_name, device="cpu", mean=(0.5,), std=(0.25,)
    )


def plain_run(**train: Any) -> Run:
    """Without dropout, whose masks are the engine's own."""
    return run_of(epochs=EPOCHS, **train).replace({"net.block": ["conv", "relu", "batchnorm"]})


def twin_of(weights: dict[str, Any]) -> Any:
    twin = nn.Sequential()
    for i, inputs in ((1, 1), (2, 6)):
        conv = nn.Conv2d(inputs, 6, 3, padding=i - 1, bias=False)
        twin.add_module(f"convblock{i}", nn.Sequential(conv, nn.ReLU(), nn.BatchNorm2d(6)))
    twin.add_module("gap", nn.AvgPool2d(6))
    twin.add_module("convblock3", nn.Sequential(nn.Conv2d(6, 4, 1, bias=False)))
    twin.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return twin


def epoch_of(epoch: int) -> list[Any]:
    # Batches of different sizes: each counts once in the statistics.
    batches = [batch(epoch * STEPS + i, count=16 - 5 * i) for i in range(STEPS)]
    return [dataclasses.replace(one, epoch=epoch) for one in batches]


def inputs_of(batches: list[Any]) -> list[Any]:
    return [torch.tensor((b.images[:, None] / 255.0 - 0.5) / 0.25).float() for b in batches]


def trained(engine: Engine, epoch: int) -> dict[str, Any]:
    """The weights that the optimizer has after an epoch."""
    for one in epoch_of(epoch):
        engine.step(one, 0.05)
    return {n[8:]: a for n, a in engine.state().items() if n.startswith("weights/")}


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_are_torchs(engine_of: Make, name: str) -> None:
    """The engine's weights after each step, averaged by PyTorch; also before the average begins."""
    spec = AVERAGES[name]
    engine = engine_of(plain_run(average=spec))
    twin = twin_of(engine.weights())
    if spec["name"] == "ema":
        rule = swa_utils.get_ema_multi_avg_fn(spec["decay"])
        average = swa_utils.AveragedModel(twin, multi_avg_fn=rule, use_buffers=True)
    else:
        average = swa_utils.AveragedModel(twin)
    every_step = spec["name"] == "ema" or "every" in spec
    for epoch in range(EPOCHS):
        averages = epoch >= spec.get("start", 0)
        for one in epoch_of(epoch):
            engine.step(one, 0.05)
            now = {n[8:]: a for n, a in engine.state().items() if n.startswith("weights/")}
            twin.load_state_dict({n: torch.tensor(a) for n, a in now.items()})
            if every_step and averages:
                average.update_parameters(twin)
        engine.end_epoch(epoch, epoch_of(epoch))
        if averages and not every_step:
            average.update_parameters(twin)
        if averages and spec.get("recompute_statistics", True):
            swa_utils.update_bn(inputs_of(epoch_of(epoch)), average.module)
        expected = (average.module if averages else twin).state_dict()
        found = engine.weights()
        for array, tensor in expected.items():
            np.testing.assert_allclose(
                found[array], tensor.numpy(), rtol=2e-5, atol=2e-6, err_msg=f"{array}, {epoch}"
            )
        data = batch(99, count=50)
        logits = engine.evaluate(data.images, data.labels, logits=True).logits
        model = (average.module if averages else twin).eval()
        with torch.no_grad():
            reference = model(*inputs_of([data])).flatten(1).numpy()
        assert logits is not None
        assert np.linalg.norm(logits - reference) <= 1e-4 * np.linalg.norm(reference)


@pytest.mark.parametrize("name", AVERAGES)
def test_resume_goes_on_to_the_same_bits(engine_of: Make, name: str) -> None:
    """With dropout and augmentation, which the statistics see."""
    run = run_of(average=AVERAGES[name], epochs=EPOCHS)
    run = run.replace({"data.augment": [{"name": "crop", "padding": 2}]})
    whole, first = engine_of(run), engine_of(run)
    for epoch in range(EPOCHS):
        for engine in (whole, first):
            trained(engine, epoch)
            engine.end_epoch(epoch, epoch_of(epoch))
        assert_same(first.weights(), whole.weights())
        resumed = engine_of(run)
        resumed.load_state(first.state())
        first = resumed
        assert_same(first.state(), whole.state())
        assert_same(first.weights(), whole.weights())


def test_statistics_are_of_images_as_they_are_trained_on(engine_of: Make) -> None:
    """Augmentation and dropout change them; both engines draw the same augmentation."""
    plain = {"train.average": "swa", "train.average.start": 0}
    crop = {"data.augment": [{"name": "crop", "padding": 2}]}
    found = []
    for changes in ({}, crop, {"net.block": NET.block}):
        engine = engine_of(plain_run().replace({**plain, **changes}))
        engine.end_epoch(0, epoch_of(0))
        found.append(engine.weights()["convblock2.2.running_mean"])
    assert not np.allclose(found[0], found[1], rtol=1e-3)
    assert not np.allclose(found[0], found[2], rtol=1e-3)


def test_statistics_of_one_value_per_channel(engine_of: Make) -> None:
    """A batch of one image, which a training step refuses too."""
    from kilonet.errors import EngineError

    net = Net(input=(1, 8, 8), layers=["conv 6", "gap", "batchnorm", "pointwise 4 bare"])
    engine = engine_of(Run(net=net, train={"average": {"name": "swa", "start": 0}}))
    with pytest.raises(EngineError, match=r"batch norm.* one value per channel") as caught:
        engine.end_epoch(0, [batch(0, count=1)])
    assert "\n" not in str(caught.value)


def test_a_network_without_batch_norm_needs_no_batches(engine_of: Make) -> None:
    run = plain_run(average={"name": "swa", "start": 0}).replace({"net.block": ["conv", "relu"]})
    engine = engine_of(run)

    def unread() -> Any:
        raise AssertionError("it has no statistics")
        yield

    engine.end_epoch(0, unread())
    assert engine.state()["average/n_averaged"] == 1


@pytest.mark.native
def test_statistics_do_not_depend_on_threads() -> None:
    from kilonet.engine.native import NativeEngine

    run = run_of(average={"name": "swa", "start": 0}, epochs=EPOCHS)
    weights = []
    for threads in (1, 3):
        engine = NativeEngine(run, mean=(0.5,), std=(0.25,), threads=threads)
        for epoch in range(2):
            for i in range(STEPS):
                engine.step(batch(epoch * STEPS + i, count=90), 0.05)
            engine.end_epoch(epoch, [batch(i, count=90) for i in range(STEPS)])
            engine.step(batch(50), 0.05)  # a training step after it is as without it
        weights.append(engine.state())
    assert_same(*weights)


@pytest.mark.parametrize("name", TORCH_OPTIM)
def test_parameters_without_weight_decay(engine_of: Make, name: str) -> None:
    """Two parameter groups of PyTorch: those of one dimension have no decay."""
    spec = {**OPTIMIZERS[name], "weight_decay": 0.3}
    layers = ["conv 6 bias", "conv 6 pad=1", "gap", "pointwise 4 bare bias"]
    run = run_of(optimizer={**spec, "decay": "weights"}).replace({"net.layers": layers})
    engine = engine_of(run)
    values = {
        n: nn.Parameter(torch.tensor(a))
        for n, a in engine.weights().items()
        if n in run.net.parameters
    }
    weights = [p for p in values.values() if p.ndim > 1]
    others = [p for p in values.values() if p.ndim == 1]
    assert len(weights) == 3
    assert len(others) == 6  # two biases of convolutions, and scale and shift of two batch norms
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    settings = {k: v for k, v in spec.items() if k != "name"}
    groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    optimizer = kinds.get(name, torch.optim.SGD)(groups, **settings)
    everywhere = engine_of(run.replace({"train.optimizer.decay": "all"}))
    for step in range(5):
        gradients = engine.gradients(batch(step))
        engine.step(batch(step), 0.05)
        everywhere.step(batch(step), 0.05)
        for group in optimizer.param_groups:
            group["lr"] = 0.05
        for parameter_name, parameter in values.items():
            parameter.grad = torch.tensor(gradients[parameter_name])
        optimizer.step()
        found = engine.weights()
        for parameter_name, parameter in values.items():
            np.testing.assert_allclose(
                found[parameter_name], parameter.detach().numpy(), rtol=1e-5, atol=1e-6
            )
    bias = "convblock1.0.bias"
    assert not np.allclose(everywhere.weights()[bias], engine.weights()[bias], rtol=1e-3)
