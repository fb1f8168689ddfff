"""One bench run: verify, then time. What fails its check gets no time."""

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

from kilonet.atomic import write_atomically
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
from kilonet.data import load_dataset
from kilonet.engine import initial_weights
from kilonet.engine.native.machine import instruction_set, thread_count
from kilonet.environment import cpu_name, package_version
from kilonet.errors import EngineError, KilonetError
from kilonet.run import Images
from kilonet.spec import Run, load_net, load_run
from kilonet.spec.files import to_toml

LOGITS_TOLERANCE = 1e-5
"""Between the log-probabilities of two contenders with the same weights, relative norm."""

LEARNT = 95.0
"""Test accuracy, percent, that an epoch has to reach before it is timed."""

_WARMING_STEPS = 24
_TURN_SECONDS = 0.15
_PROFILES, _PROFILED_STEPS = 9, 10

Progress = Callable[[str], None]


class Steps(Protocol):
    """A contender that takes training steps."""

    def step(self) -> Any:
        """One step; its loss, nats."""

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
    """Measure the native engine, PyTorch, JAX and the machine in turn.

    Args:
        net: a bundled name, a TOML file or a run's folder; trained on MNIST as the bundled run is.
        threads: the most threads; None for all that the process may use.
        repeats: turns of each contender; epochs take as many, at most three.
        quick: steps alone.
        progress: told what goes on.

    Raises:
        EngineError: if the native engine is not there, or fails its own check.
        DataError: if the network does not take MNIST.
    """
    say = progress or (lambda _: None)
    run = load_run("interim").replace({"net": load_net(net).to_dict()})
    images = Images.of(run, load_dataset(run.data.name))
    return _Bench(run, images, repeats, say).measure(net, threads or thread_count(), quick)


