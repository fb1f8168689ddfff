"""Networks at random, against PyTorch in float64."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kilonet.engine import Batch
from kilonet.engine.native import NativeEngine
from kilonet.spec import Net, Run, graph
from strategies import nets

torch = pytest.importorskip("torch")
native = pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")

import reference_net  # noqa: E402

F = torch.nn.functional
ISAS = native.instruction_sets()
NEAR = 1e-5
"""A share of a layer's spread: how near to a kink rounding may put a value on the other side."""


def kinks_in(module: Any) -> list[bool]:
    """Filled at each forward pass: whether a value lay where a derivative jumps."""
    found: list[bool] = []

    def near(x: Any, where: float = 0.0) -> bool:
        # A value that is exactly there (zeros after a ReLU) is there in any arithmetic.
        distance = (x - where).abs()
        return bool(((distance < NEAR * (1 + x.abs().max())) & (distance > 0)).any())

    def watch(layer: Any, inputs: Any, _: Any) -> None:
        [x] = inputs
        if isinstance(layer, torch.nn.ReLU | torch.nn.LeakyReLU):
            found.append(near(x))
        elif isinstance(layer, torch.nn.Hardswish):
            found.append(near(x, -3.0) or near(x, 3.0))
        elif isinstance(layer, torch.nn.MaxPool2d):
            # A derivative jumps where the order of two values does: with a little noise, the
            # chosen positions must stay.
            settings = (layer.kernel_size, layer.stride, layer.padding)
            noise = torch.rand(x.shape, generator=torch.manual_seed(0), dtype=x.dtype)
            moved = x + NEAR * x.abs().max() * noise * (x != 0)
            _, chosen = F.max_pool2d(x, *settings, return_indices=True)
            _, others = F.max_pool2d(moved, *settings, return_indices=True)
            found.append(bool((chosen != others).any()))

    for layer in module.modules():
        if not list(layer.children()):
            layer.register_forward_hook(watch)
    return found


def few_values_a_channel(net: Net, count: int) -> bool:
    """A variance of few values may be next to nothing, and what is divided by it anything."""
    nodes = graph.walk(net.nodes)
    return any(
        isinstance(node.op, graph.BatchNorm) and count * np.prod(node.input_shape[1:]) < 16
        for node in nodes
    )


def float32_gradients(twin: Any, x: Any, labels: Any, smoothing: float) -> dict[str, Any]:
    single = copy.deepcopy(twin).float().train()
    single.zero_grad()
    loss = F.cross_entropy(single(x.float()), torch.tensor(labels), label_smoothing=smoothing)
    loss.backward()
    return {name: p.grad.double().numpy() for name, p in single.named_parameters()}


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(
    net=nets(dropout=False, sizes=(1, 13), max_lines=4),
    count=st.sampled_from([1, 2, 7, 16, 17, 33]),
    smoothing=st.sampled_from([0.0, 0.1]),
    isa=st.sampled_from(ISAS),
    threads=st.sampled_from([1, 2]),
)
def test_random_networks(net: Net, count: int, smoothing: float, isa: str, threads: int) -> None:
    assume(net.parameters and not few_values_a_channel(net, count))
    rng = np.random.default_rng(count)
    channels, *size = net.input
    shape = (count, *size) if channels == 1 else (count, *size, channels)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = rng.integers(0, net.classes, count)
    data = Batch(images=images, labels=labels, index=np.arange(count), epoch=0, step=0)
    run = Run(
        net=net, train={"label_smoothing": smoothing, "optimizer": {"name": "sgd", "lr": 0.1}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KILONET_ISA", isa)
        engine = NativeEngine(run, mean=(0.5,), std=(0.25,), threads=threads)
    twin = reference_net.build(net).double()
    if len(net.nodes[-1].output_shape) > 1:
        twin.append(torch.nn.Flatten())
    twin.load_state_dict({n: torch.tensor(a) for n, a in engine.weights().items()})
    x = torch.tensor(images).reshape(count, *size, channels).permute(0, 3, 1, 2)
    x = (x.double() / 255 - 0.5) / 0.25

    kinks = kinks_in(twin)
    twin.train()
    logits = twin(x)
    loss = F.cross_entropy(logits, torch.tensor(labels), label_smoothing=smoothing)
    assume(not any(kinks))
    loss.backward()
    gradients = engine.gradients(data)
    every = [p.grad.numpy() for p in twin.parameters()]
    whole = np.sqrt(sum((g**2).sum() for g in every))
    singles = float32_gradients(twin, x, labels, smoothing)
    for (name, parameter), expected in zip(twin.named_parameters(), every, strict=True):
        assert gradients[name].shape == parameter.shape
        # A gradient that cancels (a bias before batch norm) is noise beside the others, and what
        # float32 cannot tell in PyTorch's hands it cannot here.
        error = np.linalg.norm(gradients[name] - expected)
        single = np.linalg.norm(singles[name] - expected)
        assert error <= max(1e-4 * np.linalg.norm(expected), 5e-5 * whole, 3 * single), name

    result = engine.step(data, 0.0)
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)
    state = engine.weights()
    for name, buffer in twin.named_buffers():
        np.testing.assert_allclose(state[name], buffer.numpy(), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        expected = twin.eval()(x).numpy()
    found = engine.evaluate(images, labels, logits=True).logits
    # Inputs are of the order of 1: logits far below that have cancelled.
    scale = max(np.abs(expected).max(), 0.1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)
