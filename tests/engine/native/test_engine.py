from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from kilonet.engine import Batch
from kilonet.engine.native import NativeEngine
from kilonet.errors import EngineError, UsageError
from kilonet.spec import Run, load_run
from small_runs import OPTIMIZERS, assert_same, batch, run_of

native = pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")

pytestmark = pytest.mark.usefixtures("isa")


def engine_of(run: Run, **settings: Any) -> NativeEngine:
    return NativeEngine(run, mean=(0.5,), std=(0.25,), **settings)


def test_threads_do_not_show() -> None:
    run = run_of(optimizer=OPTIMIZERS["adam"], average="ema")
    states, logits = [], []
    # Five chunks of 32, the last ragged.
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
    engine = engine_of(run_of())
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


def test_a_fork_has_threads_of_its_own() -> None:
    engine, data = engine_of(run_of(), threads=2), batch(0, count=100)
    expected = engine.gradients(data)
    child = os.fork()
    if not child:
        same = all((a == expected[n]).all() for n, a in engine.gradients(data).items())
        os._exit(0 if same else 3)
    assert os.waitpid(child, 0)[1] == 0
    assert_same(engine.gradients(data), expected)


def test_engines_at_once() -> None:
    data = [batch(step, count=70) for step in range(8)]

    def train(threads: int) -> dict[str, Any]:
        engine = engine_of(run_of(), threads=threads)
        for one in data:
            engine.step(one, 0.05)
        return engine.state()

    with ThreadPoolExecutor(3) as pool:
        states = list(pool.map(train, (1, 2, 2)))
    assert_same(states[1], states[0])
    assert_same(states[2], states[0])


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
