"""The machine for the native engine: extension module, instruction sets, processors."""

from __future__ import annotations

import importlib
import os
from typing import Any

from kilonet.engine.native.build_failure import INSTALL_COMPILER, build_failure, build_log
from kilonet.errors import EngineError, UsageError, did_you_mean, is_out_of_memory
from kilonet.storage.environment import package_version

_EXTENSION = "kilonet.engine._native"


def extension() -> Any:
    """The extension module.

    Raises:
        EngineError: if it was not built, or cannot be loaded.
    """
    missing = unavailable_reason()
    if missing:
        raise EngineError(f"the native engine {missing}; {remedy()}, or use --engine torch")
    return importlib.import_module(_EXTENSION)


def unavailable_reason() -> str:
    """Why the extension module cannot be used, as a predicate ("was not built"); "" if it can."""
    try:
        importlib.import_module(_EXTENSION)
    except ModuleNotFoundError:
        failure = build_failure()
        return f"was not built: {failure.reason}" if failure else "was not built"
    except ImportError as error:
        if is_out_of_memory(error):  # it exists; another engine would give other bits
            raise MemoryError(str(error)) from None
        # Built for another machine, or a library is missing.
        return f"cannot be loaded ({error})"
    return ""


def remedy() -> str:
    """What to do where the extension module cannot be used: "… and reinstall kilonet"."""
    failure = build_failure()
    if failure is None:
        return f"{INSTALL_COMPILER} and reinstall kilonet"
    return f"{failure.advice} and reinstall kilonet (the build's output: {build_log()})"


def instruction_set() -> str:
    """The best instruction set of the machine, or the one in ``KILONET_ISA``."""
    here: list[str] = extension().instruction_sets()
    asked = os.environ.get("KILONET_ISA", "")
    if asked and asked not in here:
        raise UsageError(
            f"KILONET_ISA={asked}: not an instruction set of this machine; "
            f"{did_you_mean(asked, here)}"
        )
    return asked or here[0]


def check_device(device: str) -> None:
    """Raise EngineError or UsageError unless the device is the CPU."""
    if device in ("auto", "cpu"):
        return
    if device.partition(":")[0] in ("cuda", "mps"):
        raise EngineError(f"device {device!r}: the native engine runs on the CPU; use engine torch")
    raise UsageError(
        f"device {device!r}: unknown; {did_you_mean(device, ['auto', 'cpu', 'cuda', 'mps'])}"
    )


def describe(isa: str, threads: int) -> str:
    """``native 0.1.0 on cpu (avx512), 2 threads``."""
    version = package_version("kilonet")
    return f"native {version} on cpu ({isa}), {threads} thread{'' if threads == 1 else 's'}"
