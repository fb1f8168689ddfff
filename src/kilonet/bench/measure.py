"""The benchmark: each implementation is verified, then timed; one that fails is skipped."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kilonet.bench.machine import CACHE_FLOATS, Machine
from kilonet.bench.memory import peak_memory
from kilonet.bench.native import EngineSteps, engine_epoch, kernel_rates
from kilonet.bench.result import (
    CEILING,
    KILONET_TORCH,
    NATIVE,
    NOTEBOOK,
    BenchResult,
    Comparison,
    Memory,
)
from kilonet.bench.timing import interleave
from kilonet.bench.work import step_flop
from kilonet.data import RunData, load_dataset
from kilonet.engine import initial_weights
from kilonet.engine.native.machine import instruction_set
from kilonet.errors import EngineError, KilonetError
from kilonet.formatting import count
from kilonet.spec import Run, load_net, load_run
from kilonet.spec.files import to_toml
from kilonet.storage.atomic import write_atomically
from kilonet.storage.environment import cpu_name, package_version, usable_processors

LOGITS_TOLERANCE = 1e-5
"""Largest relative norm of the difference of log-probabilities with the same weights."""

MIN_ACCURACY = 95.0
"""Test accuracy in percent that an implementation must reach in its first epoch."""

_WARMUP_STEPS = 24
_ROUND_SECONDS = 0.15
_PROFILES, _PROFILED_STEPS = 9, 10

Progress = Callable[[str], None]


class Steps(Protocol):
    """An implementation of the training step."""

    def step(self) -> Any:
        """Take one step; its loss in nats."""

    def load_weights(self, weights: Any) -> None:
        """Set weights by PyTorch's names, in kilonet's order."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes), logits or log-probabilities, in evaluation mode."""


