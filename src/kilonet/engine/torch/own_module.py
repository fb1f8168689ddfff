"""A module of the user's own: how it is built, and whether it is the one that a run states."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import nn

from kilonet.engine.torch.module_identity import identity
from kilonet.errors import StorageError, UsageError
from kilonet.spec import Module

TorchModule: TypeAlias = nn.Module
"""For annotations in places that do not import PyTorch."""


def own_module(given: Any, *, seed: int) -> nn.Module:
    """The module, or the one that a class or function without arguments builds.

    It is built with PyTorch's generators seeded by the run's seed, and these are then restored.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(given, nn.Module):
        return given
    if not callable(given):
        raise UsageError(
            f"module: {type(given).__name__} is no torch.nn.Module, nor a function that builds one"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            built = given()
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                raise  # from inside
            raise UsageError(
                f"module: {error}; give a module, or a function without arguments that builds one"
            ) from None
    if not isinstance(built, nn.Module):
        raise UsageError(f"module: built {type(built).__name__}, which is no torch.nn.Module")
    return built


def with_identity(known: Module | None, module: nn.Module, *, name: str = "") -> Module:
    """The identity of a module for a run that may state one.

    Raises:
        StorageError: the run states that of another module.
        EngineError: as :func:`identity`.
    """
    if known is not None and not known.source and not name:
        name = known.name  # which the user gave when the run was begun
    found = identity(module, name=name)
    if known is None or found == known:
        return found
    parts = {
        "name": (known.name, found.name),
        "number of parameters": (known.num_parameters, found.num_parameters),
        "structure": (known.structure, found.structure),
    }
    differing = next((part for part, (a, b) in parts.items() if a != b), "source")
    raise StorageError(
        f"this is not the module {known.name!r} that was trained: its {differing} differs; give "
        "that module, or start from a run that states none"
    )
