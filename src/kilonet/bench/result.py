"""The results of a benchmark, and the stable keys of their JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kilonet.bench.memory import Peak
from kilonet.bench.native import KernelRate
from kilonet.bench.timing import Ratio, Timing
from kilonet.engine.native.layer_times import ProfileRow

NATIVE, KILONET_TORCH, NOTEBOOK = "kilonet native", "kilonet torch", "notebook"
CEILING = "ceiling"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Implementations timed alternately on the same number of threads.

    Attributes:
        threads: of each implementation.
        timings: implementation → its times.
        baselines: the implementations to compare with: usual PyTorch code in float32.
        ceiling: the machine's 10⁹ FLOP per second, the best of the same rounds; None if it was not
            measured.
        flop: nominal FLOP of one call; 0 if it is not known.
    """

    threads: int
    timings: dict[str, Timing]
    baselines: tuple[str, ...] = ()
    ceiling: float | None = None
    flop: float = 0.0

    @property
    def fastest(self) -> str | None:
        """The baseline with the least median time; None without baselines."""
        return min(self.baselines, key=lambda name: self.timings[name].median, default=None)

    @property
    def ratio(self) -> Ratio | None:
        """The fastest baseline's time over the native engine's; None without baselines."""
        fastest = self.fastest
        if fastest is None:
            return None
        return self.timings[NATIVE].ratio_of(self.timings[fastest])

    def share_of_ceiling(self, name: str) -> float | None:
        """An implementation's nominal FLOP per second over the ceiling, 0 to 1; None if unknown."""
        if not self.ceiling or not self.flop:
            return None
        return 1e-9 * self.flop / self.timings[name].median / self.ceiling

    def to_json(self) -> dict[str, Any]:
        """Every implementation's times in milliseconds, and the number of rounds."""
        return {
            name: {
                "median_ms": 1e3 * timing.median,
                "quartiles_ms": [1e3 * quartile for quartile in timing.quartiles],
                "rounds": len(timing.rounds),
                "share_of_ceiling": self.share_of_ceiling(name),
            }
            for name, timing in self.timings.items()
        }


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak memory of training one epoch; the notebook's is None if it could not run."""

    native: Peak
    notebook: Peak | None


@dataclass(kw_only=True)
class BenchResult:
    """The results of a benchmark.

    Attributes:
        net: the network's name.
        num_parameters: of the network.
        batch_size: images in a step.
        flop_per_image: nominal FLOP of a training step for one image.
        machine: ``cpu``, ``instruction_set`` and versions.
        steps: training steps; a comparison for each number of threads, the largest first.
        evaluation: evaluation of the test set, on all threads.
        epoch: training with rotation, and testing, on all threads.
        memory: peak memory of training.
        kernels: the kernels of every layer, for the roofline.
        profile: time and calls of one step, by layer and phase.
        bandwidth: bytes per second of memory, on all threads.
        cache_bandwidth: bytes per second of the cores' caches.
        verified: what was checked before timing, one line each.
        skipped: what was not timed, and why, one line each.
    """

    net: str
    num_parameters: int
    batch_size: int
    flop_per_image: int
    machine: dict[str, str | None]
    steps: list[Comparison] = field(default_factory=list)
    evaluation: Comparison | None = None
    epoch: Comparison | None = None
    memory: Memory | None = None
    kernels: list[KernelRate] = field(default_factory=list)
    profile: list[ProfileRow] = field(default_factory=list)
    bandwidth: float = 0.0
    cache_bandwidth: float = 0.0
    verified: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def step(self) -> Comparison:
        """Training steps on all threads."""
        return self.steps[0]

    def to_json(self) -> dict[str, Any]:
        """Plain data with the stable keys of ``kilonet bench --json``; None if not measured."""
        memory = self.memory
        notebook = memory.notebook if memory else None
        return {
            "net": self.net,
            "parameters": self.num_parameters,
            "batch_size": self.batch_size,
            "flop_per_image": self.flop_per_image,
            "machine": self.machine,
            "threads": self.step.threads,
            "ceiling_gflops": self.step.ceiling,
            "bandwidth_bytes_per_second": self.bandwidth,
            "cache_bandwidth_bytes_per_second": self.cache_bandwidth,
            "step": _step_json(self.step),
            "steps_by_threads": {str(each.threads): _step_json(each) for each in self.steps},
            "evaluation": None if self.evaluation is None else self._evaluation_json(),
            "epoch": None if self.epoch is None else self._epoch_json(self.epoch),
            "peak_bytes": None if memory is None else memory.native.bytes,
            "notebook_peak_bytes": None if notebook is None else notebook.bytes,
            "notebook_worker_peak_bytes": None if notebook is None else notebook.worker_bytes,
            "kernels": [kernel.to_json() for kernel in self.kernels],
            "profile": [
                {
                    "layer": row.layer,
                    "operation": row.operation,
                    "phase": row.phase,
                    "thread_ms": 1e3 * row.seconds,
                    "calls": row.calls,
                }
                for row in self.profile
            ],
            "verified": self.verified,
            "skipped": self.skipped,
        }

    def _evaluation_json(self) -> dict[str, Any]:
        found = self.evaluation
        assert found is not None
        return {
            "native_ms": 1e3 * found.timings[NATIVE].median,
            "torch_ms": None
            if found.fastest is None
            else 1e3 * found.timings[found.fastest].median,
            "torch_variant": found.fastest,
            **_ratio_json(found.ratio),
            "implementations": found.to_json(),
        }

    def _epoch_json(self, found: Comparison) -> dict[str, Any]:
        notebook = found.timings.get(NOTEBOOK)
        return {
            "native_seconds": found.timings[NATIVE].median,
            "notebook_seconds": None if notebook is None else notebook.median,
            **_ratio_json(found.ratio),
            "implementations": found.to_json(),
        }


def _step_json(found: Comparison) -> dict[str, Any]:
    return {
        "native_ms": 1e3 * found.timings[NATIVE].median,
        "torch_ms": None if found.fastest is None else 1e3 * found.timings[found.fastest].median,
        "torch_variant": found.fastest,
        **_ratio_json(found.ratio),
        "share_of_ceiling": found.share_of_ceiling(NATIVE),
        "ceiling_gflops": found.ceiling,
        "implementations": found.to_json(),
    }


def _ratio_json(ratio: Ratio | None) -> dict[str, float | None]:
    if ratio is None:
        return {"ratio": None, "ratio_low": None, "ratio_high": None}
    return {"ratio": ratio.median, "ratio_low": ratio.low, "ratio_high": ratio.high}
