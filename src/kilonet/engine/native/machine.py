"""What the native engine finds here: its extension module, instruction sets, processors."""

from __future__ import annotations

import importlib
import os
from typing import Any

from kilonet.environment import package_version
from kilonet.errors import EngineError, UsageError, did_you_mean, is_out_of_memory

_EXTENSION = "kilonet.engine._native"


def extension() -> Any:
    """The extension module.

    Raises:
        EngineError: if it was not built, or cannot be loaded here.
    """
    missing = why_missing()
    if missing:
        raise EngineError(
            f"the native engine {missing}; install a C++ compiler (GCC or Clang) and "
            "reinstall kilonet, or use --engine torch"
        )
    return importlib.import_module(_EXTENSION)


def why_missing() -> str:
    """Why there is no extension module, or "": the end of a sentence about the native engine."""
    try:
        importlib.import_module(_EXTENSION)
    except ModuleNotFoundError:
        return "was not built"
    except ImportError as error:
        if is_out_of_memory(error):  # it is there; another engine would come to other bits
            raise MemoryError(str(error)) from None
        # A library that it needs is not here, or it was built for another machine.
        return f"cannot be loaded ({error})"
    return ""


def instruction_set() -> str:
    """The best that the machine has, or the one that ``KILONET_ISA`` asks for."""
    here: list[str] = extension().instruction_sets()
    asked = os.environ.get("KILONET_ISA", "")
    if asked and asked not in here:
        raise UsageError(
            f"KILONET_ISA={asked}: not an instruction set of this machine; "
            f"{did_you_mean(asked, here)}"
        )
    return asked or here[0]


def thread_count() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def check_device(device: str) -> None:
    """Raise unless it is the CPU."""
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
