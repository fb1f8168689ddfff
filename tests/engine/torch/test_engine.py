from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from kilonet.engine import Batch
from kilonet.errors import DataError, EngineError, StoreError, UsageError
from kilonet.spec import Net, Run

torch = pytest.importorskip("torch")

from kilonet.engine.torch import TorchEngine  # noqa: E402

nn, F = torch.nn, torch.nn.functional

NET = Net(
    input=(1, 8, 8),
    block=["conv", "relu", "batchnorm", "dropout 0.2"],
    layers=["conv 6", "conv 6 pad=1", "gap", "pointwise 4 bare"],
)
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "lr": 0.05},
    "momentum": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
    "adam": {"name": "adam", "lr": 0.01, "weight_decay": 0.01, "betas": (0.8, 0.95)},
    "adamw": {"name": "adamw", "lr": 0.01},
}


def engine_of(run: Run, **settings: Any) -> TorchEngine:
    return TorchEngine(run, mean=(0.5,), std=(0.25,), **{"device": "cpu", **settings})


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


@pytest.mark.parametrize("average", [None, {"name": "ema", "decay": 0.7}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resume_goes_on_to_the_same_bits(name: str, average: Any) -> None:
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
        found = first.step(batch(step), 0.02 * (1 + step), momentum=momentum)
        assert found == expected
    assert_same(first.state(), whole.state())
    assert_same(first.weights(), whole.weights())


def test_state_is_a_copy_with_plain_names() -> None:
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


def reference_optimizer(name: str, parameters: Any) -> Any:
    settings = {k: v for k, v in OPTIMIZERS[name].items() if k != "name"}
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds.get(name, torch.optim.SGD)(parameters, **settings)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_and_average_are_pytorchs(name: str) -> None:
    """Updates made from the engine's own gradients, by PyTorch's own classes set up by hand."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    run = run_of(optimizer=OPTIMIZERS[name], average={"name": "ema", "decay": 0.6})
    engine = engine_of(run)
    twin = nn.Sequential()
    for i, inputs in ((1, 1), (2, 6)):
        conv = nn.Conv2d(inputs, 6, 3, padding=i - 1, bias=False)
        twin.add_module(f"convblock{i}", nn.Sequential(conv, nn.ReLU(), nn.BatchNorm2d(6)))
    twin.add_module("convblock3", nn.Sequential(nn.Conv2d(6, 4, 1, bias=False)))
    twin.load_state_dict({n: torch.tensor(a) for n, a in engine.weights().items()})
    optimizer = reference_optimizer(name, twin.parameters())
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


def test_rates_are_set_each_step() -> None:
    """A rate of zero moves nothing; momentum None means the optimiser's own again."""
    engine = engine_of(run_of(optimizer=OPTIMIZERS["momentum"]))
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


def test_dropout_depends_on_seed_and_step_and_layer() -> None:
    base = engine_of(run_of())

    def loss(engine: TorchEngine, step: int) -> float:
        same = dataclasses.replace(batch(0), step=step)
        start = engine_of(run_of()).weights()
        engine.load_weights(start)
        return engine.step(same, 0.1).loss

    assert loss(base, 3) == loss(engine_of(run_of()), 3)
    assert loss(base, 3) != loss(base, 4)
    assert loss(base, 3) != loss(engine_of(run_of(seed=2)), 3)
    first, second = base._dropouts
    assert first.seed != second.seed


def test_gradients_draw_as_step_does_and_change_nothing() -> None:
    engine = engine_of(run_of(optimizer={"name": "sgd", "lr": 1.0}))
    before = engine.state()
    gradients = engine.gradients(batch(2))
    assert_same(engine.state(), before)
    engine.step(batch(2), 0.5)
    for name, gradient in gradients.items():
        expected = before[f"weights/{name}"] - 0.5 * gradient
        np.testing.assert_allclose(engine.weights()[name], expected, rtol=1e-6, atol=1e-7)


def test_label_smoothing() -> None:
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
    found = engine_of(run).evaluate(data.images, data.labels)
    assert found.loss == pytest.approx(plain, rel=1e-6)


def test_augmentation_is_the_runs() -> None:
    run = run_of().replace({"data.augment": [{"name": "crop", "padding": 3}]})
    engine, plain = engine_of(run), engine_of(run_of())
    data = batch(0)
    assert engine.step(data, 0.1).loss != plain.step(data, 0.1).loss
    images, labels = data.images, data.labels
    engine.load_weights(plain.weights())
    assert engine.evaluate(images, labels) == plain.evaluate(images, labels)


def test_load_weights_resets_optimizer_and_average() -> None:
    run = run_of(optimizer=OPTIMIZERS["adam"], average="ema")
    fresh, used = engine_of(run), engine_of(run)
    start = fresh.state()
    for step in range(3):
        used.step(batch(step), 0.1)
    used.load_weights(
        {
            name: array.astype(np.float64)
            for name, array in fresh.weights().items()
            if array.dtype == np.float32
        }
        | {n: a for n, a in fresh.weights().items() if a.dtype != np.float32}
    )
    assert_same(used.state(), start)


def broken_states() -> dict[str, Any]:
    def drop(name: str) -> Any:
        return lambda state: {n: a for n, a in state.items() if n != name}

    def put(name: str, array: Any) -> Any:
        return lambda state: {**state, name: array}

    weight = "weights/convblock1.0.weight"
    buffer = "optimizer/convblock1.0.weight/momentum_buffer"
    return {
        "missing weight": (drop(weight), weight),
        "missing optimiser": (drop(buffer), buffer),
        "foreign": (put("weights/conv9.weight", np.zeros(3)), "weights/conv9.weight"),
        "shape": (put(weight, np.zeros((6, 1, 3), np.float32)), weight),
        "buffer shape": (put(buffer, np.zeros(54, np.float32)), buffer),
        "type": (put(weight, np.zeros((6, 1, 3, 3))), weight),
        "object": (put(weight, np.full((6, 1, 3, 3), None)), weight),
    }


@pytest.mark.parametrize("kind", broken_states())
def test_a_state_that_is_not_this_runs(kind: str) -> None:
    engine = engine_of(run_of(optimizer=OPTIMIZERS["momentum"]))
    before = engine.state()
    change, name = broken_states()[kind]
    with pytest.raises(StoreError) as caught:
        engine.load_state(change(engine_of(engine.run.replace({"train.seed": 9})).state()))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_same(engine.state(), before)


def test_weights_that_are_not_this_networks() -> None:
    engine = engine_of(run_of())
    weights = engine.weights()
    with pytest.raises(StoreError, match=r"'convblock1\.2\.running_var' is missing"):
        engine.load_weights({n: a for n, a in weights.items() if n != "convblock1.2.running_var"})
    count = "convblock1.2.num_batches_tracked"
    with pytest.raises(StoreError, match=rf"'{count}' is float32, not int64"):
        engine.load_weights({**weights, count: np.float32(3)})


def test_loading_takes_any_memory_layout() -> None:
    engine, other = engine_of(run_of()), engine_of(run_of(seed=5))
    weights = {}
    for name, array in other.weights().items():
        odd = np.array(array, dtype=array.dtype.newbyteorder(">"), order="F")
        odd.setflags(write=False)
        weights[name] = odd
    engine.load_weights(weights)
    assert_same(engine.weights(), other.weights())


def test_divergence() -> None:
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
def test_one_image_through_batch_norm_with_one_value_a_channel(flat: bool) -> None:
    layers = ["conv 4 kernel=8", "relu"]
    if flat:
        layers = ["flatten", "linear 5", "batchnorm", "linear 4"]
    net = Net(input=(1, 8, 8), block=["conv", "batchnorm"], layers=layers)
    engine = engine_of(Run(net=net))
    layer = "layer 3 'batchnorm'" if flat else "layer 1 'conv 4 kernel=8'"
    for call in (
        lambda: engine.step(batch(5, count=1), 0.1),
        lambda: engine.gradients(batch(5, count=1)),
    ):
        with pytest.raises(EngineError) as caught:
            call()
        assert f"epoch 1, step 5: batch norm of {layer}" in str(caught.value)
        assert "train.batch_size" in str(caught.value)
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
    with pytest.raises(DataError, match="no images"):
        engine.evaluate(wrong.images[:0], wrong.labels[:0])


def test_colour_images() -> None:
    net = Net(input=(3, 8, 8), layers=["conv 4", "gap"])
    engine = engine_of(Run(net=net))
    assert np.isfinite(engine.step(batch(0, shape=(8, 8, 3)), 0.1).loss)


def test_chunks_do_not_show() -> None:
    engine = engine_of(run_of())
    data = batch(1, count=1201)
    whole = engine.evaluate(data.images, data.labels, logits=True)
    one_by_one = [
        engine.evaluate(data.images[i : i + 1], data.labels[i : i + 1], logits=True)
        for i in (0, 249, 250, 1200)
    ]
    for i, single in zip((0, 249, 250, 1200), one_by_one, strict=True):
        np.testing.assert_allclose(whole.logits[i], single.logits[0], rtol=1e-5, atol=1e-6)


def test_read_only_images_and_labels() -> None:
    data = batch(0)
    for array in (data.images, data.labels, data.index):
        array.setflags(write=False)
    engine = engine_of(run_of())
    engine.step(data, 0.1)
    engine.evaluate(data.images, data.labels)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    from kilonet.engine.torch.engine import _select_device

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert _select_device("auto").type == "cpu"
    with pytest.raises(EngineError, match="device 'cuda': not available; here is cpu"):
        _select_device("cuda")
    with pytest.raises(EngineError, match="device 'mps'"):
        _select_device("mps")
    with pytest.raises(UsageError, match="did you mean 'cuda'"):
        _select_device("cud")
    with pytest.raises(UsageError, match="device 'cpu:x'"):
        _select_device("cpu:x")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _select_device("auto").type == "cuda"
    assert _select_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(EngineError, match="device 'cuda:2': not available; here is cuda and cpu"):
        _select_device("cuda:2")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert _select_device("auto").type == "mps"


def test_description_and_threads() -> None:
    engine = engine_of(run_of(), threads=1)
    version = torch.__version__.partition("+")[0]
    assert engine.description == f"torch {version} on cpu, 1 thread"
    assert engine.name == "torch"
    engine_of(run_of(), threads=2)
    assert torch.get_num_threads() == 2
    assert engine.description == f"torch {version} on cpu, 2 threads"


def test_out_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(run_of())

    def exhausted(*_: Any, **__: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried…")

    monkeypatch.setattr(engine._module, "forward", exhausted)
    with pytest.raises(EngineError, match="epoch 0, step 0: out of memory"):
        engine.step(batch(0), 0.1)


class Own(nn.Module):
    """What a user might bring: random layers, a view, log probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.drop = nn.Dropout2d(0.4)
        self.frozen = nn.Linear(5 * 36, 7).requires_grad_(False)
        self.out = nn.Linear(7, 4)

    def forward(self, x: Any) -> Any:
        x = self.drop(F.relu(self.norm(self.conv(x))))
        return F.log_softmax(self.out(self.frozen(x.view(len(x), -1))), dim=1)


def test_a_users_own_module() -> None:
    torch.manual_seed(0)
    own = Own()
    start = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    run = run_of(optimizer=OPTIMIZERS["momentum"], average="ema")
    engine = engine_of(run, module=own)
    for name, tensor in start.items():
        np.testing.assert_array_equal(engine.weights()[name], tensor.numpy())
    assert "frozen.weight" not in engine.gradients(batch(0))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for step in range(3):
        engine.step(batch(step), 0.1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(0)
    resumed = engine_of(run, module=Own())
    resumed.load_state(engine.state())
    torch.manual_seed(99)
    for step in range(3, 6):
        assert engine.step(batch(step), 0.1) == resumed.step(batch(step), 0.1)
    assert_same(engine.state(), resumed.state())
    assert torch.equal(own.frozen.weight, start["frozen.weight"])
    assert not torch.equal(own.conv.weight, start["conv.weight"])


def test_a_users_batch_norm_and_one_image() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))
    engine = engine_of(run_of(), module=flat)
    with pytest.raises(EngineError, match="batch norm has one value a channel"):
        engine.step(batch(0, count=1), 0.1)


def test_a_users_module_that_cannot_be_trained() -> None:
    for module, problem in (
        (nn.Flatten(), "no parameter to train"),
        (nn.Linear(3, 2).double(), "'weight' is torch.float64; .*module.float"),
    ):
        with pytest.raises(EngineError, match=problem):
            engine_of(run_of(), module=module)
    with pytest.raises(EngineError, match=r"the module gave \(16, 6, 6, 6\) for 16 labels"):
        engine_of(run_of(), module=nn.Conv2d(1, 6, 3)).step(batch(0), 0.1)
