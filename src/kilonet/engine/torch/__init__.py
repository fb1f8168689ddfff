"""The torch engine. PyTorch is imported here and in ``kilonet.bench.torch`` alone."""

from kilonet.engine.torch.engine import TorchEngine
from kilonet.engine.torch.module import Residual, SeededDropout, build_module

__all__ = ["Residual", "SeededDropout", "TorchEngine", "build_module"]
