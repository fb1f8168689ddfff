"""What every engine promises beyond its numbers: one suite over all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kilonet.engine import Engine, create_engine
from kilonet.errors import DataError, EngineError, StorageError
from kilonet.spec import Net, Run
from small_runs import NET, OPTIMIZERS, TORCH_OPTIM, assert_same, batch, run_of

torch = pytest.importorskip("torch")

nn = torch.nn


Make = Callable[[Run], Engine]


@pytest.fixture
def engine_of(engine_name: str) -> Make:
    """Makes an engine of a run."""
    return lambda run: create_engine(
        run, engine=engine_name, device="cpu", mean=(0.5,), std=(0.25,)
    )


@pytest.mark.parametrize("average", [None, {"name": "ema", "decay": 0.7}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resume_goes_on_to_the_same_bits(engine_of: Make, name: str, average: Any) -> None:
    run = run_of(optimizer=OPTIMIZERS[name], average=average)
    whole, first = engine_of(run), engine_of(run)
    for step in range(7):
        momentum = 0.8 if step % 2 and name != "sgd" else None
        expected = whole.step(batch(step), 0.02 * (1 + step), momentum=momentum)
        if step == 3:
            resumed = engine_of(run.replace({"train.seed": run.train.seed}))
            resumed.load_state(first.state())
            first = resumed
        # The global generator must have no say.
        torch.manual_seed(step)
        assert first.step(batch(step), 0.02 * (1 + step), momentum=momentum) == expected
    assert_same(first.state(), whole.state())
    assert_same(first.weights(), whole.weights())


def twin_of(weights: dict[str, Any]) -> Any:
    """``NET`` typed by hand, dropout left out."""
    twin = nn.Sequential()
    for i, inputs in ((1, 1), (2, 6)):
        conv = nn.Conv2d(inputs, 6, 3, padding=i - 1, bias=False)
        twin.add_module(f"convblock{i}", nn.Sequential(conv, nn.ReLU(), nn.BatchNorm2d(6)))
    twin.add_module("convblock3", nn.Sequential(nn.Conv2d(6, 4, 1, bias=False)))
    twin.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return twin


@pytest.mark.parametrize(
    ("name", "cycle"),
    [(n, False) for n in TORCH_OPTIM] + [(n, True) for n in TORCH_OPTIM if n != "sgd"],
)
def test_twenty_steps_are_torch_optims(engine_of: Make, name: str, cycle: bool) -> None:
    """Equal gradients, the engine's, into PyTorch's own optimizer and average set up by hand.

    With a cycle the momentum changes each step, as the one-cycle schedule's does.
    """
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    engine = engine_of(run_of(optimizer=OPTIMIZERS[name], average={"name": "ema", "decay": 0.6}))
    twin = twin_of(engine.weights())
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    settings = {k: v for k, v in OPTIMIZERS[name].items() if k != "name"}
    optimizer = kinds.get(name, torch.optim.SGD)(twin.parameters(), **settings)
    [group] = optimizer.param_groups
    average = AveragedModel(twin, multi_avg_fn=get_ema_multi_avg_fn(0.6), use_buffers=True)
    for step in range(20):
        lr = 0.002 * (step + 1)
        momentum = 0.95 - 0.01 * step if cycle else None
        gradients = engine.gradients(batch(step))
        engine.step(batch(step), lr, momentum=momentum)
        group["lr"] = lr
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        elif momentum is not None:
            group["momentum"] = momentum
        for parameter_name, parameter in twin.named_parameters():
            parameter.grad = torch.tensor(gradients[parameter_name])
        optimizer.step()
        now = {n.removeprefix("weights/"): a for n, a in engine.state().items() if "weights/" in n}
        for parameter_name, parameter in twin.named_parameters():
            np.testing.assert_allclose(
                now[parameter_name],
                parameter.detach().numpy(),
                rtol=1e-5,
                atol=1e-6 * parameter.abs().max().item(),
                err_msg=f"{parameter_name}, step {step}",
            )
        with torch.no_grad():
            for buffer_name, buffer in twin.named_buffers():
                buffer.copy_(torch.tensor(now[buffer_name]))
        average.update_parameters(twin)
    found = engine.weights()
    for weight_name, expected in average.module.state_dict().items():
        np.testing.assert_allclose(found[weight_name], expected.numpy(), rtol=1e-5, atol=1e-6)


def test_rates_are_set_each_step(engine_of: Make) -> None:
    """A rate of zero moves nothing; momentum None means the optimizer's own again."""
    engine = engine_of(run_of(optimizer=OPTIMIZERS["nesterov"]))
    before = engine.weights()
    engine.step(batch(0), 0.0)
    for name in NET.parameters:
        np.testing.assert_array_equal(engine.weights()[name], before[name])
    buffer = "optimizer/convblock3.0.weight/momentum_buffer"
    for momentum, own in ((0.5, 0.5), (None, 0.9)):
        old, gradient = engine.state()[buffer], engine.gradients(batch(1))["convblock3.0.weight"]
        engine.step(batch(1), 0.0, momentum=momentum)
        np.testing.assert_allclose(
            engine.state()[buffer], own * old + gradient, rtol=1e-5, atol=1e-7
        )