class _Bench:
    def __init__(self, run: Run, images: Images, repeats: int, say: Progress) -> None:
        self.run, self.images, self.repeats, self.say = run, images, repeats, say

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
            # Before this process has grown: children start with its size.
            self._memory(threads)
            # Before JAX is there: the DataLoader forks, which JAX's threads do not survive.
            self._epoch(threads)
        self.jax = self._optional("jax", "JAX")
        for count in dict.fromkeys((threads, 1)):
            self._steps(count, first=count == threads, evaluate=not quick and count == threads)
        return self.result

    def _optional(self, name: str, title: str) -> ModuleType | None:
        """The contenders of a framework, if it is installed."""
        try:
            module = importlib.import_module(f"kilonet.bench.{name}")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != name:
                raise
            self._skip(title, "not installed")
            return None
        self.result.machine[name] = module.VERSION
        return module

    def _skip(self, name: str, why: object) -> None:
        reason = " ".join(str(why).split())
        self.result.skipped.append(f"{name}: {reason[:200]}")

    def _memory(self, threads: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "run.toml"
            write_atomically(file, to_toml(self.run).encode())
            self.say("peak memory of a training run")
            native = peak_memory("native", run_file=file, threads=threads)
            notebook = None
            if self.torch is not None:
                self.say("peak memory of the notebook's way")
                try:
                    notebook = peak_memory("notebook", run_file=file, threads=threads)
                except EngineError as error:
                    self._skip("peak memory", error)
        self.result.memory = Memory(native=native, notebook=notebook)

    def _steps(self, threads: int, *, first: bool, evaluate: bool) -> None:
        """Steps of every contender on so many threads, and what goes with all of them."""
        native = EngineSteps(self.run, self.images, engine="native", threads=threads)
        weights = initial_weights(self.run.net, seed=self.run.train.seed)
        every: dict[str, Steps] = {NATIVE: native}
        suffix = "" if first else f" on {_threads(threads)}"
        for name, make in self._makers(threads, first=first):
            self.say(f"checking {name}{suffix}")
            contender = self._checked(name + suffix, make, weights, native)
            if contender is not None:
                every[name] = contender
        for _ in range(_WARMING_STEPS):
            native.step()
        machine = Machine(threads)
        calls: dict[str, Callable[[], object]] = {CEILING: machine.multiply_adds}
        calls |= {name: contender.step for name, contender in every.items()}
        self.say(f"timing steps{suffix}")
        timings = interleave(calls, repeats=self.repeats, turn_seconds=_TURN_SECONDS)
        del timings[CEILING]
        rivals = tuple(name for name in every if name.startswith("PyTorch "))
        self.result.steps.append(
            Comparison(
                threads=threads,
                timings=timings,
                rivals=rivals,
                # The best: a ceiling is what can be had, and others may be using the machine.
                ceiling=1e-9 * max(machine.rates),
                flop=float(self.result.flop_per_image * self.result.batch_size),
            )
        )
        if first:
            self.say("timing kernels")
            self._kernels(native, threads)
            self.result.bandwidth = machine.bandwidth()
            self.result.cache_bandwidth = machine.bandwidth(floats=CACHE_FLOATS)
        if evaluate:
            self.say("timing evaluation")
            self._evaluation(native, {name: every[name] for name in rivals}, threads)

    def _variants(self, first: bool) -> list[str]:
        """All on all threads; on fewer, of the compiled ones the fastest alone: they take long."""
        assert self.torch is not None
        fastest = None if first else self.result.step.fastest
        return [
            variant
            for variant in self.torch.VARIANTS
            if first or not variant.startswith("compile") or fastest == f"PyTorch {variant}"
        ]

    def _makers(self, threads: int, *, first: bool) -> list[tuple[str, Callable[[], Steps]]]:
        """Contenders beside the native one, by name; JAX's threads are its own choice."""
        makers: list[tuple[str, Callable[[], Steps]]] = []
        torch = self.torch
        if torch is not None:
            torch.set_threads(threads)
            makers += [
                (
                    f"PyTorch {variant}",
                    partial(torch.TorchSteps, self.run, self.images, variant=variant),
                )
                for variant in self._variants(first)
            ]
            makers.append(
                (
                    KILONET_TORCH,
                    partial(EngineSteps, self.run, self.images, engine="torch", threads=threads),
                )
            )
        if self.jax is not None and first:
            makers.append(("JAX jit", partial(self.jax.JaxSteps, self.run, self.images)))
        return makers

    def _checked(
        self, name: str, make: Callable[[], Steps], weights: Any, native: EngineSteps
    ) -> Steps | None:
        """The contender if it agrees with the native engine and learns; else None, and a line."""
        digits = np.ascontiguousarray(self.images.test_images[:500])
        native.load_weights(weights)
        expected = log_softmax(native.logits(digits))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                contender = make()
                contender.load_weights(weights)
                found = log_softmax(contender.logits(digits))
                losses = [float(contender.step()) for _ in range(_WARMING_STEPS)]
            except KilonetError:
                raise
            except Exception as error:
                # Compilers of frameworks fail in ways of their own; the rest of the run goes on.
                self._skip(name, f"{type(error).__name__}: {error}")
                return None
        problem = disagreement(expected, found) or stalled(losses)
        if problem:
            self._skip(name, f"no time, as {problem}")
            return None
        self.result.verified.append(f"{name}: same logits as the native engine's, and it learns")
        return contender

    def _kernels(self, native: EngineSteps, threads: int) -> None:
        """Each kernel's median over several profiles, and the profile's mean."""
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

    def _evaluation(self, native: EngineSteps, rivals: dict[str, Any], threads: int) -> None:
        """The test set, with weights that have seen some steps."""
        images, labels = self.images.test_images, self.images.test_labels
        calls: dict[str, Callable[[], object]] = {
            NATIVE: lambda: native.engine.evaluate(images, labels)
        }
        calls |= {name: rival.evaluation(images) for name, rival in rivals.items()}
        timings = interleave(calls, repeats=self.repeats, turn_seconds=_TURN_SECONDS)
        self.result.evaluation = Comparison(threads=threads, timings=timings, rivals=tuple(rivals))

    def _epoch(self, threads: int) -> None:
        epochs = {NATIVE: engine_epoch(self.run, self.images, threads=threads)}
        if self.torch is not None:
            self.torch.set_threads(threads)
            epochs[NOTEBOOK] = self.torch.notebook_epoch(self.run, self.images)
        for name, epoch in list(epochs.items()):
            self.say(f"checking an epoch, {name}")
            accuracy = epoch()
            if accuracy >= LEARNT:
                self.result.verified.append(f"{name}: {accuracy:.2f} % after one epoch")
                continue
            self._skip(
                f"epoch, {name}", f"no time, as one epoch gave {accuracy:.2f} %, not {LEARNT:g}"
            )
            del epochs[name]
        if NATIVE not in epochs:
            return
        self.say("timing epochs")
        timings = interleave(epochs, repeats=min(self.repeats, 3))
        rivals = tuple(name for name in epochs if name != NATIVE)
        self.result.epoch = Comparison(threads=threads, timings=timings, rivals=rivals)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, classes) log-probabilities in float64; log-probabilities stay what they are."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def disagreement(expected: NDArray[np.float64], found: NDArray[np.float64]) -> str | None:
    """What is wrong with the outputs, or None: they should agree in relative norm."""
    if expected.shape != found.shape:
        return f"its outputs are {found.shape}, not {expected.shape}"
    difference = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    if difference <= LOGITS_TOLERANCE:
        return None
    return f"its logits differ from the native engine's by {difference:.1e}"


def stalled(losses: list[float]) -> str | None:
    """What is wrong with the losses of the first steps, or None: the last should be lower."""
    quarter = max(1, len(losses) // 4)
    first, last = np.mean(losses[:quarter]), np.mean(losses[-quarter:])
    return None if last < first else f"its loss went from {first:.3f} to {last:.3f}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
