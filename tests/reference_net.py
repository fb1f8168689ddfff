"""A network in plain PyTorch, read from its lines and not from kilonet's graph.

PyTorch itself works out each input's channels here, by running an image through what is built so
far; so shapes, parameters and names can be compared with kilonet's own.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn

from kilonet.spec import Net
from kilonet.spec import layers as spec


class Residual(nn.Module):
    """Children in order, plus the identity."""

    def __init__(self, children: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for child in self.children():
            y = child(y)
        return x + y


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
            case spec.Residual():
                group, module = "residual", Residual(_sequence(layer.layers, block, x)[0])
                x = module.eval()(x)
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
        unwanted = (spec.BatchNorm, spec.Dropout)
        return [member for member in whole if not isinstance(member, unwanted)]
    return whole


def _module(layer, x: torch.Tensor) -> nn.Module:
    channels = x.shape[1]
    match layer:
        case spec.Conv():
            return nn.Conv2d(
                channels,
                layer.out,
                layer.kernel,
                layer.stride,
                layer.pad,
                groups=layer.groups,
                bias=layer.bias,
            )
        case spec.Pointwise():
            return nn.Conv2d(
                channels, layer.out, 1, layer.stride, groups=layer.groups, bias=layer.bias
            )
        case spec.Depthwise():
            return nn.Conv2d(
                channels,
                channels * layer.multiplier,
                layer.kernel,
                layer.stride,
                layer.pad,
                groups=channels,
                bias=layer.bias,
            )
        case spec.BatchNorm():
            kind = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
            return kind(channels, eps=layer.eps, momentum=layer.momentum)
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