def test_state_is_a_copy_with_plain_names(engine_of: Make) -> None:
    engine = engine_of(run_of(optimizer=OPTIMIZERS["adam"], average="ema"))
    state = engine.state()
    kept = {name: array.copy() for name, array in state.items()}
    engine.step(batch(0), 0.1)
    assert_same(state, kept)
    assert "weights/convblock1.0.weight" in state
    assert "weights/convblock1.2.num_batches_tracked" in state
    assert "optimizer/convblock1.0.weight/exp_avg" in state
    assert "optimizer/convblock1.0.weight/step" in state
    assert "average/n_averaged" in state
    momentum = engine_of(run_of(optimizer=OPTIMIZERS["momentum"])).state()
    assert momentum["optimizer/convblock1.0.weight/momentum_buffer"].shape == (6, 1, 3, 3)
    assert all(array.flags["C_CONTIGUOUS"] for array in state.values())


def test_average_is_what_is_evaluated(engine_of: Make) -> None:
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


@pytest.mark.parametrize("first", ["conv 8", "dropout 0.3"])
def test_dropout_depends_on_seed_and_step_and_is_off_in_evaluation(
    engine_of: Make, first: str
) -> None:
    """Behind a batch norm, and on its own at the start of the network."""
    layers = [first, "conv 6", "gap", "pointwise 4 bare"]
    net = Net(input=(1, 8, 8), block=NET.block, layers=layers)
    start = engine_of(Run(net=net)).weights()

    def loss(step: int, seed: int = 1) -> float:
        engine = engine_of(Run(net=net, train={"seed": seed}))
        engine.load_weights(start)
        return engine.step(dataclasses.replace(batch(0), step=step), 0.1).loss

    assert loss(3) == loss(3)
    assert loss(3) != loss(4)
    assert loss(3) != loss(3, seed=2)
    without = net.model_dump() | {
        "block": ["conv", "relu", "batchnorm", "dropout 0"],
        "layers": [line.replace("0.3", "0") for line in layers],
    }
    plain = engine_of(Run(net=Net(**without)))
    engine = engine_of(Run(net=net))
    data = batch(0)
    assert engine.evaluate(data.images, data.labels) == plain.evaluate(data.images, data.labels)


def test_gradients_draw_as_step_does_and_change_nothing(engine_of: Make) -> None:
    engine = engine_of(run_of(optimizer={"name": "sgd", "lr": 1.0}))
    before = engine.state()
    gradients = engine.gradients(batch(2))
    assert_same(engine.state(), before)
    engine.step(batch(2), 0.5)
    for name, gradient in gradients.items():
        expected = before[f"weights/{name}"] - np.float32(0.5) * gradient
        np.testing.assert_allclose(engine.weights()[name], expected, rtol=1e-6, atol=1e-7)


