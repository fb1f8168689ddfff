"""What distinguishes a module of the user's own from others.

A run is known by what was trained. Of a module that is the name of its class, the source of its
classes, its submodules with their settings, and the shapes of its state; or, instead of name and
source, a name that the user gives. The initial weights do not count: the user draws them.
"""

from __future__ import annotations

import dataclasses
import dis
import hashlib
import inspect
import json
import sys
import sysconfig
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from kilonet.errors import EngineError
from kilonet.spec import Module

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIGITS = 16  # of a digest: 64 bits

_INTERNAL = frozenset(vars(nn.Module()))  # attributes, among them `training`


def identity(module: nn.Module, *, name: str = "") -> Module:
    """What distinguishes a module from others.

    Args:
        module: of the user's own.
        name: given by the user, in place of the class's name and source.

    Raises:
        EngineError: it has no parameter to train, or one without a shape yet.
    """
    for key, value in (*module.named_parameters(), *module.named_buffers()):
        if nn.parameter.is_lazy(value):
            raise EngineError(
                f"the module's {key!r} has no shape yet; call the module once, on one image"
            )
    num_parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    if not num_parameters:
        raise EngineError("the module has no parameter to train")
    return Module(
        # Without the Python module, which is __main__ in the script that trains.
        name=name or type(module).__qualname__,
        num_parameters=num_parameters,
        structure=_digest(_structure(module)),
        source="" if name else _digest(_sources(module)),
    )


def _structure(module: nn.Module) -> list[Any]:
    """The state's shapes, and each submodule with its settings."""
    trained = {name for name, value in module.named_parameters() if value.requires_grad}
    state = [
        [name, str(value.dtype), list(value.shape), name in trained]
        for name, value in module.state_dict().items()
        if isinstance(value, torch.Tensor)
    ]
    parts = [
        [name, type(part).__qualname__, part.extra_repr(), _plain(_settings(part))]
        for name, part in module.named_modules()
    ]
    return [state, parts]


def _settings(part: nn.Module) -> dict[str, Any]:
    """What a part computes with beside its state, such as a rate or an activation function.

    The attributes of a user's own class; of any class the hooks and the buffers that the state
    leaves out.
    """
    # Of PyTorch's classes extra_repr states the attributes.
    own = {} if _is_library(type(part)) else vars(part)
    hooks = [
        *getattr(part, "_forward_pre_hooks", {}).values(),
        *getattr(part, "_forward_hooks", {}).values(),
    ]
    outside = getattr(part, "_non_persistent_buffers_set", ())
    return {
        **{name: value for name, value in own.items() if name not in _INTERNAL},
        **({"hooks": hooks} if hooks else {}),
        **{name: value for name, value in part.named_buffers(recurse=False) if name in outside},
    }


def _plain(value: Any, seen: tuple[int, ...] = ()) -> Any:
    """The value for JSON; of a function or class its name, of a tensor also a digest.

    ``seen`` are the values around it.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if id(value) in seen:
        return "…"

    def inner(part: Any) -> Any:
        return _plain(part, (*seen, id(value)))

    if isinstance(value, np.ndarray):
        content = repr(value.tolist()) if value.dtype.hasobject else value.tobytes()
        return [str(value.dtype), value.shape, _digest(content)]
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().reshape(-1)
        return [str(value.dtype), value.shape, _digest(flat.view(torch.uint8).numpy().tobytes())]
    if isinstance(value, list | tuple):
        return [inner(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(inner, value), key=repr)
    if isinstance(value, dict):
        return {repr(key): inner(item) for key, item in value.items()}
    if isinstance(value, partial):
        return inner([value.func, value.args, value.keywords])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: inner(getattr(value, f.name)) for f in dataclasses.fields(value)}
    name = getattr(value, "__qualname__", None)
    if name is not None or isinstance(value, ModuleType):
        return name or value.__name__
    kind, text = type(value), repr(value)
    if " at 0x" not in text:  # not the address, which another process does not have
        return text
    return [kind.__qualname__, inner(getattr(value, "__dict__", {}))]


def _functions(value: Any) -> Iterator[FunctionType]:
    """The functions in a value, as an attribute or a global: its own, or its class's methods."""
    value = inspect.unwrap(value) if callable(value) else value
    if isinstance(value, MethodType | partial):
        yield from _functions(value.func if isinstance(value, partial) else value.__func__)
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _functions(item)
    elif isinstance(value, FunctionType):
        if not _is_library(value):
            yield value
    elif not _is_library(kind := value if isinstance(value, type) else type(value)):
        yield from (method for _, method in _methods(kind))


