"""A spec's network as a PyTorch module."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kilonet.engine.arrays import checked_arrays
from kilonet.spec import graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kilonet.engine.base import Arrays
    from kilonet.spec import Net


def build_module(net: Net) -> nn.Module:
    """The network as a PyTorch module; PyTorch's global random state is unchanged.

    The ``state_dict`` has the names of ``net.parameters`` and ``net.buffers``. Input
    (n, channels, height, width), output (n, classes) logits.
    """
    with torch.random.fork_rng(devices=[]):
        children = _children(net.nodes, scope="", built={})
    if len(net.nodes[-1].output_shape) > 1:
        children["logits"] = nn.Flatten()
    return nn.Sequential(children)


def trained_module(net: Net, weights: Arrays, *, module: nn.Module | None = None) -> nn.Module:
    """A module in evaluation mode with these weights; ``module`` or else a new one for ``net``.

    Raises:
        StorageError: naming an array that is missing, unknown or of another shape.
    """
    module = build_module(net) if module is None else module
    live = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    checked = checked_arrays(weights, like=live, where="weights", exact=False)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in checked.items()})
    return module.eval()


class SeededDropout(nn.Dropout):
    """Dropout whose mask is a pure function of ``seed``; if that is None, PyTorch's.

    Attributes:
        seed: set before each training pass, or None.
    """

    seed: int | None = None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Set elements to zero with probability p and scale the others, in training."""
        if not self.training or not self.p or self.seed is None:
            return super().forward(input)
        generator = torch.Generator(input.device).manual_seed(self.seed)
        if input.device.type != "cpu":
            kept = torch.empty_like(input).bernoulli_(1 - self.p, generator=generator)
            return input * kept.div_(1 - self.p)
        # Drawing the indices of dropped elements is faster if they are few: 0.8 ms against
        # nn.Dropout's 6 for forward and backward of 1.2 million elements at p = 0.01.
        mask = torch.full_like(input, 1 / (1 - self.p))
        dropped = _dropped(mask.numel(), p=self.p, generator=generator)
        # In memory order, for any layout: full_like leaves no gaps.
        mask.as_strided((mask.numel(),), (1,)).index_fill_(0, dropped, 0.0)
        return input * mask


class PaddedConv2d(nn.Conv2d):
    """A convolution with more padding at the bottom and right than at the top and left.

    What ``nn.Conv2d(padding="same")`` computes with an even kernel, without PyTorch's warning.

    Attributes:
        extra_padding: rows and columns beyond ``padding``.
    """

    extra_padding: tuple[int, int] = (0, 0)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(n, out_channels, height, width)."""
        bottom, right = self.extra_padding
        return super().forward(nn.functional.pad(input, (0, right, 0, bottom)))


class Residual(nn.Sequential):
    """The layers' output plus their input, or plus the output of the module ``shortcut``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """The sum, whose terms have one shape."""
        output = identity = input
        for name, module in self.named_children():
            if name == "shortcut":
                identity = module(input)
            else:
                output = module(output)
        return identity + output


class Shared(nn.Module):
    """Another layer, applied again: its parameters, which have their one name in that layer.

    In a later application of a repeat. The layer is no submodule, so that a ``state_dict`` holds
    its arrays once.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        # In a tuple, as nn.Module registers a module that is an attribute.
        self._layer = (layer,)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """The other layer's output, for this input."""
        output: Tensor = self._layer[0].forward(input)
        return output

    def extra_repr(self) -> str:
        """The other layer."""
        return repr(self._layer[0])


class GroupNorm(nn.GroupNorm):
    """PyTorch's group norm, for any layout of the input."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """The input normalized; (n, channels, …)."""
        if self.training and not input.requires_grad:
            # PyTorch 2.13 ends the process in the backward pass if no gradient of the input is
            # needed and its strides are those of channels last, which images of one channel have.
            input = input.clone(memory_format=torch.contiguous_format)  # noqa: A001
        return super().forward(input)


class SqueezeExcitation(nn.Module):
    """Each channel times a factor from 0 to 1, computed from the means of all channels.

    The state's names are those of ``torchvision.ops.SqueezeExcitation``.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(n, channels, height, width) → the same shape."""
        means = input.mean(dim=(2, 3), keepdim=True)
        return input * torch.sigmoid(self.fc2(torch.relu(self.fc1(means))))