def test_label_smoothing(engine_of: Make) -> None:
    """In training only; the loss of an evaluation is that of the labels themselves."""
    run = run_of(label_smoothing=0.3).replace({"net.block": ["conv", "relu"]})
    engine = engine_of(run)
    data = batch(0)
    logits = engine.evaluate(data.images, data.labels, logits=True).logits
    log_p = torch.log_softmax(torch.tensor(logits).double(), 1).numpy()
    target = np.full((16, 4), 0.3 / 4)
    target[np.arange(16), data.labels] += 0.7
    expected = -(target * log_p).sum(1).mean()
    assert engine.step(data, 0.1).loss == pytest.approx(expected, rel=1e-6)
    plain = -log_p[np.arange(16), data.labels].mean()
    assert engine_of(run).evaluate(data.images, data.labels).loss == pytest.approx(plain, rel=1e-6)


def test_augmentation_is_the_runs(engine_of: Make) -> None:
    run = run_of().replace({"data.augment": [{"name": "crop", "padding": 3}]})
    engine, plain = engine_of(run), engine_of(run_of())
    data = batch(0)
    assert engine.step(data, 0.1).loss != plain.step(data, 0.1).loss
    engine.load_weights(plain.weights())
    expected = plain.evaluate(data.images, data.labels)
    assert engine.evaluate(data.images, data.labels) == expected


def test_load_weights_resets_optimizer_and_average(engine_of: Make) -> None:
    run = run_of(optimizer=OPTIMIZERS["adam"], average="ema")
    fresh, used = engine_of(run), engine_of(run)
    start = fresh.state()
    for step in range(3):
        used.step(batch(step), 0.1)
    wider = {
        name: array.astype(np.float64) if array.dtype == np.float32 else array
        for name, array in fresh.weights().items()
    }
    used.load_weights(wider)
    assert_same(used.state(), start)


def test_loading_takes_any_memory_layout(engine_of: Make) -> None:
    engine, other = engine_of(run_of()), engine_of(run_of(seed=5))
    weights = {}
    for name, array in other.weights().items():
        odd = np.array(array, dtype=array.dtype.newbyteorder(">"), order="F")
        odd.setflags(write=False)
        weights[name] = odd
    engine.load_weights(weights)
    assert_same(engine.weights(), other.weights())


def broken_states() -> dict[str, Any]:
    def drop(name: str) -> Any:
        return lambda state: {n: a for n, a in state.items() if n != name}

    def put(name: str, array: Any) -> Any:
        return lambda state: {**state, name: array}

    weight = "weights/convblock1.0.weight"
    buffer = "optimizer/convblock1.0.weight/momentum_buffer"
    return {
        "missing weight": (drop(weight), weight),
        "missing optimizer": (drop(buffer), buffer),
        "foreign": (put("weights/conv9.weight", np.zeros(3)), "weights/conv9.weight"),
        "shape": (put(weight, np.zeros((6, 1, 3), np.float32)), weight),
        "buffer shape": (put(buffer, np.zeros(54, np.float32)), buffer),
        "type": (put(weight, np.zeros((6, 1, 3, 3))), weight),
        "object": (put(weight, np.full((6, 1, 3, 3), None)), weight),
    }


@pytest.mark.parametrize("kind", broken_states())
def test_a_state_that_is_not_this_runs(engine_of: Make, kind: str) -> None:
    run = run_of(optimizer=OPTIMIZERS["momentum"])
    engine = engine_of(run)
    before = engine.state()
    change, name = broken_states()[kind]
    with pytest.raises(StorageError) as caught:
        engine.load_state(change(engine_of(run.replace({"train.seed": 9})).state()))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_same(engine.state(), before)


