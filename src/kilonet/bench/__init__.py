"""Speed and memory, measured: kilonet beside PyTorch, JAX and the machine itself."""

from kilonet.bench.measure import bench
from kilonet.bench.result import BenchResult, Comparison

__all__ = ["BenchResult", "Comparison", "bench"]
