"""A network in plain PyTorch, read from its lines and not from kilonet's graph.

PyTorch itself works out each input's channels here, by running an image through what is built so
far; so shapes, parameters and names can be compared with kilonet's own.
"""

from __future__ import annotations

import warnings
from collections import Counter

import torch
from torch import nn

from kilonet.spec import Net, notation
from kilonet.spec import layers as spec


class Conv2d(nn.Conv2d):
    """PyTorch's, without its warning that an even kernel's ``same`` padding takes a copy."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using padding='same' with even kernel lengths")
            return super().forward(x)


class Residual(nn.Module):
    """Children in order, plus the identity or the child ``shortcut``."""

    def __init__(
        self, children: dict[str, nn.Module], shortcut: dict[str, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.body = list(children)
        for name, child in children.items():
            self.add_module(name, child)
        if shortcut is not None:
            self.shortcut = nn.Sequential(shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for name in self.body:
            y = self.get_submodule(name)(y)
        return (self.shortcut(x) if hasattr(self, "shortcut") else x) + y


class Again:
    """Layers with the parameters of another, which are not theirs, so have no second name."""

    class Conv2d(nn.Module):
        def __init__(self, first: nn.Conv2d) -> None:
            super().__init__()
            self.first = [first]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            [first] = self.first
            if first.padding == "same":
                return Conv2d.forward(first, x)
            return nn.functional.conv2d(
                x,
                first.weight,
                first.bias,
                first.stride,
                first.padding,
                first.dilation,
                first.groups,
            )

    class Linear(nn.Module):
        def __init__(self, first: nn.Linear) -> None:
            super().__init__()
            self.first = [first]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            [first] = self.first
            return nn.functional.linear(x, first.weight, first.bias)


def _share(first: nn.Module, later: nn.Module) -> None:
    """Replace a later application's convolutions and linear layers by those of the first."""
    for name, child in list(later.named_children()):
        own = first.get_submodule(name)
        match own:
            case nn.Conv2d():
                later.register_module(name, Again.Conv2d(own))
            case nn.Linear():
                later.register_module(name, Again.Linear(own))
            case Again.Conv2d() | Again.Linear():
                later.register_module(name, type(own)(own.first[0]))
            case _:
                _share(own, child)


class SqueezeExcitation(nn.Module):
    """As ``torchvision.ops.SqueezeExcitation``, step by step."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale_activation(scale) * x


def build(net: Net) -> nn.Sequential:
    """The network in evaluation mode, with PyTorch's own initial weights."""
    image = torch.zeros(1, *net.input)
    return nn.Sequential(_sequence(net.layers, net.block, image)[0]).eval()


def _sequence(layers, block, x):
    children: dict[str, nn.Module] = {}
    counts: Counter[str] = Counter()
    for layer in layers:
        match layer:
            case spec.Conv() | spec.Pointwise() | spec.Depthwise():
                group, module = "convblock", nn.Sequential()
                for member in _expanded(layer, block):
                    part = _module(member, x)
                    module.append(part.eval())
                    x = part(x)
            case notation.Residual():
                beside = layer.shortcut and _sequence(layer.shortcut, block, x)[0]
                body = _sequence(layer.layers, block, x)[0]
                group, module = "residual", Residual(body, beside)
                x = module.eval()(x)
            case notation.Repeat():
                group, module = "repeat", nn.Sequential()
                for _ in range(layer.times):
                    again = nn.Sequential(_sequence(layer.layers, block, x)[0]).eval()
                    if len(module):
                        _share(module[0], again)
                    module.append(again)
                    x = again(x)
            case _:
                group = {"maxpool": "pool", "avgpool": "pool"}.get(layer.word, layer.word)
                module = _module(layer, x).eval()
                x = module(x)
        counts[group] += 1
        children[f"{group}{counts[group]}"] = module
    return _ordered(children), x


def _ordered(children):
    from collections import OrderedDict

    return OrderedDict(children)


def _expanded(layer, block):
    if layer.bare:
        return [layer]
    whole = [layer if member is None else member for member in block]
    if isinstance(layer, spec.Pointwise):
        unwanted = (spec.Norm, spec.SqueezeExcitation, spec.Dropout)
        return [member for member in whole if not isinstance(member, unwanted)]
    return whole


def _without_scale(norm: nn.Module) -> nn.Module:
    # PyTorch's functions take None for a scale of one, but not in a group norm's backward pass.
    ones = torch.ones_like(norm.weight)
    norm.weight = None
    if isinstance(norm, nn.GroupNorm):
        del norm.weight
        norm.register_buffer("weight", ones, persistent=False)
    return norm


def _module(layer, x: torch.Tensor) -> nn.Module:
    channels = x.shape[1]
    match layer:
        case spec.Conv():
            return Conv2d(
                channels,
                layer.out,
                layer.kernel,
                layer.stride,
                layer.pad,
                layer.dilation,
                groups=layer.groups,
                bias=layer.bias,
            )
        case spec.Pointwise():
            return Conv2d(
                channels, layer.out, 1, layer.stride, groups=layer.groups, bias=layer.bias
            )
        case spec.Depthwise():
            return Conv2d(
                channels,
                channels * layer.multiplier,
                layer.kernel,
                layer.stride,
                layer.pad,
                layer.dilation,
                groups=channels,
                bias=layer.bias,
            )
        case spec.BatchNorm():
            kind = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
            norm = kind(channels, eps=layer.eps, momentum=layer.momentum, affine=not layer.noaffine)
            return _without_scale(norm) if layer.noscale else norm
        case spec.GroupNorm() | spec.LayerNorm():
            groups = layer.groups if isinstance(layer, spec.GroupNorm) else 1
            norm = nn.GroupNorm(groups, channels, eps=layer.eps, affine=not layer.noaffine)
            return _without_scale(norm) if layer.noscale else norm
        case spec.InstanceNorm():
            return nn.InstanceNorm2d(channels, eps=layer.eps, affine=layer.affine)
        case spec.SqueezeExcitation():
            return SqueezeExcitation(channels, max(1, channels // layer.reduction))
        case spec.MaxPool():
            return nn.MaxPool2d(layer.kernel, layer.stride, layer.pad)
        case spec.AvgPool():
            return nn.AvgPool2d(layer.kernel, layer.stride, layer.pad)
        case spec.GlobalAvgPool():
            return nn.AvgPool2d(tuple(x.shape[2:]))
        case spec.Linear():
            return nn.Linear(channels, layer.out, bias=not layer.nobias)
        case spec.LeakyRelu():
            return nn.LeakyReLU(layer.slope)
        case spec.Dropout():
            return nn.Dropout(layer.p)
    plain = {"relu": nn.ReLU, "silu": nn.SiLU, "hardswish": nn.Hardswish, "flatten": nn.Flatten}
    return plain[layer.word]()
