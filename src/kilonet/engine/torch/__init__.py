"""The torch engine. PyTorch is imported here and in ``kilonet.bench.torch`` alone."""

from kilonet.engine.torch.engine import TorchEngine
from kilonet.engine.torch.module import Residual, SeededDropout, build_module, trained_module
from kilonet.engine.torch.own_module import own_module, with_identity

__all__ = [
    "Residual",
    "SeededDropout",
    "TorchEngine",
    "build_module",
    "own_module",
    "trained_module",
    "with_identity",
]
