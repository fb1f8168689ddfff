"""The exception tree, its exit codes, and the hint at an error's end."""

from __future__ import annotations

import inspect

import pytest

from kilonet import errors


def raised_classes():
    return [
        cls
        for cls in vars(errors).values()
        if inspect.isclass(cls) and issubclass(cls, errors.KilonetError)
    ]


def test_the_docstring_draws_the_tree():
    drawing = errors.__doc__ or ""
    for cls in raised_classes():
        [line] = [line for line in drawing.splitlines() if f" {cls.__name__} " in line]
        inherits = "exit_code" not in vars(cls) and "exit" not in line
        assert inherits or f"exit {cls.exit_code} " in line


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("epoch", ["epochs", "seed"], "did you mean 'epochs'?"),
        ("zzz", ["seed", "epochs"], "known: epochs, seed"),
        ("zzz", [], "none is known"),
        ("lr", {"lr": 1, "eps": 2}, "did you mean 'lr'?"),
    ],
)
def test_did_you_mean(word, known, hint):
    assert errors.did_you_mean(word, known) == hint


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (ImportError("libx.so: failed to map segment from shared object"), True),
        (OSError("libx.so: cannot create shared object descriptor: Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (ImportError("No module named 'x'"), False),
        (ValueError("Cannot allocate memory"), False),
    ],
)
def test_what_comes_of_memory_that_is_not_there(error, is_it):
    assert errors.is_out_of_memory(error) == is_it
