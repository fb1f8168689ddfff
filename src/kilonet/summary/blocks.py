"""A network in the notebook's terms: its windows, the blocks they form, the channel line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from kilonet.spec.graph import (
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Node,
    Pool2d,
    Residual,
    walk,
)


def windows(nodes: Sequence[Node]) -> list[Node]:
    """The operations with a window: convolutions, pools, linear layers."""
    return _windows(walk(nodes))


def _windows(flat: Sequence[Node]) -> list[Node]:
    return [node for node in flat if isinstance(node.op, Conv2d | Pool2d | Linear)]


def window_kind(node: Node) -> str:
    """The name in the receptive-field table: ``Conv``, ``Pool``, ``GAP`` or ``Linear``."""
    if isinstance(node.op, Linear):
        return "Linear"
    if isinstance(node.op, Conv2d):
        return "Conv"
    return "GAP" if node.text == "gap" else "Pool"


def inside_residual(node: Node) -> bool:
    """Whether the node is in a residual's body or shortcut."""
    return ".residual." in node.path or ".shortcut." in node.path


def _is_depthwise(node: Node) -> bool:
    return isinstance(node.op, Conv2d) and node.op.groups == node.op.in_channels > 1


def _is_transition(node: Node, *, before: Node | None) -> bool:
    """Whether it is a 1 × 1 convolution, neither in a residual nor after a depthwise one."""
    separable = before is not None and _is_depthwise(before)
    pointwise = isinstance(node.op, Conv2d) and node.op.kernel == (1, 1)
    return pointwise and not separable and not inside_residual(node)


def block_names(nodes: Sequence[Node]) -> list[str]:
    """The name of the block that each of :func:`windows` is in.

    The first convolution is the Input Block. Consecutive pools and 1 × 1 convolutions, with at
    least one pool, are a Transition Block. The Output Block begins at global average pooling or
    ``flatten``, or else at the last window. The others are Convolution Blocks.
    """
    everything = walk(nodes)
    head = next((i for i, node in enumerate(everything) if _is_head(node)), None)
    count = len(windows(nodes))
    trunk = _windows(everything[:head])[: max(count - 1, 0)]
    blocks = ["Input Block"] if trunk and isinstance(trunk[0].op, Conv2d) else []
    between = [
        _is_transition(node, before=before)
        or (isinstance(node.op, Pool2d) and not inside_residual(node))
        for before, node in zip([None, *trunk], trunk, strict=False)
    ]
    kinds: list[str] = []
    for candidate, run in groupby(range(len(blocks), len(trunk)), key=between.__getitem__):
        members = list(run)
        pools = any(isinstance(trunk[i].op, Pool2d) for i in members)
        # Without a pool the 1 × 1 convolutions belong to the convolutions around them.
        kinds += ["Transition" if candidate and pools else "Convolution"] * len(members)
    numbers: Counter[str] = Counter()
    for kind, same in groupby(kinds):
        numbers[kind] += 1
        blocks += [f"{kind} Block {numbers[kind]}" for _ in same]
    return blocks + ["Output Block"] * (count - len(blocks))


def _is_head(node: Node) -> bool:
    return not inside_residual(node) and (isinstance(node.op, Flatten) or node.text == "gap")


def channel_words(nodes: Sequence[Node]) -> list[str]:
    """The channel line after the input: channel counts, and names of other operations."""
    words: list[str] = []
    before: Node | None = None
    for node in nodes:
        match node.op:
            case Conv2d():
                words += ["Depthwise"] if _is_depthwise(node) else []
                words += ["(Transition)"] if _is_transition(node, before=before) else []
            case MaxPool2d():
                words.append("MaxPool")
            case AvgPool2d():
                words.append("GAP" if node.text == "gap" else "AvgPool")
            case Flatten():
                words.append("Flatten")
            case Linear():
                words.append("Linear")
            case Residual():
                body = " → ".join(channel_words(node.op.body))
                beside = " → ".join(channel_words(node.op.shortcut))
                body += f" + {beside}" if beside else ""
                words += [f"Residual[{body}]"] if body else []
                before = next(reversed(windows(node.op.body)), before)
                continue
            case _:
                continue
        words.append(str(node.output_shape[0]))
        before = node
    return words