def test_weights_that_are_not_this_networks(engine_of: Make) -> None:
    engine = engine_of(run_of())
    weights = engine.weights()
    with pytest.raises(StorageError, match=r"'convblock1\.2\.running_var' is missing"):
        engine.load_weights({n: a for n, a in weights.items() if n != "convblock1.2.running_var"})
    count = "convblock1.2.num_batches_tracked"
    with pytest.raises(StorageError, match=rf"'{count}' is float32, not int64"):
        engine.load_weights({**weights, count: np.float32(3)})


def test_divergence(engine_of: Make) -> None:
    engine = engine_of(run_of())

    def train() -> None:
        for step in range(50):
            engine.step(batch(step), 1e30)

    with pytest.raises(EngineError) as caught:
        train()
    message = str(caught.value)
    assert message.startswith("epoch 0, step ")
    assert "lower train.optimizer.lr" in message
    assert "\n" not in message


@pytest.mark.parametrize("flat", [False, True])
def test_one_image_through_batch_norm_with_one_value_a_channel(engine_of: Make, flat: bool) -> None:
    layers = ["conv 4 kernel=8", "relu"]
    if flat:
        layers = ["flatten", "linear 5", "batchnorm", "linear 4"]
    engine = engine_of(Run(net=Net(input=(1, 8, 8), block=["conv", "batchnorm"], layers=layers)))
    layer = "net.layers.2 'batchnorm'" if flat else "net.layers.0 'conv 4 kernel=8'"
    one = batch(5, count=1)
    for call in (lambda: engine.step(one, 0.1), lambda: engine.gradients(one)):
        with pytest.raises(EngineError) as caught:
            call()
        assert f"epoch 1, step 5: batch norm of {layer}" in str(caught.value)
        assert "train.batch_size" in str(caught.value)
    engine.step(batch(5, count=2), 0.1)
    assert engine.evaluate(one.images, one.labels).count == 1


def test_images_and_labels_that_do_not_fit(engine_of: Make) -> None:
    engine = engine_of(run_of())
    with pytest.raises(DataError, match="1 × 9 × 8, but the network's input is 1 × 8 × 8"):
        engine.step(batch(0, shape=(9, 8)), 0.1)
    wrong = dataclasses.replace(batch(0), labels=np.full(16, 4))
    with pytest.raises(DataError, match="label 4 does not fit the network's 4 outputs"):
        engine.step(wrong, 0.1)
    with pytest.raises(DataError, match="label 4"):
        engine.evaluate(wrong.images, wrong.labels)
    with pytest.raises(DataError, match="no images"):
        engine.evaluate(wrong.images[:0], wrong.labels[:0])


def test_memory_layouts(engine_of: Make) -> None:
    data = batch(0)
    odd = dataclasses.replace(
        data, images=np.asfortranarray(data.images), labels=data.labels.astype(np.int32)
    )
    for array in (odd.images, odd.labels, odd.index):
        array.setflags(write=False)
    engine, other = engine_of(run_of()), engine_of(run_of())
    assert engine.step(data, 0.1) == other.step(odd, 0.1)
    assert engine.evaluate(data.images, data.labels) == other.evaluate(odd.images, odd.labels)


def test_color_images(engine_of: Make) -> None:
    """Channels last in memory: turning the image and the kernels' channels changes nothing."""
    net = Net(input=(3, 8, 8), layers=["conv 4", "gap"])
    engine = engine_of(Run(net=net))
    data = batch(0, shape=(8, 8, 3))
    first = engine.evaluate(data.images, data.labels, logits=True).logits
    weights = engine.weights()
    weights["convblock1.0.weight"] = weights["convblock1.0.weight"][:, ::-1]
    engine.load_weights(weights)
    second = engine.evaluate(data.images[..., ::-1], data.labels, logits=True).logits
    np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-6)
