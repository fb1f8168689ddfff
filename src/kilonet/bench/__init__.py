"""Benchmarks of speed and memory: kilonet, PyTorch, JAX and the machine's limits."""

from kilonet.bench.measure import bench
from kilonet.bench.result import BenchResult, Comparison

__all__ = ["BenchResult", "Comparison", "bench"]