def _sources(module: nn.Module) -> list[Any]:
    """The source of the classes and functions in the module that are not PyTorch's.

    And what these read.
    """
    kinds = {kind for part in module.modules() for kind in type(part).__mro__}
    classes = [
        [kind.__qualname__, _source(kind), {n: _reads(f, {f}) for n, f in _methods(kind)}]
        for kind in kinds
        if not _is_library(kind)
    ]
    functions = [
        [_source(function), _reads(function, {function})]
        for part in module.modules()
        for function in _functions(_settings(part))
    ]
    return [*sorted(classes, key=repr), *functions]


def _methods(kind: type) -> Iterator[tuple[str, FunctionType]]:
    for name, value in sorted(vars(kind).items()):
        if isinstance(value, property):
            value = value.fget
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if callable(value) and isinstance(value := inspect.unwrap(value), FunctionType):
            yield name, value


def _reads(function: FunctionType, seen: set[FunctionType]) -> dict[str, Any]:
    """The values that a function's source only names: defaults, enclosing and global ones.

    Of functions and classes, unless another package is installed with them, the source, and what
    they read in turn; ``seen`` are not followed again.
    """
    code, scope = function.__code__, function.__globals__
    values = {name: scope[name] for name in _globals_of(code) if name in scope}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not set yet
            values[name] = cell.cell_contents
    found: dict[str, Any] = {"": _plain([function.__defaults__, function.__kwdefaults__])}
    for name, value in sorted(values.items()):
        found[name] = [_plain(value)]
        for other in _functions(value):
            own = _package(other) == _package(function) or not _is_installed(other)
            if own and other not in seen:
                seen.add(other)
                found[name].append([_source(other), _reads(other, seen)])
    return found


def _globals_of(code: CodeType) -> set[str]:
    """The global names that a function reads, with the functions inside it; not attributes."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    inner = [_globals_of(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return names.union(*inner)


def _is_library(value: type | FunctionType) -> bool:
    """Whether it belongs to PyTorch or to Python's standard library."""
    package = _package(value)
    return package == "torch" or package in sys.stdlib_module_names


def _is_installed(value: FunctionType) -> bool:
    """Whether its file is among the installed packages."""
    folders = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    return any(folder in Path(value.__code__.co_filename).parents for folder in folders)


def _package(value: type | FunctionType) -> str:
    return str(value.__module__).partition(".")[0]


def _source(value: type | FunctionType) -> Any:
    """Its source; where Python does not have that, as in a shell, what is compiled from it.

    Of a lambda Python has only the lines around it, which may hold others.
    """
    if value.__name__ != "<lambda>":
        with suppress(OSError, TypeError):
            return inspect.getsource(value)
    if isinstance(value, FunctionType):
        return list(_code(value.__code__))
    return {name: list(_code(method.__code__)) for name, method in _methods(value)}


def _code(code: CodeType) -> Iterator[Any]:
    """What a function does, without the place where it was written."""
    yield [code.co_code.hex(), list(code.co_names), list(code.co_varnames)]
    for constant in code.co_consts:
        yield list(_code(constant)) if isinstance(constant, CodeType) else _plain(constant)


def _digest(content: Any) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
