"""Checks before training: the budget, and whether the network fits its data."""

from __future__ import annotations

from collections import Counter
from math import prod

from kilonet.errors import BudgetError, DataError, NetError
from kilonet.formatting import count
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
    per_line: Counter[str] = Counter()
    for node in walk(net.nodes):
        per_line[node.where] += sum(map(prod, node.parameters.values()))
    total = per_line.total()
    if parameters is None or total <= parameters:
        return
    [(line, most)] = per_line.most_common(1)
    raise BudgetError(
        f"{where}: {total:,} parameters are {total - parameters:,} over the budget of "
        f"{parameters:,}; most are in {line} ({most:,}): "
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


def check_data(
    net: Net, *, image_shape: Shape, num_classes: int, where: str, first_label: int = 0
) -> None:
    """Check that a network fits its data.

    Args:
        net: the network.
        image_shape: (channels, height, width) of the images, after any resize.
        num_classes: of the data set.
        where: the beginning of the message: the data set.
        first_label: the lowest label that an image has.

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
        remedy = f"end with {count(num_classes, 'output')}"
        if first_label:
            remedy += (
                f", or subtract {first_label} from the labels, which begin at {first_label}, "
                f"if they count from {first_label}"
            )
        raise NetError(
            f"{last.where}: turns {show(last.input_shape)} into "
            f"{show(last.output_shape)}, one number per class, but {where} has "
            f"{num_classes:,} {'class' if num_classes == 1 else 'classes'}; {remedy}"
        )
