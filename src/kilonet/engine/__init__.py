"""Engines: what trains and evaluates a network. ``create_engine`` chooses one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kilonet.engine.base import Batch, Engine, EvalResult, StepResult
from kilonet.engine.init import initial_weights
from kilonet.errors import EngineError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kilonet.engine.native import NativeEngine
    from kilonet.engine.torch import TorchEngine
    from kilonet.spec import Run

__all__ = [
    "ENGINES",
    "Batch",
    "Engine",
    "EvalResult",
    "StepResult",
    "create_engine",
    "describe_engine",
    "initial_weights",
]

ENGINES = ("auto", "native", "torch")
"""Names that :func:`create_engine` takes; ``auto`` is ``torch``."""


def describe_engine(
    engine: str = "auto", *, device: str = "auto", threads: int | None = None
) -> str:
    """One line on what :func:`create_engine` would compute with; raises as it does."""
    return _engine_class(engine, threads).describe(device=device, threads=threads)


def create_engine(
    run: Run,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Engine:
    """An engine that holds the run's network with its initial weights.

    Args:
        run: what to train and how.
        mean: a channel, of pixels scaled to [0, 1].
        std: a channel, likewise.
        engine: one of :data:`ENGINES`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: on the CPU; None for the engine's own choice.

    Raises:
        UsageError: for an unknown engine or device, or a thread count below 1.
        EngineError: if PyTorch, the native extension or the device is not there.
    """
    kind = _engine_class(engine, threads)
    return kind(run, mean=mean, std=std, device=device, threads=threads)


def _engine_class(engine: str, threads: int | None) -> type[NativeEngine | TorchEngine]:
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r}: unknown; {did_you_mean(engine, ENGINES)}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads}: should be 1 or more")
    if engine == "native":
        from kilonet.engine.native import NativeEngine

        return NativeEngine
    try:
        from kilonet.engine.torch import TorchEngine
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise EngineError("PyTorch is not installed; pip install 'kilonet[torch]'") from None
    return TorchEngine
