"""Engines train and evaluate a network. :func:`create_engine` chooses and creates one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kilonet.data.batch import Batch
from kilonet.engine.base import Engine, EvalResult, StepResult
from kilonet.engine.init import initial_weights
from kilonet.engine.teachers import read_teachers
from kilonet.errors import EngineError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kilonet.engine.native import NativeEngine
    from kilonet.engine.torch import TorchEngine
    from kilonet.engine.torch.own_module import TorchModule
    from kilonet.spec import Net, Run

__all__ = [
    "ENGINES",
    "Batch",
    "Engine",
    "EngineChoice",
    "EvalResult",
    "StepResult",
    "choose_engine",
    "choose_for_run",
    "create_engine",
    "describe_engine",
    "engine_device",
    "initial_weights",
    "torch_engine",
    "with_module",
]

ENGINES = ("auto", "native", "torch")
"""Names that :func:`choose_engine` takes."""

_ACCELERATORS = ("cuda", "mps")


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """The engine for a network, and why.

    Attributes:
        engine: ``native`` or ``torch``.
        reason: why ``auto`` did not choose the native engine, in a few words; else "".
    """

    engine: str
    reason: str = ""

    def describe(self, description: str) -> str:
        """An engine's description, followed by the reason if there is one."""
        return f"{description} (not native: {self.reason})" if self.reason else description


def choose_engine(net: Net, *, engine: str = "auto", device: str = "auto") -> EngineChoice:
    """Choose an engine: native if it is built, covers ``net`` and no GPU was asked for; else torch.

    Args:
        net: what to train.
        engine: one of :data:`ENGINES`; any but ``auto`` is returned as it is.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        UsageError: for an unknown engine.
        EngineError: if neither engine is available.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r}: unknown; {did_you_mean(engine, ENGINES)}")
    if engine != "auto":
        return EngineChoice(engine=engine)
    if device.partition(":")[0] in _ACCELERATORS:
        return EngineChoice(engine="torch", reason=f"it has no device {device!r}")
    from kilonet.engine.native.machine import remedy, unavailable_reason
    from kilonet.engine.native.network import first_uncovered

    node = first_uncovered(net)
    if node is not None:
        return EngineChoice(engine="torch", reason=f"it has no layer for {node.where}")
    missing = unavailable_reason()
    if not missing:
        return EngineChoice(engine="native")
    try:
        torch_engine()
    except EngineError:
        raise EngineError(
            f"no engine is available: the native one {missing}, and PyTorch is not installed; "
            f"{remedy()}, or pip install 'kilonet[torch]'"
        ) from None
    return EngineChoice(engine="torch", reason=f"it {missing}")


def choose_for_run(run: Run, *, engine: str = "auto", device: str = "auto") -> EngineChoice:
    """As :func:`choose_engine`, for a run.

    For a module of the user's own nothing is chosen: :func:`create_engine` trains it with PyTorch.
    """
    if run.module is not None:
        return EngineChoice(engine=engine)
    choice = choose_engine(run.net, engine=engine, device=device)
    if engine == "auto" and choice.engine == "native":
        for teacher in read_teachers(run):  # the engine of a run computes its teachers' logits too
            own = choose_engine(teacher.run.net, engine=engine, device=device)
            if own.engine != choice.engine:
                return EngineChoice(engine=own.engine, reason=f"for a teacher, {own.reason}")
    return choice


def describe_engine(
    net: Net, *, engine: str = "auto", device: str = "auto", threads: int | None = None
) -> str:
    """One line on the engine that would train ``net``, and why it is not native if ``auto`` chose.

    Raises as :func:`create_engine` does.
    """
    choice = choose_engine(net, engine=engine, device=device)
    kind = _engine_class(choice.engine, threads)
    return choice.describe(kind.describe(device=device, threads=threads))


def engine_device(net: Net, *, engine: str = "auto", device: str = "auto") -> str:
    """The type of device that would train ``net``: ``cpu``, ``cuda`` or ``mps``.

    Raises as :func:`create_engine` does.
    """
    choice = choose_engine(net, engine=engine, device=device)
    return _engine_class(choice.engine, threads=None).device_type(device)


def create_engine(
    run: Run,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    module: TorchModule | None = None,
) -> Engine:
    """Create an engine that holds the run's network with its initial weights.

    Args:
        run: what to train and how.
        mean: of each channel, of pixels scaled to [0, 1].
        std: of each channel, likewise.
        engine: one of :data:`ENGINES`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: on the CPU; None for the engine's default.
        module: the user's own ``torch.nn.Module``, to train in place of the network.

    Raises:
        UsageError: for an unknown engine or device, or a thread count below 1; or a run of a module
            of the user's own without it.
        EngineError: if PyTorch, the native extension or the device is not available.
        StorageError: if the run states the identity of another module.
    """
    if module is not None:
        if engine not in ("auto", "torch"):
            raise UsageError(f"engine {engine!r}: trains no module of your own; use 'torch'")
        _engine_class("torch", threads)
        kind = torch_engine()
        return kind(run, mean=mean, std=std, device=device, threads=threads, module=module)
    if run.module is not None:
        raise UsageError(
            f"the run is of your own module {run.module.name!r}, which kilonet does not keep; give "
            "it in Python: module=…"
        )
    name = choose_for_run(run, engine=engine, device=device).engine
    return _engine_class(name, threads)(run, mean=mean, std=std, device=device, threads=threads)


def with_module(run: Run, given: Any, *, name: str = "") -> tuple[Run, TorchModule]:
    """The run with the identity of a module of the user's own, and the module.

    Args:
        run: it may have the identity already.
        given: a ``torch.nn.Module``, or a class or function without arguments that builds one; it
            is built with PyTorch's generators seeded by the run's seed.
        name: identifies the module in place of its class's name and source.

    Raises:
        UsageError: ``given`` is neither.
        EngineError: PyTorch is not installed, or the module has no parameter to train.
        StorageError: the run states the identity of another module.
    """
    torch_engine()  # says what to install
    from kilonet.engine.torch import own_module, with_identity

    module = own_module(given, seed=run.train.seed)
    identity = with_identity(run.module, module, name=name)
    return run.model_copy(update={"module": identity}), module


def _engine_class(engine: str, threads: int | None) -> type[NativeEngine | TorchEngine]:
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads}: should be 1 or more")
    if engine == "torch":
        return torch_engine()
    from kilonet.engine.native import NativeEngine

    return NativeEngine


def torch_engine() -> type[TorchEngine]:
    """The class of the torch engine; EngineError if PyTorch is not installed."""
    try:
        from kilonet.engine.torch import TorchEngine
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise EngineError("PyTorch is not installed; pip install 'kilonet[torch]'") from None
    return TorchEngine
