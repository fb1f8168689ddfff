"""A spec's optimizer as PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from kilonet.engine.torch.muon import Muon
from kilonet.spec import SGD, AdamW
from kilonet.spec import Muon as MuonSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from kilonet.spec.optimizers import Optimizer

TorchOptimizer: TypeAlias = torch.optim.SGD | torch.optim.Adam | torch.optim.AdamW | Muon


def build_optimizer(spec: Optimizer, named: Mapping[str, nn.Parameter]) -> TorchOptimizer:
    """The optimizer, with its state set before the first step.

    The state is zeros, where PyTorch creates it in the first step with the same result; so all
    states of a run have the same arrays. ``foreach`` gives the same bits as PyTorch's plain loop in
    two thirds of the time; ``fused`` is faster, but gives other bits for Adam.

    Args:
        spec: the optimizer.
        named: the trained parameters, in layer order.
    """
    trained = list(named.values())
    parameters: list[dict[str, Any]] = [{"params": trained}]
    if spec.decay == "weights":
        weights = [parameter for parameter in trained if parameter.ndim > 1]
        others = [parameter for parameter in trained if parameter.ndim <= 1]
        parameters = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        parameters = [group for group in parameters if group["params"]]
    zeros: tuple[str, ...]
    optimizer: TorchOptimizer
    if isinstance(spec, SGD):
        zeros = ("momentum_buffer",)
        optimizer = torch.optim.SGD(
            parameters,
            lr=spec.lr,
            momentum=spec.momentum,
            nesterov=spec.nesterov,
            weight_decay=spec.weight_decay,
            foreach=True,
        )
    elif isinstance(spec, MuonSpec):
        zeros = ("momentum_buffer",)
        optimizer = Muon(_muon_groups(spec, named))
    else:
        zeros = ("exp_avg", "exp_avg_sq")
        kind = torch.optim.AdamW if isinstance(spec, AdamW) else torch.optim.Adam
        optimizer = kind(
            parameters,
            lr=spec.lr,
            betas=spec.betas,
            eps=spec.eps,
            weight_decay=spec.weight_decay,
            foreach=True,
        )
    for parameter in trained:
        state = optimizer.state[parameter]
        if "exp_avg" in zeros:
            state["step"] = torch.tensor(0.0)
        for part in zeros:
            state[part] = torch.zeros_like(parameter)
    return optimizer


def _muon_groups(spec: MuonSpec, named: Mapping[str, nn.Parameter]) -> list[dict[str, Any]]:
    """A group for each matrix, and one for the other parameters with and without weight decay."""
    matrices = spec.matrices({name: tuple(p.shape) for name, p in named.items()})
    common = {
        "lr": spec.lr,
        "momentum": spec.momentum,
        "nesterov": spec.nesterov,
        "weight_decay": spec.weight_decay,
        "ns_steps": spec.ns_steps,
        "rest_ratio": spec.rest_ratio,
    }
    groups: list[dict[str, Any]] = [
        {"params": [named[name]], "rate_factor": spec.rate_factor(*shape), "matrices": True}
        for name, shape in matrices.items()
    ]
    rest = [p for name, p in named.items() if name not in matrices]
    undecayed = [p for p in rest if p.ndim <= 1 and spec.decay == "weights"]
    decayed = [p for p in rest if p.ndim > 1 or spec.decay == "all"]
    groups.append({"params": decayed, "matrices": False})
    groups.append({"params": undecayed, "matrices": False, "weight_decay": 0.0})
    return [{**common, **group} for group in groups if group["params"]]
