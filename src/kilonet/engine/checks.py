"""What both engines ask of a training step's input and outcome, with one line on what to change."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kilonet.errors import DataError, DivergenceError, EngineError
from kilonet.spec.graph import show

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kilonet.data.batch import Batch
    from kilonet.spec.graph import Node, Shape


def check_image_shape(shape: Shape, *, needed: Shape) -> None:
    """Raise DataError unless images of ``shape`` fit a network; both are (channels, h, w)."""
    if shape != needed:
        raise DataError(
            f"images are {show(shape)}, but the network's input is {show(needed)}; set data.resize "
            "or net.input"
        )


def check_label_range(labels: NDArray[np.int64], *, num_classes: int) -> None:
    """Raise DataError unless each label has an output of the network."""
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise DataError(
            f"label {outside[0]} does not fit the network's {num_classes} outputs; "
            "change its last layer"
        )


def check_loss(loss: float, *, batch: Batch, lr: float) -> None:
    """Raise DivergenceError unless the loss of a step is finite."""
    if not math.isfinite(loss):
        raise DivergenceError(
            f"epoch {batch.epoch}, step {batch.step}: the training diverged, its loss is {loss}; "
            f"lower train.optimizer.lr (this step's was {lr:g})"
        )


def batch_of_one(where: str, *, node: Node | None) -> EngineError:
    """The error of a batch norm that sees one value per channel; of which one, if it is known."""
    layer = f" of {node.where}" if node else ""
    return EngineError(
        f"{where}: batch norm{layer} has one value per channel, from a batch of one image; change "
        "train.batch_size so that the last batch has more than one image"
    )


def out_of_memory(where: str) -> EngineError:
    """The error of a step or an evaluation for which memory does not suffice."""
    return EngineError(f"{where}: out of memory; a smaller network or train.batch_size needs less")