def bench(
    net: str = "interim",
    *,
    threads: int | None = None,
    repeats: int = 5,
    quick: bool = False,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure the native engine, PyTorch, JAX and the machine's limits.

    Args:
        net: a bundled name, a TOML file or a run's folder; trained on MNIST as the bundled run.
        threads: most threads; None for all that the process may use.
        repeats: rounds of each implementation; for epochs at most three.
        quick: whether to measure training steps alone.
        progress: receives a line about each part as it begins.

    Raises:
        EngineError: if the native engine is not available.
        DataError: if the network's input is not MNIST's.
    """
    progress = progress or (lambda _: None)
    run = load_run("interim").replace({"net": load_net(net).to_dict()})
    images = RunData.of(run, load_dataset(run.data.name))
    return _Bench(run, images, repeats, progress).measure(
        net, threads or usable_processors(), quick
    )


class _Bench:
    def __init__(self, run: Run, images: RunData, repeats: int, progress: Progress) -> None:
        self.run, self.images, self.repeats, self.progress = run, images, repeats, progress

    def measure(self, net: str, threads: int, quick: bool) -> BenchResult:
        self.result = BenchResult(
            net=net,
            num_parameters=self.run.net.num_parameters,
            batch_size=self.run.train.batch_size,
            flop_per_image=step_flop(self.run.net),
            machine={
                "cpu": cpu_name(),
                "instruction_set": instruction_set(),
                "kilonet": package_version("kilonet"),
                "torch": None,
                "jax": None,
            },
        )
        self.torch = self._optional("torch", "PyTorch")
        if not quick:
            # First, as the memory of this process counts for its children.
            self._memory(threads)
            # Before JAX is imported: its threads do not survive the DataLoader's fork.
            self._epoch(threads)
        self.jax = self._optional("jax", "JAX")
        for number in dict.fromkeys((threads, 1)):
            first = number == threads
            self._steps(number, first=first, evaluate=not quick and first)
        return self.result

    def _optional(self, name: str, title: str) -> ModuleType | None:
        """The module of a framework; None, and a line in ``skipped``, if it is not installed."""
        try:
            module = importlib.import_module(f"kilonet.bench.{name}")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != name:
                raise
            self._skip(title, "not installed")
            return None
        self.result.machine[name] = module.VERSION
        return module

    def _skip(self, name: str, reason: object) -> None:
        reason = " ".join(str(reason).split())
        self.result.skipped.append(f"{name}: {reason[:200]}")

    def _memory(self, threads: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "run.toml"
            write_atomically(file, to_toml(self.run).encode())
            self.progress("peak memory of a training run")
            native = peak_memory("native", run_file=file, threads=threads)
            notebook = None
            if self.torch is not None:
                self.progress("peak memory of the notebook's training")
                try:
                    notebook = peak_memory("notebook", run_file=file, threads=threads)
                except EngineError as error:
                    self._skip("peak memory", error)
        self.result.memory = Memory(native=native, notebook=notebook)

    def _steps(self, threads: int, *, first: bool, evaluate: bool) -> None:
        """Steps of every implementation; for the first thread count also kernels and bandwidth."""
        native = EngineSteps(self.run, self.images, engine="native", threads=threads)
        weights = initial_weights(self.run.net, seed=self.run.train.seed)
        every: dict[str, Steps] = {NATIVE: native}
        suffix = "" if first else f" on {count(threads, 'thread')}"
        for name, make in self._implementations(threads, first=first):
            self.progress(f"checking {name}{suffix}")
            steps = self._verified(name + suffix, make, weights, native)
            if steps is not None:
                every[name] = steps
        for _ in range(_WARMUP_STEPS):
            native.step()
        machine = Machine(threads)
        calls: dict[str, Callable[[], object]] = {CEILING: machine.multiply_adds}
        calls |= {name: steps.step for name, steps in every.items()}
        self.progress(f"timing steps{suffix}")
        timings = interleave(calls, repeats=self.repeats, round_seconds=_ROUND_SECONDS)
        del timings[CEILING]
        baselines = tuple(name for name in every if name.startswith("PyTorch "))
        self.result.steps.append(
            Comparison(
                threads=threads,
                timings=timings,
                baselines=baselines,
                # The best, as it is a limit, and other processes may use the machine.
                ceiling=1e-9 * max(machine.rates),
                flop=float(self.result.flop_per_image * self.result.batch_size),
            )
        )
        if first:
            self.progress("timing kernels")
            self._kernels(native, threads)
            self.result.bandwidth = machine.bandwidth()
            self.result.cache_bandwidth = machine.bandwidth(floats=CACHE_FLOATS)
        if evaluate:
            self.progress("timing evaluation")
            self._evaluation(native, {name: every[name] for name in baselines}, threads)

    def _variants(self, first: bool) -> list[str]:
        """All on the first count; on others, of the slow compiled ones only the fastest."""
        assert self.torch is not None
        fastest = None if first else self.result.step.fastest
        return [
            variant
            for variant in self.torch.VARIANTS
            if first or not variant.startswith("compile") or fastest == f"PyTorch {variant}"
        ]

    def _implementations(
        self, threads: int, *, first: bool
    ) -> list[tuple[str, Callable[[], Steps]]]:
        """Name and constructor of all but the native engine; JAX chooses its own threads."""
        found: list[tuple[str, Callable[[], Steps]]] = []
        torch = self.torch
        if torch is not None:
            torch.set_threads(threads)
            found += [
                (
                    f"PyTorch {variant}",
                    partial(torch.TorchSteps, self.run, self.images, variant=variant),
                )
                for variant in self._variants(first)
            ]
            found.append(
                (
                    KILONET_TORCH,
                    partial(EngineSteps, self.run, self.images, engine="torch", threads=threads),
                )
            )
        if self.jax is not None and first:
            found.append(("JAX jit", partial(self.jax.JaxSteps, self.run, self.images)))
        return found

    def _verified(
        self, name: str, make: Callable[[], Steps], weights: Any, native: EngineSteps
    ) -> Steps | None:
        """The implementation if it agrees with the native engine and learns; else None."""
        digits = np.ascontiguousarray(self.images.test_images[:500])
        native.load_weights(weights)
        expected = log_softmax(native.logits(digits))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                steps = make()
                steps.load_weights(weights)
                found = log_softmax(steps.logits(digits))
                losses = [float(steps.step()) for _ in range(_WARMUP_STEPS)]
            except KilonetError:
                raise
            except Exception as error:
                # A framework's compiler may raise anything; the others are still measured.
                self._skip(name, f"{type(error).__name__}: {error}")
                return None
        problem = logits_problem(expected, found) or loss_problem(losses)
        if problem:
            self._skip(name, f"not timed: {problem}")
            return None
        self.result.verified.append(f"{name}: same logits as the native engine's, and it learns")
        return steps

    def _kernels(self, native: EngineSteps, threads: int) -> None:
        """The median of several profiles for each kernel, and the mean profile."""
        profiles = [
            native.engine.profile(lambda: [native.step() for _ in range(_PROFILED_STEPS)])
            for _ in range(_PROFILES)
        ]
        rates = [
            kernel_rates(
                self.run.net,
                rows,
                steps=_PROFILED_STEPS,
                batch_size=self.result.batch_size,
                threads=threads,
            )
            for rows in profiles
        ]
        self.result.kernels = [
            sorted(same, key=lambda rate: rate.gflops)[_PROFILES // 2]
            for same in zip(*rates, strict=True)
        ]
        self.result.profile = [
            replace(
                same[0],
                seconds=sum(row.seconds for row in same) / (_PROFILES * _PROFILED_STEPS),
                calls=same[0].calls // _PROFILED_STEPS,
            )
            for same in zip(*profiles, strict=True)
        ]

    def _evaluation(self, native: EngineSteps, baselines: dict[str, Any], threads: int) -> None:
        """Evaluation of the test set, with the weights after the timed steps."""
        images, labels = self.images.test_images, self.images.test_labels
        calls: dict[str, Callable[[], object]] = {
            NATIVE: lambda: native.engine.evaluate(images, labels)
        }
        calls |= {name: steps.evaluation(images) for name, steps in baselines.items()}
        timings = interleave(calls, repeats=self.repeats, round_seconds=_ROUND_SECONDS)
        self.result.evaluation = Comparison(
            threads=threads, timings=timings, baselines=tuple(baselines)
        )

    def _epoch(self, threads: int) -> None:
        epochs = {NATIVE: engine_epoch(self.run, self.images, threads=threads)}
        if self.torch is not None:
            self.torch.set_threads(threads)
            epochs[NOTEBOOK] = self.torch.notebook_epoch(self.run, self.images)
        for name, epoch in list(epochs.items()):
            self.progress(f"checking an epoch, {name}")
            accuracy = epoch()
            if accuracy >= MIN_ACCURACY:
                self.result.verified.append(f"{name}: {accuracy:.2f} % after one epoch")
                continue
            self._skip(
                f"epoch, {name}",
                f"not timed: {accuracy:.2f} % after one epoch, below {MIN_ACCURACY:g} %",
            )
            del epochs[name]
        if NATIVE not in epochs:
            return
        self.progress("timing epochs")
        timings = interleave(epochs, repeats=min(self.repeats, 3))
        baselines = tuple(name for name in epochs if name != NATIVE)
        self.result.epoch = Comparison(threads=threads, timings=timings, baselines=baselines)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, classes) log-probabilities in float64; log-probabilities are unchanged."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def logits_problem(expected: NDArray[np.float64], found: NDArray[np.float64]) -> str | None:
    """What is wrong with the outputs; None if they agree in relative norm."""
    if expected.shape != found.shape:
        return f"its outputs are {found.shape}, not {expected.shape}"
    difference = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    if difference <= LOGITS_TOLERANCE:
        return None
    return f"its logits differ from the native engine's by {difference:.1e}"


def loss_problem(losses: list[float]) -> str | None:
    """What is wrong with the losses of the first steps; None if the last are lower."""
    quarter = max(1, len(losses) // 4)
    first, last = np.mean(losses[:quarter]), np.mean(losses[-quarter:])
    return None if last < first else f"its loss went from {first:.3f} to {last:.3f}"
