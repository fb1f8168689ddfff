"""The training step in JAX: a spec's network in NHWC, compiled as one function."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kilonet.bench.native import LR, MOMENTUM, NUM_BATCHES
from kilonet.engine import initial_weights
from kilonet.spec import graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kilonet.data import RunData
    from kilonet.spec import Run

VERSION = str(jax.__version__)

_LAYOUT = ("NHWC", "OIHW", "NHWC")


class JaxSteps:
    """Training steps of SGD with momentum, on normalized batches in memory and JAX's own threads.

    Args:
        run: the network, and the batch size.
        images: MNIST.
    """

    _parameters: Any
    _buffers: Any
    _momenta: Any

    def __init__(self, run: Run, images: RunData) -> None:
        self._mean, self._std = images.mean[0], images.std[0]
        self._nodes, self._names = run.net.nodes, list(run.net.parameters)
        self.load_weights(initial_weights(run.net, seed=run.train.seed))
        size = run.train.batch_size
        parts = [slice(i * size, (i + 1) * size) for i in range(NUM_BATCHES)]
        self._batches = [
            (self._input(images.train_images[part]), jnp.asarray(images.train_labels[part]))
            for part in parts
        ]
        self._steps = itertools.count()
        self._key = jax.random.PRNGKey(1)

        def loss_of(parameters: Any, buffers: Any, x: Any, labels: Any, key: Any) -> Any:
            logits, after = _forward(self._nodes, x, parameters, buffers, key)
            own = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
            return -own.mean(), after

        def step(parameters: Any, buffers: Any, momenta: Any, batch: Any, key: Any) -> Any:
            (loss, buffers), gradients = jax.value_and_grad(loss_of, has_aux=True)(
                parameters, buffers, *batch, key
            )
            momenta = jax.tree.map(lambda m, g: MOMENTUM * m + g, momenta, gradients)
            parameters = jax.tree.map(lambda p, m: p - LR * m, parameters, momenta)
            return parameters, buffers, momenta, loss

        self._step = jax.jit(step, donate_argnums=(0, 1, 2))
        self._evaluate = jax.jit(lambda p, b, x: _forward(self._nodes, x, p, b, None)[0])

    def step(self) -> float:
        """Take one step and wait for the new weights; the loss before it, in nats."""
        number = next(self._steps)
        key = jax.random.fold_in(self._key, number)
        self._parameters, self._buffers, self._momenta, loss = self._step(
            self._parameters, self._buffers, self._momenta, self._batches[number % NUM_BATCHES], key
        )
        jax.block_until_ready(self._parameters)
        return float(loss)

    def load_weights(self, weights: Any) -> None:
        """Set weights by PyTorch's names; resets momentum."""
        arrays = {name: jnp.asarray(array) for name, array in weights.items()}
        self._parameters = {name: arrays.pop(name) for name in self._names}
        self._buffers = arrays
        self._momenta = jax.tree.map(jnp.zeros_like, self._parameters)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes) logits in evaluation mode, of (n, 28, 28) uint8."""
        return np.asarray(self._evaluate(self._parameters, self._buffers, self._input(images)))

    def _input(self, images: NDArray[np.uint8]) -> Any:
        return (jnp.asarray(images)[..., None].astype(jnp.float32) / 255 - self._mean) / self._std


def _forward(nodes: Sequence[graph.Node], x: Any, parameters: Any, buffers: Any, key: Any) -> Any:
    """(n, classes) logits and the new buffers; in evaluation mode if ``key`` is None."""
    buffers = dict(buffers)

    def run(nodes: Sequence[graph.Node], x: Any) -> Any:
        for node in nodes:
            x = apply(node, x)
        return x

    def apply(node: graph.Node, x: Any) -> Any:
        weight = parameters.get(f"{node.owner}.weight")
        bias = parameters.get(f"{node.owner}.bias")
        match node.op:
            case graph.Conv2d() as op:
                padding = [
                    (pad, pad + extra)
                    for pad, extra in zip(op.padding, op.extra_padding, strict=True)
                ]
                y = lax.conv_general_dilated(
                    x,
                    weight,
                    op.stride,
                    padding,
                    rhs_dilation=op.dilation,
                    dimension_numbers=_LAYOUT,
                    feature_group_count=op.groups,
                )
                return y if bias is None else y + bias
            case graph.Linear():
                return x @ weight.T if bias is None else x @ weight.T + bias
            case graph.BatchNorm() as op:
                return norm(node.name, op, x, weight, bias)
            case graph.GroupNorm(groups=groups) as op:
                return scaled(normalized_images(x, groups, op.eps), weight, bias)
            case graph.InstanceNorm() as op:
                return scaled(normalized_images(x, op.features, op.eps), weight, bias)
            case graph.SqueezeExcitation():
                return x * jax.nn.sigmoid(excitation(node.name, x.mean((1, 2), keepdims=True)))
            case graph.ReLU():
                return jax.nn.relu(x)
            case graph.LeakyReLU(slope=slope):
                return jax.nn.leaky_relu(x, slope)
            case graph.SiLU():
                return jax.nn.silu(x)
            case graph.Hardswish():
                return jax.nn.hard_swish(x)
            case graph.Dropout(p=p):
                if key is None or not p:
                    return x
                own = jax.random.fold_in(key, zlib.crc32(node.name.encode()))
                return jnp.where(jax.random.bernoulli(own, 1 - p, x.shape), x / (1 - p), 0)
            case graph.Pool2d() as op:
                highest = isinstance(op, graph.MaxPool2d)
                sums = lax.reduce_window(
                    x,
                    -jnp.inf if highest else 0.0,
                    lax.max if highest else lax.add,
                    (1, *op.kernel, 1),
                    (1, *op.stride, 1),
                    [(0, 0), *((pad, pad) for pad in op.padding), (0, 0)],
                )
                return sums if highest else sums / (op.kernel[0] * op.kernel[1])
            case graph.Flatten():
                return x.transpose(0, 3, 1, 2).reshape(len(x), -1)
            case graph.Residual(body=body, shortcut=shortcut):
                return run(shortcut, x) + run(body, x)
        raise AssertionError(f"an operation without a JAX form: {node.op!r}")

    def norm(name: str, op: graph.BatchNorm, x: Any, weight: Any, bias: Any) -> Any:
        mean, var = buffers[f"{name}.running_mean"], buffers[f"{name}.running_var"]
        if key is not None:
            axes = tuple(range(x.ndim - 1))
            count = x.size / x.shape[-1]
            batch_mean, batch_var = x.mean(axes), x.var(axes)
            unbiased = batch_var * count / (count - 1)
            buffers[f"{name}.running_mean"] = mean + op.momentum * (batch_mean - mean)
            buffers[f"{name}.running_var"] = var + op.momentum * (unbiased - var)
            mean, var = batch_mean, batch_var
        return scaled((x - mean) * lax.rsqrt(var + op.eps), weight, bias)

    def normalized_images(x: Any, groups: int, eps: float) -> Any:
        parts = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
        mean, var = parts.mean((1, 3), keepdims=True), parts.var((1, 3), keepdims=True)
        return ((parts - mean) * lax.rsqrt(var + eps)).reshape(x.shape)

    def scaled(x: Any, weight: Any, bias: Any) -> Any:
        x = x if weight is None else x * weight
        return x if bias is None else x + bias

    def excitation(name: str, means: Any) -> Any:
        weights = [parameters[f"{name}.{part}.weight"][:, :, 0, 0].T for part in ("fc1", "fc2")]
        hidden = jax.nn.relu(means @ weights[0] + parameters[f"{name}.fc1.bias"])
        return hidden @ weights[1] + parameters[f"{name}.fc2.bias"]

    logits = run(nodes, x)
    return logits.reshape(len(logits), -1), buffers
