"""Checks before training: the budget, and whether the network fits its data."""

from __future__ import annotations

from collections import Counter
from math import prod

from kilonet.errors import BudgetError, DataError, NetError
from kilonet.spec import Net, Train
from kilonet.spec.graph import Shape, show, walk


def check_budget(net: Net, *, parameters: int | None, where: str) -> None:
    """Check a network's parameters against the budget.

    Args:
        net: the network.
        parameters: most trained parameters; None: no limit.
        where: the beginning of the message: the file, or the study's stage.

    Raises:
        BudgetError: with the excess, and the line of the network with most parameters.
    """
    per_line: Counter[tuple[str, str]] = Counter()
    for node in walk(net.nodes):
        per_line[node.line, node.text] += sum(map(prod, node.parameters.values()))
    total = per_line.total()
    if parameters is None or total <= parameters:
        return
    [((line, text), most)] = per_line.most_common(1)
    raise BudgetError(
        f"{where}: {total:,} parameters are {total - parameters:,} over the budget of "
        f"{parameters:,}; most are in layer {line} '{text}' ({most:,}): "
        "make the network smaller or raise budget.parameters"
    )


def check_epochs(train: Train, *, epochs: int | None, where: str) -> None:
    """Check a training's epochs against the budget.

    Args:
        train: the training.
        epochs: most epochs; None: no limit.
        where: the beginning of the message: the study's stage.

    Raises:
        BudgetError: with the excess.
    """
    if epochs is not None and train.epochs > epochs:
        raise BudgetError(
            f"{where}: {train.epochs:,} epochs are {train.epochs - epochs:,} over the budget of "
            f"{epochs:,}: lower train.epochs or raise budget.epochs"
        )


def check_data(net: Net, *, image_shape: Shape, num_classes: int, where: str) -> None:
    """Check that a network fits its data.

    Args:
        net: the network.
        image_shape: (channels, height, width) of the images, after any resize.
        num_classes: of the data set.
        where: the beginning of the message: the data set.

    Raises:
        DataError: if the images do not have the network's input shape.
        NetError: if the network has not one output per class.
    """
    if tuple(image_shape) != net.input:
        remedy = f"set net.input = {list(image_shape)}"
        if image_shape[0] == net.input[0]:
            remedy += f" or data.resize = {list(net.input[1:])}"
        raise DataError(
            f"{where}: images of {show(tuple(image_shape))} do not fit the network's input of "
            f"{show(net.input)}; {remedy}"
        )
    if num_classes != net.num_classes:
        last = net.nodes[-1]
        raise NetError(
            f"layer {last.line} '{last.text}': turns {show(last.input_shape)} into "
            f"{show(last.output_shape)}, one number per class, but {where} has {num_classes} "
            f"classes; end with {num_classes} outputs"
        )
