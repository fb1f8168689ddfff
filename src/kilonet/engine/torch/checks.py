"""What the torch engine asks of a module, and PyTorch's errors in one line."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kilonet.engine.checks import batch_of_one, check_label_range, out_of_memory
from kilonet.errors import EngineError
from kilonet.formatting import count
from kilonet.spec.graph import single_value_norm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from kilonet.spec import Net


def check_module(module: nn.Module, *, trained: Mapping[str, nn.Parameter]) -> None:
    """Raise EngineError unless a module trains in float32 and has a parameter to train."""
    if not trained:
        raise EngineError("the module has no parameter to train")
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise EngineError(f"the module's state {name!r} is not a tensor")
        if value.is_floating_point() and value.dtype != torch.float32:
            raise EngineError(
                f"the module's {name!r} is {value.dtype}; kilonet trains in float32, "
                "so call module.float() first"
            )


@contextmanager
def explained(where: str, *, net: Net | None = None) -> Iterator[None]:
    """Turn PyTorch's errors about a batch's size or memory into one line."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        node = single_value_norm(net.nodes if net else ())
        raise batch_of_one(where, node=node) from None
    except RuntimeError as error:
        message = str(error).lower()
        if "out of memory" not in message and "can't allocate memory" not in message:
            raise
        raise out_of_memory(where) from None


def checked_logits(logits: Any, labels: NDArray[np.int64]) -> Tensor:
    """The (n, classes) logits; EngineError or DataError if they or the labels do not fit."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(labels):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise EngineError(
            f"the module returned {shape} for {count(len(labels), 'image')}; "
            "it should return (images, classes)"
        )
    check_label_range(labels, num_classes=logits.shape[1])
    return logits
