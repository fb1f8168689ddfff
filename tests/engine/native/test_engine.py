from __future__ import annotations

import dataclasses
import zlib
from typing import Any

import numpy as np
import pytest

from kilonet.engine import Batch
from kilonet.engine.native import NativeEngine
from kilonet.errors import DataError, EngineError, StoreError, UsageError
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


@pytest.mark.parametrize("average", [None, {"name": "ema", "decay": 0.7}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resume_goes_on_to_the_same_bits(name: str, average: Any) -> None:
    run = run_of(optimizer=OPTIMIZERS[name], average=average)
    whole, first = engine_of(run), engine_of(run)
    for step in range(7):
        momentum = 0.8 if step % 2 and name != "sgd" else None
        expected = whole.step(batch(step), 0.02 * (1 + step), momentum=momentum)
        if step == 3:
            resumed = engine_of(run)
            resumed.load_state(first.state())
            first = resumed
        assert first.step(batch(step), 0.02 * (1 + step), momentum=momentum) == expected
    assert_same(first.state(), whole.state())
    assert_same(first.weights(), whole.weights())


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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_and_average_are_pytorchs(name: str) -> None:
    """Updates made from the engine's own gradients, by PyTorch's own classes set up by hand."""
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    run = run_of(optimizer=OPTIMIZERS[name], average={"name": "ema", "decay": 0.6})
    engine = engine_of(run)
    twin = torch.nn.Sequential()
    for i, inputs in ((1, 1), (2, 6)):
        conv = torch.nn.Conv2d(inputs, 6, 3, padding=i - 1, bias=False)
        twin.add_module(
            f"convblock{i}", torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.BatchNorm2d(6))
        )
    twin.add_module("convblock3", torch.nn.Sequential(torch.nn.Conv2d(6, 4, 1, bias=False)))
    twin.load_state_dict({n: torch.tensor(a) for n, a in engine.weights().items()})
    settings = {k: v for k, v in OPTIMIZERS[name].items() if k != "name"}
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kinds.get(name, torch.optim.SGD)(twin.parameters(), **settings)
    average = AveragedModel(twin, multi_avg_fn=get_ema_multi_avg_fn(0.6), use_buffers=True)
    for step in range(6):
        gradients = engine.gradients(batch(step))
        lr = 0.01 * (step + 1)
        engine.step(batch(step), lr)
        now = {n.removeprefix("weights/"): a for n, a in engine.state().items() if "weights/" in n}
        for parameter_name, parameter in twin.named_parameters():
            parameter.grad = torch.tensor(gradients[parameter_name])
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        for parameter_name, parameter in twin.named_parameters():
            np.testing.assert_allclose(
                now[parameter_name], parameter.detach().numpy(), rtol=1e-6, atol=1e-7
            )
        with torch.no_grad():
            for buffer_name, buffer in twin.named_buffers():
                buffer.copy_(torch.tensor(now[buffer_name]))
        average.update_parameters(twin)
    found = engine.weights()
    for weight_name, expected in average.module.state_dict().items():
        np.testing.assert_allclose(found[weight_name], expected.numpy(), rtol=1e-5, atol=1e-7)


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
    for image in (0, 1, 15, 16, 31, 32, 36):
        images = np.zeros((count, 5, 5), np.uint8)
        images[image] = 255
        labels = np.zeros(count, np.int64)
        data = Batch(images=images, labels=labels, index=np.arange(count), epoch=0, step=step)
        gradient = engine.gradients(data)["linear1.weight"]
        # Logits are zero, so softmax less the label is −½ and ½, over the batch's size.
        expected = 0.5 / count / 0.7 * kept[image]
        np.testing.assert_allclose(gradient, [-expected, expected], rtol=1e-5)


@pytest.mark.parametrize("first", ["conv 8", "dropout 0.3"])
def test_dropout_depends_on_seed_and_step_and_layer(first: str) -> None:
    net = Net(input=(1, 8, 8), block=NET.block, layers=[first, "conv 6", "gap", "pointwise 4 bare"])

    def loss(step: int, seed: int = 1) -> float:
        engine = engine_of(Run(net=net, train={"seed": seed}))
        engine.load_weights(engine_of(Run(net=net)).weights())
        return engine.step(dataclasses.replace(batch(0), step=step), 0.1).loss

    assert loss(3) == loss(3)
    assert loss(3) != loss(4)
    assert loss(3) != loss(3, seed=2)
    data = batch(0)
    engine = engine_of(Run(net=net))
    assert engine.evaluate(data.images, data.labels) == engine.evaluate(data.images, data.labels)


def test_gradients_draw_as_step_does_and_change_nothing() -> None:
    engine = engine_of(run_of(optimizer={"name": "sgd", "lr": 1.0}))
    before = engine.state()
    gradients = engine.gradients(batch(2))
    assert_same(engine.state(), before)
    engine.step(batch(2), 0.5)
    for name, gradient in gradients.items():
        expected = before[f"weights/{name}"] - np.float32(0.5) * gradient
        np.testing.assert_allclose(engine.weights()[name], expected, rtol=1e-6, atol=1e-7)


def test_average_is_what_is_evaluated() -> None:
    engine = engine_of(run_of(average={"name": "ema", "decay": 0.9}))
    for step in range(5):
        engine.step(batch(step), 0.1)
    state, weights = engine.state(), engine.weights()
    name = "convblock1.0.weight"
    np.testing.assert_array_equal(weights[name], state[f"average/module.{name}"])
    assert not np.array_equal(weights[name], state[f"weights/{name}"])
    images, labels = batch(9, count=50).images, batch(9, count=50).labels
    plain = engine_of(run_of())
    plain.load_weights(weights)
    assert engine.evaluate(images, labels) == plain.evaluate(images, labels)


def test_augmentation_is_the_runs() -> None:
    run = run_of().replace({"data.augment": [{"name": "crop", "padding": 3}]})
    engine, plain = engine_of(run), engine_of(run_of())
    data = batch(0)
    assert engine.step(data, 0.1).loss != plain.step(data, 0.1).loss
    engine.load_weights(plain.weights())
    expected = plain.evaluate(data.images, data.labels)
    assert engine.evaluate(data.images, data.labels) == expected


def test_a_state_that_is_not_this_runs() -> None:
    engine = engine_of(run_of(optimizer=OPTIMIZERS["momentum"]))
    before = engine.state()
    buffer = "optimizer/convblock1.0.weight/momentum_buffer"
    broken = {name: array for name, array in before.items() if name != buffer}
    with pytest.raises(StoreError, match=f"{buffer}' is missing"):
        engine.load_state(broken)
    with pytest.raises(StoreError, match="unknown array"):
        engine.load_state({**before, "weights/conv9.weight": np.zeros(3)})
    assert_same(engine.state(), before)


def test_divergence() -> None:
    engine = engine_of(run_of())

    def train() -> None:
        for step in range(50):
            engine.step(batch(step), 1e30)

    with pytest.raises(EngineError, match=r"^epoch 0, step .*diverged.*lower train\.optimizer\.lr"):
        train()


@pytest.mark.parametrize("flat", [False, True])
def test_one_image_through_batch_norm_with_one_value_a_channel(flat: bool) -> None:
    layers = ["conv 4 kernel=8", "relu"]
    if flat:
        layers = ["flatten", "linear 5", "batchnorm", "linear 4"]
    engine = engine_of(Run(net=Net(input=(1, 8, 8), block=["conv", "batchnorm"], layers=layers)))
    layer = "layer 3 'batchnorm'" if flat else "layer 1 'conv 4 kernel=8'"
    with pytest.raises(EngineError, match=f"epoch 1, step 5: batch norm of {layer}"):
        engine.step(batch(5, count=1), 0.1)
    engine.step(batch(5, count=2), 0.1)
    assert engine.evaluate(batch(5, count=1).images, batch(5, count=1).labels).count == 1


def test_images_and_labels_that_do_not_fit() -> None:
    engine = engine_of(run_of())
    with pytest.raises(DataError, match="1 × 9 × 8, but the network's input is 1 × 8 × 8"):
        engine.step(batch(0, shape=(9, 8)), 0.1)
    wrong = dataclasses.replace(batch(0), labels=np.full(16, 4))
    with pytest.raises(DataError, match="label 4 does not fit the network's 4 outputs"):
        engine.step(wrong, 0.1)
    with pytest.raises(DataError, match="label 4"):
        engine.evaluate(wrong.images, wrong.labels)
    few = dataclasses.replace(batch(0), labels=np.zeros(15, dtype=np.int64))
    with pytest.raises(DataError, match="one for each of 16 images"):
        engine.step(few, 0.1)
    with pytest.raises(DataError, match="one for each of 16 images"):
        engine.evaluate(few.images, few.labels)
    with pytest.raises(DataError, match="no images"):
        engine.evaluate(wrong.images[:0], wrong.labels[:0])


def test_chunks_do_not_show() -> None:
    engine = engine_of(run_of())
    engine.step(batch(0), 0.1)
    data = batch(1, count=2100)
    whole = engine.evaluate(data.images, data.labels, logits=True)
    for i in (0, 31, 32, 2047, 2048, 2099):
        part = slice(i, i + 1)
        single = engine.evaluate(data.images[part], data.labels[part], logits=True)
        np.testing.assert_array_equal(whole.logits[i], single.logits[0])


def test_memory_layouts() -> None:
    data = batch(0)
    odd = dataclasses.replace(
        data, images=np.asfortranarray(data.images), labels=data.labels.astype(np.int32)
    )
    for array in (odd.images, odd.labels):
        array.setflags(write=False)
    engine, other = engine_of(run_of()), engine_of(run_of())
    assert engine.step(data, 0.1) == other.step(odd, 0.1)
    assert engine.evaluate(data.images, data.labels) == other.evaluate(odd.images, odd.labels)


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