def _children(
    nodes: Sequence[graph.Node], *, scope: str, built: dict[str, nn.Module]
) -> OrderedDict[str, nn.Module]:
    """Name → module of the nodes in ``scope``; ``convblock1.0`` is member 0 of a sequence.

    ``built`` has the modules so far, by their nodes' names, for those that are shared.
    """
    root = nn.Sequential()
    for node in nodes:
        *outer, last = node.name.removeprefix(scope).split(".")
        place: nn.Module = root
        for name in outer:
            if name not in dict(place.named_children()):
                place.add_module(name, nn.Sequential())
            place = place.get_submodule(name)
        module = Shared(built[node.shared_with]) if node.shared_with else _module(node, built)
        built[node.name] = module
        place.add_module(last, module)
    return OrderedDict(root.named_children())


def _module(node: graph.Node, built: dict[str, nn.Module]) -> nn.Module:
    match node.op:
        case graph.Conv2d() as op:
            convolution = PaddedConv2d if any(op.extra_padding) else nn.Conv2d
            module = convolution(
                op.in_channels,
                op.out_channels,
                op.kernel,
                stride=op.stride,
                padding=op.padding,
                dilation=op.dilation,
                groups=op.groups,
                bias=op.bias,
            )
            if isinstance(module, PaddedConv2d):
                module.extra_padding = op.extra_padding
            return module
        case graph.BatchNorm() as op:
            kind = nn.BatchNorm2d if len(node.input_shape) == 3 else nn.BatchNorm1d
            batch_norm = kind(op.features, eps=op.eps, momentum=op.momentum, affine=op.shift)
            return _with_parts(batch_norm, op)
        case graph.GroupNorm() as op:
            group_norm = GroupNorm(op.groups, op.features, eps=op.eps, affine=op.shift)
            return _with_parts(group_norm, op)
        case graph.InstanceNorm() as op:
            return nn.InstanceNorm2d(op.features, eps=op.eps, affine=op.shift)
        case graph.SqueezeExcitation() as op:
            return SqueezeExcitation(op.channels, op.hidden)
        case graph.ReLU():
            return nn.ReLU()
        case graph.LeakyReLU(slope=slope):
            return nn.LeakyReLU(slope)
        case graph.SiLU():
            return nn.SiLU()
        case graph.Hardswish():
            return nn.Hardswish()
        case graph.Dropout(p=p):
            return SeededDropout(p)
        case graph.MaxPool2d() as op:
            return nn.MaxPool2d(op.kernel, stride=op.stride, padding=op.padding)
        case graph.AvgPool2d() as op:
            return nn.AvgPool2d(op.kernel, stride=op.stride, padding=op.padding)
        case graph.Flatten():
            return nn.Flatten()
        case graph.Linear() as op:
            return nn.Linear(op.in_features, op.out_features, bias=op.bias)
        case graph.Residual(body=body, shortcut=shortcut):
            return Residual(_children((*body, *shortcut), scope=f"{node.name}.", built=built))
    raise AssertionError(f"an operation without a module: {node.op!r}")


def _with_parts(norm: nn.Module, op: graph.Norm) -> nn.Module:
    """PyTorch's normalization, its scale fixed at one and not saved if the operation has none."""
    if op.shift and not op.scale:
        # PyTorch's layers have both or neither, and a group norm's backward needs both.
        ones = torch.ones(op.features)
        del norm.weight
        norm.register_buffer("weight", ones, persistent=False)
    return norm


def _dropped(count: int, *, p: float, generator: torch.Generator) -> Tensor:
    """Indices of the successes in ``count`` Bernoulli trials of probability p: (k,) int64, sorted.

    The number of failures between two successes is geometric, ⌊log u / log(1 − p)⌋ for a uniform
    u, so only about p · count numbers are drawn. Source: Devroye, "Non-uniform random variate
    generation", 1986, chapter X.2.
    """
    expected = count * p
    draws = int(expected + math.sqrt(expected)) + 4
    positions: list[Tensor] = []
    last = -1.0
    while last < count:
        u = torch.rand(draws, generator=generator, dtype=torch.float64)
        gaps = torch.log1p(-u).mul_(1 / math.log1p(-p)).floor_().add_(1.0)
        positions.append(gaps.cumsum_(0).add_(last))
        last = positions[-1][-1].item()
    every = torch.cat(positions)
    return every[: int(torch.searchsorted(every, count))].long()
