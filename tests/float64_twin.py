"""A network in float64 PyTorch, built from its lines: the reference of the engines.

An engine in float32 may differ from it by rounding errors, whose size depends on the network: batch
norm divides by deviations that may be small, and sums cancel. So the twin can simulate them: with
``rounding`` every value between two layers, and every gradient, gets a random error as large as
that of sums in float32. The effect on a result is the limit of an engine's error.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import reference_net
from kilonet.data.batch import Batch
from kilonet.randomness import Purpose, random_words
from kilonet.spec import Run

F = nn.functional

Arrays = dict[str, NDArray[Any]]

ROUNDING = 128 * 2.0**-24
"""A value's share: √n roundings, of a sum of n = 16,384 terms, as many as gradients here may have.

Source: Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019."""

VALUE_ROUNDING = ROUNDING / 8
"""Of a forward pass, whose sums are shorter: 250 terms."""


@dataclass(frozen=True)
class Pass:
    """A training pass: logits (n, classes), mean loss, and by name gradients and buffers."""

    logits: NDArray[np.float64]
    loss: float
    gradients: Arrays
    buffers: Arrays


class PhiloxDropout(nn.Module):
    """Dropout with the masks of ``kilonet.randomness``, as the native engine documents them."""

    def __init__(self, p: float, name: str, seed: int) -> None:
        super().__init__()
        self.p, self.code, self.seed, self.step = p, zlib.crc32(name.encode()), seed, 0

    def forward(self, x: Any) -> Any:
        if not self.training:
            return x
        kept = kept_values(tuple(x.shape), p=self.p, seed=self.seed, step=self.step, code=self.code)
        return x * torch.from_numpy(kept) / (1 - self.p)


def kept_values(
    shape: tuple[int, ...], *, p: float, seed: int, step: int, code: int
) -> NDArray[np.bool_]:
    """The mask of a batch, (images, …): eight elements of an image to a draw, two to a word."""
    images, elements = shape[0], int(np.prod(shape[1:]))
    draws = -(-elements // 8)
    index = np.arange(images * draws)
    words = random_words(index, seed=seed, purpose=Purpose.DROPOUT, epoch=step, block=code)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=-1).reshape(images, draws * 8)
    return (halves[:, :elements] >= round(p * 65536)).reshape(shape)


class Twin:
    """The run's network with these weights.

    Args:
        run: what the engine trains; its augmentations are left out.
        weights: the engine's.
        mean: of pixels scaled to [0, 1].
        std: likewise.
        module: the same network typed by hand; else it is built from the run's lines.
    """

    def __init__(
        self, run: Run, weights: Arrays, *, mean: float, std: float, module: Any = None
    ) -> None:
        self.run, self.mean, self.std = run, mean, std
        self.module = (reference_net.build(run.net) if module is None else module).double()
        if module is None and len(run.net.nodes[-1].output_shape) > 1:
            self.module.append(nn.Flatten())
        for name, module in list(self.module.named_modules()):
            if isinstance(module, nn.Dropout):
                parent = self.module.get_submodule(name.rpartition(".")[0])
                masks = PhiloxDropout(module.p, name, run.train.seed)
                parent.register_module(name.rpartition(".")[2], masks)
        self.load(weights)

    def load(self, weights: Arrays) -> None:
        self.module.load_state_dict({n: torch.tensor(a) for n, a in weights.items()})

    def weights(self) -> Arrays:
        return {name: tensor.numpy().copy() for name, tensor in self.module.state_dict().items()}

    def training_pass(self, batch: Batch, *, rounding: float = 0.0, seed: int = 0) -> Pass:
        """Forward and backward, gradients left in the parameters; the running statistics move."""
        module = self._training(batch)
        module.zero_grad()
        with self._rounded(rounding, seed) as off:
            logits = module(off(self._input(batch.images)))
            loss = self._loss(logits, torch.tensor(batch.labels), off)
            loss.backward()
        trained = dict(self.module.named_parameters())
        return Pass(
            logits.detach().numpy(),
            loss.item(),
            {n: p.grad.numpy().copy() for n, p in trained.items()},
            {n: array for n, array in self.weights().items() if n not in trained},
        )

    def evaluation(
        self, images: NDArray[np.uint8], *, rounding: float = 0.0, seed: int = 0
    ) -> NDArray[np.float64]:
        """Logits, (n, classes)."""
        self.module.eval()
        with torch.no_grad(), self._rounded(rounding, seed) as off:
            # Few at a time: in float64 ten thousand do not fit the caches by far.
            parts = [images[i : i + 250] for i in range(0, len(images), 250)]
            return torch.cat([self.module(off(self._input(part))) for part in parts]).numpy()

    def near_a_kink(self, batch: Batch, *, rounding: float = VALUE_ROUNDING) -> bool:
        """Whether rounding may put a value on the other side of a jump of a derivative.

        A ReLU's zero, the two largest of a maximum: there float32's gradient is another one, and
        neither is wrong. A value is near if it is no farther from the jump than four times what
        rounding moves any value of its channel. One that is on it (a zero out of a ReLU, a
        background of one value in a maximum) is so in any arithmetic.
        """
        exact, moved = self._inputs(batch), self._inputs(batch, rounding=rounding)
        for (layer, x), (_, y) in zip(exact, moved, strict=True):
            others = [d for d in range(x.dim()) if d != 1]
            margin = 4 * (x - y).abs().amax(dim=others, keepdim=True)
            if isinstance(layer, nn.MaxPool2d):
                if _near_a_tie(layer, x, margin):
                    return True
                continue
            for kink in (-3.0, 3.0) if isinstance(layer, nn.Hardswish) else (0.0,):
                distance = (x - kink).abs()
                if ((distance <= margin) & (distance > 0)).any():
                    return True
        return False

    def _inputs(self, batch: Batch, *, rounding: float = 0.0) -> list[tuple[nn.Module, Any]]:
        """The layers with kinks, and what goes into them in a training pass."""
        kinds = (nn.ReLU, nn.LeakyReLU, nn.Hardswish, nn.MaxPool2d)
        before = self.weights()
        seen: list[tuple[nn.Module, Any]] = []
        hooks = [
            module.register_forward_hook(lambda layer, x, _: seen.append((layer, x[0])))
            for module in self.module.modules()
            if isinstance(module, kinds)
        ]
        with torch.no_grad(), self._rounded(rounding, 0) as off:
            self._training(batch)(off(self._input(batch.images)))
        for hook in hooks:
            hook.remove()
        self.load(before)
        return seen

    def _training(self, batch: Batch) -> nn.Module:
        for module in self.module.modules():
            if isinstance(module, PhiloxDropout):
                module.step = batch.step
        return self.module.train()

    def _loss(self, logits: Any, labels: Any, off: Callable[[Any], Any]) -> Any:
        """Cross-entropy; where values are rounded its exponentials and their sum are as well."""
        smoothing = self.run.train.label_smoothing
        shifted = logits - logits.detach().amax(1, keepdim=True)
        total = off(off(shifted.exp()).sum(1, keepdim=True))
        log_p = shifted - total.log()
        own = log_p.gather(1, labels[:, None]).mean()
        return -(1 - smoothing) * own - smoothing * log_p.mean()

    def _input(self, images: NDArray[np.uint8]) -> Any:
        # Channels first: PyTorch 2.13 crashes in the backward pass of a group norm whose input is
        # channels-last and needs no gradient.
        x = torch.tensor(images).reshape(*images.shape[:3], -1).permute(0, 3, 1, 2)
        return ((x.double() / 255 - self.mean) / self.std).clone(
            memory_format=torch.contiguous_format
        )

    @contextmanager
    def _rounded(self, rounding: float, seed: int) -> Iterator[Callable[[Any], Any]]:
        if not rounding:
            yield lambda x: x
            return
        generator = torch.Generator().manual_seed(seed)

        def times(x: Any) -> Any:
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            return x * (1 + rounding * noise)

        def off(x: Any) -> Any:
            # Forward and backward on their own: the derivative of what is linear in the values,
            # noise and all, still cancels where theirs does.
            y = times(x)
            if y.requires_grad:
                y.register_hook(times)
            return y

        leaves = [m for m in self.module.modules() if not list(m.children())]
        hooks = [leaf.register_forward_hook(lambda _, __, y: off(y)) for leaf in leaves]
        kinds = nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm
        norms = [m for m in leaves if isinstance(m, kinds)]
        for norm in norms:
            norm.forward = partial(_rounded_norm, norm, off)  # type: ignore[method-assign]
        yield off
        for norm in norms:
            del norm.forward
        for hook in hooks:
            hook.remove()


def _rounded_norm(norm: Any, off: Callable[[Any], Any], x: Any) -> Any:
    """A normalization whose terms are rounded one by one.

    Its gradient is a difference of three; with few values they cancel whatever came back, so noise
    on what goes in and comes out would not show what rounding does between.
    """
    shape = (1, -1) + (1,) * (x.dim() - 2)
    if isinstance(norm, nn.GroupNorm | nn.InstanceNorm2d):
        groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else x.shape[1]
        y = _normalized(off, x.reshape(len(x), groups, -1), [2], norm.eps)[0].reshape(x.shape)
    elif not norm.training:
        return type(norm).forward(norm, x)
    else:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        y, mean, variance = _normalized(off, x, axes, norm.eps)
        count = x.numel() / x.shape[1]
        with torch.no_grad():
            norm.running_mean.lerp_(mean.flatten(), norm.momentum)
            norm.running_var.lerp_(variance.flatten() * count / (count - 1), norm.momentum)
            norm.num_batches_tracked += 1
    y = y if norm.weight is None else y * norm.weight.view(shape)
    return y if norm.bias is None else y + norm.bias.view(shape)


def _normalized(off: Callable[[Any], Any], x: Any, axes: list[int], eps: float) -> Any:
    """The normalized values, mean and variance."""
    # What a channel has one of is off for all its values alike, so that it adds up.
    mean = off(off(x).mean(axes, keepdim=True))
    centerd = off(x) - mean
    variance = off(off(centerd).square().mean(axes, keepdim=True))
    return off(centerd) * (variance + eps).rsqrt(), mean, variance


def check(
    found: Arrays,
    exact: Arrays,
    *,
    share: float,
    rounded: Callable[[], list[Arrays]],
    times: float = 1.0,
) -> list[bool]:
    """Assert that each array is within a share of its norm, or within what rounding does.

    Args:
        found: the engine's.
        exact: the twin's.
        share: of an array's norm.
        rounded: the twin's with ``rounding``; asked only where the share does not do.
        times: how often the greatest error of those is allowed.

    Returns:
        For each array, whether the share did.
    """
    outright = []
    for name, expected in exact.items():
        assert found[name].shape == expected.shape, name
        error = distance(found[name], expected)
        outright.append(error <= share * np.linalg.norm(expected))
        if not outright[-1]:
            allowed = times * max(distance(array[name], expected) for array in rounded())
            assert error <= allowed, (name, error / np.linalg.norm(expected), error / allowed)
    return outright


def distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.linalg.norm(np.asarray(a, dtype=np.float64) - b))


def _near_a_tie(pool: nn.MaxPool2d, x: Any, margin: Any) -> bool:
    def pair(value: Any) -> tuple[int, int]:
        return (value, value) if isinstance(value, int) else value

    (kh, kw), (sh, sw), (ph, pw) = map(pair, (pool.kernel_size, pool.stride, pool.padding))
    if kh * kw == 1:
        return False
    padded = F.pad(x, (pw, pw, ph, ph), value=-torch.inf)
    windows = padded.unfold(2, kh, sh).unfold(3, kw, sw).flatten(4)
    most = windows.topk(2, dim=-1).values
    gap = most[..., 0] - most[..., 1]
    # Equal values may differ in float64's own last places.
    return bool(((gap <= margin) & (gap > 1e-6 * margin)).any())
