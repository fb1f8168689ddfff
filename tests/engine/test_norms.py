"""Normalizations of an image and squeeze-excitation: what every engine promises of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kilonet.engine import Engine, create_engine
from kilonet.spec import Net, Run
from small_runs import assert_same, batch

torch = pytest.importorskip("torch")

OF_AN_IMAGE = ["layernorm", "groupnorm 1 noscale", "groupnorm 2 noaffine", "instancenorm affine"]


def net_of(*members: str, first: tuple[str, ...] = ()) -> Net:
    layers = [*first, "conv 6", "conv 6 pad=1", "gap", "pointwise 4 bare"]
    return Net(input=(1, 8, 8), block=["conv", *members, "relu"], layers=layers)


def engine_of(net: Net, engine: str, **train: Any) -> Engine:
    run = Run(net=net, train=train)
    return create_engine(run, engine=engine, device="cpu", mean=(0.5,), std=(0.25,))


@pytest.mark.parametrize("member", [*OF_AN_IMAGE, "se", "batchnorm noscale"])
def test_resume_goes_on_to_the_same_bits(engine_name: str, member: str) -> None:
    net, train = net_of(member), {"optimizer": {"name": "adam"}, "average": {"name": "ema"}}
    whole, first = (engine_of(net, engine_name, **train) for _ in range(2))
    for step in range(4):
        expected = whole.step(batch(step), 0.02)
        if step == 2:
            resumed = engine_of(net, engine_name, **train)
            resumed.load_state(first.state())
            first = resumed
        assert first.step(batch(step), 0.02) == expected
    assert_same(first.state(), whole.state())
    assert_same(first.weights(), whole.weights())
    assert list(first.weights()) == [*net.parameters, *net.buffers] or "noscale" in member


@pytest.mark.parametrize("first", ["layernorm", "groupnorm 1 noscale", "instancenorm affine"])
def test_gray_images_are_normalized_first_and_one_by_one(engine_name: str, first: str) -> None:
    """Nothing before the norm is trained: PyTorch's group norm crashes there for some layouts."""
    engine = engine_of(net_of("se", first=(first,)), engine_name)
    one = batch(3, count=1)
    for step in range(3):
        assert np.isfinite(engine.step(batch(step, count=1), 0.1).loss)
    # One image over and over is learned: its loss goes to zero.
    losses = [engine.step(one, 0.1).loss for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("member", [*OF_AN_IMAGE, "se"])
def test_training_and_evaluation_normalize_alike(engine_name: str, member: str) -> None:
    """The loss of a training pass is that of an evaluation, with no running statistics."""
    engine, data = engine_of(net_of(member), engine_name), batch(1, count=33)
    assert not engine.run.net.buffers
    evaluated = engine.evaluate(data.images, data.labels)
    assert engine.step(data, 0.1).loss == pytest.approx(evaluated.loss, rel=1e-6)


@pytest.mark.parametrize("member", [*OF_AN_IMAGE, "se"])
def test_an_image_has_the_same_logits_in_any_batch(engine_name: str, member: str) -> None:
    engine, data = engine_of(net_of(member), engine_name), batch(1, count=37)
    engine.step(data, 0.1)
    every = engine.logits(data.images)
    for i in (0, 15, 16, 36):
        np.testing.assert_array_equal(engine.logits(data.images[i : i + 1])[0], every[i])


def test_threads_do_not_show() -> None:
    pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")
    net = net_of("groupnorm 3", "se", first=("layernorm",))
    # Nine chunks of 16, the last ragged.
    data = [batch(step, count=139) for step in range(3)]
    states = []
    for threads in (1, 2, 3):
        engine = create_engine(
            Run(net=net), engine="native", threads=threads, mean=(0.5,), std=(0.25,)
        )
        losses = [engine.step(one, 0.05).loss for one in data]
        states.append({**engine.state(), "loss": np.array(losses)})
    assert_same(states[1], states[0])
    assert_same(states[2], states[0])


def test_the_profile_names_squeeze_excitations_parts() -> None:
    pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")
    net = net_of("layernorm", "se")
    engine: Any = create_engine(Run(net=net), engine="native", mean=(0.5,), std=(0.25,))
    rows = engine.profile(lambda: engine.step(batch(0), 0.1))
    layers = {row.layer: row.operation for row in rows if row.layer}
    assert layers == {node.name: type(node.op).__name__ for node in net.nodes}
    [calls] = {r.calls for r in rows if r.layer == "convblock1.2" and r.phase == "forward"}
    assert calls == 4  # the mean, two convolutions and the gate, of one chunk
