from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from kilonet.engine import Batch
from kilonet.engine.native import NativeEngine
from kilonet.errors import EngineError, UsageError
from kilonet.randomness import Purpose, random_words
from kilonet.spec import Net, Run, load_run

native = pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")
ISAS = native.instruction_sets()

NET = Net(
    input=(1, 8, 8),
    block=["conv", "relu", "batchnorm", "dropout 0.2"],
    layers=["conv 6", "conv 6 pad=1", "gap", "pointwise 4 bare"],
)
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "lr": 0.05, "weight_decay": 0.01},
    "momentum": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
    "adam": {"name": "adam", "lr": 0.01, "weight_decay": 0.01, "betas": (0.8, 0.95)},
    "adamw": {"name": "adamw", "lr": 0.01},
}


def engine_of(run: Run, **settings: Any) -> NativeEngine:
    return NativeEngine(run, mean=(0.5,), std=(0.25,), **settings)


def run_of(**train: Any) -> Run:
    return Run(net=NET, train=train)


def batch(step: int, *, count: int = 16, shape: tuple[int, ...] = (8, 8)) -> Batch:
    rng = np.random.default_rng(step)
    return Batch(
        images=rng.integers(0, 256, (count, *shape), dtype=np.uint8),
        labels=rng.integers(0, 4, count),
        index=np.arange(count),
        epoch=step // 4,
        step=step,
    )


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert list(a) == list(b)
    for name, array in a.items():
        assert array.dtype == b[name].dtype, name
        assert array.tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize("isa", ISAS)
def test_threads_do_not_show(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KILONET_ISA", isa)
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


@pytest.mark.parametrize("isa", ISAS)
def test_dropout_masks_are_philoxs(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose gradient shows the mask, against the bits of kilonet's own reference."""
    monkeypatch.setenv("KILONET_ISA", isa)
    net = Net(input=(1, 5, 5), layers=["dropout 0.3", "flatten", "linear 2 nobias"])
    run = Run(net=net, train={"seed": 2**40 + 17})
    count, elements, step = 37, 25, 6
    # Each image has a batch to itself but for its place in it: all others are black.
    engine = NativeEngine(run, mean=(0.0,), std=(1.0,))
    engine.load_weights({"linear1.weight": np.zeros((2, elements), np.float32)})
    index = np.arange(count * 4)
    words = random_words(
        index,
        seed=run.train.seed,
        purpose=Purpose.DROPOUT,
        epoch=step,
        block=zlib.crc32(b"dropout1"),
    )
    halves = np.stack([words & 0xFFFF, words >> 16], axis=-1).reshape(count, 32)[:, :elements]
    kept = halves >= round(0.3 * 65536)
    assert 0.65 < kept.mean() < 0.75
    for image in (0, 1, 31, 32, 36):
        images = np.zeros((count, 5, 5), np.uint8)
        images[image] = 255
        labels = np.zeros(count, np.int64)
        data = Batch(images=images, labels=labels, index=np.arange(count), epoch=0, step=step)
        gradient = engine.gradients(data)["linear1.weight"]
        # Logits are zero, so softmax less the label is −½ and ½, over the batch's size.
        expected = 0.5 / count / 0.7 * kept[image]
        np.testing.assert_allclose(gradient, [-expected, expected], rtol=1e-5)


def test_chunks_do_not_show() -> None:
    engine = engine_of(run_of())
    engine.step(batch(0), 0.1)
    data = batch(1, count=2100)
    whole = engine.evaluate(data.images, data.labels, logits=True)
    for i in (0, 31, 32, 2047, 2048, 2099):
        part = slice(i, i + 1)
        single = engine.evaluate(data.images[part], data.labels[part], logits=True)
        np.testing.assert_array_equal(whole.logits[i], single.logits[0])


def test_names() -> None:
    engine = engine_of(run_of(), threads=1)
    assert engine.name == "native"
    assert engine.description.startswith("native ")
    assert engine.description.endswith(f"on cpu ({ISAS[0]}), 1 thread")
    assert NativeEngine.describe(threads=1) == engine.description


def test_devices_and_instruction_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="runs on the CPU"):
        engine_of(run_of(), device="cuda")
    with pytest.raises(UsageError, match="device 'gpu'"):
        engine_of(run_of(), device="gpu")
    monkeypatch.setenv("KILONET_ISA", "avx9")
    with pytest.raises(UsageError, match="KILONET_ISA=avx9"):
        engine_of(run_of())


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
