"""A script of ``benchmarks/`` or ``scripts/`` as a module, though it is in no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def load(path: str, *, name: str | None = None) -> ModuleType:
    """The module of a file, by its path from the root of the project.

    Args:
        path: ``benchmarks/parallel.py``, say.
        name: what it is to be imported as, where its own would be taken for another module's.
    """
    name = name or Path(path).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up, and scripts import one another by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
