"""What is refused before any training: a network over its budget, or unfit for its data."""

from __future__ import annotations

from collections import Counter
from math import prod

from kilonet.errors import BudgetError, DataError, NetError
from kilonet.spec import Net, Train
from kilonet.spec.graph import Shape, show, walk


def check_budget(net: Net, *, parameters: int | None, where: str) -> None:
    """Refuse a network that is over its budget.

    Args:
        net: the network.
        parameters: most trained parameters; None: no limit.
        where: what the message starts with: the file, the study's step.

    Raises:
        BudgetError: saying by how many, and which line of the network weighs most.
    """
    weights: Counter[tuple[str, str]] = Counter()
    for node in walk(net.nodes):
        weights[node.line, node.text] += sum(map(prod, node.parameters.values()))
    total = weights.total()
    if parameters is None or total <= parameters:
        return
    [((line, text), most)] = weights.most_common(1)
    raise BudgetError(
        f"{where}: {total:,} parameters are {total - parameters:,} over the budget of "
        f"{parameters:,}; most are in layer {line} '{text}' ({most:,}): "
        "make the network smaller or raise budget.parameters"
    )


def check_epochs(train: Train, *, epochs: int | None, where: str) -> None:
    """Refuse a training that is longer than its budget.

    Args:
        train: the training.
        epochs: most epochs; None: no limit.
        where: what the message starts with: the study's step.

    Raises:
        BudgetError: saying by how many.
    """
    if epochs is not None and train.epochs > epochs:
        raise BudgetError(
            f"{where}: {train.epochs:,} epochs are {train.epochs - epochs:,} over the budget of "
            f"{epochs:,}: lower train.epochs or raise budget.epochs"
        )


def check_data(net: Net, *, image_shape: Shape, classes: int, where: str) -> None:
    """Refuse a network that does not fit its data.

    Args:
        net: the network.
        image_shape: (channels, height, width) of the images, after any resize.
        classes: of the data set.
        where: what the message starts with: the data set.

    Raises:
        DataError: if the images are not of the network's input shape.
        NetError: if the network's outputs are not as many as the classes.
    """
    if tuple(image_shape) != net.input:
        remedy = f"set net.input = {list(image_shape)}"
        if image_shape[0] == net.input[0]:
            remedy += f" or data.resize = {list(net.input[1:])}"
        raise DataError(
            f"{where}: images of {show(tuple(image_shape))} do not fit the network's input of "
            f"{show(net.input)}; {remedy}"
        )
    if classes != net.classes:
        last = net.nodes[-1]
        raise NetError(
            f"layer {last.line} '{last.text}': turns {show(last.input_shape)} into "
            f"{show(last.output_shape)}, one number a class, but {where} has {classes} classes; "
            f"end with {classes} outputs"
        )
