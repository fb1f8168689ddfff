"""The torch engine. PyTorch is imported here and in ``kilonet.bench.torch`` alone."""

from kilonet.engine.torch.engine import TorchEngine
from kilonet.engine.torch.module import (
    PaddedConv2d,
    Residual,
    SeededDropout,
    Shared,
    build_module,
    trained_module,
)
from kilonet.engine.torch.own_module import own_module, with_identity

__all__ = [
    "PaddedConv2d",
    "Residual",
    "SeededDropout",
    "Shared",
    "TorchEngine",
    "build_module",
    "own_module",
    "trained_module",
    "with_identity",
]
