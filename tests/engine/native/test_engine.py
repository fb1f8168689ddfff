from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from kilonet.data.batch import Batch
from kilonet.engine.native import NativeEngine
from kilonet.errors import DataError, EngineError, UsageError
from kilonet.spec import Net, Run, load_run
from small_runs import NET, OPTIMIZERS, assert_same, batch, run_of

native = pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")

pytestmark = pytest.mark.usefixtures("isa")


def engine_of(run: Run, **settings: Any) -> NativeEngine:
    return NativeEngine(run, mean=(0.5,), std=(0.25,), **settings)


def test_threads_do_not_show() -> None:
    run = run_of(optimizer=OPTIMIZERS["adam"], average="ema")
    states, logits = [], []
    # Nine chunks of 16, the last ragged.
    data = [batch(step, count=139) for step in range(4)]
    for threads in (1, 2, 3, 5, 1, 2, 3, 5):
        engine = engine_of(run, threads=threads)
        results = [engine.step(one, 0.02) for one in data]
        states.append({**engine.state(), "loss": np.array([r.loss for r in results])})
        logits.append(engine.evaluate(data[0].images, data[0].labels, logits=True).logits)
    for state, values in zip(states, logits, strict=True):
        assert_same(state, states[0])
        assert values.tobytes() == logits[0].tobytes()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_states_are_named_as_the_torch_engines(name: str) -> None:
    pytest.importorskip("torch")
    from kilonet.engine.torch import TorchEngine

    run = run_of(optimizer=OPTIMIZERS[name], average="ema")
    torch_engine = TorchEngine(run, mean=(0.5,), std=(0.25,), device="cpu")
    state, expected = engine_of(run).state(), torch_engine.state()
    assert state.keys() == expected.keys()
    for key, array in expected.items():
        assert (state[key].shape, state[key].dtype) == (array.shape, array.dtype), key
        if key.startswith("weights/"):
            np.testing.assert_array_equal(state[key], array)


def test_chunks_do_not_show() -> None:
    # Convolutions that a step of few images does in another way than one of many.
    layers = ("conv 8", "conv 16 pad=1", "conv 16", "gap", "pointwise 4 bare")
    engine = engine_of(Run(net=Net(input=(1, 8, 8), block=NET.block, layers=layers)))
    engine.step(batch(0), 0.1)
    data = batch(1, count=2100)
    whole = engine.evaluate(data.images, data.labels, logits=True)
    for i in (0, 31, 32, 2047, 2048, 2099):
        part = slice(i, i + 1)
        single = engine.evaluate(data.images[part], data.labels[part], logits=True)
        np.testing.assert_array_equal(whole.logits[i], single.logits[0])


def test_names(isa: str) -> None:
    engine = engine_of(run_of(), threads=1)
    assert engine.name == "native"
    assert engine.isa == isa
    assert engine.description.startswith("native ")
    assert engine.description.endswith(f"on cpu ({isa}), 1 thread")
    assert NativeEngine.describe(threads=1) == engine.description


def test_devices() -> None:
    with pytest.raises(EngineError, match="runs on the CPU"):
        engine_of(run_of(), device="cuda")
    with pytest.raises(UsageError, match="device 'gpu'"):
        engine_of(run_of(), device="gpu")


def test_the_bundled_network_learns() -> None:
    """Ten classes of a bright bar at a height of its own."""
    engine = NativeEngine(
        load_run("interim").replace({"data.augment": []}), mean=(0.1307,), std=(0.3081,)
    )
    rng = np.random.default_rng(0)
    correct = 0
    for step in range(40):
        labels = rng.integers(0, 10, 64)
        images = rng.integers(0, 60, (64, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 + 2 * label : 6 + 2 * label, 4:24] = 255
        data = Batch(images=images, labels=labels, index=np.arange(64), epoch=0, step=step)
        correct = engine.step(data, 0.05).correct
    assert correct > 50


def test_as_many_labels_as_images() -> None:
    engine, few = engine_of(run_of()), dataclasses.replace(batch(0), labels=np.zeros(15, np.int64))
    with pytest.raises(DataError, match="one for each of 16 images"):
        engine.step(few, 0.1)
    with pytest.raises(DataError, match="one for each of 16 images"):
        engine.evaluate(few.images, few.labels)
